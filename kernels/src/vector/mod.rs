//! A register of f32 lanes, by instruction set: what every kernel but the GEMM tiles is written in.
//!
//! A kernel's body is generic over [`Kernel`](crate::gemm::Kernel), whose `Vector` this is, and all
//! methods are inlined into the function that `dispatch!` compiled for the instruction set.
//!
//! Comparisons with NaN are false, so where one side of `min`, `max` or `select_greater` is NaN the second
//! value is taken: kernels put what must not be lost there.

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod wide;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon4;
pub(crate) use portable::{Portable8, mul_add};
pub(crate) use wide::Wide;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2x8, Avx512x16};

use std::ops::{Add, Div, Mul, Sub};

/// f32 lanes that are computed with at once.
pub(crate) trait Vector:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// Their number.
    const LANES: usize;
    /// Whether [`Vector::look_up`] is an instruction: where a register holds the table.
    const LOOKS_UP: bool = false;

    /// The same value in each.
    fn splat(value: f32) -> Self;
    /// The first values of a slice that has at least as many.
    fn load(values: &[f32]) -> Self;
    /// Writes to the start of a slice that has at least as many.
    fn store(self, values: &mut [f32]);
    /// `self · b + c`, rounded once where the instruction set can.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// `if self < other { self } else { other }`
    fn min(self, other: Self) -> Self;
    /// `if self > other { self } else { other }`
    fn max(self, other: Self) -> Self;
    /// `if self > limit { yes } else { no }`
    fn select_greater(self, limit: Self, yes: Self, no: Self) -> Self;
    /// |self|
    fn abs(self) -> Self;
    /// |self| with the sign of another.
    fn copysign(self, sign: Self) -> Self;
    /// `self · 2^n` for whole n, where self and the result are normal numbers.
    fn scale(self, n: Self) -> Self;
    /// The entry whose number is in the lowest four bits of each lane.
    #[inline(always)]
    fn look_up(self, table: &[f32; ENTRIES]) -> Self {
        let mut lanes = [0.0; MAX_LANES];
        self.store(&mut lanes);
        for lane in &mut lanes[..Self::LANES] {
            *lane = table[lane.to_bits() as usize % ENTRIES];
        }
        Self::load(&lanes)
    }
    /// The sum of the lanes, always added in the same order.
    fn sum(self) -> f32;
    /// The smallest lane.
    fn reduce_min(self) -> f32;
    /// The largest lane.
    fn reduce_max(self) -> f32;
    /// [`Vector::sum`] of eight registers, whose order may be another.
    #[inline(always)]
    fn sum_of_eight(rows: [Self; 8]) -> [f32; 8] {
        let mut sums = [0.0; 8];
        for i in 0..8 {
            sums[i] = rows[i].sum();
        }
        sums
    }
    /// [`Vector::largest`] of eight registers.
    #[inline(always)]
    fn max_of_eight(rows: [Self; 8]) -> [f32; 8] {
        let mut max = [0.0; 8];
        for i in 0..8 {
            max[i] = rows[i].reduce_max();
        }
        max
    }
    /// Writes each lane rounded to the nearest of 0..=255, ties to even, to the start of a slice.
    fn store_bytes(self, bytes: &mut [u8]);
    /// The same for four registers, one behind the other.
    #[inline(always)]
    fn store_bytes_of_four(registers: [Self; 4], bytes: &mut [u8]) {
        let bytes = &mut bytes[..4 * Self::LANES];
        for i in 0..4 {
            registers[i].store_bytes(&mut bytes[i * Self::LANES..]);
        }
    }
    /// Writes each lane rounded to bf16, ties to even, to the start of a slice.
    fn store_bf16(self, halves: &mut [u16]);
    /// Both as bf16, rounded to nearest, ties to even: `self` in the lower half of each lane, `odd` in the upper.
    fn bf16_pairs(self, odd: Self) -> Self;
    /// Writes the columns of `[LANES, LANES]` values to rows that start `stride` apart, as many as there are:
    /// `out[column · stride + row] = square[row · LANES + column]`.
    #[inline(always)]
    fn transpose(square: &[f32], out: &mut [f32], stride: usize) {
        for (column, out) in out.chunks_mut(stride).enumerate() {
            for (row, value) in out[..Self::LANES].iter_mut().enumerate() {
                *value = square[row * Self::LANES + column];
            }
        }
    }
    /// Asks for the cache line of an address, which may be any, so that it is near when it is read.
    #[inline(always)]
    fn prefetch(_address: *const f32) {}
    /// `self - zero · weights` of the 32-bit integers whose bits two registers hold.
    fn int8_sum(self, zero: i32, weights: Self) -> Self;

    /// Loads as many values as there are, and `fill` into the lanes behind them.
    #[inline(always)]
    fn load_part(values: &[f32], fill: f32) -> Self {
        if values.len() >= Self::LANES {
            return Self::load(values);
        }
        let mut lanes = [fill; MAX_LANES];
        lanes[..values.len()].copy_from_slice(values);
        Self::load(&lanes)
    }

    /// Stores as many lanes as there is room for.
    #[inline(always)]
    fn store_part(self, values: &mut [f32]) {
        if values.len() >= Self::LANES {
            return self.store(values);
        }
        let mut lanes = [0.0; MAX_LANES];
        self.store(&mut lanes);
        values.copy_from_slice(&lanes[..values.len()]);
    }
}

