//! Which parts are finished: a line for each, written after the part is there.

use crate::error::{CorpusError, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What is known of a finished part.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct PartFacts {
    /// Rows of the input.
    pub(crate) rows: u64,
    /// Rows of the output.
    pub(crate) written: u64,
    pub(crate) rejected: u64,
    pub(crate) tokens: u64,
    /// Texts that were not computed, being equal to others.
    pub(crate) saved: u64,
    pub(crate) truncated: u64,
}

impl PartFacts {
    const KEYS: [&str; 6] = ["rows", "written", "rejected", "tokens", "saved", "truncated"];

    fn values(&mut self) -> [&mut u64; 6] {
        let PartFacts { rows, written, rejected, tokens, saved, truncated } = self;
        [rows, written, rejected, tokens, saved, truncated]
    }

    pub(crate) fn add(&mut self, other: &PartFacts) {
        let mut other = *other;
        self.values().into_iter().zip(other.values()).for_each(|(sum, value)| *sum += *value);
    }
}

/// The finished parts of a share.
pub(crate) struct Done {
    file: File,
    path: PathBuf,
    pub(crate) parts: BTreeMap<usize, PartFacts>,
    /// The windows of the whole corpus, once they are known.
    pub(crate) windows: Option<usize>,
}

impl Done {
    /// Reads the lines; a last one that was torn is taken back.
    pub(super) fn open(path: &Path) -> Result<Done> {
        let failed = || CorpusError::write(path);
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(CorpusError::read(path)(e)),
        };
        let (mut parts, mut windows, mut whole) = (BTreeMap::new(), None, 0);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let value = match serde_json::from_slice::<Value>(line) {
                Ok(value) if line.ends_with(b"\n") => value,
                _ => break,
            };
            whole += line.len();
            if let Some(part) = value["part"].as_u64() {
                let mut facts = PartFacts::default();
                for (key, fact) in PartFacts::KEYS.into_iter().zip(facts.values()) {
                    *fact = value[key].as_u64().unwrap_or(0);
                }
                parts.insert(part as usize, facts);
            }
            windows = windows.or(value["windows"].as_u64().map(|count| count as usize));
        }
        let mut file =
            File::options().create(true).truncate(false).write(true).open(path).map_err(failed())?;
        file.set_len(whole as u64).map_err(failed())?;
        file.seek(SeekFrom::End(0)).map_err(failed())?;
        Ok(Done { file, path: path.to_owned(), parts, windows })
    }

    pub(crate) fn add(&mut self, part: usize, facts: PartFacts) -> Result<()> {
        let mut line = json!({"part": part});
        let mut values = facts;
        for (key, fact) in PartFacts::KEYS.into_iter().zip(values.values()) {
            line[key] = (*fact).into();
        }
        self.write(&line)?;
        self.parts.insert(part, facts);
        Ok(())
    }

    /// All parts are there.
    pub(crate) fn end(&mut self, windows: usize) -> Result<()> {
        if self.windows.is_none() {
            self.write(&json!({"windows": windows}))?;
            self.windows = Some(windows);
        }
        Ok(())
    }

    fn write(&mut self, line: &Value) -> Result<()> {
        let written =
            self.file.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(CorpusError::write(&self.path))
    }
}
