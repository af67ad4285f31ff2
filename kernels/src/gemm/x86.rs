//! The tiles for x86-64.

use super::tile::{PanelTile, PeakLoop, Tile, TileFunction, peak, tile};
use crate::isa::Kind;
use crate::kernel::Kernel;
use crate::kernel::x86::{Avx2, Avx512, load_bf16_avx2, load_bf16_avx512, load_f16_avx2, load_f16_avx512};
use crate::matrix::Matrix;
use crate::storage::Storage;
use std::arch::x86_64::*;

/// The tile of an instruction set that is not [`Kind::Portable`].
pub(super) fn tile(kind: Kind, storage: Storage) -> Tile {
    use Kind::{Avx2, Avx2Vnni, Avx512, Avx512Bf16, Avx512Vnni, Portable};
    let run: TileFunction = match (kind, storage) {
        (Portable, _) => return super::portable::tile(storage),
        (Avx2 | Avx2Vnni, Storage::F32) => avx2_f32,
        (Avx2 | Avx2Vnni, Storage::F16Weights) => avx2_f16_weights,
        (Avx2 | Avx2Vnni, Storage::Bf16Weights | Storage::Bf16Widened) => avx2_bf16_weights,
        (Avx2 | Avx2Vnni, Storage::Bf16) => avx2_bf16,
        (Avx2, Storage::Int8) => avx2_int8,
        (Avx2Vnni, Storage::Int8) => avx2_vnni_int8,
        (Avx512 | Avx512Vnni | Avx512Bf16, Storage::F32) => avx512_f32,
        (Avx512 | Avx512Vnni | Avx512Bf16, Storage::F16Weights) => avx512_f16_weights,
        (Avx512 | Avx512Vnni | Avx512Bf16, Storage::Bf16Weights | Storage::Bf16Widened) => {
            avx512_bf16_weights
        }
        (Avx512 | Avx512Vnni, Storage::Bf16) => avx512_bf16_widened,
        (Avx512Bf16, Storage::Bf16) => avx512_bf16,
        (Avx512, Storage::Int8) => avx512_int8,
        (Avx512Vnni | Avx512Bf16, Storage::Int8) => avx512_vnni_int8,
    };
    run.into()
}

/// Tiles for matrices that would pad wide panels.
pub(super) fn narrow_tiles(kind: Kind, storage: Storage) -> &'static [PanelTile] {
    /// A panel of one register needs more loads than it multiplies.
    const fn one_register(multiply: TileFunction) -> PanelTile {
        PanelTile { column_time: 5, ..PanelTile::new(16, multiply) }
    }
    match (kind, storage) {
        (Kind::Avx512 | Kind::Avx512Vnni | Kind::Avx512Bf16, Storage::F32) => {
            const { &[PanelTile::new(2 * 16, avx512_f32_narrow), one_register(avx512_f32_narrowest)] }
        }
        (Kind::Avx512Bf16, Storage::Bf16) => {
            const { &[PanelTile::new(2 * 16, avx512_bf16_narrow), one_register(avx512_bf16_narrowest)] }
        }
        _ => &[],
    }
}

/// The loop for the instruction at the heart of a tile.
pub(super) fn peak(kind: Kind, storage: Storage) -> PeakLoop {
    use Kind::{Avx2, Avx2Vnni, Avx512, Avx512Bf16, Avx512Vnni, Portable};
    let storage = storage.of_rows();
    let (run, registers): (unsafe fn(usize), usize) = match (kind, storage) {
        (Portable, _) => return super::portable::peak(storage),
        (_, Storage::F16Weights | Storage::Bf16Weights | Storage::Bf16Widened) => {
            unreachable!("rows are stored otherwise")
        }
        (Avx2 | Avx2Vnni, Storage::F32) => (avx2_f32_peak, 12 * 8),
        (Avx2 | Avx2Vnni, Storage::Bf16) => (avx2_bf16_peak, 12 * 8),
        (Avx2, Storage::Int8) => (avx2_int8_peak, 12 * 8),
        (Avx2Vnni, Storage::Int8) => (avx2_vnni_int8_peak, 12 * 8),
        (Avx512 | Avx512Vnni | Avx512Bf16, Storage::F32) => (avx512_f32_peak, 24 * 16),
        (Avx512 | Avx512Vnni, Storage::Bf16) => (avx512_bf16_widened_peak, 24 * 16),
        (Avx512Bf16, Storage::Bf16) => (avx512_bf16_peak, 24 * 16),
        (Avx512, Storage::Int8) => (avx512_int8_peak, 24 * 16),
        (Avx512Vnni | Avx512Bf16, Storage::Int8) => (avx512_vnni_int8_peak, 24 * 16),
    };
    PeakLoop { run, products: registers * storage.values_of_a_lane() }
}

