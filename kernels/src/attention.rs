//! Softmax attention of one head over one text: `softmax(scale · Q·Kᵀ + bias + mask) · V`.
//!
//! Tiled with an online softmax: a tile of queries meets the keys tile by tile, keeping for each
//! query the largest score so far, the sum of the exponentials relative to it and the weighted sum
//! of the values; when a larger score comes, what was summed is scaled down. Nothing of the size
//! of queries × keys is stored.
//!
//! Both products use the GEMM tiles: keys and values are packed once a text and head into the
//! panels that those read, as wide as pads least: a head of 32 values is two registers of AVX-512 wide,
//! where a panel of weights is three.

use crate::aligned::{AlignedBuffer, reserved};
use crate::gemm::{Kernel, MAX_TILE, TileFunction};
use crate::isa::{Isa, dispatch};
use crate::math::exp_without_overflow;
use crate::matrix::{Matrix, MatrixMut};
use crate::vector::{Vector, fold, map, zip};
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

/// The keys and values of one text and head, packed for one instruction set.
#[derive(Default)]
pub struct KeyValuePanels {
    keys: Option<AlignedBuffer>,   // [key panels, head_dim, key_columns]
    values: Option<AlignedBuffer>, // [head_dim panels, keys, value_columns]
    key_columns: usize,
    value_columns: usize,
    count: usize,
    head_dim: usize,
}

impl KeyValuePanels {
    /// Packs `keys` and `values`, both `[tokens, head_dim]`, reusing the memory of the last text.
    ///
    /// # Panics
    /// If the two have different sizes.
    pub fn pack(&mut self, isa: Isa, keys: Matrix<'_>, values: Matrix<'_>) {
        pack_keys_and_values(isa, keys, values, self);
    }
}

dispatch! {
    /// See [`KeyValuePanels::pack`].
    pub fn pack_keys_and_values(keys: Matrix<'_>, values: Matrix<'_>, panels: &mut KeyValuePanels) = pack_body
}

#[inline(always)]
fn pack_body<K: Kernel>(keys: Matrix<'_>, values: Matrix<'_>, panels: &mut KeyValuePanels) {
    assert!(keys.rows() == values.rows() && keys.columns() == values.columns());
    let (count, head_dim) = (keys.rows(), keys.columns());
    let (key_columns, _) = best_panel::<K>(count);
    let (value_columns, _) = best_panel::<K>(head_dim);
    (panels.count, panels.head_dim) = (count, head_dim);
    (panels.key_columns, panels.value_columns) = (key_columns, value_columns);

    let panel = key_columns * head_dim;
    let packed = reserved(&mut panels.keys, count.div_ceil(key_columns) * panel);
    for (first, packed) in (0..count).step_by(key_columns).zip(packed.chunks_exact_mut(panel)) {
        let width = key_columns.min(count - first);
        if width < key_columns {
            packed.fill(0.0);
        }
        for c in 0..width {
            let places = packed[c..].iter_mut().step_by(key_columns);
            places.zip(keys.row(first + c)).for_each(|(place, &value)| *place = value);
        }
    }

    let panel = value_columns * count;
    let packed = reserved(&mut panels.values, head_dim.div_ceil(value_columns) * panel);
    for (first, packed) in (0..head_dim).step_by(value_columns).zip(packed.chunks_exact_mut(panel)) {
        let width = value_columns.min(head_dim - first);
        for (key, row) in packed.chunks_exact_mut(value_columns).enumerate() {
            let (row, padding) = row.split_at_mut(width);
            zip!(K::Vector, row, values.row(key)[first..], |_old, value| value);
            padding.fill(0.0);
        }
    }
}

