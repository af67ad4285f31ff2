//! The softmax of a row of scores that come tile by tile.

use super::Attention;
use crate::Storage;
use crate::gemm::{Kernel, halves};
use crate::math::exp2_without_overflow;
use crate::vector::{MAX_LANES, Vector, Wide, map, zip};
use std::f32::consts::LOG2_E;
use std::ops::Range;

/// The scores of a few queries with a tile of keys, as the products of their panels left them.
pub(super) struct Scores<'a> {
    /// `[panels, rows, columns]`
    pub(super) values: &'a mut [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// The keys, from a panel's first to a panel's last.
    pub(super) keys: Range<usize>,
}

impl Scores<'_> {
    /// The scores of one query with each panel of keys, and the first key of it.
    #[inline(always)]
    pub(super) fn row_mut(&mut self, row: usize) -> impl Iterator<Item = (usize, &mut [f32])> {
        let columns = self.columns;
        let panels = self.values.chunks_exact_mut(self.rows * columns);
        self.keys
            .clone()
            .step_by(columns)
            .zip(panels.map(move |panel| &mut panel[row * columns..][..columns]))
    }

    #[inline(always)]
    fn row(&self, row: usize) -> impl Iterator<Item = &[f32]> {
        let panels = self.values.chunks_exact(self.rows * self.columns);
        panels.map(move |panel| &panel[row * self.columns..][..self.columns])
    }
}

impl Attention<'_> {
    /// Adds the bias, and hides the keys that query `query` does not see. Of `count` keys.
    #[inline(always)]
    pub(super) fn mask_row<K: Kernel>(
        &self,
        query: usize,
        count: usize,
        row: usize,
        scores: &mut Scores<'_>,
    ) {
        let seen = self.visible(query, count);
        let all = scores.keys.clone();
        if self.bias.is_empty() && seen.start <= all.start && all.end <= seen.end {
            return;
        }
        for (first, scores) in scores.row_mut(row) {
            self.add_bias::<K>(query, first, scores);
            let end = first + scores.len();
            if first < seen.start || seen.end < end {
                let shown = seen.start.clamp(first, end) - first..seen.end.clamp(first, end) - first;
                show_only::<K::Vector>(shown, scores);
            }
        }
    }

    /// Adds the bias to the scores of a query with the keys from `first` on.
    #[inline(always)]
    fn add_bias<K: Kernel>(&self, query: usize, first: usize, scores: &mut [f32]) {
        let [Some(&farthest_before), Some(&farthest_after)] = [self.bias.first(), self.bias.last()] else {
            return;
        };
        let reach = self.bias.len() / 2;
        // Keys up to `near` are `reach` or more before the query, those from `far` on as much behind it.
        let near = (query + 1).saturating_sub(reach).clamp(first, first + scores.len()) - first;
        let far = (query + reach).clamp(first + near, first + scores.len()) - first;
        let farthest_before = K::Vector::splat(farthest_before * LOG2_E);
        let farthest_after = K::Vector::splat(farthest_after * LOG2_E);
        let (before, others) = scores.split_at_mut(near);
        let (within, behind) = others.split_at_mut(far - near);
        map!(K::Vector, before, |score| score + farthest_before);
        map!(K::Vector, behind, |score| score + farthest_after);
        if !within.is_empty() {
            let bias = &self.bias[first + near + reach - query..];
            zip!(K::Vector, within, bias, |score, bias| bias.mul_add(K::Vector::splat(LOG2_E), score));
        }
    }
}

