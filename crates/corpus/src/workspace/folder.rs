//! A job's folder, held by one process for each share of the work.

use super::done::Done;
use super::journal::{Entry, Journal};
use super::layout::{INNER, Share, names, parts_of, rejects_name};
use super::manifest::{self, Manifest};
use super::merge;
use crate::error::{CorpusError, Result};
use crate::output::Output;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// A job's folder, held by this process.
pub(crate) struct Workspace {
    /// Where the parts are.
    pub(crate) folder: PathBuf,
    inner: PathBuf,
    share: Share,
    pub(crate) done: Done,
    /// Held until the job ends.
    _lock: File,
}

impl Workspace {
    /// Begins a job, or goes on with the one that is there. `can_go_on`: whether its input can be read again.
    pub(crate) fn open(output: &Output, manifest: &Manifest, can_go_on: bool) -> Result<Workspace> {
        let folder = match output.is_folder {
            true => output.path.clone(),
            false => parts_of(&output.path),
        };
        let (place, of) = output.shard.unwrap_or((0, 1));
        let share = Share { place, of };
        let inner = folder.join(INNER);
        if output.is_folder {
            std::fs::create_dir_all(&folder).map_err(CorpusError::write(&folder))?;
        } else {
            remove_if_there(&removed(&folder))?; // a run before this one was killed while it tidied up
            create(&folder)?;
        }
        create(&inner)?;
        let lock = lock(&inner.join(share.file_name("lock", "")), &folder)?;
        let is_sharded = of > 1;
        if output.restart || !can_go_on {
            if is_sharded {
                let problem = "a share of the work does not begin anew by itself: remove the folder, and start all shares again";
                return Err(CorpusError::Options(problem.to_owned()));
            }
            let is_jobs = inner.join(manifest::NAME).exists();
            if is_jobs {
                clear(&folder, &inner)?;
            }
        }
        if !inner.join(manifest::NAME).exists() && has_others(&folder)? {
            let problem = "the folder has files in it that are no job's; name another one, or an empty one";
            return Err(CorpusError::file(&folder, problem));
        }
        manifest.settle(&inner.join(manifest::NAME), &folder)?;
        let done = Done::open(&inner.join(share.file_name("done", ".jsonl")))?;
        Ok(Workspace { folder, inner, share, done, _lock: lock })
    }

    pub(crate) fn share(&self) -> Share {
        self.share
    }

    /// The vectors of a part that were computed before, and where further ones go.
    pub(crate) fn journal(&self, part: usize, row_bytes: usize) -> Result<(Journal, Vec<Entry>)> {
        Journal::open(&self.journal_path(part), row_bytes)
    }

    pub(crate) fn journal_path(&self, part: usize) -> PathBuf {
        self.inner.join(format!("part-{part:06}.journal"))
    }

    /// Where the rows of a part that were left out are told.
    pub(crate) fn rejects_path(&self, part: usize) -> PathBuf {
        self.inner.join(rejects_name(part))
    }

    /// The file that parts are added to as they are finished, until it is the output.
    pub(crate) fn joined_path(&self) -> PathBuf {
        self.inner.join("joined")
    }

    /// The file that tells which rows were left out: beside an output that is a file; in a folder by its share, so that
    /// processes that write into one do not meet.
    pub(crate) fn rejects_file(&self, output: &Output) -> PathBuf {
        match output.is_folder {
            false => merge::rejects_beside(&output.path),
            true => self.folder.join(self.share.file_name("_rejects", ".jsonl")),
        }
    }

    /// Whether nothing was computed yet.
    pub(crate) fn is_empty(&self) -> Result<bool> {
        let is_file = |name: &String| name.ends_with(".journal");
        let has_bytes =
            |name: String| std::fs::metadata(self.inner.join(name)).is_ok_and(|file| file.len() > 0);
        Ok(self.done.parts.is_empty() && !names(&self.inner)?.into_iter().filter(is_file).any(has_bytes))
    }

    /// Removes the folder, after its parts were joined: at once, so that a run that is killed meanwhile does not leave a
    /// part of a job.
    pub(crate) fn remove(self) -> Result<()> {
        let Workspace { folder, done, _lock, .. } = self;
        drop((done, _lock));
        let to = removed(&folder);
        remove_if_there(&to)?;
        std::fs::rename(&folder, &to).map_err(CorpusError::write(&folder))?;
        remove_if_there(&to)
    }
}

/// What a folder is called that is being removed.
fn removed(folder: &Path) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".removed");
    name.into()
}

fn create(folder: &Path) -> Result<()> {
    match std::fs::create_dir(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(CorpusError::write(folder)(e)),
        _ => Ok(()),
    }
}

fn remove_if_there(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(CorpusError::write(folder)(e)),
        _ => Ok(()),
    }
}

fn lock(path: &Path, folder: &Path) -> Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(CorpusError::write(path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        // Where files have no locks, whoever starts two processes has to know.
        Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::WouldBlock) => Err(CorpusError::Busy { path: folder.to_owned() }),
        Err(TryLockError::Error(e)) => Err(CorpusError::write(path)(e)),
    }
}

fn has_others(folder: &Path) -> Result<bool> {
    Ok(names(folder)?.iter().any(|name| !name.starts_with(['_', '.'])))
}

/// Removes a job's parts and what is known of it, but for locks. First what says that parts are done, last what says
/// which job it is: wherever this is killed, what is left is an unfinished job.
fn clear(folder: &Path, inner: &Path) -> Result<()> {
    let of_job = |name: &str| name.starts_with("part-") || name.starts_with(".taskvec-");
    let parts = names(folder)?.into_iter().filter(|name| of_job(name)).map(|name| folder.join(name));
    let facts =
        names(inner)?.into_iter().filter(|name| !name.starts_with("lock-")).map(|name| inner.join(name));
    let (done, mut others): (Vec<PathBuf>, Vec<PathBuf>) = facts
        .partition(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("done-")));
    others.sort_by_key(|path| path.ends_with(manifest::NAME));
    for path in done.into_iter().chain(parts).chain(others) {
        std::fs::remove_file(&path).map_err(CorpusError::write(&path))?;
    }
    Ok(())
}
