//! The tile for AArch64.

use super::tile::tile;
use super::{Kernel, MAX_TILE};
use crate::matrix::Matrix;
use std::arch::aarch64::*;

#[inline]
#[target_feature(enable = "neon")]
fn zero() -> float32x4_t {
    vdupq_n_f32(0.0)
}

#[inline]
#[target_feature(enable = "neon")]
fn multiply_add(value: float32x4_t, weights: float32x4_t, sums: float32x4_t) -> float32x4_t {
    vfmaq_f32(sums, value, weights)
}

/// Two products of bf16 pairs added to each sum: a bf16 is the upper half of an f32.
#[inline]
#[target_feature(enable = "neon")]
fn widen_pairs(value: float32x4_t, weights: float32x4_t, sums: float32x4_t) -> float32x4_t {
    let low = |pair| vreinterpretq_f32_u32(vshlq_n_u32::<16>(vreinterpretq_u32_f32(pair)));
    let high = |pair| vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(pair), vdupq_n_u32(0xffff_0000)));
    let sums = vfmaq_f32(sums, low(value), low(weights));
    vfmaq_f32(sums, high(value), high(weights))
}

tile!(
    /// NEON: 24 sums, 3 registers of weights and 1 of x, of 32.
    Neon, "neon", 8 x (3 * 4),
    rows [8 7 6 5 4 3 2 1],
    float32x4_t, zero, vld1q_f32, vst1q_f32, vdupq_n_f32, multiply_add, pairs
);

tile!(
    /// NEON on bf16 pairs.
    NeonWidened, "neon", 8 x (3 * 4),
    rows [8 7 6 5 4 3 2 1],
    float32x4_t, zero, vld1q_f32, vst1q_f32, vdupq_n_f32, widen_pairs, pairs
);

/// # Safety
/// The CPU must have NEON.
unsafe fn pairs(x: Matrix<'_>, panel: &[f32], tile: &mut [f32; MAX_TILE]) {
    // SAFETY: as the caller says.
    unsafe { NeonWidened::tile(x, panel, tile) }
}