/// Makes the others -∞, by whole registers: the next reader would wait for single values to reach memory.
#[inline(always)]
fn show_only<V: Vector>(shown: Range<usize>, scores: &mut [f32]) {
    /// The place of each column of a panel.
    const PLACES: [f32; MAX_LANES] = {
        let mut places = [0.0; MAX_LANES];
        let mut i = 1;
        while i < MAX_LANES {
            places[i] = i as f32;
            i += 1;
        }
        places
    };
    let (start, end) = (V::splat(shown.start as f32), V::splat(shown.end as f32));
    let hidden = V::splat(f32::NEG_INFINITY);
    for (scores, places) in scores.chunks_exact_mut(V::LANES).zip(PLACES.chunks_exact(V::LANES)) {
        let places = V::load(places);
        let score = end.select_greater(places, V::load(scores), hidden);
        start.select_greater(places, hidden, score).store(scores);
    }
}

/// What is known of a query's scores so far.
#[derive(Clone, Copy)]
pub(super) struct RowState {
    pub(super) largest: f32,
    /// The sum of `2^(score - largest)`.
    pub(super) total: f32,
}

impl RowState {
    /// Before the first key.
    pub(super) const START: RowState = RowState { largest: f32::NEG_INFINITY, total: 0.0 };

    /// Turns the scores of a row into weights relative to the largest score so far. Returns the factor that
    /// brings what was summed before to the same scale.
    #[inline(always)]
    pub(super) fn soften<K: Kernel>(&mut self, scores: &Scores<'_>, row: usize, weights: Weights<'_>) -> f32 {
        // Several registers in step, where panels are that wide: see `vector/wide.rs`.
        if scores.columns.is_multiple_of(K::Row::LANES) {
            self.soften_in::<K::Row>(scores, row, weights)
        } else if scores.columns.is_multiple_of(2 * K::Vector::LANES) {
            self.soften_in::<Wide<K::Vector, 2>>(scores, row, weights)
        } else {
            self.soften_in::<K::Vector>(scores, row, weights)
        }
    }

    #[inline(always)]
    fn soften_in<V: Vector>(&mut self, scores: &Scores<'_>, row: usize, weights: Weights<'_>) -> f32 {
        let mut largest = V::splat(self.largest);
        for scores in scores.row(row) {
            for scores in scores.chunks_exact(V::LANES) {
                largest = V::load(scores).max(largest);
            }
        }
        let largest = largest.largest();
        // Before the first key that a query sees, all its scores are -∞, and their weights 0.
        let shift = V::splat(if largest == f32::NEG_INFINITY { 0.0 } else { largest });
        let mut total = V::splat(0.0);
        match weights {
            Weights::F32(weights) => {
                for (scores, weights) in scores.row(row).zip(weights.chunks_exact_mut(scores.columns)) {
                    for (scores, weights) in
                        scores.chunks_exact(V::LANES).zip(weights.chunks_exact_mut(V::LANES))
                    {
                        let weight = exp2_without_overflow(V::load(scores) - shift);
                        total = total + weight;
                        weight.store(weights);
                    }
                }
            }
            Weights::Bf16(weights) => {
                let weights = halves(weights);
                for (scores, weights) in scores.row(row).zip(weights.chunks_exact_mut(scores.columns)) {
                    for (scores, weights) in
                        scores.chunks_exact(V::LANES).zip(weights.chunks_exact_mut(V::LANES))
                    {
                        let weight = exp2_without_overflow(V::load(scores) - shift);
                        total = total + weight;
                        weight.store_bf16(weights);
                    }
                }
            }
        }
        let before = self.largest;
        self.largest = largest;
        if self.total == 0.0 {
            self.total = total.sum(); // nothing was summed yet
            return 0.0;
        }
        let correction = exp2_without_overflow(V::splat(before - largest)).largest();
        self.total = self.total * correction + total.sum();
        correction
    }
}

/// Where the weights of a row go.
pub(super) enum Weights<'a> {
    F32(&'a mut [f32]),
    /// Two to a lane.
    Bf16(&'a mut [f32]),
}

impl<'a> Weights<'a> {
    #[inline(always)]
    pub(super) fn new(storage: Storage, lanes: &'a mut [f32]) -> Weights<'a> {
        if storage == Storage::F32 { Weights::F32(lanes) } else { Weights::Bf16(lanes) }
    }
}
