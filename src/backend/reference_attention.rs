//! The oracle's attention.

use crate::batch::RaggedBatch;
use crate::plan::Step;

/// `vectors` are those by distance: `[rows, heads · head_dim]`, those of queries and those of keys; empty: none.
pub(super) fn attention(
    step: &Step,
    batch: &RaggedBatch,
    (input, in_width): (&[f32], usize),
    vectors: [&[f32]; 2],
    out_width: usize,
) -> Vec<f32> {
    let Step::Attention { heads, kv_heads, head_dim, scale, window, bias, positions, .. } = step else {
        unreachable!("called for attention steps");
    };
    let (heads, kv_heads, head_dim) = (*heads, *kv_heads, *head_dim);
    let part = |token: usize, column: usize| &input[token * in_width + column..][..head_dim];
    let mut output = vec![0.0; batch.tokens() * out_width];
    for (range, keys) in batch.ranges().zip(&batch.keys) {
        let last = range.start + keys;
        for head in 0..heads {
            let kv_head = head / (heads / kv_heads);
            let (key_column, value_column) =
                ((heads + kv_head) * head_dim, (heads + kv_heads + kv_head) * head_dim);
            for q in range.clone() {
                let first =
                    window.before.map_or(range.start, |before| q.saturating_sub(before).max(range.start));
                let end = window.after.map_or(last, |after| (q + after + 1).min(last));
                if first >= end {
                    continue; // sees no key: 0
                }
                let query = part(q, head * head_dim);
                let score = |k: usize| {
                    let key = part(k, key_column);
                    let mut dot = dot(query, key);
                    if let Some(positions) = positions {
                        let row = positions.row(q as i64 - k as i64);
                        for (values, vectors) in [query, key].into_iter().zip(vectors) {
                            let vector = vectors.get((row * heads + head) * head_dim..).unwrap_or_default();
                            dot += self::dot(values, vector); // of nothing: 0
                        }
                    }
                    let bias = bias.as_ref().map_or(0.0, |bias| {
                        let reach = bias.reach as i64;
                        let distance = (k as i64 - q as i64).clamp(-reach, reach);
                        bias.head(head)[(distance + reach) as usize]
                    });
                    dot * f64::from(*scale) + f64::from(bias)
                };
                let scores: Vec<f64> = (first..end).map(score).collect();
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
                let total: f64 = weights.iter().sum();
                for d in 0..head_dim {
                    let values = (first..end).map(|k| f64::from(part(k, value_column)[d]));
                    let sum: f64 = values.zip(&weights).map(|(value, weight)| value * weight).sum();
                    output[q * out_width + head * head_dim + d] = (sum / total) as f32;
                }
            }
        }
    }
    output
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
