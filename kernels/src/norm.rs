//! LayerNorm and RMSNorm of rows.

use crate::dispatch::dispatch;
use crate::kernel::Kernel;
use crate::matrix::{Matrix, MatrixMut};
use crate::vector::{Vector, fold};

dispatch! {
    /// LayerNorm of each row: `(x - mean) / √(variance + eps) · weight + bias`, population variance.
    ///
    /// `x` and `out` are `[rows, columns]`. An empty `bias` means none.
    ///
    /// # Panics
    /// If `x` and `out` are not of one size, or `weight`, or a `bias` that is not empty, has not a value for each
    /// column.
    pub fn layer_norm(
        x: Matrix<'_>,
        weight: &[f32],
        bias: &[f32],
        eps: f32,
        out: MatrixMut<'_>,
    ) = layer_norm_body
}

#[inline(always)]
fn layer_norm_body<K: Kernel>(x: Matrix<'_>, weight: &[f32], bias: &[f32], eps: f32, mut out: MatrixMut<'_>) {
    assert!(x.rows() == out.rows() && x.columns() == out.columns());
    assert!(weight.len() == x.columns() && (bias.is_empty() || bias.len() == x.columns()));
    let zero = K::Row::splat(0.0);
    let count = x.columns() as f32;
    for r in 0..x.rows() {
        let row = x.row(r);
        let mean = fold!(K::Row, row, zero, fill 0.0, |sum, x| sum + x).sum() / count;
        // Of what is behind the last value nothing is left when the mean is subtracted.
        let mean_of_lanes = K::Row::splat(mean);
        let squares = fold!(K::Row, row, zero, fill mean, |sum, x| {
            let centred = x - mean_of_lanes;
            centred.mul_add(centred, sum)
        });
        let scale = 1.0 / (squares.sum() / count + eps).sqrt();
        scale_row(mean_of_lanes, K::Row::splat(scale), row, (weight, bias), out.row_mut(r));
    }
}

/// `(x - mean) · scale · weight + bias`, an empty bias being none.
#[inline(always)]
fn scale_row<V: Vector>(mean: V, scale: V, row: &[f32], (weight, bias): (&[f32], &[f32]), out: &mut [f32]) {
    for (start, out) in (0..row.len()).step_by(V::LANES).zip(out.chunks_mut(V::LANES)) {
        let part = start..start + out.len();
        let x = V::load_part(&row[part.clone()], 0.0) - mean;
        let mut y = x * scale * V::load_part(&weight[part.clone()], 0.0);
        if !bias.is_empty() {
            y = y + V::load_part(&bias[part], 0.0);
        }
        y.store_part(out);
    }
}

dispatch! {
    /// RMSNorm of each row: `x / √(mean(x²) + eps) · weight`.
    ///
    /// `x` and `out` are `[rows, columns]`.
    ///
    /// # Panics
    /// If `x` and `out` are not of one size, or `weight` has not a value for each column.
    pub fn rms_norm(x: Matrix<'_>, weight: &[f32], eps: f32, out: MatrixMut<'_>) = rms_norm_body
}

#[inline(always)]
fn rms_norm_body<K: Kernel>(x: Matrix<'_>, weight: &[f32], eps: f32, mut out: MatrixMut<'_>) {
    assert!(x.rows() == out.rows() && x.columns() == out.columns() && weight.len() == x.columns());
    let zero = K::Row::splat(0.0);
    let count = x.columns() as f32;
    for r in 0..x.rows() {
        let row = x.row(r);
        let squares = fold!(K::Row, row, zero, fill 0.0, |sum, x| x.mul_add(x, sum)).sum();
        let scale = 1.0 / (squares / count + eps).sqrt();
        scale_row(zero, K::Row::splat(scale), row, (weight, &[]), out.row_mut(r));
    }
}
