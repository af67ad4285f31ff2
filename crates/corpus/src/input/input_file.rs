//! A file of a corpus, and what it holds.

use super::rows::BATCH_ROWS;
use crate::error::{CorpusError, Result, shown};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use tempfile::NamedTempFile;

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum InputFormat {
    /// One text a line.
    Lines,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a header; semicolons where the header has no comma.
    Csv,
    /// Tab-separated values with a header.
    Tsv,
    /// A Parquet file.
    Parquet,
    /// An Arrow IPC file or stream, or a Feather file (version 2).
    Arrow,
}

impl InputFormat {
    /// All formats.
    pub const ALL: [InputFormat; 6] = [
        InputFormat::Lines,
        InputFormat::Jsonl,
        InputFormat::Csv,
        InputFormat::Tsv,
        InputFormat::Parquet,
        InputFormat::Arrow,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            InputFormat::Lines => "lines",
            InputFormat::Jsonl => "jsonl",
            InputFormat::Csv => "csv",
            InputFormat::Tsv => "tsv",
            InputFormat::Parquet => "parquet",
            InputFormat::Arrow => "arrow",
        }
    }

    /// By a file's name, without an ending of compression.
    pub(super) fn of_ending(path: &Path) -> Option<InputFormat> {
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        let name = [".gz", ".gzip", ".zst", ".zstd"]
            .iter()
            .find_map(|ending| name.strip_suffix(ending))
            .unwrap_or(&name);
        Some(match name.rsplit_once('.')?.1 {
            "jsonl" | "ndjson" => InputFormat::Jsonl,
            "csv" => InputFormat::Csv,
            "tsv" => InputFormat::Tsv,
            "parquet" | "pq" => InputFormat::Parquet,
            "arrow" | "feather" | "ipc" | "arrows" => InputFormat::Arrow,
            "txt" | "lines" => InputFormat::Lines,
            _ => return None,
        })
    }

    /// Whether its rows have lines.
    pub(crate) fn has_lines(self) -> bool {
        !matches!(self, InputFormat::Parquet | InputFormat::Arrow)
    }
}

/// A file to be read.
#[derive(Clone, Debug)]
pub(crate) struct InputFile {
    /// `-`: standard input.
    pub(crate) path: PathBuf,
    pub(crate) format: InputFormat,
    /// What standard input said, where it has to be read more than once.
    pub(super) copy: Option<Arc<NamedTempFile>>,
    /// Whether each line is handed on before the next is read.
    pub(super) one_by_one: bool,
}

/// What a file was when a job began, so that a change is seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) bytes: u64,
    /// Nanoseconds since 1970.
    pub(crate) modified: u128,
    /// BLAKE3 of its first 64 KiB.
    pub(crate) head: String,
}

impl InputFile {
    pub(super) fn new(path: PathBuf, format: InputFormat) -> InputFile {
        InputFile { path, format, copy: None, one_by_one: false }
    }

    /// The most rows of a batch.
    pub(super) fn batch_rows(&self) -> usize {
        if self.one_by_one { 1 } else { BATCH_ROWS }
    }

    pub(crate) fn is_stdin(&self) -> bool {
        self.path.as_os_str() == "-"
    }

    /// Where its bytes are; `None`: on standard input, which is read as it comes.
    pub(super) fn bytes_at(&self) -> Option<&Path> {
        match &self.copy {
            Some(copy) => Some(copy.path()),
            None => (!self.is_stdin()).then_some(&self.path),
        }
    }

    /// Copies standard input to a temporary file, so that it can be read again. Other files stay as they are.
    pub(super) fn make_readable_again(&mut self) -> Result<()> {
        if self.bytes_at().is_none() {
            let copy = || {
                let mut copy = NamedTempFile::new()?;
                std::io::copy(&mut std::io::stdin().lock(), &mut copy)?;
                Ok(copy)
            };
            self.copy = Some(Arc::new(copy().map_err(CorpusError::read(&self.path))?));
        }
        Ok(())
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == InputFormat::Jsonl
    }

    pub(crate) fn place(&self, number: u64) -> String {
        let unit = if self.format.has_lines() { "line" } else { "row" };
        format!("{}, {unit} {number}", shown(&self.path))
    }

    pub(crate) fn identity(&self) -> Result<Identity> {
        let read = || -> std::io::Result<Identity> {
            let file = std::fs::File::open(&self.path)?;
            let found = file.metadata()?;
            let mut head = Vec::new();
            file.take(64 << 10).read_to_end(&mut head)?;
            let since = found.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let head = blake3::hash(&head).to_hex()[..16].to_owned();
            Ok(Identity { bytes: found.len(), modified: since.as_nanos(), head })
        };
        read().map_err(CorpusError::read(&self.path))
    }
}
