//! Where results go: standard output, or a file that appears whole or not at all.

use crate::leftovers::Unfinished;
use crate::outcome::{Failure, Outcome};
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// An open destination. Nothing is there for others to see until [`Sink::finish`].
pub(crate) struct Sink {
    target: Target,
    name: String,
}

enum Target {
    Stdout(BufWriter<io::StdoutLock<'static>>),
    /// Written beside its final place, and moved there at the end.
    File(BufWriter<NamedTempFile>, PathBuf, Unfinished),
    /// A pipe or a device: nothing to replace.
    Special(BufWriter<File>),
}

impl Sink {
    pub(crate) fn open(path: Option<&Path>) -> Outcome<Sink> {
        let Some(path) = path else {
            let target = Target::Stdout(BufWriter::new(io::stdout().lock()));
            return Ok(Sink { target, name: "standard output".to_owned() });
        };
        let name = path.display().to_string();
        let cannot = |e: io::Error| Failure::Failed(format!("{name}: cannot write: {e}"));
        let target = match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(cannot(ErrorKind::IsADirectory.into())),
            Ok(found) if !found.is_file() => {
                let file = File::options().write(true).open(path).map_err(cannot)?;
                Target::Special(BufWriter::new(file))
            }
            _ => {
                // The file behind a link is replaced, not the link.
                let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
                let file = temporary_beside(&path).map_err(cannot)?;
                let unfinished = Unfinished::new(file.path());
                Target::File(BufWriter::new(file), path, unfinished)
            }
        };
        Ok(Sink { target, name })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Outcome {
        let result = match &mut self.target {
            Target::Stdout(out) => out.write_all(bytes),
            Target::File(out, ..) => out.write_all(bytes),
            Target::Special(out) => out.write_all(bytes),
        };
        result.map_err(|e| self.failure(&e))
    }

    /// Hands what was written to whoever reads standard output.
    pub(crate) fn flush(&mut self) -> Outcome {
        let result = match &mut self.target {
            Target::Stdout(out) => out.flush(),
            Target::File(..) | Target::Special(_) => Ok(()),
        };
        result.map_err(|e| self.failure(&e))
    }

    /// Makes what was written appear.
    pub(crate) fn finish(mut self) -> Outcome {
        let result = match &mut self.target {
            Target::Stdout(out) => out.flush(),
            Target::Special(out) => out.flush(),
            Target::File(out, ..) => out.flush().and_then(|()| out.get_ref().as_file().sync_all()),
        };
        result.map_err(|e| self.failure(&e))?;
        if let Target::File(out, path, _unfinished) = self.target {
            let cannot = |e: io::Error| Failure::Failed(format!("{}: cannot write: {e}", self.name));
            let file = out.into_inner().map_err(|e| cannot(e.into_error()))?;
            file.persist(&path).map_err(|e| cannot(e.error))?;
        }
        Ok(())
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::Failed(match error.kind() {
            ErrorKind::BrokenPipe => format!("{} was closed before all results were written", self.name),
            _ => format!("{}: cannot write: {error}", self.name),
        })
    }
}

/// A file beside `path`, with the permissions of the one it replaces or those of any new file.
fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666)); // less the umask
    }
    let file = builder.tempfile_in(folder)?;
    if let Ok(replaced) = std::fs::metadata(path) {
        file.as_file().set_permissions(replaced.permissions())?;
    }
    Ok(file)
}
