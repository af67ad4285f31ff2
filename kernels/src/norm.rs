//! LayerNorm and RMSNorm of one row, in place.

use crate::gemm::Kernel;
use crate::isa::dispatch;

/// Partial sums kept side by side, so that the compiler may use vectors: float addition is not
/// associative, and this fixes the order of it for every instruction set.
const LANES: usize = 16;

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
    let count = row.len() as f32;
    let mean = sum_by::<K>(row, |sum, v| sum + v) / count;
    row.iter_mut().for_each(|v| *v -= mean);
    let variance = sum_by::<K>(row, |sum, v| K::mul_add(v, v, sum)) / count;
    let scale = 1.0 / (variance + eps).sqrt();
    if bias.is_empty() {
        row.iter_mut().zip(weight).for_each(|(v, &w)| *v = *v * scale * w);
    } else {
        let parameters = weight.iter().zip(bias);
        row.iter_mut().zip(parameters).for_each(|(v, (&w, &b))| *v = K::mul_add(*v * scale, w, b));
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
    let mean_square = sum_by::<K>(row, |sum, v| K::mul_add(v, v, sum)) / row.len() as f32;
    let scale = 1.0 / (mean_square + eps).sqrt();
    row.iter_mut().zip(weight).for_each(|(v, &w)| *v = *v * scale * w);
}

/// Folds the values of a row into [`LANES`] partial sums by `add`, and those into one.
#[inline(always)]
fn sum_by<K: Kernel>(row: &[f32], add: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let mut chunks = row.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = add(*lane, value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = add(*lane, value);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0]
}
