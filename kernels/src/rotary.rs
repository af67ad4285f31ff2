//! Rotary position embedding (RoPE), the half-rotation ("NeoX") form.

use crate::gemm::Kernel;
use crate::isa::dispatch;

dispatch! {
    /// Rotates one head in place: for each pair `(a, b) = (x[i], x[i + half])`,
    /// `a' = a·cos[i] - b·sin[i]` and `b' = b·cos[i] + a·sin[i]`, where `half = head.len() / 2`.
    ///
    /// # Panics
    /// If `cos` and `sin` are not half as long as `head`.
    pub fn rotate_half(head: &mut [f32], cos: &[f32], sin: &[f32]) = rotate_half_body
}

#[inline(always)]
fn rotate_half_body<K: Kernel>(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = head.len() / 2;
    assert!(head.len().is_multiple_of(2) && cos.len() == half && sin.len() == half);
    let (first, second) = head.split_at_mut(half);
    let angles = cos.iter().zip(sin);
    for ((a, b), (&cos, &sin)) in first.iter_mut().zip(second).zip(angles) {
        let (x, y) = (*a, *b);
        *a = K::mul_add(x, cos, -(y * sin));
        *b = K::mul_add(y, cos, x * sin);
    }
}