/// What [`Vector::look_up`] chooses from.
pub(crate) const ENTRIES: usize = 16;

/// No instruction set has more lanes, several registers in step included.
pub(crate) const MAX_LANES: usize = 48;

/// No instruction set's register has more lanes, squared.
pub(crate) const MAX_SQUARE: usize = 16 * 16;

/// The value as bf16, rounded to nearest, ties to even.
#[inline(always)]
pub(crate) fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    (if value.is_nan() { (bits >> 16) | 0x40 } else { rounded }) as u16
}

// Loops over slices, a register at a time. Macros and not functions of closures: a closure is not compiled
// for the instruction set of the function that it stands in, so that each instruction in it would be a call.

/// Replaces each value: `map!(V, values, |x| x + one)`.
macro_rules! map {
    ($vector:ty, $values:expr, |$x:ident| $result:expr) => {{
        let mut chunks = $values.chunks_exact_mut(<$vector>::LANES);
        for chunk in &mut chunks {
            let $x = <$vector>::load(chunk);
            $result.store(chunk);
        }
        let rest = chunks.into_remainder();
        if !rest.is_empty() {
            let $x = <$vector>::load_part(rest, 0.0);
            $result.store_part(rest);
        }
    }};
}

/// Replaces each value, given the one at the same place of a slice that has at least as many:
/// `zip!(V, values, others, |x, other| x + other)`.
macro_rules! zip {
    ($vector:ty, $values:expr, $others:expr, |$x:ident, $other:ident| $result:expr) => {{
        let values: &mut [f32] = $values;
        let others: &[f32] = &$others[..values.len()];
        let mut chunks = values.chunks_exact_mut(<$vector>::LANES);
        let mut other_chunks = others.chunks_exact(<$vector>::LANES);
        for (chunk, other) in (&mut chunks).zip(&mut other_chunks) {
            let ($x, $other) = (<$vector>::load(chunk), <$vector>::load(other));
            $result.store(chunk);
        }
        let (rest, other) = (chunks.into_remainder(), other_chunks.remainder());
        if !rest.is_empty() {
            let ($x, $other) = (<$vector>::load_part(rest, 0.0), <$vector>::load_part(other, 0.0));
            $result.store_part(rest);
        }
    }};
}

/// Folds all values into one register; lanes behind the last value are `fill`:
/// `fold!(V, values, zero, fill 0.0, |sum, x| sum + x)`.
macro_rules! fold {
    ($vector:ty, $values:expr, $first:expr, fill $fill:expr, |$folded:ident, $x:ident| $result:expr) => {{
        let mut $folded: $vector = $first;
        let chunks = $values.chunks_exact(<$vector>::LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            let $x = <$vector>::load(chunk);
            $folded = $result;
        }
        if !rest.is_empty() {
            let $x = <$vector>::load_part(rest, $fill);
            $folded = $result;
        }
        $folded
    }};
}

