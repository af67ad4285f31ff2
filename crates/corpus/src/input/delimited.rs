//! Comma- and tab-separated values. All columns are text, as they stand: `007` stays `007`.

use super::input_file::{InputFile, InputFormat};
use super::rows::{BATCH_BYTES, BATCH_ROWS, RowBatch, RowReader};
use super::{lines, stream, table};
use crate::columns::Columns;
use crate::error::{CorpusError, Result};
use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use csv::ByteRecord;
use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::sync::Arc;

type Reader = csv::Reader<Box<dyn Read + Send>>;

pub(super) fn columns(file: &InputFile, columns: &mut Columns) -> Result<Vec<FieldRef>> {
    let (_, header) = open(file)?;
    table::kept_fields(&file.path, &schema_of(&header), columns)
}

/// The records behind the header, and the header.
fn open(file: &InputFile) -> Result<(Reader, Vec<String>)> {
    let mut bytes = stream::open(file)?;
    let delimiter = match file.format {
        InputFormat::Tsv => b'\t',
        _ => {
            let head = bytes.fill_buf().map_err(CorpusError::read(&file.path))?;
            let first = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
            if first.contains(&b';') && !first.contains(&b',') { b';' } else { b',' }
        }
    };
    let bytes: Box<dyn Read + Send> = Box::new(bytes);
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bytes);
    let header = reader.byte_headers().map_err(|e| failed(file, &e))?;
    let header: Vec<String> = header
        .iter()
        .map(|name| lines::text_of(name).map(str::to_owned))
        .collect::<Result<_, String>>()
        .map_err(|problem| CorpusError::file(&file.path, format!("its header is {problem}")))?;
    if let Some(twice) =
        header.iter().enumerate().find_map(|(i, name)| header[..i].contains(name).then_some(name))
    {
        return Err(CorpusError::file(&file.path, format!("its header has the column `{twice}` twice")));
    }
    Ok((reader, header))
}

fn failed(file: &InputFile, error: &csv::Error) -> CorpusError {
    CorpusError::file(&file.path, error)
}

fn schema_of(header: &[String]) -> SchemaRef {
    Arc::new(Schema::new(
        header.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect::<Vec<_>>(),
    ))
}

/// Rows of a delimited file.
pub(super) struct DelimitedRows {
    reader: Reader,
    path: PathBuf,
    columns: Columns,
    kept: SchemaRef,
    /// Fields of a row.
    width: usize,
    /// The columns that are wanted, by their places.
    wanted: Vec<usize>,
    schema: SchemaRef,
}

impl DelimitedRows {
    pub(super) fn open(file: &InputFile, columns: &Columns, kept: &SchemaRef) -> Result<DelimitedRows> {
        let (reader, header) = open(file)?;
        let schema = schema_of(&header);
        let wanted = table::wanted(&schema, columns, kept);
        let schema = Arc::new(schema.project(&wanted).map_err(|e| CorpusError::file(&file.path, e))?);
        let (columns, kept) = (columns.clone(), kept.clone());
        Ok(DelimitedRows {
            reader,
            path: file.path.clone(),
            columns,
            kept,
            width: header.len(),
            wanted,
            schema,
        })
    }

    /// The wanted fields of a record, or what is wrong with it.
    fn fields<'r>(&self, record: &'r ByteRecord) -> Result<Vec<&'r str>, String> {
        if record.len() != self.width {
            return Err(format!("it has {} fields, and the header {}", record.len(), self.width));
        }
        self.wanted.iter().map(|&i| lines::text_of(&record[i])).collect()
    }
}

impl RowReader for DelimitedRows {
    fn next_rows(&mut self) -> Result<Option<RowBatch>> {
        let mut builders: Vec<StringBuilder> = self.wanted.iter().map(|_| StringBuilder::new()).collect();
        let (mut numbers, mut faults, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut record = ByteRecord::new();
        while numbers.len() < BATCH_ROWS && bytes < BATCH_BYTES {
            if !self.reader.read_byte_record(&mut record).map_err(|e| CorpusError::file(&self.path, &e))? {
                break;
            }
            match self.fields(&record) {
                Ok(fields) => {
                    builders.iter_mut().zip(fields).for_each(|(builder, field)| builder.append_value(field))
                }
                Err(problem) => {
                    faults.push((numbers.len(), problem));
                    builders.iter_mut().for_each(StringBuilder::append_null);
                }
            }
            numbers.push(record.position().map_or(0, csv::Position::line));
            bytes += record.as_slice().len();
        }
        if numbers.is_empty() {
            return Ok(None);
        }
        let arrays = builders.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect();
        let rows = RecordBatchOptions::new().with_row_count(Some(numbers.len()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &rows)
            .map_err(|e| CorpusError::file(&self.path, e))?;
        table::rows_of(&self.path, &batch, &self.columns, &self.kept, numbers, faults).map(Some)
    }
}
