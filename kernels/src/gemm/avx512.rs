//! The tile for AVX-512 (F, VL, BW, DQ).

use super::{Kernel, MAX_TILE, check_tile};
use crate::matrix::Matrix;
use std::arch::x86_64::*;

/// x86-64 with AVX-512 (F, VL, BW, DQ).
pub(crate) struct Avx512;

/// f32 values in a register.
const LANES: usize = 16;
/// Registers in a row of the tile.
const VECTORS: usize = 3;

impl Kernel for Avx512 {
    const ROWS: usize = 8;
    const COLUMNS: usize = VECTORS * LANES;

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    unsafe fn tile(x: Matrix<'_>, panel: &[f32], tile: &mut [f32; MAX_TILE]) {
        check_tile::<Self>(x, panel);
        match x.rows() {
            8 => rows::<8>(x, panel, tile),
            7 => rows::<7>(x, panel, tile),
            6 => rows::<6>(x, panel, tile),
            5 => rows::<5>(x, panel, tile),
            4 => rows::<4>(x, panel, tile),
            3 => rows::<3>(x, panel, tile),
            2 => rows::<2>(x, panel, tile),
            1 => rows::<1>(x, panel, tile),
            _ => {}
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
fn rows<const R: usize>(x: Matrix<'_>, panel: &[f32], tile: &mut [f32; MAX_TILE]) {
    let depth = x.columns();
    let x: [*const f32; R] = std::array::from_fn(|r| x.row(r).as_ptr());
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; R];
    for k in 0..depth {
        // SAFETY: `check_tile` found the panel to be `depth` rows of VECTORS · LANES values.
        let weights: [__m512; VECTORS] = std::array::from_fn(|v| unsafe {
            _mm512_loadu_ps(panel.as_ptr().add((k * VECTORS + v) * LANES))
        });
        for r in 0..R {
            // SAFETY: each pointer is to a row of `depth` values.
            let value = _mm512_set1_ps(unsafe { *x[r].add(k) });
            for v in 0..VECTORS {
                sums[r][v] = _mm512_fmadd_ps(value, weights[v], sums[r][v]);
            }
        }
    }
    let out = tile[..R * VECTORS * LANES].as_mut_ptr();
    for (r, sums) in sums.iter().enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            // SAFETY: the slice above holds R rows of VECTORS · LANES values.
            unsafe { _mm512_storeu_ps(out.add((r * VECTORS + v) * LANES), sum) };
        }
    }
}
