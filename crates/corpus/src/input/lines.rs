//! One text a line.

use super::input_file::InputFile;
use super::rows::{BATCH_BYTES, RowBatch, RowReader};
use super::{stream, table};
use crate::columns::Columns;
use crate::error::{CorpusError, Result};
use arrow_array::builder::LargeStringBuilder;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;

/// The one column that lines have.
const COLUMN: &str = "text";

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(COLUMN, DataType::LargeUtf8, true)]))
}

pub(super) fn columns(file: &InputFile, columns: &mut Columns) -> Result<Vec<FieldRef>> {
    table::kept_fields(&file.path, &schema(), columns)
}

/// Lines by their numbers, without their ends.
pub(super) struct Lines {
    bytes: Box<dyn BufRead + Send>,
    path: PathBuf,
    number: u64,
}

impl Lines {
    pub(super) fn open(file: &InputFile) -> Result<Lines> {
        Ok(Lines { bytes: stream::open(file)?, path: file.path.clone(), number: 0 })
    }

    /// Reads the next line into `line`, and gives its number, from 1.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> Result<Option<u64>> {
        line.clear();
        if self.bytes.read_until(b'\n', line).map_err(CorpusError::read(&self.path))? == 0 {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        self.number += 1;
        Ok(Some(self.number))
    }
}

/// A line as text, or what is wrong with it.
pub(super) fn text_of(line: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(line).map_err(|e| format!("not valid UTF-8 at byte {}", e.valid_up_to() + 1))
}

/// Rows of lines.
pub(super) struct LineRows {
    lines: Lines,
    columns: Columns,
    kept: SchemaRef,
    batch_rows: usize,
}

impl LineRows {
    pub(super) fn open(file: &InputFile, columns: &Columns, kept: &SchemaRef) -> Result<LineRows> {
        let (columns, kept) = (columns.clone(), kept.clone());
        Ok(LineRows { lines: Lines::open(file)?, columns, kept, batch_rows: file.batch_rows() })
    }
}

impl RowReader for LineRows {
    fn next_rows(&mut self) -> Result<Option<RowBatch>> {
        let (mut texts, mut numbers, mut faults) = (LargeStringBuilder::new(), Vec::new(), Vec::new());
        let (mut line, mut bytes) = (Vec::new(), 0);
        while numbers.len() < self.batch_rows && bytes < BATCH_BYTES {
            let Some(number) = self.lines.next(&mut line)? else { break };
            match text_of(&line) {
                Ok(text) => texts.append_value(text),
                Err(problem) => {
                    faults.push((numbers.len(), problem));
                    texts.append_null();
                }
            }
            numbers.push(number);
            bytes += line.len();
        }
        // A file of one line end has no text; where lines are answered one by one, each is one.
        let is_one_empty_line = numbers == [1] && bytes == 0 && faults.is_empty() && self.batch_rows > 1;
        if numbers.is_empty() || is_one_empty_line {
            return Ok(None);
        }
        let column: ArrayRef = Arc::new(texts.finish());
        let batch = RecordBatch::try_new(schema(), vec![column])
            .map_err(|e| CorpusError::file(&self.lines.path, e))?;
        table::rows_of(&self.lines.path, &batch, &self.columns, &self.kept, numbers, faults).map(Some)
    }
}
