//! The vectors of a part under way, as they come, so that a job that is killed loses no more than what the device was
//! computing. Entries have one size and a checksum: what was torn, or never reached the disk, is computed again.

use crate::error::{CorpusError, Result};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const HEAD: usize = 12;
const CHECK: usize = 8;

/// What a text came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// Which of the part's texts.
    pub(crate) text: u32,
    pub(crate) tokens: u32,
    pub(crate) untruncated: u32,
    /// The vector as it is stored.
    pub(crate) values: Vec<u8>,
}

impl Entry {
    fn write_to(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        for number in [self.text, self.tokens, self.untruncated] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(&self.values);
        let check = check(&bytes[start..]);
        bytes.extend(check);
    }

    fn read(bytes: &[u8]) -> Option<Entry> {
        let (content, sum) = bytes.split_at(bytes.len() - CHECK);
        if check(content) != sum {
            return None;
        }
        let (numbers, values) = content.split_at(HEAD);
        let number = |i: usize| numbers[4 * i..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        Some(Entry { text: number(0)?, tokens: number(1)?, untruncated: number(2)?, values: values.to_vec() })
    }
}

fn check(content: &[u8]) -> [u8; CHECK] {
    let mut sum = [0; CHECK];
    sum.copy_from_slice(&blake3::hash(content).as_bytes()[..CHECK]);
    sum
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
        let size = HEAD + row_bytes + CHECK;
        let entries: Vec<Entry> = bytes.chunks_exact(size).map_while(Entry::read).collect();
        let mut file =
            File::options().create(true).truncate(false).write(true).open(path).map_err(failed())?;
        file.set_len((entries.len() * size) as u64).map_err(failed())?;
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
        let entry = |text: u32| Entry { text, tokens: 5, untruncated: 9, values: vec![text as u8; 16] };
        let (mut journal, found) = Journal::open(&path, 16).unwrap();
        assert!(found.is_empty());
        (0..3).for_each(|i| journal.add(&entry(i)));
        journal.flush().unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, found) = Journal::open(&path, 16).unwrap();
            assert_eq!(found, (0..cut as u32 / 36).map(entry).collect::<Vec<_>>());
            journal.add(&entry(7));
            journal.flush().unwrap();
            let (_, found) = Journal::open(&path, 16).unwrap();
            assert_eq!(found.last(), Some(&entry(7)));
        }
        let mut changed = whole.clone();
        changed[40] ^= 1; // in the second entry
        std::fs::write(&path, changed).unwrap();
        assert_eq!(Journal::open(&path, 16).unwrap().1, [entry(0)]);
    }
}
