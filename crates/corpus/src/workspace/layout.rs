//! What stands where in a job's folder.

use crate::error::{CorpusError, Result};
use std::path::{Path, PathBuf};

/// The folder of what is known of a job. Readers of folders of tables pass over names that start so.
pub(super) const INNER: &str = "_taskvec";

/// A share of the work: `place` of `of`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Share {
    pub(crate) place: usize,
    pub(crate) of: usize,
}

impl Share {
    /// Whether the part of a window is of this share.
    pub(crate) fn has(self, window: usize) -> bool {
        window % self.of == self.place
    }

    pub(super) fn file_name(self, kind: &str, ending: &str) -> String {
        format!("{kind}-{}-of-{}{ending}", self.place, self.of)
    }
}

pub(super) fn rejects_name(part: usize) -> String {
    format!("part-{part:06}.rejects.jsonl")
}

/// The folder of the parts of a file.
pub(crate) fn parts_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".parts");
    name.into()
}

/// The names in a folder.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).map_err(CorpusError::read(folder))?;
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.map(|e| e.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect::<std::io::Result<_>>().map_err(CorpusError::read(folder))
}
