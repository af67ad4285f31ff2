//! Embedding tables: the sum of each token's rows, read from the mapped file.

use super::weights::storage_of;
use crate::batch::RaggedBatch;
use crate::model::{PositionSpec, Tensor};
use taskvec_kernels::{Isa, prefetch, widen_halves};

/// Words' rows lie far apart, and the first values of each come from memory: so many tokens ahead they are asked for.
const AHEAD: usize = 4;

/// `out` is `[tokens, hidden]`: the word's row times `scale`, plus the position's and the type's where there are.
pub(super) fn embed(
    isa: Isa,
    batch: &RaggedBatch,
    (word, scale): (&Tensor, f32),
    position: Option<&PositionSpec>,
    token_type: &[f32], // [types, hidden], or empty
    out: &mut [f32],
    row: &mut Vec<f32>, // room for one
) {
    let hidden = word.columns();
    row.resize(hidden, 0.0);
    let add = |out: &mut [f32], values: &[f32]| out.iter_mut().zip(values).for_each(|(o, v)| *o += v);
    let last_type = (token_type.len() / hidden).saturating_sub(1);
    let (first, uncounted) = position.map_or((0, None), |position| (position.first, position.uncounted));
    let places = batch.position_rows(first, uncounted).zip(batch.places());
    let tokens = batch.ids.iter().zip(places).enumerate();
    for (out, (t, (id, (position_row, (_, kind))))) in out.chunks_exact_mut(hidden).zip(tokens) {
        if let Some(&next) = batch.ids.get(t + AHEAD) {
            prefetch(isa, word.stored_row(next as usize));
        }
        read_row(isa, word, *id as usize, out);
        if scale != 1.0 {
            out.iter_mut().for_each(|o| *o *= scale);
        }
        if let Some(PositionSpec { table, .. }) = position {
            read_row(isa, table, position_row, row);
            add(out, row);
        }
        if !token_type.is_empty() {
            add(out, &token_type[kind.min(last_type) * hidden..][..hidden]);
        }
    }
}

fn read_row(isa: Isa, table: &Tensor, row: usize, out: &mut [f32]) {
    match table.halves(row) {
        Some((element, halves)) => widen_halves(isa, storage_of(element), halves, out),
        None => table.read_rows(row..row + 1, out),
    }
}
