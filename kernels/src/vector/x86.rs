//! Lanes of AVX2 and AVX-512.

use super::{ENTRIES, Vector};
use std::arch::x86_64::*;
use std::ops::{Add, Div, Mul, Sub};

/// Defines a register and what is the same for both instruction sets but for the intrinsics' names.
macro_rules! register {
    (
        $(#[$meta:meta])* $name:ident($register:ty), $lanes:literal, $set:ident, $load:ident, $store:ident,
        $fmadd:ident, $min:ident, $max:ident, $add:ident, $sub:ident, $mul:ident, $div:ident,
        { $($rest:item)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name(pub(crate) $register);

        register!(operator $name, Add, add, $add);
        register!(operator $name, Sub, sub, $sub);
        register!(operator $name, Mul, mul, $mul);
        register!(operator $name, Div, div, $div);

        impl Vector for $name {
            const LANES: usize = $lanes;
            const LOOKS_UP: bool = $lanes == ENTRIES;

            #[inline(always)]
            fn splat(value: f32) -> Self {
                // SAFETY: only kernels compiled for this instruction set use this type; see `dispatch!`.
                $name(unsafe { $set(value) })
            }

            #[inline(always)]
            fn load(values: &[f32]) -> Self {
                let values = &values[..$lanes];
                // SAFETY: the instruction set as in `splat`; the slice has as many values.
                $name(unsafe { $load(values.as_ptr()) })
            }

            #[inline(always)]
            fn store(self, values: &mut [f32]) {
                let values = &mut values[..$lanes];
                // SAFETY: the instruction set as in `splat`; the slice has as many values.
                unsafe { $store(values.as_mut_ptr(), self.0) }
            }

            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                // SAFETY: the instruction set as in `splat`.
                $name(unsafe { $fmadd(self.0, b.0, c.0) })
            }

            #[inline(always)]
            fn min(self, other: Self) -> Self {
                // SAFETY: the instruction set as in `splat`.
                $name(unsafe { $min(self.0, other.0) })
            }

            #[inline(always)]
            fn max(self, other: Self) -> Self {
                // SAFETY: the instruction set as in `splat`.
                $name(unsafe { $max(self.0, other.0) })
            }

            $(#[inline(always)] $rest)*
        }
    };
    (operator $name:ident, $trait:ident, $method:ident, $intrinsic:ident) => {
        impl $trait for $name {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                // SAFETY: the instruction set as in `Vector::splat`.
                $name(unsafe { $intrinsic(self.0, other.0) })
            }
        }
    };
}

const SIGN: i32 = i32::MIN;

register!(
    /// AVX2 and FMA.
    Avx2x8(__m256), 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps,
    _mm256_fmadd_ps, _mm256_min_ps, _mm256_max_ps, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps, _mm256_div_ps,
    {
        fn select_greater(self, limit: Self, yes: Self, no: Self) -> Self {
            // SAFETY: the instruction set as in `splat`.
            unsafe {
                let greater = _mm256_cmp_ps::<_CMP_GT_OQ>(self.0, limit.0);
                Avx2x8(_mm256_blendv_ps(no.0, yes.0, greater))
            }
        }

        fn abs(self) -> Self {
            // SAFETY: the instruction set as in `splat`.
            Avx2x8(unsafe { _mm256_andnot_ps(_mm256_castsi256_ps(_mm256_set1_epi32(SIGN)), self.0) })
        }

        fn copysign(self, sign: Self) -> Self {
            // SAFETY: the instruction set as in `splat`.
            unsafe {
                let mask = _mm256_castsi256_ps(_mm256_set1_epi32(SIGN));
                Avx2x8(_mm256_or_ps(_mm256_andnot_ps(mask, self.0), _mm256_and_ps(mask, sign.0)))
            }
        }

        fn scale(self, n: Self) -> Self {
            // SAFETY: the instruction set as in `splat`.
            unsafe {
                let exponent = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(n.0));
                Avx2x8(_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(self.0), exponent)))
            }
        }

        fn sum(self) -> f32 {
            halve(self, |a, b| a + b)
        }

        fn reduce_min(self) -> f32 {
            halve(self, |a, b| if a < b { a } else { b })
        }

        fn reduce_max(self) -> f32 {
            halve(self, |a, b| if a > b { a } else { b })
        }

        fn store_bytes_of_four(registers: [Self; 4], bytes: &mut [u8]) {
            let bytes = &mut bytes[..32];
            // SAFETY: the instruction set as in `splat`; the slice has 32 bytes.
            unsafe {
                let [a, b, c, d] = [
                    _mm256_cvtps_epi32(registers[0].0),
                    _mm256_cvtps_epi32(registers[1].0),
                    _mm256_cvtps_epi32(registers[2].0),
                    _mm256_cvtps_epi32(registers[3].0),
                ];
                // Each 128 bits get four bytes of a, b, c and d.
                let mixed = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
                let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
                _mm256_storeu_si256(bytes.as_mut_ptr().cast(), _mm256_permutevar8x32_epi32(mixed, order));
            }
        }

        fn store_bytes(self, bytes: &mut [u8]) {
            let bytes = &mut bytes[..8];
            // SAFETY: the instruction set as in `splat`; the slice has 8 bytes.
            unsafe {
                let integers = _mm256_cvtps_epi32(self.0);
                let (low, high) = (_mm256_castsi256_si128(integers), _mm256_extracti128_si256::<1>(integers));
                let packed = _mm_packs_epi32(low, high);
                _mm_storel_epi64(bytes.as_mut_ptr().cast(), _mm_packus_epi16(packed, packed));
            }
        }

        fn store_bf16(self, halves: &mut [u16]) {
            let halves = &mut halves[..8];
            // SAFETY: the instruction set as in `splat`; the slice has 8 values.
            unsafe {
                let rounded = _mm256_srli_epi32::<16>(self.rounded_bf16());
                let (low, high) = (_mm256_castsi256_si128(rounded), _mm256_extracti128_si256::<1>(rounded));
                _mm_storeu_si128(halves.as_mut_ptr().cast(), _mm_packus_epi32(low, high));
            }
        }

        fn bf16_pairs(self, odd: Self) -> Self {
            // SAFETY: the instruction set as in `splat`.
            unsafe {
                let even = _mm256_srli_epi32::<16>(self.rounded_bf16());
                Avx2x8(_mm256_castsi256_ps(_mm256_blend_epi16::<0b1010_1010>(even, odd.rounded_bf16())))
            }
        }

        fn transpose(square: &[f32], out: &mut [f32], stride: usize) {
            let mut rows = [Self::splat(0.0); 8];
            for (row, values) in rows.iter_mut().enumerate() {
                *values = Self::load(&square[row * 8..]);
            }
            transpose_avx2(&mut rows);
            for (column, values) in rows.into_iter().enumerate() {
                if column * stride + 8 <= out.len() {
                    values.store(&mut out[column * stride..]);
                }
            }
        }

        fn prefetch(address: *const f32) {
            prefetch(address);
        }

        fn int8_sum(self, zero: i32, weights: Self) -> Self {
            // SAFETY: the instruction set as in `splat`.
            unsafe {
                let part = _mm256_mullo_epi32(_mm256_set1_epi32(zero), _mm256_castps_si256(weights.0));
                Avx2x8(_mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_castps_si256(self.0), part)))
            }
        }
    }
);

