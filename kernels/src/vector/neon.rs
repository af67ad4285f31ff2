//! Lanes of NEON.

use super::Vector;
use std::arch::aarch64::*;
use std::ops::{Add, Div, Mul, Sub};

/// 4 lanes.
#[derive(Clone, Copy)]
pub(crate) struct Neon4(pub(crate) float32x4_t);

macro_rules! operator {
    ($trait:ident, $method:ident, $intrinsic:ident) => {
        impl $trait for Neon4 {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                // SAFETY: the instruction set as in `Vector::splat`.
                Neon4(unsafe { $intrinsic(self.0, other.0) })
            }
        }
    };
}
operator!(Add, add, vaddq_f32);
operator!(Sub, sub, vsubq_f32);
operator!(Mul, mul, vmulq_f32);
operator!(Div, div, vdivq_f32);

impl Vector for Neon4 {
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: only kernels compiled for NEON use this type; see `dispatch!`.
        Neon4(unsafe { vdupq_n_f32(value) })
    }

    #[inline(always)]
    fn load(values: &[f32]) -> Self {
        let values = &values[..4];
        // SAFETY: the instruction set as in `splat`; the slice has 4 values.
        Neon4(unsafe { vld1q_f32(values.as_ptr()) })
    }

    #[inline(always)]
    fn store(self, values: &mut [f32]) {
        let values = &mut values[..4];
        // SAFETY: the instruction set as in `splat`; the slice has 4 values.
        unsafe { vst1q_f32(values.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: the instruction set as in `splat`.
        Neon4(unsafe { vfmaq_f32(c.0, self.0, b.0) })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        other.select_greater(self, self, other)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.select_greater(other, self, other)
    }

    #[inline(always)]
    fn select_greater(self, limit: Self, yes: Self, no: Self) -> Self {
        // SAFETY: the instruction set as in `splat`.
        Neon4(unsafe { vbslq_f32(vcgtq_f32(self.0, limit.0), yes.0, no.0) })
    }

    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: the instruction set as in `splat`.
        Neon4(unsafe { vabsq_f32(self.0) })
    }

    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        // SAFETY: the instruction set as in `splat`.
        Neon4(unsafe { vbslq_f32(vdupq_n_u32(0x8000_0000), sign.0, self.0) })
    }

    #[inline(always)]
    fn scale(self, n: Self) -> Self {
        // SAFETY: the instruction set as in `splat`.
        unsafe {
            let exponent = vshlq_n_s32::<23>(vcvtq_s32_f32(n.0));
            Neon4(vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(self.0), exponent)))
        }
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: the instruction set as in `splat`.
        unsafe { vaddvq_f32(self.0) }
    }

    #[inline(always)]
    fn reduce_min(self) -> f32 {
        // SAFETY: the instruction set as in `splat`.
        unsafe { vminvq_f32(self.0) }
    }

    #[inline(always)]
    fn reduce_max(self) -> f32 {
        // SAFETY: the instruction set as in `splat`.
        unsafe { vmaxvq_f32(self.0) }
    }

    #[inline(always)]
    fn store_bytes(self, bytes: &mut [u8]) {
        // SAFETY: the instruction set as in `splat`.
        let packed = unsafe {
            let halves = vqmovn_u32(vcvtnq_u32_f32(self.0));
            vget_lane_u32::<0>(vreinterpret_u32_u8(vqmovn_u16(vcombine_u16(halves, halves))))
        };
        bytes[..4].copy_from_slice(&packed.to_le_bytes());
    }

    #[inline(always)]
    fn store_bf16(self, halves: &mut [u16]) {
        let halves = &mut halves[..4];
        // SAFETY: the instruction set as in `splat`; the slice has 4 values.
        unsafe { vst1_u16(halves.as_mut_ptr(), vmovn_u32(vshrq_n_u32::<16>(self.rounded_bf16()))) }
    }

    #[inline(always)]
    fn bf16_pairs(self, odd: Self) -> Self {
        // SAFETY: the instruction set as in `splat`.
        unsafe { Neon4(vreinterpretq_f32_u32(vsriq_n_u32::<16>(odd.rounded_bf16(), self.rounded_bf16()))) }
    }

    #[inline(always)]
    fn int8_sum(self, zero: i32, weights: Self) -> Self {
        // SAFETY: the instruction set as in `splat`.
        unsafe {
            let weights = vreinterpretq_s32_f32(weights.0);
            Neon4(vcvtq_f32_s32(vmlsq_s32(vreinterpretq_s32_f32(self.0), vdupq_n_s32(zero), weights)))
        }
    }
}

impl Neon4 {
    /// bf16 in the upper half of each lane; what is below has no meaning.
    #[inline(always)]
    fn rounded_bf16(self) -> uint32x4_t {
        // SAFETY: the instruction set as in `splat`.
        unsafe {
            let bits = vreinterpretq_u32_f32(self.0);
            let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
            let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
            let quiet = vorrq_u32(bits, vdupq_n_u32(0x40_0000));
            vbslq_u32(vceqq_f32(self.0, self.0), rounded, quiet)
        }
    }
}
