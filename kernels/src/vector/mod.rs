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
pub(crate) use portable::Portable8;
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
    /// The sum of the lanes, always added in the same order.
    fn sum(self) -> f32;
    /// The smallest lane.
    fn smallest(self) -> f32;
    /// The largest lane.
    fn largest(self) -> f32;
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
    /// `sum - zero · weights` of 32-bit integers whose bits the first lanes of two slices are.
    fn int8_sum(sums: &[f32], zero: i32, weights: &[f32]) -> Self;

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

/// No instruction set has more lanes, several registers in step included.
pub(crate) const MAX_LANES: usize = 48;

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
