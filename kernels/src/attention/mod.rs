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
pub use shape::{Attention, PairBias};

use crate::aligned::{AlignedBuffer, reserved};
use crate::dispatch::dispatch;
use crate::gemm::{MAX_TILE, halves_mut, round_to_bf16};
use crate::isa::Isa;
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

/// Attention of some queries of one text and head over its packed keys and values.
///
/// `queries` and `out` are `[tokens, head_dim]`; the first of them is the token `first` of the text, a multiple of
/// [`QUERY_BLOCK`]. Tokens behind the keys see them and are not seen. What sees no key is 0. `isa` must be the one
/// that `panels` was packed for.
///
/// # Panics
/// If sizes do not agree.
pub fn attention(
    isa: Isa,
    queries: Matrix<'_>,
    first: usize,
    panels: &KeyValuePanels,
    attention: &Attention<'_>,
    out: MatrixMut<'_>,
    scratch: &mut AttentionScratch,
) {
    // A loop of its own for few keys, which is most texts: what blocks of queries need besides cost it 4 % in int8.
    if panels.layout().count > KEY_TILE {
        attention_over_many(isa, queries, first, panels, attention, out, scratch);
    } else {
        attention_over_few(isa, queries, first, panels, attention, out, scratch);
    }
}

dispatch! {
    /// With keys of one tile: each tile of queries meets them at once.
    pub fn attention_over_few(
        queries: Matrix<'_>,
        first: usize,
        panels: &KeyValuePanels,
        attention: &Attention<'_>,
        out: MatrixMut<'_>,
        scratch: &mut AttentionScratch,
    ) = attention_over_few_body
}

dispatch! {
    /// With keys of several tiles.
    pub fn attention_over_many(
        queries: Matrix<'_>,
        first: usize,
        panels: &KeyValuePanels,
        attention: &Attention<'_>,
        out: MatrixMut<'_>,
        scratch: &mut AttentionScratch,
    ) = attention_over_many_body
}

#[inline(always)]
fn attention_over_few_body<K: Kernel>(
    queries: Matrix<'_>,
    first: usize,
    panels: &KeyValuePanels,
    attention: &Attention<'_>,
    mut out: MatrixMut<'_>,
    scratch: &mut AttentionScratch,
) {
    let layout = panels.layout();
    let columns = layout.key_tile.columns;
    check::<K>(&layout, queries, first, attention, &out);
    let lanes = layout.storage.lanes(layout.head_dim);
    let encoded = reserved(&mut scratch.queries, K::ROWS * lanes);
    let scores = reserved(&mut scratch.scores, K::ROWS * KEY_TILE);
    let weights = reserved(&mut scratch.weights, K::ROWS * KEY_TILE);
    let width = layout.head_dim.next_multiple_of(layout.value_tile.columns);
    let mut sums = Sums {
        values: reserved(&mut scratch.sums, K::ROWS * width),
        products: reserved(&mut scratch.products, MAX_TILE),
        columns: layout.value_tile.columns,
    };
    for row in (0..queries.rows()).step_by(K::ROWS) {
        let rows = queries.row_range(row, K::ROWS.min(queries.rows() - row));
        let visible = |row: usize| attention.visible(first + row, layout.count);
        let seen = visible(row).start..visible(row + rows.rows() - 1).end;
        let mut out = out.rows_mut(row..row + rows.rows());
        if seen.is_empty() {
            (0..rows.rows()).for_each(|r| out.row_mut(r).fill(0.0));
            continue;
        }
        let encoded = encode_queries::<K>(&layout, rows, encoded);
        let keys = seen.start / columns * columns..seen.end.next_multiple_of(columns);
        let lanes = layout.storage.lanes(keys.start)..layout.storage.lanes(keys.end.min(layout.count));
        let mut states = RowStates::START;
        let mut scores = Scores::new::<K>(scores, rows.rows(), columns, keys);
        // SAFETY: this body runs only where `dispatch!` found K's instruction set, and the keys were
        // packed for one that this CPU has.
        unsafe { score_keys(&layout, panels, encoded, &mut scores) };
        attention.mask::<K>(first + row, layout.count, &mut scores);
        soften::<K>(&scores, &mut states, layout.storage, weights);
        let weights = Matrix::new(weights, rows.rows(), lanes.len(), KEY_TILE);
        // SAFETY: as above.
        unsafe { sums.add::<K>(0, &layout, panels, (weights, lanes), &states) };
        sums.write::<K>(&states, &mut out);
        for r in (0..rows.rows()).filter(|r| visible(row + r).is_empty()) {
            out.row_mut(r).fill(0.0);
        }
    }
}

