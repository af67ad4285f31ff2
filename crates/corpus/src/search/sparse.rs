//! Stored sparse vectors, and queries compared with them.

use super::file::VectorFile;
use super::stored::Source;
use crate::error::{CorpusError, Result};
use crate::output::record::{INDICES, SPARSE, VALUES};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt32Type};
use arrow_array::{Array, ListArray, RecordBatch};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use taskvec::SparseVector;

/// Rows that are decoded together.
const DECODED_ROWS: usize = 1024;

/// A query as a weight for each entry of the vocabulary, as far as it goes.
pub(super) struct Weights(Vec<f32>);

impl Weights {
    pub(super) fn of(query: &SparseVector) -> Weights {
        let mut weights = vec![0.0; query.indices.iter().max().map_or(0, |most| *most as usize + 1)];
        for (index, value) in query.indices.iter().zip(&query.values) {
            weights[*index as usize] = *value;
        }
        Weights(weights)
    }

    /// The sum of products with a stored vector, as [`SparseVector::dot`] has it; `None`: no entry in common.
    pub(super) fn dot(&self, indices: &[u32], values: &[f32]) -> Option<f32> {
        let (mut sum, mut meets) = (0.0, false);
        for (index, value) in indices.iter().zip(values) {
            if let Some(weight) = self.0.get(*index as usize).filter(|weight| **weight != 0.0) {
                sum += f64::from(*value) * f64::from(*weight);
                meets = true;
            }
        }
        meets.then_some(sum as f32)
    }
}

/// Takes a row, and the indices and values of its sparse vector.
type TakeSparse<'t> = dyn FnMut(u64, &[u32], &[f32]) + 't;

/// Hands on the sparse vectors of a group: the row of each, its indices and its values.
pub(super) fn each(file: &VectorFile, group: usize, take: &mut TakeSparse<'_>) -> Result<()> {
    let failed = |e: String| CorpusError::file(&file.layout.path, e);
    let mut row = file.source.starts()[group];
    match &file.source {
        Source::Arrow(source) => each_of(&source.batches[group], row, take).map_err(failed),
        Source::Parquet(source) => {
            let builder = ParquetRecordBatchReaderBuilder::try_new(source.bytes.clone())
                .map_err(|e| failed(e.to_string()))?;
            let place = file.schema.index_of(SPARSE).map_err(|e| failed(e.to_string()))?;
            let mask = ProjectionMask::roots(builder.parquet_schema(), [place]);
            let reader =
                builder.with_row_groups(vec![group]).with_projection(mask).with_batch_size(DECODED_ROWS);
            for batch in reader.build().map_err(|e| failed(e.to_string()))? {
                let batch = batch.map_err(|e| failed(e.to_string()))?;
                each_of(&batch, row, take).map_err(failed)?;
                row += batch.num_rows() as u64;
            }
            Ok(())
        }
    }
}

fn each_of(
    batch: &RecordBatch,
    first_row: u64,
    take: &mut TakeSparse<'_>,
) -> std::result::Result<(), String> {
    let column = batch.column_by_name(SPARSE).and_then(|column| column.as_struct_opt());
    let column = column.ok_or_else(|| format!("it has no column `{SPARSE}` of indices and values"))?;
    let list = |name: &str| -> std::result::Result<&ListArray, String> {
        let list = column.column_by_name(name).and_then(|list| list.as_list_opt::<i32>());
        list.ok_or_else(|| format!("`{SPARSE}` has no list `{name}`"))
    };
    let (indices, values) = (list(INDICES)?, list(VALUES)?);
    let all_indices =
        indices.values().as_primitive_opt::<UInt32Type>().ok_or("its indices are not u32")?.values();
    let all_values =
        values.values().as_primitive_opt::<Float32Type>().ok_or("its values are not f32")?.values();
    let of = |list: &ListArray, row: usize| {
        list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize
    };
    for row in (0..column.len()).filter(|row| column.is_valid(*row)) {
        let (indices, values) = (&all_indices[of(indices, row)], &all_values[of(values, row)]);
        if indices.len() != values.len() {
            return Err("a sparse vector has not as many values as indices".to_owned());
        }
        take(first_row + row as u64, indices, values);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_vectors() {
        let vector =
            |indices: &[u32], values: &[f32]| SparseVector { indices: indices.into(), values: values.into() };
        let stored = vector(&[1, 5, 9, 700], &[1.0, 2.0, 3.0, 1.0]);
        for query in [vector(&[0, 5, 9, 12], &[7.0, 0.5, 2.0, 1.0]), vector(&[700], &[0.25])] {
            let found = Weights::of(&query).dot(&stored.indices, &stored.values);
            assert_eq!(found, Some(query.dot(&stored)));
        }
        assert_eq!(Weights::of(&vector(&[2], &[1.0])).dot(&stored.indices, &stored.values), None);
        assert_eq!(Weights::of(&SparseVector::default()).dot(&stored.indices, &stored.values), None);
    }
}
