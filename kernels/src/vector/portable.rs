//! Lanes in plain Rust.

use super::{Vector, bf16_bits};
use std::array::from_fn;
use std::ops::{Add, Div, Mul, Sub};

/// 8 lanes.
#[derive(Clone, Copy)]
pub(crate) struct Portable8(pub(crate) [f32; 8]);

impl Portable8 {
    #[inline(always)]
    fn zip(self, other: Self, op: impl Fn(f32, f32) -> f32) -> Self {
        Portable8(from_fn(|i| op(self.0[i], other.0[i])))
    }

    /// The lanes folded in halves.
    #[inline(always)]
    fn halve(self, op: impl Fn(f32, f32) -> f32) -> f32 {
        let four: [f32; 4] = from_fn(|i| op(self.0[i], self.0[i + 4]));
        op(op(four[0], four[2]), op(four[1], four[3]))
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $op:tt) => {
        impl $trait for Portable8 {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                self.zip(other, |a, b| a $op b)
            }
        }
    };
}
operator!(Add, add, +);
operator!(Sub, sub, -);
operator!(Mul, mul, *);
operator!(Div, div, /);

impl Vector for Portable8 {
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Portable8([value; 8])
    }

    #[inline(always)]
    fn load(values: &[f32]) -> Self {
        Portable8(from_fn(|i| values[i]))
    }

    #[inline(always)]
    fn store(self, values: &mut [f32]) {
        values[..8].copy_from_slice(&self.0);
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Portable8(from_fn(|i| mul_add(self.0[i], b.0[i], c.0[i])))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn select_greater(self, limit: Self, yes: Self, no: Self) -> Self {
        Portable8(from_fn(|i| if self.0[i] > limit.0[i] { yes.0[i] } else { no.0[i] }))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Portable8(self.0.map(f32::abs))
    }

    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        self.zip(sign, f32::copysign)
    }

    #[inline(always)]
    fn scale(self, n: Self) -> Self {
        self.zip(n, |value, n| f32::from_bits(value.to_bits().wrapping_add((n as i32).cast_unsigned() << 23)))
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        self.halve(|a, b| a + b)
    }

    #[inline(always)]
    fn reduce_min(self) -> f32 {
        self.halve(|a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn reduce_max(self) -> f32 {
        self.halve(|a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn store_bytes(self, bytes: &mut [u8]) {
        // Adding 2^23 rounds to an integer and leaves it in the low mantissa bits.
        let clamped = Self::splat(255.0).min(self.max(Self::splat(0.0)));
        bytes[..8].copy_from_slice(&clamped.0.map(|value| (value + 8_388_608.0).to_bits() as u8));
    }

    #[inline(always)]
    fn store_bf16(self, halves: &mut [u16]) {
        halves[..8].copy_from_slice(&self.0.map(bf16_bits));
    }

    #[inline(always)]
    fn bf16_pairs(self, odd: Self) -> Self {
        let pair = |even, odd| f32::from_bits(u32::from(bf16_bits(even)) | u32::from(bf16_bits(odd)) << 16);
        self.zip(odd, pair)
    }

    #[inline(always)]
    fn int8_sum(self, zero: i32, weights: Self) -> Self {
        let integer = |value: f32| value.to_bits().cast_signed();
        self.zip(weights, |sum, weight| (integer(sum) - zero * integer(weight)) as f32)
    }
}

/// Fused only where that is one instruction: elsewhere it would be a slow library call.
#[inline(always)]
pub(crate) fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, c) } else { a * b + c }
}
