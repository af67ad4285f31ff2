//! Files mapped into memory: the one place outside `kernels/` that needs `unsafe`.
#![allow(unsafe_code)]

use crate::error::{ModelError, ModelResult as Result};
use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

/// The bytes of a file: compiled into the program, owned, or mapped. Cloning copies none of them.
#[derive(Clone)]
pub struct Bytes(Kind);

#[derive(Clone)]
enum Kind {
    Mapped(Arc<memmap2::Mmap>),
    Static(&'static [u8]),
    Owned(Arc<Vec<u8>>),
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl From<&'static [u8]> for Bytes {
    fn from(bytes: &'static [u8]) -> Bytes {
        Bytes(Kind::Static(bytes))
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes(Kind::Owned(Arc::new(bytes)))
    }
}

impl Bytes {
    /// Maps a file into memory; pages are read when they are first touched. The file must not be changed while it is
    /// mapped.
    ///
    /// # Errors
    /// If it cannot be opened or mapped.
    pub fn map(path: &Path) -> Result<Bytes> {
        let io = |action| move |source| ModelError::Io { path: path.to_owned(), action, source };
        let file = File::open(path).map_err(io("open"))?;
        if file.metadata().map_err(io("read the size"))?.len() == 0 {
            return Ok(Bytes(Kind::Static(&[])));
        }
        // SAFETY: the map is read-only and only ever read as bytes. Another process that writes
        // to the file while it is mapped could change what we read (and truncating it would end
        // the process with SIGBUS); model files are written once and renamed into place by the
        // tools that fetch them, and README.md says not to edit them in use.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io("map into memory"))?;
        Ok(Bytes(Kind::Mapped(Arc::new(map))))
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kind::Mapped(map) => map,
            Kind::Static(bytes) => bytes,
            Kind::Owned(bytes) => bytes,
        }
    }
}
