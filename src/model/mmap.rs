//! Files mapped into memory: the one place outside `kernels/` that needs `unsafe`.
#![allow(unsafe_code)]

use crate::error::{Error, Result};
use std::fs::File;
use std::ops::Deref;
use std::path::Path;

/// The bytes of a file, mapped or compiled into the program.
pub(crate) enum Bytes {
    Mapped(memmap2::Mmap),
    Static(&'static [u8]),
}

impl Bytes {
    /// Maps a file into memory; pages are read when they are first touched.
    pub(crate) fn map(path: &Path) -> Result<Bytes> {
        let io = |action| move |source| Error::Io { path: path.to_owned(), action, source };
        let file = File::open(path).map_err(io("open"))?;
        if file.metadata().map_err(io("read the size"))?.len() == 0 {
            return Ok(Bytes::Static(&[]));
        }
        // SAFETY: the map is read-only and only ever read as bytes. Another process that writes
        // to the file while it is mapped could change what we read (and truncating it would end
        // the process with SIGBUS); model files are written once and renamed into place by the
        // tools that fetch them, and README.md says not to edit them in use.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io("map into memory"))?;
        Ok(Bytes::Mapped(map))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Static(bytes) => bytes,
        }
    }
}
