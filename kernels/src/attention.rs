//! Softmax attention of one head over one text: `softmax(scale · Q·Kᵀ + bias + mask) · V`.
//!
//! Tiled with an online softmax: a tile of queries meets the keys tile by tile, keeping for each
//! query the largest score so far, the sum of the exponentials relative to it and the weighted sum
//! of the values; when a larger score comes, what was summed is scaled down. Nothing of the size
//! of queries × keys is stored.
//!
//! Both products use the GEMM tiles: keys and values are packed once a text and head into the
//! panels that those read.

use crate::aligned::{AlignedBuffer, reserved};
use crate::gemm::{Kernel, MAX_TILE, Storage, pack_panel};
use crate::isa::{Isa, dispatch};
use crate::math::exp;
use crate::matrix::{Matrix, MatrixMut};
use std::ops::Range;

/// Keys met at once: a common multiple of all panel widths (8, 12, 16, 48).
const KEY_TILE: usize = 96;

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
    keys: Option<AlignedBuffer>,   // [key panels, head_dim, panel columns]
    values: Option<AlignedBuffer>, // [head_dim panels, keys, panel columns]
    count: usize,
    head_dim: usize,
}

impl KeyValuePanels {
    /// Packs `keys` and `values`, both `[tokens, head_dim]`, reusing the memory of the last text.
    ///
    /// # Panics
    /// If the two have different sizes.
    pub fn pack(&mut self, isa: Isa, keys: Matrix<'_>, values: Matrix<'_>) {
        assert!(keys.rows() == values.rows() && keys.columns() == values.columns());
        let columns = isa.panel_columns();
        (self.count, self.head_dim) = (keys.rows(), keys.columns());

        let panel = columns * self.head_dim;
        let packed = reserved(&mut self.keys, self.count.div_ceil(columns) * panel);
        for (first, packed) in (0..self.count).step_by(columns).zip(packed.chunks_exact_mut(panel)) {
            let rows = keys.row_range(first, columns.min(self.count - first));
            pack_panel(isa, Storage::F32, rows, packed);
        }

        let panel = columns * self.count;
        let packed = reserved(&mut self.values, self.head_dim.div_ceil(columns) * panel);
        for (first, packed) in (0..self.head_dim).step_by(columns).zip(packed.chunks_exact_mut(panel)) {
            let width = columns.min(self.head_dim - first);
            for (key, row) in packed.chunks_exact_mut(columns).enumerate() {
                row[..width].copy_from_slice(&values.row(key)[first..first + width]);
                row[width..].fill(0.0);
            }
        }
    }
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
    let width = head_dim.next_multiple_of(K::COLUMNS);
    let scores = reserved(&mut scratch.scores, K::ROWS * KEY_TILE);
    let sums = reserved(&mut scratch.sums, K::ROWS * width);
    let keys = panels.keys.as_ref().map_or(&[][..], AlignedBuffer::as_slice);
    let values = panels.values.as_ref().map_or(&[][..], AlignedBuffer::as_slice);
    for first in (0..queries.rows()).step_by(K::ROWS) {
        let rows = queries.row_range(first, K::ROWS.min(queries.rows() - first));
        let mut largest = [f32::NEG_INFINITY; MAX_ROWS];
        let mut totals = [0.0f32; MAX_ROWS];
        sums.fill(0.0);
        let seen =
            attention.visible(first, count).start..attention.visible(first + rows.rows() - 1, count).end;
        // Key tiles start at multiples of KEY_TILE: the order of the sums does not depend on
        // which tile of queries is at work.
        for key in (seen.start / KEY_TILE * KEY_TILE..seen.end).step_by(KEY_TILE) {
            let tile = key..(key + KEY_TILE).min(count);
            score_tile::<K>(rows, keys, &tile, scores);
            for r in 0..rows.rows() {
                let row = &mut scores[r * KEY_TILE..][..tile.len()];
                mask_row(attention, first + r, count, &tile, row);
                let sums = &mut sums[r * width..][..width];
                soften_row::<K>(row, &mut largest[r], &mut totals[r], sums);
            }
            add_values::<K>(scores, rows.rows(), values, count, &tile, sums, width);
        }
        for r in 0..rows.rows() {
            let sums = &sums[r * width..][..head_dim];
            out.row_mut(first + r).iter_mut().zip(sums).for_each(|(o, s)| *o = s / totals[r]);
        }
    }
}

