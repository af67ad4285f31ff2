//! x86-64.

use super::Kernel;
use crate::storage::Storage;
use crate::vector::{Avx2x8, Avx512x16, Wide};
use std::arch::x86_64::*;

/// AVX2, FMA and F16C: a tile is 12 registers of sums, 2 of weights and 1 of x, of 16.
pub(crate) struct Avx2;

impl Kernel for Avx2 {
    type Vector = Avx2x8;
    type Row = Wide<Avx2x8, 2>;
    const ROWS: usize = 6;
    const COLUMNS: usize = 2 * 8;

    #[inline(always)]
    fn widened(storage: Storage, halves: &[u16]) -> Avx2x8 {
        let halves = halves[..8].as_ptr().cast();
        // SAFETY: the slice has 8 values; this is only run where the CPU has the instruction set.
        Avx2x8(unsafe {
            if storage == Storage::F16Weights { load_f16_avx2(halves) } else { load_bf16_avx2(halves) }
        })
    }
}

/// AVX-512 (F, VL, BW, DQ): a tile is 24 registers of sums, 3 of weights and 1 of x, of 32.
pub(crate) struct Avx512;

impl Kernel for Avx512 {
    type Vector = Avx512x16;
    type Row = Wide<Avx512x16, 3>;
    const ROWS: usize = 8;
    const COLUMNS: usize = 3 * 16;

    #[inline(always)]
    fn widened(storage: Storage, halves: &[u16]) -> Avx512x16 {
        let halves = halves[..16].as_ptr().cast();
        // SAFETY: the slice has 16 values; this is only run where the CPU has the instruction set.
        Avx512x16(unsafe {
            if storage == Storage::F16Weights { load_f16_avx512(halves) } else { load_bf16_avx512(halves) }
        })
    }
}

/// Eight half-precision numbers as f32.
///
/// # Safety
/// There must be so many at the address.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn load_f16_avx2(halves: *const f32) -> __m256 {
    // SAFETY: as the caller says.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(halves.cast()) })
}

/// Eight bf16 as f32: a bf16 is the upper half of an f32.
///
/// # Safety
/// There must be so many at the address.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn load_bf16_avx2(halves: *const f32) -> __m256 {
    // SAFETY: as the caller says.
    let halves = unsafe { _mm_loadu_si128(halves.cast()) };
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
}

/// Sixteen half-precision numbers as f32.
///
/// # Safety
/// There must be so many at the address.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
pub(crate) unsafe fn load_f16_avx512(halves: *const f32) -> __m512 {
    // SAFETY: as the caller says.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(halves.cast()) })
}

/// Sixteen bf16 as f32. Moving them to the upper halves in one step, zeros between them, leaves the multipliers
/// freer than widening and shifting.
///
/// # Safety
/// There must be so many at the address.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
pub(crate) unsafe fn load_bf16_avx512(halves: *const f32) -> __m512 {
    /// Twice the place of each half.
    const PLACES: [u16; 32] = {
        let mut places = [0; 32];
        let mut i = 0;
        while i < 32 {
            places[i] = i as u16 / 2;
            i += 1;
        }
        places
    };
    // SAFETY: as the caller says; the constant has 64 bytes.
    let (halves, places) =
        unsafe { (_mm256_loadu_si256(halves.cast()), _mm512_loadu_si512(PLACES.as_ptr().cast())) };
    let widened = _mm512_maskz_permutexvar_epi16(0xaaaa_aaaa, places, _mm512_castsi256_si512(halves));
    _mm512_castsi512_ps(widened)
}
