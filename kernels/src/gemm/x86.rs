//! The tiles for x86-64: one definition, in the registers of each instruction set.

use super::{Kernel, MAX_TILE, check_tile};
use crate::matrix::Matrix;
use std::arch::x86_64::*;

/// Defines a kernel of `$rows` rows by `$vectors` registers of `$lanes` values.
macro_rules! tile {
    (
        $(#[$meta:meta])* $name:ident, $features:literal, $rows:literal x ($vectors:literal * $lanes:literal),
        rows [$($row:literal)*],
        $register:ty, $zero:ident, $load:ident, $store:ident, $broadcast:ident, $multiply_add:ident, $pairs:ident
    ) => {
        $(#[$meta])*
        pub(crate) struct $name;

        impl Kernel for $name {
            const ROWS: usize = $rows;
            const COLUMNS: usize = $vectors * $lanes;

            #[inline(always)]
            fn mul_add(a: f32, b: f32, c: f32) -> f32 {
                a.mul_add(b, c)
            }

            unsafe fn tile_bf16(x: Matrix<'_>, panel: &[f32], tile: &mut [f32; MAX_TILE]) {
                // SAFETY: the caller found the instruction set.
                unsafe { $pairs(x, panel, tile) }
            }

            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn tile(x: Matrix<'_>, panel: &[f32], tile: &mut [f32; MAX_TILE]) {
                /// The tile of the first R rows, all of it in registers.
                #[inline]
                #[target_feature(enable = $features)]
                fn rows<const R: usize>(x: Matrix<'_>, panel: &[f32], tile: &mut [f32; MAX_TILE]) {
                    let depth = x.columns();
                    let x: [*const f32; R] = std::array::from_fn(|r| x.row(r).as_ptr());
                    let mut sums: [[$register; $vectors]; R] = [[$zero(); $vectors]; R];
                    for k in 0..depth {
                        // SAFETY: `check_tile` found the panel to be `depth` rows of COLUMNS values.
                        let weights: [$register; $vectors] = std::array::from_fn(|v| unsafe {
                            $load(panel.as_ptr().add((k * $vectors + v) * $lanes))
                        });
                        for r in 0..R {
                            // SAFETY: each pointer is to a row of `depth` values.
                            let value = $broadcast(unsafe { *x[r].add(k) });
                            for v in 0..$vectors {
                                sums[r][v] = $multiply_add(value, weights[v], sums[r][v]);
                            }
                        }
                    }
                    let out = tile[..R * $vectors * $lanes].as_mut_ptr();
                    for (r, sums) in sums.iter().enumerate() {
                        for (v, &sum) in sums.iter().enumerate() {
                            // SAFETY: the slice above holds R rows of COLUMNS values.
                            unsafe { $store(out.add((r * $vectors + v) * $lanes), sum) };
                        }
                    }
                }

                check_tile::<Self>(x, panel);
                match x.rows() {
                    $($row => rows::<$row>(x, panel, tile),)*
                    _ => {}
                }
            }
        }
    };
}

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
