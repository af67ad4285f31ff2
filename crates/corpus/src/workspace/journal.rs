//! The vectors of a part under way, as they come, so that a job that is killed loses no more than what the device was
//! computing. Entries have a length and a checksum: what was torn, or never reached the disk, is computed again.

use crate::error::{CorpusError, Result};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use taskvec::SparseVector;

/// Bytes of an entry's length, of its three numbers, of an entry of a sparse vector, and of the checksum.
const LENGTH: usize = 4;
const HEAD: usize = 12;
const SPARSE: usize = 8;
const CHECK: usize = 4;

/// What a text came to.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Entry {
    /// Which of the part's texts.
    pub(crate) text: u32,
    pub(crate) tokens: u32,
    pub(crate) untruncated: u32,
    /// The dense vector as it is stored, if one is wanted.
    pub(crate) values: Vec<u8>,
    /// The sparse vector, if one is wanted.
    pub(crate) sparse: SparseVector,
}

impl Entry {
    fn write_to(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        let length = HEAD + self.values.len() + SPARSE * self.sparse.indices.len();
        for number in [length as u32, self.text, self.tokens, self.untruncated] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(&self.values);
        for (index, value) in self.sparse.indices.iter().zip(&self.sparse.values) {
            bytes.extend(index.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        let check = check(&bytes[start..]);
        bytes.extend(check);
    }

    /// The entry that bytes begin with, and its size; `None` if it is torn.
    fn read(bytes: &[u8], row_bytes: usize) -> Option<(Entry, usize)> {
        let length = u32::from_le_bytes(*bytes.first_chunk::<LENGTH>()?) as usize;
        let end = LENGTH.checked_add(length)?;
        if check(bytes.get(..end)?) != *bytes.get(end..end.checked_add(CHECK)?)? {
            return None;
        }
        let (numbers, rest) = bytes[LENGTH..end].split_at_checked(HEAD)?;
        let (values, pairs) = rest.split_at_checked(row_bytes)?;
        let number = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let mut sparse = SparseVector::default();
        for pair in pairs.chunks_exact(SPARSE) {
            sparse.indices.push(number(pair)?);
            sparse.values.push(f32::from_bits(number(&pair[4..])?));
        }
        let [text, tokens, untruncated] = [0, 4, 8].map(|at| number(&numbers[at..]));
        let values = values.to_vec();
        let entry = Entry { text: text?, tokens: tokens?, untruncated: untruncated?, values, sparse };
        Some((entry, end + CHECK))
    }
}

/// A checksum that costs nothing beside a vector: it tells what was torn, and not what someone made up.
fn check(content: &[u8]) -> [u8; CHECK] {
    crc32fast::hash(content).to_le_bytes()
}

/// Takes entries in.
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    pending: Vec<u8>,
}

impl Journal {
    /// Reads what is whole in it, and goes on behind that.
    pub(super) fn open(path: &Path, row_bytes: usize) -> Result<(Journal, Vec<Entry>)> {
        let failed = || CorpusError::write(path);
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(CorpusError::read(path)(e)),
        };
        let (mut entries, mut whole) = (Vec::new(), 0);
        while let Some((entry, size)) = Entry::read(&bytes[whole..], row_bytes) {
            entries.push(entry);
            whole += size;
        }
        let mut file =
            File::options().create(true).truncate(false).write(true).open(path).map_err(failed())?;
        file.set_len(whole as u64).map_err(failed())?;
        file.seek(SeekFrom::End(0)).map_err(failed())?;
        Ok((Journal { file, path: path.to_owned(), pending: Vec::new() }, entries))
    }

    pub(crate) fn add(&mut self, entry: &Entry) {
        entry.write_to(&mut self.pending);
    }

    /// Hands all entries to the system: from then on a killed process does not lose them.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.pending).map_err(CorpusError::write(&self.path))?;
        self.pending.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_torn_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let entry = |text: u32| {
            let sparse = SparseVector { indices: vec![3; text as usize], values: vec![0.5; text as usize] };
            Entry { text, tokens: 5, untruncated: 9, values: vec![text as u8; 16], sparse }
        };
        let (mut journal, found) = Journal::open(&path, 16).unwrap();
        assert!(found.is_empty());
        (0..3).for_each(|i| journal.add(&entry(i)));
        journal.flush().unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, found) = Journal::open(&path, 16).unwrap();
            let sizes = [36, 36 + 44, 36 + 44 + 52];
            let whole = sizes.into_iter().filter(|size| *size <= cut).count();
            assert_eq!(found, (0..whole as u32).map(entry).collect::<Vec<_>>());
            journal.add(&entry(7));
            journal.flush().unwrap();
            let (_, found) = Journal::open(&path, 16).unwrap();
            assert_eq!(found.last(), Some(&entry(7)));
        }
        let mut changed = whole.clone();
        changed[60] ^= 1; // in the second entry
        std::fs::write(&path, changed).unwrap();
        assert_eq!(Journal::open(&path, 16).unwrap().1, [entry(0)]);
    }
}
