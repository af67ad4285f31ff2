//! The kept columns of rows that were found.

use super::file::VectorFile;
use super::hit::Hit;
use super::stored::Source;
use crate::error::{CorpusError, Result};
use crate::output::record::{SPARSE, VECTOR};
use arrow_array::{RecordBatch, RecordBatchOptions, UInt64Array};
use arrow_schema::Schema;
use arrow_select::concat::concat_batches;
use arrow_select::interleave::interleave_record_batch;
use arrow_select::take::take_record_batch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// The columns beside the vectors, `[hits]` each, in the order of the hits.
pub(super) fn of(files: &[VectorFile], hits: &[Hit]) -> Result<RecordBatch> {
    let names = common(files);
    let mut rows: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for hit in hits {
        rows.entry(hit.file).or_default().push(hit.row);
    }
    let mut found: Vec<RecordBatch> = Vec::new();
    let mut places: BTreeMap<(usize, u64), (usize, usize)> = BTreeMap::new();
    for (file, rows) in &mut rows {
        rows.sort_unstable();
        rows.dedup();
        places.extend(rows.iter().enumerate().map(|(i, row)| ((*file, *row), (found.len(), i))));
        found.push(read(&files[*file], rows, &names)?);
    }
    let failed =
        |e: arrow_schema::ArrowError| CorpusError::Options(format!("columns do not go together: {e}"));
    let places: Vec<(usize, usize)> =
        hits.iter().filter_map(|hit| places.get(&(hit.file, hit.row)).copied()).collect();
    if names.is_empty() || found.is_empty() {
        let count = RecordBatchOptions::new().with_row_count(Some(hits.len()));
        return RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &count)
            .map_err(failed);
    }
    interleave_record_batch(&found.iter().collect::<Vec<_>>(), &places).map_err(failed)
}

/// The columns that all files have, of one type.
fn common(files: &[VectorFile]) -> Vec<String> {
    let Some((first, others)) = files.split_first() else { return Vec::new() };
    let in_all = |field: &&arrow_schema::FieldRef| {
        others.iter().all(|file| {
            file.schema.field_with_name(field.name()).is_ok_and(|f| f.data_type() == field.data_type())
        })
    };
    let is_vector = |name: &str| name == VECTOR || (first.sparse && name == SPARSE);
    let fields = first.schema.fields().iter().filter(|field| !is_vector(field.name()));
    fields.filter(in_all).map(|field| field.name().clone()).collect()
}

fn places_of(schema: &Schema, names: &[String]) -> Vec<usize> {
    names.iter().filter_map(|name| schema.index_of(name).ok()).collect()
}

/// These columns of these rows, which ascend.
fn read(file: &VectorFile, rows: &[u64], names: &[String]) -> Result<RecordBatch> {
    let wanted = places_of(&file.schema, names);
    let failed = |e: String| CorpusError::file(&file.layout.path, e);
    let columns = |batch: RecordBatch| -> Result<RecordBatch> {
        let places = places_of(batch.schema_ref(), names);
        let fields = places.iter().map(|place| batch.schema_ref().field(*place).clone()).collect::<Vec<_>>();
        let columns = places.iter().map(|place| batch.column(*place).clone()).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|e| failed(e.to_string()))
    };
    let mut batches = Vec::new();
    match &file.source {
        Source::Arrow(source) => {
            for (group, batch) in source.batches.iter().enumerate() {
                let (start, end) = (file.source.starts()[group], file.source.starts()[group + 1]);
                let inside =
                    rows.iter().filter(|row| (start..end).contains(row)).map(|row| Some(row - start));
                let inside: UInt64Array = inside.collect();
                batches.push(columns(take_record_batch(batch, &inside).map_err(|e| failed(e.to_string()))?)?);
            }
        }
        Source::Parquet(source) => {
            let builder = ParquetRecordBatchReaderBuilder::try_new(source.bytes.clone())
                .map_err(|e| failed(e.to_string()))?;
            let ranges = rows.iter().map(|row| -> Range<usize> { *row as usize..*row as usize + 1 });
            let selection = RowSelection::from_consecutive_ranges(ranges, file.rows as usize);
            let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
            let reader = builder.with_projection(mask).with_row_selection(selection).build();
            for batch in reader.map_err(|e| failed(e.to_string()))? {
                batches.push(columns(batch.map_err(|e| failed(e.to_string()))?)?);
            }
        }
    }
    let Some(first) = batches.first() else {
        return Err(failed("the rows that were found are missing".to_owned()));
    };
    concat_batches(first.schema_ref(), &batches).map_err(|e| failed(e.to_string()))
}