#[inline(always)]
fn attention_over_many_body<K: Kernel>(
    queries: Matrix<'_>,
    first: usize,
    panels: &KeyValuePanels,
    attention: &Attention<'_>,
    mut out: MatrixMut<'_>,
    scratch: &mut AttentionScratch,
) {
    let layout = panels.layout();
    check::<K>(&layout, queries, first, attention, &out);
    let width = layout.head_dim.next_multiple_of(layout.value_tile.columns);
    let mut room = Room {
        queries: reserved(
            &mut scratch.queries,
            QUERY_TILES * K::ROWS * layout.storage.lanes(layout.head_dim),
        ),
        scores: reserved(&mut scratch.scores, K::ROWS * KEY_TILE),
        weights: reserved(&mut scratch.weights, K::ROWS * KEY_TILE),
        sums: reserved(&mut scratch.sums, QUERY_TILES * K::ROWS * width),
        products: reserved(&mut scratch.products, MAX_TILE),
    };
    for start in (0..queries.rows()).step_by(QUERY_TILES * K::ROWS) {
        let rows = start..queries.rows().min(start + QUERY_TILES * K::ROWS);
        let block = QueryBlock {
            queries: queries.row_range(start, rows.len()),
            first: first + start,
            layout,
            panels,
            attention: *attention,
        };
        block.compute::<K>(&mut out.rows_mut(rows), &mut room);
    }
}

/// Checks the sizes.
#[inline(always)]
fn check<K: Kernel>(
    layout: &PanelLayout,
    queries: Matrix<'_>,
    first: usize,
    attention: &Attention<'_>,
    out: &MatrixMut<'_>,
) {
    let columns = layout.key_tile.columns;
    assert!(queries.columns() == layout.head_dim && first.is_multiple_of(QUERY_BLOCK));
    assert!(out.rows() == queries.rows() && out.columns() == layout.head_dim);
    assert!(attention.bias.is_empty() || attention.bias.len() % 2 == 1);
    assert!(attention.pairs.is_none_or(|pairs| {
        let rows = pairs.first..pairs.first + pairs.values.rows();
        rows.start <= first && first + queries.rows() <= rows.end && pairs.values.columns() == layout.count
    }));
    assert!(columns.is_multiple_of(K::Vector::LANES) && KEY_TILE.is_multiple_of(columns));
}

/// The memory of [`AttentionScratch`], as much as a call needs.
struct Room<'a> {
    queries: &'a mut [f32],
    scores: &'a mut [f32],
    weights: &'a mut [f32],
    sums: &'a mut [f32],
    products: &'a mut [f32],
}

/// Some tiles of queries, which meet the keys together. By value: what is behind a reference is read again after each
/// store.
#[derive(Clone, Copy)]
struct QueryBlock<'a> {
    queries: Matrix<'a>,
    /// The token that the first query is.
    first: usize,
    layout: PanelLayout,
    panels: &'a KeyValuePanels,
    attention: Attention<'a>,
}

/// A tile of queries.
#[derive(Clone, Copy)]
struct QueryTile {
    /// Of its block, the first row and the number of rows.
    row: usize,
    rows: usize,
    /// The first key that some of them see, and the one behind the last.
    seen: (usize, usize),
    /// Tiles of keys that it has met.
    turns: usize,
    states: RowStates,
}

