//! What DeBERTa's attention adds to the score of each query and key: their products with vectors of the distance between them.
//!
//! For a head, the products of all queries with the vectors that are within reach are one matrix product, those of all keys
//! another; a pair's number is then a sum of one value of each.

use crate::backend::positions;
use crate::error::ModelResult as Result;
use crate::plan::RelativePositions;
use std::ops::Range;
use taskvec_kernels::{Epilogue, GemmScratch, Isa, Matrix, MatrixMut, PackedWeights, Storage, gemm};

/// The vectors of all distances, head by head: `[rows, head_dim]` each.
pub(super) struct PositionWeights {
    /// What queries are multiplied with; empty: nothing.
    of_queries: Vec<PackedWeights>,
    /// What keys are multiplied with; empty: nothing.
    of_keys: Vec<PackedWeights>,
}

impl PositionWeights {
    pub(super) fn read(isa: Isa, positions: &RelativePositions, head_dim: usize) -> Result<PositionWeights> {
        let pack = |values: Vec<f32>| {
            let (rows, width) = (positions.spec.rows.rows(), values.len() / positions.spec.rows.rows());
            let all = Matrix::new(&values, rows, width, width);
            let head = |first| PackedWeights::pack(isa, Storage::F32, all.column_range(first, head_dim));
            (0..width).step_by(head_dim).map(head).collect()
        };
        let [keys, queries] = positions::vectors(isa, &positions.spec)?;
        Ok(PositionWeights {
            of_queries: keys.map(pack).unwrap_or_default(),
            of_keys: queries.map(pack).unwrap_or_default(),
        })
    }

    pub(super) fn bytes(&self) -> usize {
        self.of_queries.iter().chain(&self.of_keys).map(PackedWeights::bytes).sum()
    }
}

/// What one thread works out pairs in.
#[derive(Default)]
pub(super) struct PairScratch {
    of_queries: Vec<f32>, // [queries, columns]
    of_keys: Vec<f32>,    // [keys, columns]
    columns: Vec<usize>,  // [2 · tokens - 1]
    pairs: Vec<f32>,      // [queries, keys]
    products: GemmScratch,
}

/// The pairs of one head of a text.
pub(super) struct HeadPairs<'a> {
    isa: Isa,
    weights: &'a PositionWeights,
    head: usize,
    scale: f32,
    keys: usize,
    /// The panels of vectors that are within reach, and how many columns they have.
    panels: Range<usize>,
    width: usize,
    scratch: &'a mut PairScratch,
}

impl<'a> HeadPairs<'a> {
    /// For a text of `tokens` tokens, of which `keys`, `[keys, head_dim]`, are seen.
    pub(super) fn new(
        (isa, weights, positions): (Isa, &'a PositionWeights, &RelativePositions),
        (head, scale): (usize, f32),
        tokens: usize,
        keys: Matrix<'_>,
        scratch: &'a mut PairScratch,
    ) -> HeadPairs<'a> {
        let reach = tokens.saturating_sub(1) as i64;
        let columns = isa.panel_columns();
        let panels = positions.row(-reach) / columns..positions.row(reach) / columns + 1;
        let first = panels.start * columns;
        let width = (panels.end * columns).min(positions.spec.rows.rows()) - first;
        scratch.columns.clear();
        scratch.columns.extend((-reach..=reach).map(|distance| positions.row(distance) - first));
        let PairScratch { of_keys, products, .. } = scratch;
        if let Some(vectors) = weights.of_keys.get(head) {
            multiply(isa, keys, (vectors, panels.clone(), width), of_keys, products);
        }
        HeadPairs { isa, weights, head, scale, keys: keys.rows(), panels, width, scratch }
    }

    /// The numbers of some queries, of which the text's token `first` is the first: `[queries, keys]`.
    pub(super) fn of(&mut self, first: usize, queries: Matrix<'_>) -> Matrix<'_> {
        let HeadPairs { isa, weights, head, scale, keys, width, .. } = *self;
        let PairScratch { of_queries, of_keys, columns, pairs, products } = &mut *self.scratch;
        pairs.clear();
        pairs.resize(queries.rows() * keys, 0.0);
        // The distance of key 0 is the query's own place, and that of each next key one less.
        let middle = columns.len() / 2;
        let of_query = |query: usize| {
            let nearest = middle + first + query;
            columns[nearest + 1 - keys..=nearest].iter().rev()
        };
        if let Some(vectors) = weights.of_queries.get(head) {
            multiply(isa, queries, (vectors, self.panels.clone(), width), of_queries, products);
            for (query, pairs) in pairs.chunks_exact_mut(keys.max(1)).enumerate() {
                let row = &of_queries[query * width..][..width];
                pairs.iter_mut().zip(of_query(query)).for_each(|(pair, &column)| *pair = row[column]);
            }
        }
        if weights.of_keys.get(head).is_some() {
            for (query, pairs) in pairs.chunks_exact_mut(keys.max(1)).enumerate() {
                let rows = of_keys.chunks_exact(width);
                let places = of_query(query).zip(rows);
                pairs.iter_mut().zip(places).for_each(|(pair, (&column, row))| *pair += row[column]);
            }
        }
        pairs.iter_mut().for_each(|pair| *pair *= scale);
        Matrix::new(pairs, queries.rows(), keys, keys)
    }
}

/// Each row's products with the vectors of some panels.
fn multiply(
    isa: Isa,
    rows: Matrix<'_>,
    (vectors, panels, width): (&PackedWeights, Range<usize>, usize),
    out: &mut Vec<f32>,
    scratch: &mut GemmScratch,
) {
    out.clear();
    out.resize(rows.rows() * width, 0.0);
    let out = MatrixMut::new(out, rows.rows(), width, width);
    gemm(isa, rows, vectors, panels, &Epilogue::default(), out, scratch);
}
