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
//! both. Scores are kept in powers of two: `scale · log₂ e` is multiplied into the queries, so that a weight
//! is one 2^x.

mod panels;
mod softmax;

pub use panels::KeyValuePanels;

use crate::Storage;
use crate::aligned::{AlignedBuffer, reserved};
use crate::gemm::{Kernel, MAX_TILE, halves, round_to_bf16};
use crate::isa::dispatch;
use crate::matrix::{Matrix, MatrixMut};
use crate::vector::{Vector, map, zip};
use panels::Layout;
use softmax::{RowState, Scores, Weights};
use std::f32::consts::LOG2_E;
use std::ops::Range;

/// Keys met at once: a common multiple of all panel widths (4 to 48). Their scores for a tile of queries
/// stay in the L1 cache.
const KEY_TILE: usize = 480;

/// What a head's attention is apart from its queries, keys and values.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// Multiplies the scores, mostly `1/√head_dim`.
    pub scale: f32,
    /// How many keys before its own position a query sees; `None`: all.
    pub before: Option<usize>,
    /// How many keys after its own position a query sees; `None`: all. 0 is causal.
    pub after: Option<usize>,
    /// Added to the scores by distance: `bias[reach + clamp(key - query, -reach, reach)]`, where
    /// `bias` has `2 · reach + 1` values; empty: none.
    pub bias: &'a [f32],
}

impl Attention<'_> {
    /// The keys that query `query` sees, of `count`.
    fn visible(&self, query: usize, count: usize) -> Range<usize> {
        let first = self.before.map_or(0, |before| query.saturating_sub(before));
        let end = self.after.map_or(count, |after| query.saturating_add(after + 1).min(count));
        first..end
    }
}

/// Memory that [`attention`] works in, kept from call to call.
#[derive(Default)]
pub struct AttentionScratch {
    scaled: Option<AlignedBuffer>,   // [head_dim]
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
    /// tokens behind the keys see them and are not seen. `isa` must be the one that `panels` was
    /// packed for.
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

/// No instruction set's tile has more rows.
const MAX_ROWS: usize = 8;

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
    let sums = reserved(&mut scratch.sums, K::ROWS * width);
    let products = reserved(&mut scratch.products, MAX_TILE);
    for first in (0..queries.rows()).step_by(K::ROWS) {
        let rows = queries.row_range(first, K::ROWS.min(queries.rows() - first));
        let encoded =
            encode_queries::<K>(&layout, rows, attention.scale, &mut scratch.scaled, &mut scratch.queries);
        let last = first + rows.rows() - 1;
        let seen = attention.visible(first, layout.count).start..attention.visible(last, layout.count).end;
        let mut states = [RowState::START; MAX_ROWS];
        let states = &mut states[..rows.rows()];
        sums.fill(0.0);
        for keys in key_tiles(&seen, columns) {
            let values = &mut scores[..K::ROWS * keys.len()];
            let mut scores = Scores { values, rows: K::ROWS, columns, keys: keys.clone() };
            // SAFETY: this body runs only where `dispatch!` found K's instruction set, and the keys were
            // packed for one that this CPU has.
            unsafe { score_keys(&layout, panels, encoded, &mut scores) };
            for (r, state) in states.iter_mut().enumerate() {
                attention.mask_row::<K>(first + r, layout.count, r, &mut scores);
                let started = state.total != 0.0;
                let weights = Weights::new(layout.storage, &mut weights[r * KEY_TILE..][..KEY_TILE]);
                let correction = K::Vector::splat(state.soften::<K>(&scores, r, weights));
                if started {
                    for sums in sums.chunks_exact_mut(layout.value_tile.columns).skip(r).step_by(K::ROWS) {
                        map!(K::Vector, sums, |sum| sum * correction);
                    }
                }
            }
            let lanes = layout.storage.lanes(keys.start)..layout.storage.lanes(keys.end.min(layout.count));
            let weights = Matrix::new(weights, rows.rows(), lanes.len(), KEY_TILE);
            // SAFETY: as above.
            unsafe { add_values::<K>(&layout, panels, weights, lanes, products, sums) };
        }
        for (r, state) in states.iter().enumerate() {
            let share = K::Vector::splat(1.0 / state.total);
            let sums = sums.chunks_exact(layout.value_tile.columns).skip(r).step_by(K::ROWS);
            for (out, sums) in out.row_mut(first + r).chunks_mut(layout.value_tile.columns).zip(sums) {
                zip!(K::Vector, out, sums, |_old, sum| sum * share);
            }
        }
    }
}

/// The queries of a tile, scaled, as products take them: `[rows, lanes of head_dim]`.
#[inline(always)]
fn encode_queries<'a, K: Kernel>(
    layout: &Layout,
    queries: Matrix<'_>,
    scale: f32,
    scaled: &mut Option<AlignedBuffer>,
    encoded: &'a mut Option<AlignedBuffer>,
) -> Matrix<'a> {
    let lanes = layout.storage.lanes(layout.head_dim);
    let scaled = reserved(scaled, layout.head_dim);
    let encoded = reserved(encoded, K::ROWS * lanes);
    let scale = K::Vector::splat(scale * LOG2_E);
    for (r, encoded) in encoded.chunks_exact_mut(lanes).enumerate().take(queries.rows()) {
        match layout.storage {
            Storage::F32 => zip!(K::Vector, encoded, queries.row(r), |_old, query| query * scale),
            _ => {
                zip!(K::Vector, scaled, queries.row(r), |_old, query| query * scale);
                round_to_bf16::<K::Vector>(scaled, halves(encoded));
            }
        }
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
unsafe fn score_keys(layout: &Layout, panels: &KeyValuePanels, queries: Matrix<'_>, scores: &mut Scores<'_>) {
    let (rows, columns) = (scores.rows, scores.columns);
    let starts = scores.keys.clone().step_by(columns);
    for (start, scores) in starts.zip(scores.values.chunks_exact_mut(rows * columns)) {
        // SAFETY: as the caller says.
        unsafe { (layout.key_tile.multiply)(queries, panels.keys(layout, start / columns), scores) };
    }
}

/// `sums[r] += weights[r] · values` over the lanes of some keys.
///
/// # Safety
/// As [`TileFunction`](crate::gemm::TileFunction).
#[inline(always)]
unsafe fn add_values<K: Kernel>(
    layout: &Layout,
    panels: &KeyValuePanels,
    weights: Matrix<'_>,
    lanes: Range<usize>,
    products: &mut [f32],
    sums: &mut [f32], // [value panels, tile rows, columns]
) {
    let columns = layout.value_tile.columns;
    for (panel, sums) in sums.chunks_exact_mut(K::ROWS * columns).enumerate() {
        let values = &panels.values(layout, panel)[lanes.start * columns..lanes.end * columns];
        // SAFETY: as the caller says.
        unsafe { (layout.value_tile.multiply)(weights, values, products) };
        zip!(K::Vector, &mut sums[..weights.rows() * columns], products, |sum, product| sum + product);
    }
}