impl QueryBlock<'_> {
    #[inline(always)]
    fn compute<K: Kernel>(self, out: &mut MatrixMut<'_>, room: &mut Room<'_>) {
        let QueryBlock { layout, panels, attention, .. } = self;
        let Room { queries: encoded, scores, weights, sums, products } = room;
        let key_columns = layout.key_tile.columns;
        let columns = layout.value_tile.columns;
        let len = K::ROWS * layout.head_dim.next_multiple_of(columns); // of a tile's sums
        let count = self.queries.rows().div_ceil(K::ROWS);
        let mut tiles: [QueryTile; QUERY_TILES] = std::array::from_fn(|tile| self.tile::<K>(tile));
        let tiles = &mut tiles[..count];
        let (first, end) = (tiles[0].seen.0, tiles[count - 1].seen.1);
        // Tiles of keys start at multiples of KEY_TILE, so that the order of the sums does not depend on which queries
        // are at work.
        for start in (first / KEY_TILE * KEY_TILE..end).step_by(KEY_TILE) {
            for (tile, sums) in tiles.iter_mut().zip(sums.chunks_exact_mut(len)) {
                let QueryTile { row, rows, turns, mut states, .. } = *tile;
                let Some(keys) = key_tile(tile.seen, key_columns, start) else { continue };
                let queries = self.encoded::<K>(tile, encoded);
                let lanes =
                    layout.storage.lanes(keys.start)..layout.storage.lanes(keys.end.min(layout.count));
                let mut scores = Scores::new::<K>(scores, rows, key_columns, keys);
                // SAFETY: this body runs only where `dispatch!` found K's instruction set, and the keys were
                // packed for one that this CPU has.
                unsafe { score_keys(&layout, panels, queries, &mut scores) };
                attention.mask::<K>(self.first + row, layout.count, &mut scores);
                soften::<K>(&scores, &mut states, layout.storage, weights);
                let weights = Matrix::new(weights, rows, lanes.len(), KEY_TILE);
                let mut sums = Sums { values: sums, products, columns };
                // SAFETY: as above.
                unsafe { sums.add::<K>(turns, &layout, panels, (weights, lanes), &states) };
                (tile.turns, tile.states) = (turns + 1, states);
            }
        }
        for (tile, sums) in tiles.iter().zip(sums.chunks_exact_mut(len)) {
            let mut out = out.rows_mut(tile.row..tile.row + tile.rows);
            if tile.turns > 0 {
                Sums { values: sums, products, columns }.write::<K>(&tile.states, &mut out);
            }
            if attention.before.is_some() || attention.after.is_some() {
                let sees_none =
                    |r: &usize| attention.visible(self.first + tile.row + r, layout.count).is_empty();
                (0..tile.rows).filter(sees_none).for_each(|r| out.row_mut(r).fill(0.0));
            }
        }
    }

    /// A tile before it meets the first key. Those behind the last are empty.
    #[inline(always)]
    fn tile<K: Kernel>(&self, tile: usize) -> QueryTile {
        let row = (tile * K::ROWS).min(self.queries.rows());
        let rows = K::ROWS.min(self.queries.rows() - row);
        let visible = |row: usize| self.attention.visible(self.first + row, self.layout.count);
        let seen = (visible(row).start, visible((row + rows).saturating_sub(1)).end);
        QueryTile { row, rows, seen, turns: 0, states: RowStates::START }
    }

    /// The queries of a tile as products take them; `encoded` has room for those of all tiles.
    #[inline(always)]
    fn encoded<'a, K: Kernel>(&'a self, tile: &QueryTile, encoded: &'a mut [f32]) -> Matrix<'a> {
        let queries = self.queries.row_range(tile.row, tile.rows);
        let lanes = self.layout.storage.lanes(self.layout.head_dim);
        let encoded = &mut encoded[tile.row * lanes..][..tile.rows * lanes];
        if tile.turns == 0 {
            return encode_queries::<K>(&self.layout, queries, encoded);
        }
        match self.layout.storage {
            Storage::F32 => queries,
            _ => Matrix::new(encoded, tile.rows, lanes, lanes),
        }
    }
}

/// The queries of a tile as products take them: `[rows, lanes of head_dim]`. Those of f32 are taken as they are.
#[inline(always)]
fn encode_queries<'a, K: Kernel>(
    layout: &PanelLayout,
    queries: Matrix<'a>,
    encoded: &'a mut [f32],
) -> Matrix<'a> {
    for r in 0..queries.rows() {
        prefetch_next_head::<K::Vector>(queries.row(r), 0..layout.head_dim);
    }
    if layout.storage == Storage::F32 {
        return queries;
    }
    let lanes = layout.storage.lanes(layout.head_dim);
    for r in 0..queries.rows() {
        round_to_bf16::<K::Vector>(queries.row(r), halves_mut(&mut encoded[r * lanes..][..lanes]));
    }
    Matrix::new(encoded, queries.rows(), lanes, lanes)
}

/// The keys of the tile from `start` on that some of `seen` are in: whole panels, which may end behind the last key.
#[inline(always)]
fn key_tile(seen: (usize, usize), columns: usize, start: usize) -> Option<Range<usize>> {
    let first = seen.0 / columns * columns;
    let end = seen.1.next_multiple_of(columns);
    let keys = start.max(first)..(start + KEY_TILE).min(end);
    (seen.0 < seen.1 && keys.start < keys.end).then_some(keys)
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
