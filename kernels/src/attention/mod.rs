//! Softmax attention of one head over one text: `softmax(scale · Q·Kᵀ + bias + mask) · V`.
//!
//! Tiled with an online softmax: a tile of queries meets the keys tile by tile, keeping for each
//! query the largest score so far, the sum of the exponentials relative to it and the weighted sum
//! of the values; when a larger score comes, what was summed is scaled down. Nothing of the size
//! of queries × keys is stored.
//!
//! Both products use the GEMM tiles, in f32 or with queries, keys, weights and values rounded to bf16: keys
//! and values are packed once a text and head into the panels that those read, as wide as pads least: a head
//! of 32 values is two registers of AVX-512 wide, where a panel of weights is three. The softmax is f32 in
//! both. Scores are kept in powers of two: `scale · log₂ e` is multiplied into the keys, so that a weight is
//! one 2^x.

mod panels;
mod shape;
mod softmax;

pub use panels::KeyValuePanels;
pub use shape::Attention;

use crate::aligned::{AlignedBuffer, reserved};
use crate::dispatch::dispatch;
use crate::gemm::{MAX_TILE, halves_mut, round_to_bf16};
use crate::kernel::Kernel;
use crate::matrix::{Matrix, MatrixMut};
use crate::storage::Storage;
use crate::vector::{Vector, zip};
use panels::{PanelLayout, prefetch_next_head};
use shape::KEY_TILE;
use softmax::{RowStates, Scores, soften};
use std::ops::Range;

/// Memory that [`attention`] works in, kept from call to call.
#[derive(Default)]
pub struct AttentionScratch {
    queries: Option<AlignedBuffer>,  // [tile rows, lanes of head_dim]
    scores: Option<AlignedBuffer>,   // [key panels, tile rows, key columns]
    weights: Option<AlignedBuffer>,  // [tile rows, KEY_TILE]
    sums: Option<AlignedBuffer>,     // [value panels, tile rows, value columns]
    products: Option<AlignedBuffer>, // [tile rows, value columns]
}

dispatch! {
    /// Attention of all queries of one text and head over its packed keys and values.
    ///
    /// `queries` and `out` are `[tokens, head_dim]`, with as many tokens as there are keys, or more:
    /// tokens behind the keys see them and are not seen. What sees no key is 0. `isa` must be the one
    /// that `panels` was packed for.
    ///
    /// # Panics
    /// If sizes do not agree.
    pub fn attention(
        queries: Matrix<'_>,
        panels: &KeyValuePanels,
        attention: &Attention<'_>,
        out: MatrixMut<'_>,
        scratch: &mut AttentionScratch,
    ) = attention_body
}

#[inline(always)]
fn attention_body<K: Kernel>(
    queries: Matrix<'_>,
    panels: &KeyValuePanels,
    attention: &Attention<'_>,
    mut out: MatrixMut<'_>,
    scratch: &mut AttentionScratch,
) {
    let layout = panels.layout();
    let columns = layout.key_tile.columns;
    assert!(queries.rows() >= layout.count && queries.columns() == layout.head_dim);
    assert!(out.rows() == queries.rows() && out.columns() == layout.head_dim);
    assert!(attention.bias.is_empty() || attention.bias.len() % 2 == 1);
    assert!(columns.is_multiple_of(K::Vector::LANES) && KEY_TILE.is_multiple_of(columns));
    let scores = reserved(&mut scratch.scores, K::ROWS * KEY_TILE);
    let weights = reserved(&mut scratch.weights, K::ROWS * KEY_TILE);
    let width = layout.head_dim.next_multiple_of(layout.value_tile.columns);
    let mut sums = Sums {
        values: reserved(&mut scratch.sums, K::ROWS * width),
        products: reserved(&mut scratch.products, MAX_TILE),
        columns: layout.value_tile.columns,
    };
    for first in (0..queries.rows()).step_by(K::ROWS) {
        let rows = queries.row_range(first, K::ROWS.min(queries.rows() - first));
        let last = first + rows.rows() - 1;
        let seen = attention.visible(first, layout.count).start..attention.visible(last, layout.count).end;
        let mut out = out.rows_mut(first..first + rows.rows());
        if seen.is_empty() {
            (0..rows.rows()).for_each(|r| out.row_mut(r).fill(0.0));
            continue;
        }
        let encoded = encode_queries::<K>(&layout, rows, &mut scratch.queries);
        let mut states = RowStates::START;
        for (turn, keys) in key_tiles(&seen, columns).enumerate() {
            let lanes = layout.storage.lanes(keys.start)..layout.storage.lanes(keys.end.min(layout.count));
            let mut scores = Scores::new::<K>(scores, rows.rows(), columns, keys);
            // SAFETY: this body runs only where `dispatch!` found K's instruction set, and the keys were
            // packed for one that this CPU has.
            unsafe { score_keys(&layout, panels, encoded, &mut scores) };
            attention.mask::<K>(first, layout.count, &mut scores);
            soften::<K>(&scores, &mut states, layout.storage, weights);
            let weights = Matrix::new(weights, rows.rows(), lanes.len(), KEY_TILE);
            // SAFETY: as above.
            unsafe { sums.add::<K>(turn, &layout, panels, (weights, lanes), &states) };
        }
        sums.write::<K>(&states, &mut out);
        for r in (0..rows.rows()).filter(|r| attention.visible(first + r, layout.count).is_empty()) {
            out.row_mut(r).fill(0.0);
        }
    }
}

