//! Joining the shares of a job.

use super::done::{Done, PartFacts};
use super::layout::{INNER, Share, names, rejects_name};
use super::manifest::{self, Manifest};
use crate::error::{CorpusError, Result};
use crate::output::{self, Format, Heading};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use taskvec::OutputType;

/// Joins the parts of a job's shares, in one folder or several, to one file: the bytes of what one process would have
/// written. Gives the number of rows.
///
/// # Errors
/// If the folders are of different jobs, or a part is missing.
pub fn merge<P: AsRef<Path>>(folders: &[P], to: &Path) -> Result<u64> {
    let [first, others @ ..] = folders else {
        return Err(CorpusError::NoInput("there is nothing to merge: no folder was named".to_owned()));
    };
    let read = |folder: &Path| match folder.join(INNER).join(manifest::NAME) {
        path if path.exists() => Manifest::read(&path),
        _ => Err(CorpusError::file(folder, "it is not a folder that a job wrote into: there is no manifest")),
    };
    let manifest = read(first.as_ref())?;
    for other in others {
        let differences = manifest.differences(&read(other.as_ref())?);
        if !differences.is_empty() {
            let path = other.as_ref().to_owned();
            return Err(CorpusError::Changed { path, differences });
        }
    }
    let (parts, facts) = all_parts(folders)?;
    let heading = heading(&manifest, first.as_ref())?;
    output::join(&parts, &heading, facts.written, to)?;
    join_rejects(&parts, &rejects_beside(to), facts.rejected)?;
    Ok(facts.written)
}

/// Where each part is, and what all of them come to, once it is known that none is missing.
fn all_parts<P: AsRef<Path>>(folders: &[P]) -> Result<(Vec<(PathBuf, usize)>, PartFacts)> {
    let (mut found, mut facts, mut shares, mut windows) =
        (BTreeMap::new(), PartFacts::default(), Vec::new(), None);
    for folder in folders {
        let folder = folder.as_ref();
        let inner = folder.join(INNER);
        for name in names(&inner)? {
            let Some(share) = share_of(&name) else { continue };
            let done = Done::open(&inner.join(&name))?;
            let incomplete =
                |missing: String| Err(CorpusError::Incomplete { path: folder.to_owned(), missing });
            let Some(count) = done.windows else {
                return incomplete(format!(
                    "share {}/{} is not finished; run it again",
                    share.place, share.of
                ));
            };
            if *windows.get_or_insert(count) != count {
                return incomplete("its shares are of different corpora".to_owned());
            }
            shares.push(share);
            for (part, of_part) in &done.parts {
                if found.insert(*part, folder.to_owned()).is_none() {
                    facts.add(of_part);
                }
            }
        }
    }
    let path = folders.first().map_or_else(PathBuf::new, |folder| folder.as_ref().to_owned());
    let incomplete = |missing: String| Err(CorpusError::Incomplete { path: path.clone(), missing });
    let Some(of) = shares.first().map(|share| share.of) else {
        return incomplete("no share of it is finished".to_owned());
    };
    if shares.iter().any(|share| share.of != of) {
        return incomplete("its shares are of different numbers of processes".to_owned());
    }
    let absent: Vec<String> = (0..of)
        .filter(|place| !shares.iter().any(|share| share.place == *place))
        .map(|place| format!("{place}/{of}"))
        .collect();
    if !absent.is_empty() {
        return incomplete(format!("there is nothing of share {}", absent.join(", ")));
    }
    if let Some(part) = (0..windows.unwrap_or(0)).find(|part| !found.contains_key(part)) {
        return incomplete(format!("part {part} is missing"));
    }
    Ok((found.into_iter().map(|(part, folder)| (folder, part)).collect(), facts))
}

/// The share that a list of finished parts is of.
fn share_of(name: &str) -> Option<Share> {
    let (place, of) = name.strip_prefix("done-")?.strip_suffix(".jsonl")?.split_once("-of-")?;
    Some(Share { place: place.parse().ok()?, of: of.parse().ok()? })
}

/// What the parts say of their vectors.
fn heading(manifest: &Manifest, folder: &Path) -> Result<Heading> {
    let wrong = || CorpusError::file(folder, "its manifest does not say what was written; run the job again");
    let text = |key: &str| manifest.options.get(key).and_then(|value| value.as_str()).ok_or_else(wrong);
    let format = Format::by_name(text("format")?).ok_or_else(wrong)?;
    let output_type: OutputType = text("type")?.parse().map_err(|_| wrong())?;
    let width = output_type.values(manifest.about["dimensions"].as_u64().ok_or_else(wrong)? as usize);
    Ok(Heading { format, output_type, width, json: manifest.about.clone(), rows_beside: false })
}

/// The file that tells which rows were left out of an output.
pub(crate) fn rejects_beside(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".rejects.jsonl");
    name.into()
}

/// Joins what is told of rows that were left out; without any there is no file.
pub(crate) fn join_rejects(parts: &[(PathBuf, usize)], to: &Path, count: u64) -> Result<()> {
    if count == 0 {
        return match std::fs::remove_file(to) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(CorpusError::write(to)(e)),
            _ => Ok(()), // one of an earlier job is not this one's
        };
    }
    output::whole(to, |file| {
        for (folder, part) in parts {
            let path = folder.join(INNER).join(rejects_name(*part));
            if path.exists() {
                std::io::copy(&mut std::fs::File::open(path)?, file)?;
            }
        }
        Ok(())
    })
}
