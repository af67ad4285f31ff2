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
    queries: Option<AlignedBuffer>,  // [query tiles, tile rows, lanes of head_dim]
    scores: Option<AlignedBuffer>,   // [key panels, tile rows, key columns]
    weights: Option<AlignedBuffer>,  // [tile rows, KEY_TILE]
    sums: Option<AlignedBuffer>,     // [query tiles, value panels, tile rows, value columns]
    products: Option<AlignedBuffer>, // [tile rows, value columns]
}

/// Tiles of queries that meet a tile of keys before the next comes, where there is more than one of keys.
const QUERY_TILES: usize = 12;

/// Queries that meet the same keys together, on any instruction set: to share a head's queries, cut between these.
pub const QUERY_BLOCK: usize = QUERY_TILES * shape::MAX_ROWS;

dispatch! {
    /// Attention of some queries of one text and head over its packed keys and values.
    ///
    /// `queries` and `out` are `[tokens, head_dim]`; the first of them is the token `first` of the text, a multiple of
    /// [`QUERY_BLOCK`]. Tokens behind the keys see them and are not seen. What sees no key is 0. `isa` must be the one
    /// that `panels` was packed for.
    ///
    /// # Panics
    /// If sizes do not agree.
    pub fn attention(
        queries: Matrix<'_>,
        first: usize,
        panels: &KeyValuePanels,
        attention: &Attention<'_>,
        out: MatrixMut<'_>,
        scratch: &mut AttentionScratch,
    ) = attention_body
}

#[inline(always)]
fn attention_body<K: Kernel>(
    queries: Matrix<'_>,
    first: usize,
    panels: &KeyValuePanels,
    attention: &Attention<'_>,
    mut out: MatrixMut<'_>,
    scratch: &mut AttentionScratch,
) {
    let layout = panels.layout();
    let columns = layout.key_tile.columns;
    assert!(queries.columns() == layout.head_dim && first.is_multiple_of(QUERY_BLOCK));
    assert!(out.rows() == queries.rows() && out.columns() == layout.head_dim);
    assert!(attention.bias.is_empty() || attention.bias.len() % 2 == 1);
    assert!(columns.is_multiple_of(K::Vector::LANES) && KEY_TILE.is_multiple_of(columns));
    let tiles = if layout.count > KEY_TILE { QUERY_TILES } else { 1 };
    for start in (0..queries.rows()).step_by(tiles * K::ROWS) {
        let rows = start..queries.rows().min(start + tiles * K::ROWS);
        let block = QueryBlock {
            queries: queries.row_range(start, rows.len()),
            first: first + start,
            layout: &layout,
            panels,
            attention,
        };
        block.compute::<K>(&mut out.rows_mut(rows), scratch);
    }
}

/// Some tiles of queries, which meet the keys together.
struct QueryBlock<'a> {
    queries: Matrix<'a>,
    /// The token that the first query is.
    first: usize,
    layout: &'a PanelLayout,
    panels: &'a KeyValuePanels,
    attention: &'a Attention<'a>,
}

