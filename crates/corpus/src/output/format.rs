//! How and where rows are written.

use crate::error::{CorpusError, Result};
use std::path::{Path, PathBuf};
use taskvec::{OutputType, Ranges};

/// How rows are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Format {
    /// Parquet, with vectors as fixed-size lists.
    Parquet,
    /// An Arrow IPC file, with vectors as fixed-size lists.
    Arrow,
    /// One JSON object a line.
    Jsonl,
    /// A NumPy array `[rows, values]`; kept columns stand in a file of JSON lines beside it, `NAME.rows.jsonl`.
    Npy,
    /// A safetensors file with the tensor `embeddings`, `[rows, values]`; kept columns beside it as for [`Format::Npy`].
    Safetensors,
}

impl Format {
    /// The name of the format, and of files' endings.
    pub fn name(self) -> &'static str {
        match self {
            Format::Parquet => "parquet",
            Format::Arrow => "arrow",
            Format::Jsonl => "jsonl",
            Format::Npy => "npy",
            Format::Safetensors => "safetensors",
        }
    }

    /// The format of this name.
    pub(crate) fn by_name(name: &str) -> Option<Format> {
        [Format::Parquet, Format::Arrow, Format::Jsonl, Format::Npy, Format::Safetensors]
            .into_iter()
            .find(|format| format.name() == name)
    }

    /// Whether it is one array of vectors, with no place for other columns and for rows without a vector.
    pub(crate) fn is_array(self) -> bool {
        matches!(self, Format::Npy | Format::Safetensors)
    }
}

/// Where vectors go, and in which form.
#[derive(Clone, Debug)]
pub struct Output {
    pub(crate) path: PathBuf,
    pub(crate) format: Format,
    /// Whether `path` is a folder of parts and not one file.
    pub(crate) is_folder: bool,
    pub(crate) output_type: OutputType,
    pub(crate) ranges: Option<Ranges>,
    pub(crate) base64: bool,
    pub(crate) shard: Option<(usize, usize)>,
    pub(crate) restart: bool,
}

impl Output {
    /// One file, which appears whole at the end. Until then its parts are in a folder beside it.
    pub fn file(path: impl AsRef<Path>, format: Format) -> Output {
        let path = path.as_ref().to_owned();
        let output_type = OutputType::F32;
        Output {
            path,
            format,
            is_folder: false,
            output_type,
            ranges: None,
            base64: false,
            shard: None,
            restart: false,
        }
    }

    /// A folder of files of some thousand rows each, which appear one after the other.
    pub fn folder(path: impl AsRef<Path>, format: Format) -> Output {
        Output { is_folder: true, ..Output::file(path, format) }
    }

    /// The type of values; int8 and uint8 need ranges.
    pub fn values(mut self, output_type: OutputType, ranges: Option<Ranges>) -> Output {
        (self.output_type, self.ranges) = (output_type, ranges);
        self
    }

    /// In JSON, vectors as the base64 of their bytes.
    pub fn base64(mut self, base64: bool) -> Output {
        self.base64 = base64;
        self
    }

    /// The share `place` (from 0) of the work of `of` processes, which all write into one folder, or into several that
    /// [`merge`](crate::merge) joins. They need not know each other.
    pub fn shard(mut self, place: usize, of: usize) -> Output {
        self.shard = Some((place, of));
        self
    }

    /// Begins anew, and not where an unfinished job of the same output stopped.
    pub fn restart(mut self, restart: bool) -> Output {
        self.restart = restart;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |problem: &str| Err(CorpusError::Options(problem.to_owned()));
        if self.is_folder && self.format.is_array() {
            return wrong(
                "npy and safetensors are single files: name a file, or write parquet, arrow or jsonl",
            );
        }
        if self.base64 && self.format != Format::Jsonl {
            return wrong("base64 is for JSON");
        }
        match self.shard {
            Some((_, 0)) => wrong("a share of 0 processes is none: expected I/N with I from 0 to N - 1"),
            Some((place, of)) if place >= of => {
                wrong("shares are counted from 0: expected I/N with I from 0 to N - 1")
            }
            Some(_) if !self.is_folder => wrong(
                "a share of the work is written into a folder, which all may have in common; name one as the output",
            ),
            _ => Ok(()),
        }
    }
}
