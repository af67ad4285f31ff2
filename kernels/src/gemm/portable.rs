//! The tile in plain Rust: vectorised by the compiler for the target's baseline.

use super::{Kernel, MAX_TILE, check_tile};
use crate::matrix::Matrix;

/// Any CPU.
pub(crate) struct Portable;

impl Kernel for Portable {
    const ROWS: usize = 4;
    const COLUMNS: usize = 8;

    /// Fused only where that is one instruction: elsewhere it would be a slow library call.
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, c) } else { a * b + c }
    }

    #[inline(always)]
    unsafe fn tile(x: Matrix<'_>, panel: &[f32], tile: &mut [f32; MAX_TILE]) {
        check_tile::<Self>(x, panel);
        match x.rows() {
            4 => rows::<4>(x, panel, tile, Self::mul_add),
            3 => rows::<3>(x, panel, tile, Self::mul_add),
            2 => rows::<2>(x, panel, tile, Self::mul_add),
            1 => rows::<1>(x, panel, tile, Self::mul_add),
            _ => {}
        }
    }

    #[inline(always)]
    unsafe fn tile_bf16(x: Matrix<'_>, panel: &[f32], tile: &mut [f32; MAX_TILE]) {
        check_tile::<Self>(x, panel);
        match x.rows() {
            4 => rows::<4>(x, panel, tile, add_pair),
            3 => rows::<3>(x, panel, tile, add_pair),
            2 => rows::<2>(x, panel, tile, add_pair),
            1 => rows::<1>(x, panel, tile, add_pair),
            _ => {}
        }
    }
}

/// Two products of bf16 pairs added to a sum: a bf16 is the upper half of an f32.
#[inline(always)]
fn add_pair(a: f32, b: f32, sum: f32) -> f32 {
    let low = |pair: f32| f32::from_bits(pair.to_bits() << 16);
    let high = |pair: f32| f32::from_bits(pair.to_bits() & 0xffff_0000);
    Portable::mul_add(high(a), high(b), Portable::mul_add(low(a), low(b), sum))
}

#[inline(always)]
fn rows<const R: usize>(
    x: Matrix<'_>,
    panel: &[f32],
    tile: &mut [f32; MAX_TILE],
    multiply_add: impl Fn(f32, f32, f32) -> f32,
) {
    const C: usize = Portable::COLUMNS;
    let x: [&[f32]; R] = std::array::from_fn(|r| x.row(r));
    let mut sums = [[0.0f32; C]; R];
    for (k, weights) in panel.chunks_exact(C).enumerate() {
        for r in 0..R {
            let value = x[r][k];
            for c in 0..C {
                sums[r][c] = multiply_add(value, weights[c], sums[r][c]);
            }
        }
    }
    for (out, sums) in tile.chunks_exact_mut(C).zip(&sums) {
        out.copy_from_slice(sums);
    }
}
