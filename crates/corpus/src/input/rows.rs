//! Rows as readers give them.

use crate::columns::{Columns, Keep};
use crate::error::{CorpusError, Result};
use arrow_array::{LargeStringArray, RecordBatch};
use std::path::Path;

/// The most rows of a batch.
pub(super) const BATCH_ROWS: usize = 1024;

/// The bytes of text at which a batch ends, though it has fewer rows.
pub(super) const BATCH_BYTES: usize = 4 << 20;

/// Rows as they were read: what is embedded, and what is kept beside it.
#[derive(Clone, Debug)]
pub(crate) struct RowBatch {
    pub(crate) texts: Texts,
    /// The columns that are kept, `[rows]` each.
    pub(crate) kept: RecordBatch,
    /// What is wrong with rows, by their place in the batch.
    pub(crate) faults: Vec<(usize, String)>,
    /// The line (from 1) or row (from 0) of each in its file.
    pub(crate) numbers: Vec<u64>,
}

/// The strings of rows, `[rows]` each.
#[derive(Clone, Debug)]
pub(crate) struct Texts {
    pub(crate) text: LargeStringArray,
    pub(crate) title: Option<LargeStringArray>,
    pub(crate) task: Option<LargeStringArray>,
    pub(crate) prompt_name: Option<LargeStringArray>,
    pub(crate) instruction: Option<LargeStringArray>,
}

impl Texts {
    pub(crate) fn text_bytes(&self) -> u64 {
        let ends = self.text.value_offsets();
        ends.last().zip(ends.first()).map_or(0, |(last, first)| (last - first).unsigned_abs())
    }
}

/// Reads one file.
pub(crate) trait RowReader: Send {
    /// The next rows; `None` at the end.
    fn next_rows(&mut self) -> Result<Option<RowBatch>>;
}

/// The names of the columns that are kept, of those that there are: the id first.
pub(super) fn kept_names(columns: &Columns, known: &[String], path: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = columns.id.iter().cloned().collect();
    let more = match &columns.keep {
        Keep::Nothing => &[][..],
        Keep::All => known,
        Keep::Named(names) => names,
    };
    for name in more {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    match names.iter().find(|name| !known.contains(name)) {
        Some(missing) => Err(CorpusError::NoColumn {
            path: path.to_owned(),
            column: missing.clone(),
            known: known.to_vec(),
        }),
        None => Ok(names),
    }
}