pub(crate) use {fold, map, zip};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::dispatch;
    use crate::isa::Isa;
    use crate::kernel::Kernel;

    dispatch! { pub fn transposed(columns: usize, stride: usize, out: &mut Vec<f32>) = transposed_body }
    dispatch! { pub fn folded(rows: &[f32], sums: &mut [f32; 8], max: &mut [f32; 8]) = folded_body }
    dispatch! { pub fn paired(values: &[f32], pairs: &mut Vec<u32>) = paired_body }

    /// Some columns of the square 0, 1, 2, …
    #[inline(always)]
    fn transposed_body<K: Kernel>(columns: usize, stride: usize, out: &mut Vec<f32>) {
        let lanes = K::Vector::LANES;
        let square: Vec<f32> = (0..lanes * lanes).map(|i| i as f32).collect();
        // One value before the first row, as in a panel's second block of columns.
        out.resize(columns.min(lanes) * stride, -1.0);
        K::Vector::transpose(&square, &mut out[1..], stride);
        out.push(lanes as f32);
    }

    #[test]
    fn a_square_is_transposed_as_far_as_there_is_room() {
        for isa in Isa::available() {
            for columns in 1..=16 {
                for stride in [17, 33] {
                    let mut out = Vec::new();
                    transposed(isa, columns, stride, &mut out);
                    let lanes = out.pop().map_or(0, |lanes| lanes as usize);
                    for (at, &value) in out.iter().enumerate() {
                        let (column, row) = (at / stride, (at % stride).wrapping_sub(1));
                        let expected = if row < lanes { (row * lanes + column) as f32 } else { -1.0 };
                        assert_eq!(value, expected, "{isa:?}, row {row} of column {column}");
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn folded_body<K: Kernel>(rows: &[f32], sums: &mut [f32; 8], max: &mut [f32; 8]) {
        let (mut narrow, mut wide) = ([K::Vector::splat(0.0); 8], [K::Row::splat(0.0); 8]);
        for (i, row) in rows.chunks_exact(MAX_LANES).enumerate() {
            narrow[i] = K::Vector::load(row);
            wide[i] = K::Row::load(row);
        }
        let (narrow_sums, wide_sums) = (K::Vector::sum_of_eight(narrow), K::Row::sum_of_eight(wide));
        let (narrow, wide) = (K::Vector::max_of_eight(narrow), K::Row::max_of_eight(wide));
        for i in 0..8 {
            sums[i] = 1000.0 * narrow_sums[i] + wide_sums[i];
            max[i] = 1000.0 * narrow[i] + wide[i];
        }
    }

    #[test]
    fn eight_rows_are_folded_each_by_itself() {
        // Whole numbers, so that sums are exact in any order.
        let rows: Vec<f32> = (0..8 * MAX_LANES).map(|i| ((i * 37) % 101) as f32 - 50.0).collect();
        for isa in Isa::available() {
            let (mut sums, mut max) = ([0.0; 8], [0.0; 8]);
            folded(isa, &rows, &mut sums, &mut max);
            let mut one_by_one = ([0.0; 8], [0.0; 8]);
            for (i, row) in rows.chunks_exact(MAX_LANES).enumerate() {
                one_at_a_time(isa, row, &mut one_by_one.0[i], &mut one_by_one.1[i]);
            }
            assert_eq!((sums, max), one_by_one, "{isa:?}");
        }
    }

    dispatch! { pub fn one_at_a_time(row: &[f32], sum: &mut f32, max: &mut f32) = one_at_a_time_body }

    #[inline(always)]
    fn one_at_a_time_body<K: Kernel>(row: &[f32], sum: &mut f32, max: &mut f32) {
        let (narrow, wide) = (&row[..K::Vector::LANES], &row[..K::Row::LANES]);
        let most = |values: &[f32]| values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        *sum = 1000.0 * narrow.iter().sum::<f32>() + wide.iter().sum::<f32>();
        *max = 1000.0 * most(narrow) + most(wide);
    }

    #[inline(always)]
    fn paired_body<K: Kernel>(values: &[f32], pairs: &mut Vec<u32>) {
        let mut out = [0.0; MAX_LANES];
        for (even, odd) in values.chunks_exact(K::Row::LANES).zip(values.chunks_exact(K::Row::LANES).skip(1))
        {
            K::Row::load(even).bf16_pairs(K::Row::load(odd)).store(&mut out);
            pairs.extend(out[..K::Row::LANES].iter().map(|pair| pair.to_bits()));
        }
        pairs.push(K::Row::LANES as u32);
    }

    #[test]
    fn pairs_are_rounded_as_single_values_are() {
        let special = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-42, 1.003_906_3];
        let values: Vec<f32> = (0..20 * MAX_LANES)
            .map(|i| special[i % 8] * if i % 3 == 0 { -1.0 } else { 1.0 } + (i / 64) as f32 * 0.1)
            .collect();
        for isa in Isa::available() {
            let mut pairs = Vec::new();
            paired(isa, &values, &mut pairs);
            let lanes = pairs.pop().map_or(0, |lanes| lanes as usize);
            for (at, &pair) in pairs.iter().enumerate() {
                let expected =
                    u32::from(bf16_bits(values[at])) | u32::from(bf16_bits(values[at + lanes])) << 16;
                assert_eq!(pair, expected, "{isa:?}: {} and {}", values[at], values[at + lanes]);
            }
        }
    }
}
