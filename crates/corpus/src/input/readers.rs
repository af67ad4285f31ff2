//! The reader of each format.

use super::input_file::{InputFile, InputFormat};
use super::rows::RowReader;
use super::{delimited, jsonl, lines, stored, table};
use crate::columns::Columns;
use crate::error::Result;
use arrow_schema::{FieldRef, SchemaRef};

impl InputFile {
    /// The kept columns with their types. Settles which column is the text, if that is not said.
    pub(crate) fn columns(&self, columns: &mut Columns) -> Result<Vec<FieldRef>> {
        match self.format {
            InputFormat::Lines => lines::columns(self, columns),
            InputFormat::Jsonl => jsonl::columns(self, columns),
            InputFormat::Csv | InputFormat::Tsv => delimited::columns(self, columns),
            InputFormat::Parquet | InputFormat::Arrow => {
                table::kept_fields(&self.path, stored::schema(self)?.as_ref(), columns)
            }
        }
    }

    pub(crate) fn reader(&self, columns: &Columns, kept: &SchemaRef) -> Result<Box<dyn RowReader>> {
        Ok(match self.format {
            InputFormat::Lines => Box::new(lines::LineRows::open(self, columns, kept)?),
            InputFormat::Jsonl => Box::new(jsonl::JsonRows::open(self, columns, kept)?),
            InputFormat::Csv | InputFormat::Tsv => {
                Box::new(delimited::DelimitedRows::open(self, columns, kept)?)
            }
            InputFormat::Parquet | InputFormat::Arrow => {
                Box::new(stored::StoredRows::open(self, columns, kept)?)
            }
        })
    }
}
