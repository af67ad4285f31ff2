//! What a head's attention is apart from its numbers.

use crate::matrix::Matrix;
use std::ops::Range;

/// Keys met at once: a common multiple of all panel widths (4 to 48). Their scores for a tile of queries
/// stay in the L1 cache.
pub(super) const KEY_TILE: usize = 480;

/// What a head's attention is apart from its queries, and its keys and values with their scale.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// How many keys before its own position a query sees; `None`: all.
    pub before: Option<usize>,
    /// How many keys after its own position a query sees; `None`: all. 0 is causal.
    pub after: Option<usize>,
    /// Added to the scores by distance: `bias[reach + clamp(key - query, -reach, reach)]`, where
    /// `bias` has `2 · reach + 1` values; empty: none.
    pub bias: &'a [f32],
    /// Added to the scores of each pair.
    pub pairs: Option<PairBias<'a>>,
}

/// A number for each query and key.
#[derive(Clone, Copy)]
pub struct PairBias<'a> {
    /// The query that the first row belongs to.
    pub first: usize,
    /// `[queries, keys]`
    pub values: Matrix<'a>,
}

impl Attention<'_> {
    /// The keys that query `query` sees, of `count`.
    pub(super) fn visible(&self, query: usize, count: usize) -> Range<usize> {
        let first = self.before.map_or(0, |before| query.saturating_sub(before));
        let end = self.after.map_or(count, |after| query.saturating_add(after + 1).min(count));
        first..end
    }
}

/// No instruction set's tile has more rows: what [`Vector::sum_of_eight`] takes.
pub(super) const MAX_ROWS: usize = 8;
