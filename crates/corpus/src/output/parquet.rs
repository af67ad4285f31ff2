//! Parquet. A part is a row group; parts are joined by copying theirs.

use super::heading::{About, Heading};
use super::whole::{Problem, open_part};
use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::column::writer::ColumnCloseResult;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::reader::FileReader;
use ::parquet::file::serialized_reader::SerializedFileReader;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::ColumnPath;
use arrow_array::RecordBatch;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Vectors are written as they are, one after the other: they do not get smaller, and a search reads them in place.
fn properties(heading: &Heading) -> Result<WriterProperties, Problem> {
    let vectors =
        ColumnPath::from(vec![super::record::VECTOR.to_owned(), "list".to_owned(), "item".to_owned()]);
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(None)
        .set_column_compression(vectors.clone(), Compression::UNCOMPRESSED)
        .set_column_dictionary_enabled(vectors.clone(), false)
        .set_column_encoding(vectors.clone(), Encoding::PLAIN)
        .set_column_statistics_enabled(vectors, EnabledStatistics::None)
        .set_key_value_metadata(Some(vec![KeyValue::new("taskvec".to_owned(), heading.json.to_string())]))
        .build())
}

pub(super) fn write(file: &mut File, about: &About, rows: &RecordBatch) -> Result<(), Problem> {
    let mut writer = ArrowWriter::try_new(file, about.schema.clone(), Some(properties(&about.heading)?))?;
    if rows.num_rows() > 0 {
        writer.write(rows)?;
    }
    writer.close()?;
    Ok(())
}

/// Adds the row groups of parts.
pub(super) struct Joining {
    heading: Heading,
    file: Option<File>,
    writer: Option<SerializedFileWriter<File>>,
}

impl Joining {
    pub(super) fn new(file: File, heading: Heading) -> Joining {
        Joining { heading, file: Some(file), writer: None }
    }

    pub(super) fn add(&mut self, path: &Path) -> Result<(), Problem> {
        let part = open_part(path)?;
        let reader = SerializedFileReader::new(part.try_clone()?)?;
        let metadata = reader.metadata();
        if let Some(file) = self.file.take() {
            // The schema with Arrow's own types stands among the first part's key-value pairs.
            let schema = metadata.file_metadata().schema_descr().root_schema_ptr();
            let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties(&self.heading)?))?;
            for pair in metadata.file_metadata().key_value_metadata().into_iter().flatten() {
                if pair.key != "taskvec" {
                    writer.append_key_value_metadata(pair.clone());
                }
            }
            self.writer = Some(writer);
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        for group in metadata.row_groups() {
            let mut copy = writer.next_row_group()?;
            for column in group.columns() {
                let closed = ColumnCloseResult {
                    bytes_written: column.compressed_size() as u64,
                    rows_written: group.num_rows() as u64,
                    metadata: column.clone(),
                    bloom_filter: None,
                    column_index: None,
                    offset_index: None,
                };
                copy.append_column(&part, closed)?;
            }
            copy.close()?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(), Problem> {
        if let Some(writer) = self.writer {
            writer.close()?;
        }
        Ok(())
    }
}
