//! The tiles for x86-64.

use super::tile::tile;
use super::{Kernel, MAX_TILE};
use crate::matrix::Matrix;
use std::arch::x86_64::*;

tile!(
    /// AVX2 and FMA: 12 sums, 2 registers of weights and 1 of x, of 16.
    Avx2, "avx2,fma", 6 x (2 * 8),
    rows [6 5 4 3 2 1],
    __m256, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_ps, _mm256_fmadd_ps, pairs_avx2
);

tile!(
    /// AVX-512 (F, VL, BW, DQ): 24 sums, 3 registers of weights and 1 of x, of 32.
    Avx512, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma", 8 x (3 * 16),
    rows [8 7 6 5 4 3 2 1],
    __m512, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_ps, _mm512_fmadd_ps, pairs_avx512
);

/// Two products of bf16 pairs added to each sum, in the order of the depth.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")]
fn dot_pairs(x: __m512, weights: __m512, sums: __m512) -> __m512 {
    // SAFETY: both are 512 bits without a meaning of their own.
    let (x, weights) = unsafe {
        (std::mem::transmute::<__m512, __m512bh>(x), std::mem::transmute::<__m512, __m512bh>(weights))
    };
    _mm512_dpbf16_ps(sums, x, weights)
}

/// The same where the CPU has no instruction for it: a bf16 is the upper half of an f32.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
fn widen_pairs_avx512(x: __m512, weights: __m512, sums: __m512) -> __m512 {
    let upper = _mm512_castsi512_ps(_mm512_set1_epi32(0xffff_0000u32.cast_signed()));
    let low = |pair| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(pair)));
    let sums = _mm512_fmadd_ps(low(x), low(weights), sums);
    _mm512_fmadd_ps(_mm512_and_ps(x, upper), _mm512_and_ps(weights, upper), sums)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn widen_pairs_avx2(x: __m256, weights: __m256, sums: __m256) -> __m256 {
    let upper = _mm256_castsi256_ps(_mm256_set1_epi32(0xffff_0000u32.cast_signed()));
    let low = |pair| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(pair)));
    let sums = _mm256_fmadd_ps(low(x), low(weights), sums);
    _mm256_fmadd_ps(_mm256_and_ps(x, upper), _mm256_and_ps(weights, upper), sums)
}

tile!(
    /// AVX-512 BF16: a pair of products an instruction and lane.
    Avx512Pairs, "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma", 8 x (3 * 16),
    rows [8 7 6 5 4 3 2 1],
    __m512, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_ps, dot_pairs, pairs_avx512
);

tile!(
    /// AVX-512 without BF16.
    Avx512Widened, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma", 8 x (3 * 16),
    rows [8 7 6 5 4 3 2 1],
    __m512, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_ps, widen_pairs_avx512, pairs_avx512
);

tile!(
    /// AVX2, which has no bf16.
    Avx2Widened, "avx2,fma", 6 x (2 * 8),
    rows [6 5 4 3 2 1],
    __m256, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_ps, widen_pairs_avx2, pairs_avx2
);

/// # Safety
/// The CPU must have the instruction set of [`Avx512`].
unsafe fn pairs_avx512(x: Matrix<'_>, panel: &[f32], tile: &mut [f32; MAX_TILE]) {
    if is_x86_feature_detected!("avx512bf16") {
        // SAFETY: the CPU has it.
        unsafe { Avx512Pairs::tile(x, panel, tile) }
    } else {
        // SAFETY: as the caller says.
        unsafe { Avx512Widened::tile(x, panel, tile) }
    }
}

/// # Safety
/// The CPU must have the instruction set of [`Avx2`].
unsafe fn pairs_avx2(x: Matrix<'_>, panel: &[f32], tile: &mut [f32; MAX_TILE]) {
    // SAFETY: as the caller says.
    unsafe { Avx2Widened::tile(x, panel, tile) }
}
