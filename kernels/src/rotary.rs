//! Rotary position embedding (RoPE), the half-rotation ("NeoX") form.

use crate::dispatch::dispatch;
use crate::kernel::Kernel;
use crate::vector::Vector;

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
    let lanes = K::Vector::LANES;
    for start in (0..half).step_by(lanes) {
        let part = start..(start + lanes).min(half);
        let a = K::Vector::load_part(&first[part.clone()], 0.0);
        let b = K::Vector::load_part(&second[part.clone()], 0.0);
        let cos = K::Vector::load_part(&cos[part.clone()], 0.0);
        let sin = K::Vector::load_part(&sin[part.clone()], 0.0);
        (a * cos - b * sin).store_part(&mut first[part.clone()]);
        b.mul_add(cos, a * sin).store_part(&mut second[part.clone()]);
    }
}