impl Avx2x8 {
    /// bf16 in the upper half of each lane; what is below has no meaning.
    #[inline(always)]
    fn rounded_bf16(self) -> __m256i {
        // SAFETY: the instruction set as in `splat`.
        unsafe {
            let bits = _mm256_castps_si256(self.0);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
            let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0));
            _mm256_blendv_epi8(rounded, quiet, nan)
        }
    }
}

/// The lanes folded in halves.
#[inline(always)]
fn halve(vector: Avx2x8, op: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; 8];
    vector.store(&mut lanes);
    let four: [f32; 4] = std::array::from_fn(|i| op(lanes[i], lanes[i + 4]));
    op(op(four[0], four[2]), op(four[1], four[3]))
}

/// Folds the lanes of each of eight registers of AVX-512, all in step: whenever their values are halved, two
/// registers become one.
macro_rules! fold_eight {
    ($rows:expr, $fold:ident) => {{
        let rows = $rows;
        let mut fours = [rows[0].0; 4];
        let mut twos = fours;
        let mut folded = [0.0; 8];
        // SAFETY: the instruction set as in `splat`; the array has 8 values.
        unsafe {
            // Two rows, 8 values each: a a b b, by 128 bits.
            for i in 0..4 {
                let (a, b) = (rows[2 * i].0, rows[2 * i + 1].0);
                let (low, high) = (
                    _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b),
                    _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b),
                );
                fours[i] = $fold(low, high);
            }
            // Four rows, 4 values each: a b c d.
            for i in 0..2 {
                let (ab, cd) = (fours[2 * i], fours[2 * i + 1]);
                let (even, odd) = (_mm512_shuffle_f32x4::<EVEN>(ab, cd), _mm512_shuffle_f32x4::<ODD>(ab, cd));
                twos[i] = $fold(even, odd);
            }
            // Eight rows, 2 values each: aaee bbff ccgg ddhh.
            let (low, high) = (
                _mm512_shuffle_ps::<0b01_00_01_00>(twos[0], twos[1]),
                _mm512_shuffle_ps::<0b11_10_11_10>(twos[0], twos[1]),
            );
            let pairs = $fold(low, high);
            let all = $fold(pairs, _mm512_permute_ps::<0b10_11_00_01>(pairs));
            let order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 4, 8, 12, 2, 6, 10, 14);
            let ordered = _mm512_castps512_ps256(_mm512_permutexvar_ps(order, all));
            _mm256_storeu_ps(folded.as_mut_ptr(), ordered);
        }
        folded
    }};
}

