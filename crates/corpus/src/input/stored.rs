//! Parquet files, and Arrow files and streams.

use super::input_file::{InputFile, InputFormat};
use super::rows::{BATCH_BYTES, BATCH_ROWS, RowBatch, RowReader};
use super::{stream, table};
use crate::columns::Columns;
use crate::error::{CorpusError, Result};
use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::PathBuf;

pub(super) fn schema(file: &InputFile) -> Result<SchemaRef> {
    match file.format {
        InputFormat::Parquet => Ok(parquet(file)?.schema().clone()),
        _ => Ok(arrow(file, None)?.schema()),
    }
}

fn parquet(file: &InputFile) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    ParquetRecordBatchReaderBuilder::try_new(stream::seekable(file)?)
        .map_err(|e| CorpusError::file(&file.path, format!("it is not read as Parquet: {e}")))
}

type Batches = Box<dyn RecordBatchReader + Send>;

/// The batches of an Arrow file, which starts with a magic word, or stream.
fn arrow(file: &InputFile, projection: Option<Vec<usize>>) -> Result<Batches> {
    let failed = |e: ArrowError| CorpusError::file(&file.path, format!("it is not read as Arrow: {e}"));
    let mut bytes = stream::seekable(file)?;
    let mut magic = [0; 6];
    let is_file = bytes.read_exact(&mut magic).is_ok() && &magic == b"ARROW1";
    if magic.starts_with(b"FEA1") {
        return Err(CorpusError::file(
            &file.path,
            "it is a Feather file of version 1; write version 2, which is Arrow",
        ));
    }
    bytes.rewind().map_err(CorpusError::read(&file.path))?;
    let bytes = BufReader::new(bytes);
    Ok(match is_file {
        true => Box::new(FileReader::try_new(bytes, projection).map_err(failed)?),
        false => Box::new(StreamReader::try_new(bytes, projection).map_err(failed)?),
    })
}

/// Rows of a Parquet or Arrow file.
pub(super) struct StoredRows {
    batches: Batches,
    path: PathBuf,
    columns: Columns,
    kept: SchemaRef,
    /// What is left of the batch that was read last: an Arrow file's may be large.
    rest: Option<RecordBatch>,
    row: u64,
}

impl StoredRows {
    pub(super) fn open(file: &InputFile, columns: &Columns, kept: &SchemaRef) -> Result<StoredRows> {
        let schema = schema(file)?;
        let wanted = table::wanted(&schema, columns, kept);
        let batches: Batches = match file.format {
            InputFormat::Parquet => {
                let builder = parquet(file)?;
                let rows = batch_rows(&builder);
                let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
                let reader = builder.with_projection(mask).with_batch_size(rows).build();
                Box::new(reader.map_err(|e| CorpusError::file(&file.path, e))?)
            }
            _ => arrow(file, Some(wanted))?,
        };
        let (path, columns, kept) = (file.path.clone(), columns.clone(), kept.clone());
        Ok(StoredRows { batches, path, columns, kept, rest: None, row: 0 })
    }
}

/// Fewer rows a batch where rows are large.
fn batch_rows(file: &ParquetRecordBatchReaderBuilder<File>) -> usize {
    let metadata = file.metadata();
    let bytes: i64 = metadata.row_groups().iter().map(|group| group.total_byte_size()).sum();
    let rows = metadata.file_metadata().num_rows().max(1);
    let row_bytes = usize::try_from(bytes / rows).unwrap_or(0).max(1);
    (BATCH_BYTES / row_bytes).clamp(1, BATCH_ROWS)
}

impl RowReader for StoredRows {
    fn next_rows(&mut self) -> Result<Option<RowBatch>> {
        let failed = |e: ArrowError| CorpusError::file(&self.path, e);
        let batch = loop {
            match self.rest.take() {
                Some(batch) if batch.num_rows() > 0 => break batch,
                _ => match self.batches.next() {
                    Some(batch) => self.rest = Some(batch.map_err(failed)?),
                    None => return Ok(None),
                },
            }
        };
        let count = batch.num_rows().min(BATCH_ROWS);
        self.rest = Some(batch.slice(count, batch.num_rows() - count));
        let batch = batch.slice(0, count);
        let numbers: Vec<u64> = (self.row..).take(count).collect();
        self.row += count as u64;
        table::rows_of(&self.path, &batch, &self.columns, &self.kept, numbers, Vec::new()).map(Some)
    }
}
