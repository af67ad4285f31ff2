//! The rows of a part, from what its window came to.

use super::compute::{Computed, Unit};
use super::settings::OnError;
use crate::error::{CorpusError, Result};
use crate::input::Corpus;
use crate::output::{About, record};
use crate::window::Window;
use arrow_array::builder::{BooleanBuilder, Int64Builder, StringBuilder, UInt32Builder};
use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_buffer::{BooleanBuffer, MutableBuffer, NullBuffer};
use arrow_schema::ArrowError;
use arrow_select::take::take;
use serde_json::json;
use std::sync::Arc;

/// The rows, in the columns of the output.
pub(super) fn rows(
    on_error: OnError,
    about: &About,
    window: &Window,
    computed: Computed,
) -> Result<RecordBatch> {
    assemble(on_error, about, window, &computed)
        .map_err(|e| CorpusError::Options(format!("rows cannot be put together: {e}")))
}

fn assemble(
    on_error: OnError,
    about: &About,
    window: &Window,
    computed: &Computed,
) -> Result<RecordBatch, ArrowError> {
    let is_written = |unit: &&Unit| on_error == OnError::Null || computed.facts_of(unit).is_some();
    let units: Vec<&Unit> = computed.units.iter().filter(is_written).collect();
    let valid: Vec<bool> = units.iter().map(|unit| computed.facts_of(unit).is_some()).collect();
    let nulls = about.shape.nullable.then(|| NullBuffer::new(BooleanBuffer::from(&valid[..])));
    let mut columns: Vec<ArrayRef> = vec![index(window, &units)];
    columns.extend(kept(window, &units)?);
    if about.shape.pieces {
        for i in 0..3 {
            columns.push(Arc::new(units.iter().map(|unit| Some(unit.piece[i])).collect::<UInt32Array>()));
        }
    }
    if about.shape.dense {
        columns.push(record::vectors(values(about, computed, &units), about.shape, nulls.clone())?);
    }
    if about.shape.sparse {
        let text = |unit: &&Unit| unit.text.filter(|_| computed.facts_of(unit).is_some());
        let vectors = units.iter().map(|unit| text(unit).map(|text| computed.results.sparse(text)));
        columns.push(record::sparse_vectors(vectors, nulls)?);
    }
    let (mut tokens, mut truncated) = (UInt32Builder::new(), BooleanBuilder::new());
    for unit in &units {
        let facts = computed.facts_of(unit);
        tokens.append_option(facts.map(|facts| facts.tokens));
        truncated.append_option(facts.map(|facts| facts.untruncated > facts.tokens));
    }
    columns.push(Arc::new(tokens.finish()));
    columns.push(Arc::new(truncated.finish()));
    if about.shape.fingerprints {
        let mut fingerprints = StringBuilder::new();
        for unit in &units {
            let text = unit.text.filter(|_| computed.facts_of(unit).is_some());
            fingerprints.append_option(text.and_then(|text| computed.fingerprints.get(text)));
        }
        columns.push(Arc::new(fingerprints.finish()));
    }
    RecordBatch::try_new(about.schema.clone(), columns)
}

/// Each row's place in the corpus.
fn index(window: &Window, units: &[&Unit]) -> ArrayRef {
    let mut index = Int64Builder::with_capacity(units.len());
    units.iter().for_each(|unit| index.append_value((window.first_row + unit.row as u64) as i64));
    Arc::new(index.finish())
}

/// The kept columns of the rows.
fn kept(window: &Window, units: &[&Unit]) -> Result<Vec<ArrayRef>, ArrowError> {
    let is_all = units.len() == window.rows() && units.iter().enumerate().all(|(i, unit)| unit.row == i);
    if is_all {
        return Ok(window.kept.columns().to_vec());
    }
    let rows: UInt32Array = units.iter().map(|unit| Some(unit.row as u32)).collect();
    window.kept.columns().iter().map(|column| take(column, &rows, None)).collect()
}

/// The vectors, `[units, row bytes]`; zeros for a row without one.
fn values(about: &About, computed: &Computed, units: &[&Unit]) -> MutableBuffer {
    let row_bytes = about.heading.row_bytes();
    let mut values = MutableBuffer::with_capacity(units.len() * row_bytes);
    for unit in units {
        match unit.text.filter(|_| computed.facts_of(unit).is_some()) {
            Some(text) => values.extend_from_slice(computed.results.vector(text)),
            None => values.extend_zeros(row_bytes),
        }
    }
    values
}

/// Which rows have no vector, and why, as JSON lines.
pub(super) fn rejects(corpus: &Corpus, window: &Window, computed: &Computed) -> String {
    let line = |(row, problem): (&usize, &String)| {
        let (file, number) = window.places[*row];
        let index = window.first_row + *row as u64;
        format!("{}\n", json!({"index": index, "place": corpus.place(file, number), "problem": problem}))
    };
    computed.rejects.iter().map(line).collect()
}