/// Of two registers' 128 bits, the even ones and the odd ones.
const EVEN: i32 = 0b10_00_10_00;
const ODD: i32 = 0b11_01_11_01;

register!(
    /// AVX-512 (F, VL, BW, DQ).
    Avx512x16(__m512), 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps,
    _mm512_fmadd_ps, _mm512_min_ps, _mm512_max_ps, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps, _mm512_div_ps,
    {
        fn select_greater(self, limit: Self, yes: Self, no: Self) -> Self {
            // SAFETY: the instruction set as in `splat`.
            unsafe {
                let greater = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, limit.0);
                Avx512x16(_mm512_mask_blend_ps(greater, no.0, yes.0))
            }
        }

        fn abs(self) -> Self {
            // SAFETY: the instruction set as in `splat`.
            Avx512x16(unsafe { _mm512_abs_ps(self.0) })
        }

        fn copysign(self, sign: Self) -> Self {
            // SAFETY: the instruction set as in `splat`.
            unsafe {
                let mask = _mm512_castsi512_ps(_mm512_set1_epi32(SIGN));
                Avx512x16(_mm512_or_ps(_mm512_andnot_ps(mask, self.0), _mm512_and_ps(mask, sign.0)))
            }
        }

        fn scale(self, n: Self) -> Self {
            // SAFETY: the instruction set as in `splat`.
            Avx512x16(unsafe { _mm512_scalef_ps(self.0, n.0) })
        }

        fn look_up(self, table: &[f32; ENTRIES]) -> Self {
            // SAFETY: the instruction set as in `splat`; the table has 16 values.
            unsafe {
                let table = _mm512_loadu_ps(table.as_ptr());
                Avx512x16(_mm512_permutexvar_ps(_mm512_castps_si512(self.0), table))
            }
        }

        fn sum(self) -> f32 {
            // SAFETY: the instruction set as in `splat`.
            unsafe { _mm512_reduce_add_ps(self.0) }
        }

        fn reduce_min(self) -> f32 {
            // SAFETY: the instruction set as in `splat`.
            unsafe { _mm512_reduce_min_ps(self.0) }
        }

        fn reduce_max(self) -> f32 {
            // SAFETY: the instruction set as in `splat`.
            unsafe { _mm512_reduce_max_ps(self.0) }
        }

        fn sum_of_eight(rows: [Self; 8]) -> [f32; 8] {
            fold_eight!(rows, _mm512_add_ps)
        }

        fn max_of_eight(rows: [Self; 8]) -> [f32; 8] {
            fold_eight!(rows, _mm512_max_ps)
        }

        fn store_bytes_of_four(registers: [Self; 4], bytes: &mut [u8]) {
            let bytes = &mut bytes[..64];
            // SAFETY: the instruction set as in `splat`; the slice has 64 bytes.
            unsafe {
                let [a, b, c, d] = [
                    _mm512_cvtps_epi32(registers[0].0),
                    _mm512_cvtps_epi32(registers[1].0),
                    _mm512_cvtps_epi32(registers[2].0),
                    _mm512_cvtps_epi32(registers[3].0),
                ];
                // Each 128 bits get four bytes of a, b, c and d.
                let mixed = _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
                let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
                _mm512_storeu_si512(bytes.as_mut_ptr().cast(), _mm512_permutexvar_epi32(order, mixed));
            }
        }

        fn store_bytes(self, bytes: &mut [u8]) {
            let bytes = &mut bytes[..16];
            // SAFETY: the instruction set as in `splat`; the slice has 16 bytes.
            unsafe {
                let integers = _mm512_max_epi32(_mm512_cvtps_epi32(self.0), _mm512_setzero_si512());
                _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm512_cvtusepi32_epi8(integers));
            }
        }

        fn store_bf16(self, halves: &mut [u16]) {
            let halves = &mut halves[..16];
            // SAFETY: the instruction set as in `splat`; the slice has 16 values.
            unsafe {
                let rounded = _mm512_srli_epi32::<16>(self.rounded_bf16());
                _mm256_storeu_si256(halves.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(rounded));
            }
        }

        fn bf16_pairs(self, odd: Self) -> Self {
            const ODD: u32 = 0xaaaa_aaaa;
            // SAFETY: the instruction set as in `splat`.
            unsafe {
                let even = _mm512_srli_epi32::<16>(self.rounded_bf16());
                Avx512x16(_mm512_castsi512_ps(_mm512_mask_blend_epi16(ODD, even, odd.rounded_bf16())))
            }
        }

        fn transpose(square: &[f32], out: &mut [f32], stride: usize) {
            let mut rows = [Self::splat(0.0); 16];
            for (row, values) in rows.iter_mut().enumerate() {
                *values = Self::load(&square[row * 16..]);
            }
            transpose_avx512(&mut rows);
            for (column, values) in rows.into_iter().enumerate() {
                if column * stride + 16 <= out.len() {
                    values.store(&mut out[column * stride..]);
                }
            }
        }

        fn prefetch(address: *const f32) {
            prefetch(address);
        }

        fn int8_sum(self, zero: i32, weights: Self) -> Self {
            // SAFETY: the instruction set as in `splat`.
            unsafe {
                let part = _mm512_mullo_epi32(_mm512_set1_epi32(zero), _mm512_castps_si512(weights.0));
                Avx512x16(_mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_castps_si512(self.0), part)))
            }
        }
    }
);

