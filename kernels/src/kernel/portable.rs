//! Any CPU: plain Rust that the compiler vectorises for the target's baseline.

use super::Kernel;
use crate::storage::Storage;
use crate::vector::{Portable8, Wide};

/// Any CPU.
pub(crate) struct Portable;

impl Kernel for Portable {
    type Vector = Portable8;
    type Row = Wide<Portable8, 1>;
    const ROWS: usize = 4;
    const COLUMNS: usize = 8;

    #[inline(always)]
    fn widened(storage: Storage, halves: &[u16]) -> Portable8 {
        let widen = if storage == Storage::F16Weights { f16_as_f32 } else { bf16_as_f32 };
        Portable8(std::array::from_fn(|i| widen(halves[i])))
    }
}

#[inline(always)]
pub(crate) fn f16_as_f32(bits: u16) -> f32 {
    half::f16::from_bits(bits).to_f32_const()
}

#[inline(always)]
pub(crate) fn bf16_as_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}