/// No instruction set's tile has more rows.
const MAX_ROWS: usize = 8;

/// `scores[r][key - tile.start] = queries[r] · keys[key]` for the keys of the tile.
#[inline(always)]
fn score_tile<K: Kernel>(queries: Matrix<'_>, keys: &[f32], tile: &Range<usize>, scores: &mut [f32]) {
    let panel = K::COLUMNS * queries.columns();
    let mut products = [0.0; MAX_TILE];
    for start in tile.clone().step_by(K::COLUMNS) {
        let packed = &keys[start / K::COLUMNS * panel..][..panel];
        // SAFETY: this body runs only where `dispatch!` found K's instruction set.
        unsafe { (K::TILE)(queries, packed, &mut products) };
        let width = K::COLUMNS.min(tile.end - start);
        for r in 0..queries.rows() {
            scores[r * KEY_TILE + start - tile.start..][..width]
                .copy_from_slice(&products[r * K::COLUMNS..][..width]);
        }
    }
}

/// Scale, bias and mask of one query's scores over the keys of a tile.
#[inline(always)]
fn mask_row(attention: &Attention<'_>, query: usize, count: usize, tile: &Range<usize>, scores: &mut [f32]) {
    scores.iter_mut().for_each(|score| *score *= attention.scale);
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

/// Turns the scores of a row into weights relative to the largest score so far, and rescales what
/// was summed before to it.
#[inline(always)]
fn soften_row<K: Kernel>(scores: &mut [f32], largest: &mut f32, total: &mut f32, sums: &mut [f32]) {
    let mut lanes = [*largest; 16];
    for chunk in scores.chunks(16) {
        for (lane, &score) in lanes.iter_mut().zip(chunk) {
            *lane = if score > *lane { score } else { *lane };
        }
    }
    let new_largest = lanes.iter().copied().fold(*largest, |a, b| if b > a { b } else { a });
    if new_largest == f32::NEG_INFINITY && scores.iter().all(|s| *s == f32::NEG_INFINITY) {
        scores.fill(0.0); // the query sees no key yet
        return;
    }
    let correction = exp::<K>(*largest - new_largest);
    let mut lanes = [0.0f32; 16];
    for chunk in scores.chunks_mut(16) {
        for (lane, score) in lanes.iter_mut().zip(chunk) {
            *score = exp::<K>(*score - new_largest);
            *lane += *score;
        }
    }
    *total = K::mul_add(*total, correction, lanes.iter().sum());
    sums.iter_mut().for_each(|sum| *sum *= correction);
    *largest = new_largest;
}

/// `sums[r] += weights[r] · values` over the keys of the tile.
#[inline(always)]
fn add_values<K: Kernel>(
    weights: &[f32],
    rows: usize,
    values: &[f32],
    count: usize,
    tile: &Range<usize>,
    sums: &mut [f32],
    width: usize,
) {
    let weights = Matrix::new(weights, rows, tile.len(), KEY_TILE);
    let mut products = [0.0; MAX_TILE];
    for (index, start) in (0..width).step_by(K::COLUMNS).enumerate() {
        let panel = &values[(index * count + tile.start) * K::COLUMNS..][..tile.len() * K::COLUMNS];
        // SAFETY: this body runs only where `dispatch!` found K's instruction set.
        unsafe { (K::TILE)(weights, panel, &mut products) };
        for r in 0..rows {
            let products = &products[r * K::COLUMNS..][..K::COLUMNS];
            let sums = &mut sums[r * width + start..][..K::COLUMNS];
            sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
        }
    }
}