impl Avx512x16 {
    /// bf16 in the upper half of each lane; what is below has no meaning.
    #[inline(always)]
    fn rounded_bf16(self) -> __m512i {
        // SAFETY: the instruction set as in `splat`.
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x40_0000))
        }
    }
}

/// Asks for a cache line, into the L1 cache.
#[inline(always)]
fn prefetch(address: *const f32) {
    // SAFETY: SSE is part of x86-64, and a prefetch of a bad address does nothing.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

// Both transpose the four columns of each 128 bits first, for four rows: what is then column j of the four
// columns in 128 bits L belongs to column 4L + j. Then they collect a column's 128 bits from all rows.

#[inline(always)]
fn transpose_avx2(rows: &mut [Avx2x8; 8]) {
    // SAFETY: the instruction set as in `splat`.
    unsafe {
        for rows in rows.chunks_exact_mut(4) {
            let (low, high) =
                (_mm256_unpacklo_ps(rows[0].0, rows[1].0), _mm256_unpackhi_ps(rows[0].0, rows[1].0));
            let (low2, high2) =
                (_mm256_unpacklo_ps(rows[2].0, rows[3].0), _mm256_unpackhi_ps(rows[2].0, rows[3].0));
            let (low, low2) = (_mm256_castps_pd(low), _mm256_castps_pd(low2));
            let (high, high2) = (_mm256_castps_pd(high), _mm256_castps_pd(high2));
            rows[0].0 = _mm256_castpd_ps(_mm256_unpacklo_pd(low, low2));
            rows[1].0 = _mm256_castpd_ps(_mm256_unpackhi_pd(low, low2));
            rows[2].0 = _mm256_castpd_ps(_mm256_unpacklo_pd(high, high2));
            rows[3].0 = _mm256_castpd_ps(_mm256_unpackhi_pd(high, high2));
        }
        for j in 0..4 {
            let (upper, lower) = (rows[j].0, rows[4 + j].0);
            rows[j].0 = _mm256_permute2f128_ps::<0x20>(upper, lower);
            rows[4 + j].0 = _mm256_permute2f128_ps::<0x31>(upper, lower);
        }
    }
}

#[inline(always)]
fn transpose_avx512(rows: &mut [Avx512x16; 16]) {
    // SAFETY: the instruction set as in `splat`.
    unsafe {
        for rows in rows.chunks_exact_mut(4) {
            let (low, high) =
                (_mm512_unpacklo_ps(rows[0].0, rows[1].0), _mm512_unpackhi_ps(rows[0].0, rows[1].0));
            let (low2, high2) =
                (_mm512_unpacklo_ps(rows[2].0, rows[3].0), _mm512_unpackhi_ps(rows[2].0, rows[3].0));
            let (low, low2) = (_mm512_castps_pd(low), _mm512_castps_pd(low2));
            let (high, high2) = (_mm512_castps_pd(high), _mm512_castps_pd(high2));
            rows[0].0 = _mm512_castpd_ps(_mm512_unpacklo_pd(low, low2));
            rows[1].0 = _mm512_castpd_ps(_mm512_unpackhi_pd(low, low2));
            rows[2].0 = _mm512_castpd_ps(_mm512_unpacklo_pd(high, high2));
            rows[3].0 = _mm512_castpd_ps(_mm512_unpackhi_pd(high, high2));
        }
        for j in 0..4 {
            let even = _mm512_shuffle_f32x4::<EVEN>(rows[j].0, rows[4 + j].0);
            let odd = _mm512_shuffle_f32x4::<ODD>(rows[j].0, rows[4 + j].0);
            let even2 = _mm512_shuffle_f32x4::<EVEN>(rows[8 + j].0, rows[12 + j].0);
            let odd2 = _mm512_shuffle_f32x4::<ODD>(rows[8 + j].0, rows[12 + j].0);
            rows[j].0 = _mm512_shuffle_f32x4::<EVEN>(even, even2);
            rows[4 + j].0 = _mm512_shuffle_f32x4::<EVEN>(odd, odd2);
            rows[8 + j].0 = _mm512_shuffle_f32x4::<ODD>(even, even2);
            rows[12 + j].0 = _mm512_shuffle_f32x4::<ODD>(odd, odd2);
        }
    }
}
