//! LayerNorm and RMSNorm of one row, in place.

use crate::gemm::Kernel;
use crate::isa::dispatch;
use crate::vector::{Vector, fold};

dispatch! {
    /// LayerNorm: `(x - mean) / √(variance + eps) · weight + bias`, population variance.
    ///
    /// An empty `bias` means none.
    ///
    /// # Panics
    /// If `weight`, or a `bias` that is not empty, is not as long as `row`.
    pub fn layer_norm(row: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) = layer_norm_body
}

#[inline(always)]
fn layer_norm_body<K: Kernel>(row: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    assert_eq!(row.len(), weight.len());
    assert!(bias.is_empty() || bias.len() == row.len());
    let zero = K::Row::splat(0.0);
    let count = row.len() as f32;
    let mean = fold!(K::Row, row, zero, fill 0.0, |sum, x| sum + x).sum() / count;
    let squares = centre(K::Row::splat(mean), row);
    let scale = 1.0 / (squares / count + eps).sqrt();
    scale_row(K::Row::splat(scale), row, weight, bias);
}

/// Subtracts the mean; returns the sum of the squares.
#[inline(always)]
fn centre<V: Vector>(mean: V, row: &mut [f32]) -> f32 {
    let mut squares = V::splat(0.0);
    let mut chunks = row.chunks_exact_mut(V::LANES);
    for chunk in &mut chunks {
        let x = V::load(chunk) - mean;
        squares = x.mul_add(x, squares);
        x.store(chunk);
    }
    let rest = chunks.into_remainder();
    if !rest.is_empty() {
        (V::load_part(rest, 0.0) - mean).store_part(rest);
        let x = V::load_part(rest, 0.0); // 0 behind the last
        squares = x.mul_add(x, squares);
    }
    squares.sum()
}

/// `x · scale · weight + bias`, an empty bias being none.
#[inline(always)]
fn scale_row<V: Vector>(scale: V, row: &mut [f32], weight: &[f32], bias: &[f32]) {
    let starts = (0..row.len()).step_by(V::LANES);
    for (start, chunk) in starts.zip(row.chunks_mut(V::LANES)) {
        let of_chunk = start..start + chunk.len();
        let mut x = V::load_part(chunk, 0.0) * scale * V::load_part(&weight[of_chunk.clone()], 0.0);
        if !bias.is_empty() {
            x = x + V::load_part(&bias[of_chunk], 0.0);
        }
        x.store_part(chunk);
    }
}

dispatch! {
    /// RMSNorm: `x / √(mean(x²) + eps) · weight`.
    ///
    /// # Panics
    /// If `weight` is not as long as `row`.
    pub fn rms_norm(row: &mut [f32], weight: &[f32], eps: f32) = rms_norm_body
}

#[inline(always)]
fn rms_norm_body<K: Kernel>(row: &mut [f32], weight: &[f32], eps: f32) {
    assert_eq!(row.len(), weight.len());
    let zero = K::Row::splat(0.0);
    let squares = fold!(K::Row, row, zero, fill 0.0, |sum, x| x.mul_add(x, sum)).sum();
    let scale = 1.0 / (squares / row.len() as f32 + eps).sqrt();
    scale_row(K::Row::splat(scale), row, weight, &[]);
}
