//! What depends on positions, worked out once: rotary angles, and biases by distance.

use crate::batch::RaggedBatch;
use crate::error::ModelResult as Result;
use crate::model::{RelativeBiasSpec, RelativePositionsSpec, RotarySpec};
use std::sync::Arc;

/// Cosine and sine of each position's angles.
pub(crate) struct RotaryTable {
    /// Twice the number of angles.
    pub(crate) head_dim: usize,
    /// `[positions, head_dim / 2]`
    pub(crate) cos: Vec<f32>,
    /// `[positions, head_dim / 2]`
    pub(crate) sin: Vec<f32>,
    /// What it was made from.
    spec: RotarySpec,
}

impl RotaryTable {
    /// The table for positions below `positions`. Angles are products rounded to f32, as PyTorch
    /// computes them; their cosines are exact to rounding.
    pub(super) fn new(rotary: &RotarySpec, positions: usize) -> RotaryTable {
        let angles = (0..positions).flat_map(|position| {
            rotary.inverse_frequencies.iter().map(move |frequency| f64::from(position as f32 * frequency))
        });
        let scale = rotary.attention_factor;
        let grown = |position| rotary.query_growth.map_or(scale, |growth| scale * growth.at(position));
        let scales = (0..positions)
            .flat_map(|position| std::iter::repeat_n(grown(position), rotary.inverse_frequencies.len()));
        let (sin, cos) = angles
            .zip(scales)
            .map(|(angle, scale)| (angle.sin() as f32 * scale, angle.cos() as f32 * scale))
            .unzip();
        RotaryTable { head_dim: 2 * rotary.inverse_frequencies.len(), cos, sin, spec: rotary.clone() }
    }

    /// Cosine and sine side by side: `[positions, head_dim / 2, 2]`
    #[cfg(feature = "gpu")]
    pub(crate) fn interleaved(&self) -> Vec<f32> {
        self.cos.iter().zip(&self.sin).flat_map(|(cos, sin)| [*cos, *sin]).collect()
    }

    /// Whether the angles depend on more than the position.
    pub(crate) fn is_dynamic(&self) -> bool {
        self.spec.longer.is_some()
    }

    /// The angles of each token of a batch, `[tokens, head_dim / 2]`, where they depend on the length
    /// of its text.
    pub(crate) fn of_tokens(&self, batch: &RaggedBatch) -> RotaryTable {
        let mut all = RotaryTable {
            head_dim: self.head_dim,
            cos: Vec::new(),
            sin: Vec::new(),
            spec: self.spec.clone(),
        };
        for range in batch.ranges() {
            let text = RotaryTable::new(&self.spec.for_length(range.len()), range.len());
            all.cos.extend(text.cos);
            all.sin.extend(text.sin);
        }
        all
    }
}

/// A bias by distance: `values[head][reach + clamp(key - query, -reach, reach)]`.
pub(crate) struct DistanceBias {
    /// From this distance on, it does not change.
    pub(crate) reach: usize,
    /// `[heads, 2 · reach + 1]`
    pub(crate) values: Vec<f32>,
}

impl DistanceBias {
    /// Works out the bias of every distance once, for texts of up to `positions` tokens.
    pub(super) fn new(spec: &RelativeBiasSpec, heads: usize, positions: usize) -> Result<DistanceBias> {
        match spec {
            RelativeBiasSpec::Buckets { table, max_distance } => {
                let values = table.to_vec()?; // [buckets, heads]
                let by_distance =
                    |head, distance| values[bucket(distance, table.rows(), *max_distance) * heads + head];
                Ok(DistanceBias::tabulated(heads, *max_distance, by_distance))
            }
            RelativeBiasSpec::Linear => {
                let by_distance = |head, distance: i64| -slope(head, heads) * distance.unsigned_abs() as f32;
                Ok(DistanceBias::tabulated(heads, positions, by_distance))
            }
        }
    }

    fn tabulated(heads: usize, reach: usize, bias: impl Fn(usize, i64) -> f32) -> DistanceBias {
        let distances = -(reach as i64)..=reach as i64;
        let values = (0..heads).flat_map(|head| distances.clone().map(move |d| (head, d)));
        DistanceBias { reach, values: values.map(|(head, distance)| bias(head, distance)).collect() }
    }

    /// The values of one head, `[2 · reach + 1]`.
    pub(crate) fn head(&self, head: usize) -> &[f32] {
        let width = 2 * self.reach + 1;
        &self.values[head * width..][..width]
    }
}

/// Vectors by distance that queries and keys are multiplied with, in a step.
pub(crate) struct RelativePositions {
    /// What they are made from.
    pub(crate) spec: RelativePositionsSpec,
    /// The row of each distance `query - key` up to some reach either way; the same for all layers.
    pub(crate) rows: Arc<Vec<u32>>,
}