impl QueryBlock<'_> {
    #[inline(always)]
    fn compute<K: Kernel>(&self, out: &mut MatrixMut<'_>, scratch: &mut AttentionScratch) {
        let (layout, columns) = (self.layout, self.layout.key_tile.columns);
        let width = layout.head_dim.next_multiple_of(layout.value_tile.columns);
        let lanes = layout.storage.lanes(layout.head_dim);
        let tiles = self.queries.rows().div_ceil(K::ROWS);
        let all_encoded = reserved(&mut scratch.queries, tiles * K::ROWS * lanes);
        let scores = reserved(&mut scratch.scores, K::ROWS * KEY_TILE);
        let weights = reserved(&mut scratch.weights, K::ROWS * KEY_TILE);
        let sums = reserved(&mut scratch.sums, tiles * K::ROWS * width);
        let products = reserved(&mut scratch.products, MAX_TILE);
        let mut states = [RowStates::START; QUERY_TILES];
        let mut turns = [0; QUERY_TILES];
        let all = self.seen(0..self.queries.rows());
        // Tiles of keys start at multiples of KEY_TILE, so that the order of the sums does not depend on which queries
        // are at work.
        for start in (all.start / KEY_TILE * KEY_TILE..all.end).step_by(KEY_TILE) {
            let of_tiles = states.iter_mut().zip(&mut turns).zip(sums.chunks_exact_mut(K::ROWS * width));
            for (tile, ((states, turn), sums)) in of_tiles.take(tiles).enumerate() {
                let rows = tile * K::ROWS..self.queries.rows().min((tile + 1) * K::ROWS);
                let Some(keys) = key_tile(&self.seen(rows.clone()), columns, start) else { continue };
                let encoded = &mut all_encoded[tile * K::ROWS * lanes..][..K::ROWS * lanes];
                let queries = self.queries.row_range(rows.start, rows.len());
                if *turn == 0 {
                    encode_queries::<K>(layout, queries, encoded);
                }
                let queries = match layout.storage {
                    Storage::F32 => queries,
                    _ => Matrix::new(encoded, rows.len(), lanes, lanes),
                };
                let lanes =
                    layout.storage.lanes(keys.start)..layout.storage.lanes(keys.end.min(layout.count));
                let mut scores = Scores::new::<K>(scores, rows.len(), columns, keys);
                // SAFETY: this body runs only where `dispatch!` found K's instruction set, and the keys were
                // packed for one that this CPU has.
                unsafe { score_keys(layout, self.panels, queries, &mut scores) };
                self.attention.mask::<K>(self.first + rows.start, layout.count, &mut scores);
                soften::<K>(&scores, states, layout.storage, weights);
                let weights = Matrix::new(weights, rows.len(), lanes.len(), KEY_TILE);
                let mut sums = Sums { values: sums, products, columns: layout.value_tile.columns };
                // SAFETY: as above.
                unsafe { sums.add::<K>(*turn, layout, self.panels, (weights, lanes), states) };
                *turn += 1;
            }
        }
        for (tile, (states, sums)) in states.iter().zip(sums.chunks_exact_mut(K::ROWS * width)).enumerate() {
            let rows = tile * K::ROWS..self.queries.rows().min((tile + 1) * K::ROWS);
            let mut out = out.rows_mut(rows.clone());
            if turns[tile] > 0 {
                Sums { values: sums, products, columns: layout.value_tile.columns }
                    .write::<K>(states, &mut out);
            }
            for r in rows.clone().filter(|&r| self.seen(r..r + 1).is_empty()) {
                out.row_mut(r - rows.start).fill(0.0);
            }
        }
    }

    /// The keys that some of these queries see.
    #[inline(always)]
    fn seen(&self, rows: Range<usize>) -> Range<usize> {
        let visible = |row| self.attention.visible(self.first + row, self.layout.count);
        visible(rows.start).start..visible(rows.end - 1).end
    }
}

/// The queries of a tile as products take them: `[rows, lanes of head_dim]`; those of f32 are taken as they are.
#[inline(always)]
fn encode_queries<K: Kernel>(layout: &PanelLayout, queries: Matrix<'_>, encoded: &mut [f32]) {
    for r in 0..queries.rows() {
        prefetch_next_head::<K::Vector>(queries.row(r), 0..layout.head_dim);
    }
    if layout.storage == Storage::F32 {
        return;
    }
    let lanes = layout.storage.lanes(layout.head_dim);
    for (r, encoded) in encoded.chunks_exact_mut(lanes).take(queries.rows()).enumerate() {
        round_to_bf16::<K::Vector>(queries.row(r), halves_mut(encoded));
    }
}

/// The keys of the tile from `start` on that some of `seen` are in: whole panels, which may end behind the last key.
fn key_tile(seen: &Range<usize>, columns: usize, start: usize) -> Option<Range<usize>> {
    let first = seen.start / columns * columns;
    let end = seen.end.next_multiple_of(columns);
    let keys = start.max(first)..(start + KEY_TILE).min(end);
    (!seen.is_empty() && keys.start < keys.end).then_some(keys)
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
