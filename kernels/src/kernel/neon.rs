//! AArch64.

use super::Kernel;
use crate::storage::Storage;
use crate::vector::{Neon4, Wide};
use std::arch::aarch64::*;
use std::arch::asm;

/// NEON: a tile is 24 registers of sums, 3 of weights and 1 of x, of 32.
pub(crate) struct Neon;

impl Kernel for Neon {
    type Vector = Neon4;
    type Row = Wide<Neon4, 3>;
    const ROWS: usize = 8;
    const COLUMNS: usize = 3 * 4;

    #[inline(always)]
    fn widened(storage: Storage, halves: &[u16]) -> Neon4 {
        let halves = halves[..4].as_ptr().cast();
        // SAFETY: the slice has 4 values; this is only run where the CPU has the instruction set.
        Neon4(unsafe { if storage == Storage::F16Weights { load_f16(halves) } else { load_bf16(halves) } })
    }
}

/// Four half-precision numbers as f32.
///
/// # Safety
/// There must be so many at the address.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn load_f16(halves: *const f32) -> float32x4_t {
    let widened;
    // SAFETY: as the caller says; the instruction is part of the features of this function.
    unsafe {
        let halves = vld1_u16(halves.cast());
        asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) widened, in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags));
    }
    widened
}

/// Four bf16 as f32: a bf16 is the upper half of an f32.
///
/// # Safety
/// There must be so many at the address.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn load_bf16(halves: *const f32) -> float32x4_t {
    // SAFETY: as the caller says.
    vreinterpretq_f32_u32(vshll_n_u16::<16>(unsafe { vld1_u16(halves.cast()) }))
}
