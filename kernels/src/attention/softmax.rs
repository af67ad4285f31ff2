//! The softmax of a row of scores that come tile by tile.

use super::shape::{Attention, KEY_TILE, MAX_ROWS, PairBias};
use crate::gemm::halves_mut;
use crate::kernel::Kernel;
use crate::math::exp2_without_overflow;
use crate::storage::Storage;
use crate::vector::{MAX_LANES, Vector, Wide, map, zip};
use std::f32::consts::LOG2_E;
use std::ops::Range;

/// The scores of a few queries with a tile of keys, as the products of their panels left them.
pub(super) struct Scores<'a> {
    /// `[panels, rows, columns]`
    values: &'a mut [f32],
    /// Rows of a tile, and how many of them are queries.
    rows: usize,
    queries: usize,
    pub(super) columns: usize,
    pub(super) panels: usize,
    /// The keys, from a panel's first to a panel's last.
    pub(super) keys: Range<usize>,
}

impl<'a> Scores<'a> {
    /// Room for the scores of some queries with the keys of whole panels.
    pub(super) fn new<K: Kernel>(
        values: &'a mut [f32],
        queries: usize,
        columns: usize,
        keys: Range<usize>,
    ) -> Self {
        Scores { values, rows: K::ROWS, queries, columns, panels: keys.len() / columns, keys }
    }

    /// `[rows, columns]`
    #[inline(always)]
    pub(super) fn panel_mut(&mut self, panel: usize) -> &mut [f32] {
        let len = self.rows * self.columns;
        &mut self.values[panel * len..][..len]
    }

    /// The scores of one query with a panel of keys.
    #[inline(always)]
    fn row(&self, panel: usize, row: usize) -> &[f32] {
        &self.values[(panel * self.rows + row) * self.columns..][..self.columns]
    }

    #[inline(always)]
    fn row_mut(&mut self, panel: usize, row: usize) -> &mut [f32] {
        &mut self.values[(panel * self.rows + row) * self.columns..][..self.columns]
    }
}

impl Attention<'_> {
    /// Adds the bias to the scores of the queries from `first` on, and hides the keys that each does not see. Of
    /// `count` keys.
    #[inline(always)]
    pub(super) fn mask<K: Kernel>(&self, first: usize, count: usize, scores: &mut Scores<'_>) {
        let has_bias = !self.bias.is_empty() || self.pairs.is_some();
        if has_bias || self.before.is_some() || self.after.is_some() {
            for row in 0..scores.queries {
                self.mask_row::<K>(first + row, count, row, scores);
            }
        } else if count < scores.keys.end {
            // There is nothing behind the last key, for any query.
            let (last, padding) = (scores.panels - 1, scores.keys.end - count);
            for row in 0..scores.queries {
                show_only::<K::Vector>(0..scores.columns - padding, scores.row_mut(last, row));
            }
        }
    }

    #[inline(always)]
    fn mask_row<K: Kernel>(&self, query: usize, count: usize, row: usize, scores: &mut Scores<'_>) {
        let seen = self.visible(query, count);
        let all = scores.keys.clone();
        for panel in 0..scores.panels {
            let first = all.start + panel * scores.columns;
            let end = first + scores.columns;
            let scores = scores.row_mut(panel, row);
            self.add_bias::<K>(query, first, scores);
            self.add_pairs::<K>(query, first, scores);
            if first < seen.start || seen.end < end {
                let shown = seen.start.clamp(first, end) - first..seen.end.clamp(first, end) - first;
                show_only::<K::Vector>(shown, scores);
            }
        }
    }

    /// Adds what each pair has for itself to the scores of a query with the keys from `first` on.
    #[inline(always)]
    fn add_pairs<K: Kernel>(&self, query: usize, first: usize, scores: &mut [f32]) {
        let Some(PairBias { first: first_query, values }) = self.pairs else { return };
        // Panels are padded beyond the last key.
        let row = values.row(query - first_query);
        let row = &row[first.min(row.len())..];
        let count = scores.len().min(row.len());
        zip!(K::Vector, &mut scores[..count], &row[..count], |score, bias| {
            bias.mul_add(K::Vector::splat(LOG2_E), score)
        });
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
    for at in (0..scores.len()).step_by(V::LANES) {
        if shown.start <= at && at + V::LANES <= shown.end {
            continue;
        }
        let (scores, places) = (&mut scores[at..], V::load(&PLACES[at..]));
        let score = end.select_greater(places, V::load(scores), hidden);
        start.select_greater(places, hidden, score).store(scores);
    }
}