peak!(avx2_f32_peak, "avx2,fma", __m256, 12, _mm256_set1_ps, _mm256_fmadd_ps);
peak!(avx2_bf16_peak, "avx2,fma", __m256, 12, _mm256_set1_ps, widen_pairs_avx2);
peak!(avx2_int8_peak, "avx2,fma", __m256, 12, _mm256_set1_ps, multiply_bytes_avx2);
peak!(avx2_vnni_int8_peak, "avx2,fma,avxvnni", __m256, 12, _mm256_set1_ps, dot_bytes_avx2);
peak!(avx512_f32_peak, "avx512f,avx2,fma", __m512, 24, _mm512_set1_ps, _mm512_fmadd_ps);
peak!(
    avx512_bf16_widened_peak,
    "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma",
    __m512,
    24,
    _mm512_set1_ps,
    widen_pairs_avx512
);
peak!(
    avx512_bf16_peak,
    "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma",
    __m512,
    24,
    _mm512_set1_ps,
    dot_pairs
);
peak!(
    avx512_int8_peak,
    "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma",
    __m512,
    24,
    _mm512_set1_ps,
    multiply_bytes_avx512
);
peak!(
    avx512_vnni_int8_peak,
    "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma",
    __m512,
    24,
    _mm512_set1_ps,
    dot_bytes_avx512
);

/// The instruction at the heart of a tile.
pub(super) fn product(kind: Kind, storage: Storage) -> &'static str {
    match (kind, storage) {
        (Kind::Avx2Vnni | Kind::Avx512Vnni | Kind::Avx512Bf16, Storage::Int8) => "vpdpbusd",
        (_, Storage::Int8) => "vpmaddwd",
        (Kind::Avx512Bf16, Storage::Bf16) => "vdpbf16ps",
        (_, Storage::Bf16) => "vfmadd231ps on widened bf16",
        (_, Storage::F16Weights) => "vfmadd231ps on widened f16 weights",
        (_, Storage::Bf16Weights | Storage::Bf16Widened) => "vfmadd231ps on widened bf16 weights",
        (_, Storage::F32) => "vfmadd231ps",
    }
}

/// A tile of 6 rows on AVX2's registers.
macro_rules! avx2_tile {
    ($name:ident, $features:literal, $multiply_add:ident) => {
        avx2_tile!($name, $features, _mm256_loadu_ps of 1, $multiply_add);
    };
    ($name:ident, $features:literal, $load:ident of $to_a_lane:literal, $multiply_add:ident) => {
        tile!(
            $name of Avx2, $features, 2 * 8, rows [6 5 4 3 2 1], __m256, _mm256_setzero_ps, $load of $to_a_lane,
            _mm256_storeu_ps, _mm256_set1_ps, $multiply_add, prefetch
        );
    };
}

/// A tile of 8 rows and so many columns of AVX-512's registers.
macro_rules! avx512_tile {
    ($name:ident, $columns:literal, $features:literal, $multiply_add:ident) => {
        avx512_tile!($name, $columns, $features, _mm512_loadu_ps of 1, $multiply_add);
    };
    ($name:ident, $columns:literal, $features:literal, $load:ident of $to_a_lane:literal, $multiply_add:ident) => {
        tile!(
            $name of Avx512, $features, $columns * 16, rows [8 7 6 5 4 3 2 1], __m512, _mm512_setzero_ps,
            $load of $to_a_lane, _mm512_storeu_ps, _mm512_set1_ps, $multiply_add, prefetch
        );
    };
}

