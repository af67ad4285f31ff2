//! Several registers computed with in step.
//!
//! An activation or an exponential is a chain of some twenty operations, each waiting for the one before. One
//! chain at a time leaves the multipliers idle, and the CPU looks ahead over two or three chains at most:
//! with the operations of three registers beside each other it need not look.

use super::{ENTRIES, Vector};
use std::ops::{Add, Div, Mul, Sub};

/// N registers as one.
#[derive(Clone, Copy)]
pub(crate) struct Wide<V, const N: usize>([V; N]);

// Plain loops over N, which the compiler unrolls, and no closures: see `vector/mod.rs`.
macro_rules! operator {
    ($trait:ident, $method:ident) => {
        impl<V: Vector, const N: usize> $trait for Wide<V, N> {
            type Output = Self;
            #[inline(always)]
            fn $method(mut self, other: Self) -> Self {
                for i in 0..N {
                    self.0[i] = $trait::$method(self.0[i], other.0[i]);
                }
                self
            }
        }
    };
}
operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);

impl<V: Vector, const N: usize> Vector for Wide<V, N> {
    const LANES: usize = N * V::LANES;
    const LOOKS_UP: bool = V::LOOKS_UP;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Wide([V::splat(value); N])
    }

    #[inline(always)]
    fn load(values: &[f32]) -> Self {
        let values = &values[..Self::LANES];
        let mut parts = [V::splat(0.0); N];
        for i in 0..N {
            parts[i] = V::load(&values[i * V::LANES..]);
        }
        Wide(parts)
    }

    #[inline(always)]
    fn store(self, values: &mut [f32]) {
        let values = &mut values[..Self::LANES];
        for i in 0..N {
            self.0[i].store(&mut values[i * V::LANES..]);
        }
    }

    #[inline(always)]
    fn mul_add(mut self, b: Self, c: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i].mul_add(b.0[i], c.0[i]);
        }
        self
    }

    #[inline(always)]
    fn min(mut self, other: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i].min(other.0[i]);
        }
        self
    }

    #[inline(always)]
    fn max(mut self, other: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i].max(other.0[i]);
        }
        self
    }

    #[inline(always)]
    fn select_greater(mut self, limit: Self, yes: Self, no: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i].select_greater(limit.0[i], yes.0[i], no.0[i]);
        }
        self
    }

    #[inline(always)]
    fn abs(mut self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i].abs();
        }
        self
    }

    #[inline(always)]
    fn look_up(mut self, table: &[f32; ENTRIES]) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i].look_up(table);
        }
        self
    }

    #[inline(always)]
    fn copysign(mut self, sign: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i].copysign(sign.0[i]);
        }
        self
    }

    #[inline(always)]
    fn scale(mut self, n: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i].scale(n.0[i]);
        }
        self
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let mut sum = self.0[0];
        for i in 1..N {
            sum = sum + self.0[i];
        }
        sum.sum()
    }

    #[inline(always)]
    fn reduce_min(self) -> f32 {
        let mut min = self.0[0];
        for i in 1..N {
            min = self.0[i].min(min);
        }
        min.reduce_min()
    }

    #[inline(always)]
    fn reduce_max(self) -> f32 {
        let mut max = self.0[0];
        for i in 1..N {
            max = self.0[i].max(max);
        }
        max.reduce_max()
    }

    #[inline(always)]
    fn sum_of_eight(rows: [Self; 8]) -> [f32; 8] {
        let mut sums = [rows[0].0[0]; 8];
        for i in 0..8 {
            sums[i] = rows[i].0[0];
            for part in 1..N {
                sums[i] = sums[i] + rows[i].0[part];
            }
        }
        V::sum_of_eight(sums)
    }

    #[inline(always)]
    fn max_of_eight(rows: [Self; 8]) -> [f32; 8] {
        let mut max = [rows[0].0[0]; 8];
        for i in 0..8 {
            max[i] = rows[i].0[0];
            for part in 1..N {
                max[i] = rows[i].0[part].max(max[i]);
            }
        }
        V::max_of_eight(max)
    }

    #[inline(always)]
    fn store_bytes(self, bytes: &mut [u8]) {
        let bytes = &mut bytes[..Self::LANES];
        for i in 0..N {
            self.0[i].store_bytes(&mut bytes[i * V::LANES..]);
        }
    }

    #[inline(always)]
    fn store_bf16(self, halves: &mut [u16]) {
        let halves = &mut halves[..Self::LANES];
        for i in 0..N {
            self.0[i].store_bf16(&mut halves[i * V::LANES..]);
        }
    }

    #[inline(always)]
    fn bf16_pairs(mut self, odd: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i].bf16_pairs(odd.0[i]);
        }
        self
    }

    #[inline(always)]
    fn int8_sum(mut self, zero: i32, weights: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i].int8_sum(zero, weights.0[i]);
        }
        self
    }
}