/// The width of panels, and their tile, that pads a matrix of so many columns least.
#[inline(always)]
fn best_panel<K: Kernel>(columns: usize) -> (usize, TileFunction) {
    // A panel of one register needs more loads than it multiplies.
    let cost = |panel: usize| {
        let padded = columns.next_multiple_of(panel);
        if panel == K::Vector::LANES { padded + padded / 4 } else { padded }
    };
    let mut best = (K::COLUMNS, K::TILE);
    for &(panel, tile) in K::NARROW_TILES {
        if cost(panel) < cost(best.0) {
            best = (panel, tile);
        }
    }
    best
}

/// Memory that [`attention`] works in, kept from call to call.
#[derive(Default)]
pub struct AttentionScratch {
    scores: Option<AlignedBuffer>, // [tile rows, KEY_TILE]
    sums: Option<AlignedBuffer>,   // [tile rows, head_dim padded to panels]
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

#[inline(always)]
fn attention_body<K: Kernel>(
    queries: Matrix<'_>,
    panels: &KeyValuePanels,
    attention: &Attention<'_>,
    mut out: MatrixMut<'_>,
    scratch: &mut AttentionScratch,
) {
    let (count, head_dim) = (panels.count, panels.head_dim);
    assert!(queries.rows() >= count && queries.columns() == head_dim);
    assert!(out.rows() == queries.rows() && out.columns() == head_dim);
    assert!(attention.bias.is_empty() || attention.bias.len() % 2 == 1);
    // The same choices as when they were packed.
    let (_, score_tile) = best_panel::<K>(count);
    let (_, value_tile) = best_panel::<K>(head_dim);
    let width = head_dim.next_multiple_of(panels.value_columns);
    let scores = reserved(&mut scratch.scores, K::ROWS * KEY_TILE);
    let sums = reserved(&mut scratch.sums, K::ROWS * width);
    for first in (0..queries.rows()).step_by(K::ROWS) {
        let rows = queries.row_range(first, K::ROWS.min(queries.rows() - first));
        let mut states = [RowState { largest: f32::NEG_INFINITY, total: 0.0 }; MAX_ROWS];
        sums.fill(0.0);
        let seen =
            attention.visible(first, count).start..attention.visible(first + rows.rows() - 1, count).end;
        // Key tiles start at multiples of KEY_TILE: the order of the sums does not depend on
        // which tile of queries is at work.
        for key in (seen.start / KEY_TILE * KEY_TILE..seen.end).step_by(KEY_TILE) {
            let tile = key..(key + KEY_TILE).min(count);
            // SAFETY: this body runs only where `dispatch!` found K's instruction set.
            unsafe { score_keys::<K>(score_tile, rows, panels, &tile, attention.scale, scores) };
            for (r, state) in states.iter_mut().enumerate().take(rows.rows()) {
                let row = &mut scores[r * KEY_TILE..][..tile.len()];
                mask_row(attention, first + r, count, &tile, row);
                state.soften::<K>(row, &mut sums[r * width..][..width]);
            }
            let weights = Matrix::new(scores, rows.rows(), tile.len(), KEY_TILE);
            // SAFETY: as above.
            unsafe { add_values::<K>(value_tile, weights, panels, &tile, sums, width) };
        }
        for (r, state) in states.iter().enumerate().take(rows.rows()) {
            let total = K::Vector::splat(state.total);
            zip!(K::Vector, out.row_mut(first + r), sums[r * width..], |_old, sum| sum / total);
        }
    }
}

/// No instruction set's tile has more rows.
const MAX_ROWS: usize = 8;

/// `scores[r][key - tile.start] = scale · queries[r] · keys[key]` for the keys of the tile.
///
/// # Safety
/// As [`TileFunction`].
#[inline(always)]
unsafe fn score_keys<K: Kernel>(
    multiply: TileFunction,
    queries: Matrix<'_>,
    panels: &KeyValuePanels,
    tile: &Range<usize>,
    scale: f32,
    scores: &mut [f32],
) {
    let columns = panels.key_columns;
    let panel = columns * queries.columns();
    let keys = panels.keys.as_ref().map_or(&[][..], AlignedBuffer::as_slice);
    let scale = K::Vector::splat(scale);
    let mut products = [0.0; MAX_TILE];
    for start in tile.clone().step_by(columns) {
        // SAFETY: as the caller says.
        unsafe { multiply(queries, &keys[start / columns * panel..][..panel], &mut products) };
        for (r, products) in products.chunks_exact(columns).take(queries.rows()).enumerate() {
            // What lies beyond the last key is overwritten or never read.
            let scores = &mut scores[r * KEY_TILE + start - tile.start..][..columns];
            zip!(K::Vector, scores, products, |_old, product| product * scale);
        }
    }
}

/// Bias and mask of one query's scores over the keys of a tile.
#[inline(always)]
fn mask_row(attention: &Attention<'_>, query: usize, count: usize, tile: &Range<usize>, scores: &mut [f32]) {
    if !attention.bias.is_empty() {
        let reach = attention.bias.len() / 2;
        for (key, score) in tile.clone().zip(scores.iter_mut()) {
            let index = (key + reach).saturating_sub(query).min(2 * reach);
            *score += attention.bias[index];
        }
    }
    let seen = attention.visible(query, count);
    let hidden_before = seen.start.clamp(tile.start, tile.end) - tile.start;
    let hidden_from = seen.end.clamp(tile.start, tile.end) - tile.start;
    scores[..hidden_before].fill(f32::NEG_INFINITY);
    scores[hidden_from..].fill(f32::NEG_INFINITY);
}

/// What is known of a query's scores so far.
#[derive(Clone, Copy)]
struct RowState {
    largest: f32,
    /// The sum of `exp(score - largest)`.
    total: f32,
}

impl RowState {
    /// Turns the scores of a row into weights relative to the largest score so far, and rescales what
    /// was summed before to it.
    #[inline(always)]
    fn soften<K: Kernel>(&mut self, scores: &mut [f32], sums: &mut [f32]) {
        let none = K::Row::splat(f32::NEG_INFINITY);
        let largest = fold!(K::Row, scores, none, fill f32::NEG_INFINITY, |a, b| b.max(a)).largest();
        let largest = if largest > self.largest { largest } else { self.largest };
        if largest == f32::NEG_INFINITY && scores.iter().all(|s| *s == f32::NEG_INFINITY) {
            scores.fill(0.0); // the query sees no key yet
            return;
        }
        let shift = K::Row::splat(largest);
        map!(K::Row, scores, |score| exp_without_overflow(score - shift));
        let total = fold!(K::Row, scores, K::Row::splat(0.0), fill 0.0, |sum, weight| sum + weight).sum();
        if self.total == 0.0 {
            self.total = total; // nothing was summed yet
        } else {
            let correction = exp_without_overflow(K::Vector::splat(self.largest - largest));
            map!(K::Vector, sums, |sum| sum * correction);
            self.total = self.total * correction.largest() + total;
        }
        self.largest = largest;
    }
}

/// `sums[r] += weights[r] · values` over the keys of the tile.
///
/// # Safety
/// As [`TileFunction`].
#[inline(always)]
unsafe fn add_values<K: Kernel>(
    multiply: TileFunction,
    weights: Matrix<'_>,
    panels: &KeyValuePanels,
    tile: &Range<usize>,
    sums: &mut [f32],
    width: usize,
) {
    let columns = panels.value_columns;
    let values = panels.values.as_ref().map_or(&[][..], AlignedBuffer::as_slice);
    let mut products = [0.0; MAX_TILE];
    for (index, start) in (0..width).step_by(columns).enumerate() {
        let panel = &values[(index * panels.count + tile.start) * columns..][..tile.len() * columns];
        // SAFETY: as the caller says.
        unsafe { multiply(weights, panel, &mut products) };
        for (r, products) in products.chunks_exact(columns).take(weights.rows()).enumerate() {
            let sums = &mut sums[r * width + start..][..columns];
            zip!(K::Vector, sums, products, |sum, product| sum + product);
        }
    }
}