/// The queries of a tile as products take them: `[rows, lanes of head_dim]`.
#[inline(always)]
fn encode_queries<'a, K: Kernel>(
    layout: &PanelLayout,
    queries: Matrix<'a>,
    encoded: &'a mut Option<AlignedBuffer>,
) -> Matrix<'a> {
    for r in 0..queries.rows() {
        prefetch_next_head::<K::Vector>(queries.row(r), 0..layout.head_dim);
    }
    if layout.storage == Storage::F32 {
        return queries;
    }
    let lanes = layout.storage.lanes(layout.head_dim);
    let encoded = reserved(encoded, K::ROWS * lanes);
    for r in 0..queries.rows() {
        round_to_bf16::<K::Vector>(queries.row(r), halves_mut(&mut encoded[r * lanes..][..lanes]));
    }
    Matrix::new(encoded, queries.rows(), lanes, lanes)
}

/// The keys that are met one after the other: whole panels, which may end behind the last key.
fn key_tiles(seen: &Range<usize>, columns: usize) -> impl Iterator<Item = Range<usize>> {
    let first = seen.start / columns * columns;
    let end = seen.end.next_multiple_of(columns);
    // They start at multiples of KEY_TILE, so that the order of the sums does not depend on which tile of
    // queries is at work.
    let starts = (first / KEY_TILE * KEY_TILE..seen.end).step_by(KEY_TILE);
    starts.map(move |start| start.max(first)..(start + KEY_TILE).min(end))
}

/// The products of the queries, at most a tile, with the panels of some keys.
///
/// # Safety
/// As [`TileFunction`](crate::gemm::TileFunction).
#[inline(always)]
unsafe fn score_keys(
    layout: &PanelLayout,
    panels: &KeyValuePanels,
    queries: Matrix<'_>,
    scores: &mut Scores<'_>,
) {
    let first = scores.keys.start / scores.columns;
    for panel in 0..scores.panels {
        // SAFETY: as the caller says.
        unsafe {
            (layout.key_tile.multiply)(queries, panels.keys(layout, first + panel), scores.panel_mut(panel));
        }
    }
}

/// The weighted sums of the values for a tile of queries, as far as keys were met.
struct Sums<'a> {
    /// `[value panels, tile rows, columns]`
    values: &'a mut [f32],
    /// Those of one panel over one tile of keys: `[tile rows, columns]`
    products: &'a mut [f32],
    columns: usize,
}

impl Sums<'_> {
    /// Adds `weights[r] · values` over the lanes of some keys, in turn.
    ///
    /// # Safety
    /// As [`TileFunction`](crate::gemm::TileFunction).
    #[inline(always)]
    unsafe fn add<K: Kernel>(
        &mut self,
        turn: usize,
        layout: &PanelLayout,
        panels: &KeyValuePanels,
        (weights, lanes): (Matrix<'_>, Range<usize>),
        states: &RowStates,
    ) {
        let columns = self.columns;
        for (panel, sums) in self.values.chunks_exact_mut(K::ROWS * columns).enumerate() {
            let values = &panels.values(layout, panel)[lanes.start * columns..lanes.end * columns];
            let products = if turn == 0 { &mut *sums } else { &mut *self.products };
            // SAFETY: as the caller says.
            unsafe { (layout.value_tile.multiply)(weights, values, products) };
            if turn == 0 {
                continue;
            }
            for r in 0..weights.rows() {
                let correction = K::Vector::splat(states.corrections[r]);
                let row = r * columns..(r + 1) * columns;
                zip!(K::Vector, &mut sums[row.clone()], self.products[row], |sum, product| {
                    sum.mul_add(correction, product)
                });
            }
        }
    }

    /// Divides by the sums of the weights.
    #[inline(always)]
    fn write<K: Kernel>(&self, states: &RowStates, out: &mut MatrixMut<'_>) {
        let shares = states.shares::<K::Vector>();
        let columns = self.columns;
        for (r, &share) in shares[..out.rows()].iter().enumerate() {
            let (share, out) = (K::Vector::splat(share), out.row_mut(r));
            for (panel, start) in (0..out.len()).step_by(columns).enumerate() {
                let end = out.len().min(start + columns);
                let sums = &self.values[(panel * K::ROWS + r) * columns..][..columns];
                zip!(K::Vector, &mut out[start..end], sums, |_old, sum| sum * share);
            }
        }
    }
}