impl RelativePositions {
    /// From this distance on, the row does not change.
    pub(crate) fn reach(&self) -> usize {
        self.rows.len() / 2
    }

    /// The row of a distance `query - key`.
    pub(crate) fn row(&self, distance: i64) -> usize {
        let reach = self.reach() as i64;
        self.rows[(distance.clamp(-reach, reach) + reach) as usize] as usize
    }
}

/// ALiBi's slope of a head: `2^(-8 k / n)` for the k-th of n heads (from 1) if n is a power of two;
/// otherwise those of the next smaller power of two, then every other one of the next larger.
///
/// Press, Smith, Lewis: Train Short, Test Long (2022), and the authors' `get_slopes`.
fn slope(head: usize, heads: usize) -> f32 {
    let smaller = 1 << heads.ilog2();
    let exponent = match head.checked_sub(smaller) {
        None => (head + 1) as f64 / smaller as f64,
        Some(beyond) => (2 * beyond + 1) as f64 / (2 * smaller) as f64,
    };
    2f64.powf(-8.0 * exponent) as f32
}

/// The bucket of a distance `key - query`, bidirectional: half of the buckets for each side; of
/// those, half for one distance each and half for ranges that grow as powers up to `max_distance`.
///
/// T5's `_relative_position_bucket` in transformers, in its f32 arithmetic.
fn bucket(distance: i64, buckets: usize, max_distance: usize) -> usize {
    let side = buckets / 2;
    let exact = side / 2;
    let offset = if distance > 0 { side } else { 0 };
    let distance = distance.unsigned_abs() as usize;
    if distance < exact {
        return offset + distance;
    }
    let ratio = (distance as f32 / exact as f32).ln() / (max_distance as f32 / exact as f32).ln();
    let large = exact + (ratio * (side - exact) as f32) as usize;
    offset + large.min(side - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both sides of MPNet's and T5's buckets, as their functions in transformers give them.
    #[test]
    fn buckets_have_the_published_borders() {
        let borders = [(8, 8), (12, 9), (16, 10), (23, 11), (32, 12), (46, 13), (64, 14), (91, 15)];
        for distance in 0..400i64 {
            let expected = match borders.iter().rfind(|(from, _)| distance >= *from) {
                Some((_, bucket)) => *bucket,
                None => distance as usize,
            };
            assert_eq!(bucket(-distance, 32, 128), expected, "key {distance} before the query");
            let after = if distance == 0 { 0 } else { 16 + expected };
            assert_eq!(bucket(distance, 32, 128), after, "key {distance} after the query");
        }
    }

    #[test]
    fn rotary_frequencies_are_the_published_ones() {
        let rotary = RotarySpec::from_theta(1000.0, 64);
        let expected = [1.0, 0.805842, 0.649382, 0.523299];
        for (got, want) in rotary.inverse_frequencies.iter().zip(expected) {
            assert!((got - want).abs() < 1e-6, "{got} not {want}");
        }
        let table = RotaryTable::new(&rotary, 3);
        assert_eq!((table.cos[0], table.sin[0]), (1.0, 0.0));
        assert!((table.cos[2 * 32] - 2f32.cos()).abs() < 1e-7);
    }

    /// The values that the authors' function gives, as published for 8 and 12 heads.
    #[test]
    fn slopes_are_the_published_ones() {
        let of = |heads: usize| (0..heads).map(|head| -slope(head, heads).log2()).collect::<Vec<_>>();
        assert_eq!(of(8), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert_eq!(of(12), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 0.5, 1.5, 2.5, 3.5]);
    }

    /// nomic's formula: the exponent head_dim / (head_dim - 2) is a real number, 64/62 here.
    #[test]
    fn stretched_frequencies_use_a_real_exponent() {
        let mut rotary = RotarySpec::from_theta(1000.0, 64);
        rotary.longer =
            Some(crate::model::LongerSpec::DynamicNtk { theta: 1000.0, factor: 2.0, trained: 2048 });
        assert_eq!(rotary.for_length(2048).inverse_frequencies, rotary.inverse_frequencies);
        let theta: f64 = 1000.0 * 7.0f64.powf(64.0 / 62.0); // 2 · 8192 / 2048 - 1 = 7
        let stretched = rotary.for_length(8192).inverse_frequencies;
        assert!((f64::from(stretched[1]) - theta.powf(-2.0 / 64.0)).abs() < 1e-7);
        assert!(
            (f64::from(stretched[1]) - 7000f64.powf(-2.0 / 64.0)).abs() > 1e-4,
            "not the integer exponent"
        );
    }
}
