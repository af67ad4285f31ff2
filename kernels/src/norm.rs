//! LayerNorm and RMSNorm of one row, in place.

use crate::gemm::Kernel;
use crate::isa::dispatch;
use crate::vector::{Vector, fold, map, zip};

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
    let mean = K::Row::splat(mean);
    map!(K::Row, row, |x| x - mean);
    let variance = fold!(K::Row, row, zero, fill 0.0, |sum, x| x.mul_add(x, sum)).sum() / count;
    let scale = K::Row::splat(1.0 / (variance + eps).sqrt());
    zip!(K::Row, row, weight, |x, w| x * scale * w);
    if !bias.is_empty() {
        zip!(K::Row, row, bias, |x, b| x + b);
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
    let scale = K::Row::splat(1.0 / (squares / row.len() as f32 + eps).sqrt());
    zip!(K::Row, row, weight, |x, w| x * scale * w);
}