avx2_tile!(avx2_f32, "avx2,fma", _mm256_fmadd_ps);
avx2_tile!(avx2_f16_weights, "avx2,fma,f16c", load_f16_avx2 of 2, _mm256_fmadd_ps);
avx2_tile!(avx2_bf16_weights, "avx2,fma", load_bf16_avx2 of 2, _mm256_fmadd_ps);
avx2_tile!(avx2_bf16, "avx2,fma", widen_pairs_avx2);
avx2_tile!(avx2_int8, "avx2,fma", multiply_bytes_avx2);
avx2_tile!(avx2_vnni_int8, "avx2,fma,avxvnni", dot_bytes_avx2);
avx512_tile!(avx512_f32, 3, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma", _mm512_fmadd_ps);
avx512_tile!(avx512_f32_narrow, 2, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma", _mm512_fmadd_ps);
avx512_tile!(avx512_f32_narrowest, 1, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma", _mm512_fmadd_ps);
avx512_tile!(
    avx512_f16_weights,
    3,
    "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma",
    load_f16_avx512 of 2,
    _mm512_fmadd_ps
);
avx512_tile!(
    avx512_bf16_weights,
    3,
    "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma",
    load_bf16_avx512 of 2,
    _mm512_fmadd_ps
);
avx512_tile!(avx512_bf16_widened, 3, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma", widen_pairs_avx512);
avx512_tile!(avx512_bf16, 3, "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma", dot_pairs);
avx512_tile!(avx512_bf16_narrow, 2, "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma", dot_pairs);
avx512_tile!(avx512_bf16_narrowest, 1, "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma", dot_pairs);
avx512_tile!(avx512_int8, 3, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma", multiply_bytes_avx512);
avx512_tile!(avx512_vnni_int8, 3, "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma", dot_bytes_avx512);

/// Asks for a cache line, into the L2 cache. The address may be anything.
#[inline(always)]
fn prefetch(address: *const f32) {
    // SAFETY: SSE is part of x86-64, and a prefetch of a bad address does nothing.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
}

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

/// Four products of unsigned bytes of x and signed bytes of weights added to each 32-bit sum.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma")]
fn dot_bytes_avx512(x: __m512, weights: __m512, sums: __m512) -> __m512 {
    let bits = _mm512_castps_si512;
    _mm512_castsi512_ps(_mm512_dpbusd_epi32(bits(sums), bits(x), bits(weights)))
}

#[inline]
#[target_feature(enable = "avx2,fma,avxvnni")]
fn dot_bytes_avx2(x: __m256, weights: __m256, sums: __m256) -> __m256 {
    let bits = _mm256_castps_si256;
    _mm256_castsi256_ps(_mm256_dpbusd_avx_epi32(bits(sums), bits(x), bits(weights)))
}

/// The same where the CPU has no instruction for it: even and odd bytes as 16-bit numbers. (The
/// instruction that multiplies bytes, `vpmaddubsw`, clips its sums.)
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
fn multiply_bytes_avx512(x: __m512, weights: __m512, sums: __m512) -> __m512 {
    let (x, weights) = (_mm512_castps_si512(x), _mm512_castps_si512(weights));
    let even_x = _mm512_and_si512(x, _mm512_set1_epi16(0xff));
    let even_weights = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(weights));
    let even = _mm512_madd_epi16(even_x, even_weights);
    let odd = _mm512_madd_epi16(_mm512_srli_epi16::<8>(x), _mm512_srai_epi16::<8>(weights));
    _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(sums), _mm512_add_epi32(even, odd)))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn multiply_bytes_avx2(x: __m256, weights: __m256, sums: __m256) -> __m256 {
    let (x, weights) = (_mm256_castps_si256(x), _mm256_castps_si256(weights));
    let even_x = _mm256_and_si256(x, _mm256_set1_epi16(0xff));
    let even_weights = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights));
    let even = _mm256_madd_epi16(even_x, even_weights);
    let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(x), _mm256_srai_epi16::<8>(weights));
    _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(sums), _mm256_add_epi32(even, odd)))
}