/// Room for the rows of a tile, in whole registers of any instruction set.
const PADDED_ROWS: usize = 16;

/// What is known of the scores of a tile of queries so far.
#[derive(Clone, Copy)]
pub(super) struct RowStates {
    max: [f32; PADDED_ROWS],
    /// The sums of `2^(score - largest)`.
    totals: [f32; PADDED_ROWS],
    /// Bring what was summed before the last tile of keys to the same scale.
    pub(super) corrections: [f32; PADDED_ROWS],
}

impl RowStates {
    /// Before the first key.
    pub(super) const START: RowStates = RowStates {
        max: [f32::NEG_INFINITY; PADDED_ROWS],
        totals: [0.0; PADDED_ROWS],
        corrections: [0.0; PADDED_ROWS],
    };

    /// What the weighted sums are multiplied with in the end.
    #[inline(always)]
    pub(super) fn shares<V: Vector>(&self) -> [f32; PADDED_ROWS] {
        let mut shares = self.totals;
        map!(V, shares, |total| V::splat(1.0) / total);
        shares
    }

    /// Takes note of the largest scores of a tile of keys.
    #[inline(always)]
    fn meet<V: Vector>(&mut self, max: [f32; PADDED_ROWS]) {
        let before = self.max;
        zip!(V, &mut self.max, max, |before, now| now.max(before));
        // Where nothing was summed yet, the largest score was -∞ and the correction is 2^-∞ = 0: even where it
        // still is -∞, as it is taken for a number then.
        let lowest = V::splat(f32::MIN);
        self.corrections = before;
        zip!(V, &mut self.corrections, self.max, |before, now| {
            exp2_without_overflow(before - lowest.max(now))
        });
    }
}

/// Turns the scores of each query into weights relative to the largest score so far, `[rows, KEY_TILE]`, two to a
/// lane in bf16.
#[inline(always)]
pub(super) fn soften<K: Kernel>(
    scores: &Scores<'_>,
    states: &mut RowStates,
    storage: Storage,
    weights: &mut [f32],
) {
    // Several registers in step, where panels are that wide: see `vector/wide.rs`.
    if scores.columns.is_multiple_of(K::Row::LANES) {
        soften_in::<K, K::Row>(scores, states, storage, weights);
    } else if scores.columns.is_multiple_of(2 * K::Vector::LANES) {
        soften_in::<K, Wide<K::Vector, 2>>(scores, states, storage, weights);
    } else {
        soften_in::<K, K::Vector>(scores, states, storage, weights);
    }
}

/// All queries' largest scores first, then all their exponentials: those wait for the largest, and each step of
/// that is a chain of its own, which other rows' work hides.
#[inline(always)]
fn soften_in<K: Kernel, V: Vector>(
    scores: &Scores<'_>,
    states: &mut RowStates,
    storage: Storage,
    weights: &mut [f32],
) {
    let mut rows = [K::Vector::splat(f32::NEG_INFINITY); MAX_ROWS];
    for (r, row) in rows[..scores.queries].iter_mut().enumerate() {
        let mut max = *row;
        for panel in 0..scores.panels {
            let scores = scores.row(panel, r);
            for at in (0..scores.len()).step_by(K::Vector::LANES) {
                max = K::Vector::load(&scores[at..]).max(max);
            }
        }
        *row = max;
    }
    let mut max = [f32::NEG_INFINITY; PADDED_ROWS];
    max[..MAX_ROWS].copy_from_slice(&K::Vector::max_of_eight(rows));
    states.meet::<K::Vector>(max);

    let mut totals = [V::splat(0.0); MAX_ROWS];
    for r in 0..scores.queries {
        let weights = &mut weights[r * KEY_TILE..][..KEY_TILE];
        let max = states.max[r];
        // Before the first key that a query sees, all its scores are -∞, and their weights 0.
        let shift = V::splat(if max == f32::NEG_INFINITY { 0.0 } else { max });
        for panel in 0..scores.panels {
            let row = scores.row(panel, r);
            for at in (0..row.len()).step_by(V::LANES) {
                let weight = exp2_without_overflow(V::load(&row[at..]) - shift);
                totals[r] = totals[r] + weight;
                let place = panel * scores.columns + at;
                match storage {
                    Storage::F32 => weight.store(&mut weights[place..]),
                    _ => weight.store_bf16(&mut halves_mut(weights)[place..]),
                }
            }
        }
    }
    for (r, sum) in V::sum_of_eight(totals).into_iter().enumerate() {
        states.totals[r] = states.totals[r] * states.corrections[r] + sum;
    }
}
