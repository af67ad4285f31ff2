//! The tiles for AArch64. Instructions that the standard library has no stable name for are written in
//! assembly.

use super::tile::{PanelTile, PeakLoop, Tile, TileFunction, peak, tile};
use crate::isa::Kind;
use crate::kernel::Kernel;
use crate::kernel::neon::{Neon, load_bf16, load_f16};
use crate::matrix::Matrix;
use crate::storage::Storage;
use std::arch::aarch64::*;
use std::arch::asm;

/// The tile of an instruction set that is not [`Kind::Portable`].
pub(super) fn tile(kind: Kind, storage: Storage) -> Tile {
    let signed = |run: TileFunction| Tile { run, byte_offset: 128 };
    match (kind, storage) {
        (Kind::Portable, _) => super::portable::tile(storage),
        (Kind::Neon | Kind::NeonDotprod | Kind::NeonI8mm, Storage::F32) => (neon_f32 as TileFunction).into(),
        (_, Storage::F16Weights) => (neon_f16_weights as TileFunction).into(),
        (_, Storage::Bf16Weights | Storage::Bf16Widened) => (neon_bf16_weights as TileFunction).into(),
        (Kind::Neon | Kind::NeonDotprod, Storage::Bf16) => (neon_bf16 as TileFunction).into(),
        (Kind::NeonI8mm, Storage::Bf16) => (matrix_bf16 as TileFunction).into(),
        (Kind::Neon, Storage::Int8) => signed(neon_int8),
        (Kind::NeonDotprod, Storage::Int8) => signed(dotprod_int8),
        (Kind::NeonI8mm, Storage::Int8) => (matrix_int8 as TileFunction).into(),
    }
}

/// Tiles for matrices that would pad wide panels.
pub(super) fn narrow_tiles(kind: Kind, storage: Storage) -> &'static [PanelTile] {
    match (kind, storage) {
        (Kind::Neon | Kind::NeonDotprod | Kind::NeonI8mm, Storage::F32) => {
            const { &[PanelTile::new(2 * 4, neon_f32_narrow)] }
        }
        _ => &[],
    }
}

/// The loop for the instruction at the heart of a tile.
pub(super) fn peak(kind: Kind, storage: Storage) -> PeakLoop {
    // A matrix instruction has two rows and columns in each register of sums, at twice the depth.
    let (run, products): (unsafe fn(usize), usize) = match (kind, storage.of_rows()) {
        (Kind::Portable, _) => return super::portable::peak(storage),
        (Kind::Neon | Kind::NeonDotprod | Kind::NeonI8mm, Storage::F32) => (neon_f32_peak, 1),
        (Kind::Neon | Kind::NeonDotprod, Storage::Bf16) => (neon_bf16_peak, 2),
        (Kind::NeonI8mm, Storage::Bf16) => (matrix_bf16_peak, 4),
        (Kind::Neon, Storage::Int8) => (neon_int8_peak, 4),
        (Kind::NeonDotprod, Storage::Int8) => (dotprod_int8_peak, 4),
        (Kind::NeonI8mm, Storage::Int8) => (matrix_int8_peak, 8),
        (_, Storage::F16Weights | Storage::Bf16Weights | Storage::Bf16Widened) => {
            unreachable!("rows are stored otherwise")
        }
    };
    PeakLoop { run, products: 24 * 4 * products }
}

peak!(neon_f32_peak, "neon", float32x4_t, 24, vdupq_n_f32, multiply_add);
peak!(neon_bf16_peak, "neon", float32x4_t, 24, vdupq_n_f32, widen_pairs);
peak!(neon_int8_peak, "neon", float32x4_t, 24, vdupq_n_f32, multiply_bytes);
peak!(dotprod_int8_peak, "neon,dotprod", float32x4_t, 24, vdupq_n_f32, dot_bytes);
peak!(matrix_bf16_peak, "neon,bf16", float32x4_t, 24, vdupq_n_f32, matrix_multiply_bf16);
peak!(matrix_int8_peak, "neon,i8mm", float32x4_t, 24, vdupq_n_f32, matrix_multiply_int8);

/// The instruction at the heart of a tile.
pub(super) fn product(kind: Kind, storage: Storage) -> &'static str {
    match (kind, storage) {
        (_, Storage::F32) => "fmla",
        (_, Storage::F16Weights) => "fmla on widened f16 weights",
        (_, Storage::Bf16Weights | Storage::Bf16Widened) => "fmla on widened bf16 weights",
        (Kind::NeonI8mm, Storage::Bf16) => "bfmmla",
        (_, Storage::Bf16) => "fmla on widened bf16",
        (Kind::NeonI8mm, Storage::Int8) => "usmmla",
        (Kind::NeonDotprod, Storage::Int8) => "sdot",
        (_, Storage::Int8) => "smull",
    }
}

/// A tile of 8 rows and so many columns of registers.
macro_rules! neon_tile {
    ($name:ident, $columns:literal, $features:literal, $broadcast:ident, $multiply_add:ident) => {
        neon_tile!($name, $columns, $features, vld1q_f32 of 1, $broadcast, $multiply_add);
    };
    (
        $name:ident, $columns:literal, $features:literal, $load:ident of $to_a_lane:literal, $broadcast:ident,
        $multiply_add:ident
    ) => {
        tile!(
            $name of Neon, $features, $columns * 4, rows [8 7 6 5 4 3 2 1], float32x4_t, zero,
            $load of $to_a_lane, vst1q_f32, $broadcast, $multiply_add, no_prefetch
        );
    };
}

neon_tile!(neon_f32, 3, "neon", vdupq_n_f32, multiply_add);
neon_tile!(neon_f32_narrow, 2, "neon", vdupq_n_f32, multiply_add);
neon_tile!(neon_f16_weights, 3, "neon", load_f16 of 2, vdupq_n_f32, multiply_add);
neon_tile!(neon_bf16_weights, 3, "neon", load_bf16 of 2, vdupq_n_f32, multiply_add);
neon_tile!(neon_bf16, 3, "neon", vdupq_n_f32, widen_pairs);
neon_tile!(neon_int8, 3, "neon", broadcast_signed, multiply_bytes);
neon_tile!(dotprod_int8, 3, "neon,dotprod", broadcast_signed, dot_bytes);

/// Left to the hardware.
#[inline(always)]
fn no_prefetch(_: *const f32) {}

#[inline]
#[target_feature(enable = "neon")]
fn zero() -> float32x4_t {
    vdupq_n_f32(0.0)
}

#[inline]
#[target_feature(enable = "neon")]
fn multiply_add(value: float32x4_t, weights: float32x4_t, sums: float32x4_t) -> float32x4_t {
    vfmaq_f32(sums, value, weights)
}

/// Two products of bf16 pairs added to each sum: a bf16 is the upper half of an f32.
#[inline]
#[target_feature(enable = "neon")]
fn widen_pairs(value: float32x4_t, weights: float32x4_t, sums: float32x4_t) -> float32x4_t {
    let low = |pair| vreinterpretq_f32_u32(vshlq_n_u32::<16>(vreinterpretq_u32_f32(pair)));
    let high = |pair| vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(pair), vdupq_n_u32(0xffff_0000)));
    let sums = vfmaq_f32(sums, low(value), low(weights));
    vfmaq_f32(sums, high(value), high(weights))
}

/// Four bytes of x less 128, which makes them signed.
#[inline]
#[target_feature(enable = "neon")]
fn broadcast_signed(bytes: f32) -> float32x4_t {
    vdupq_n_f32(f32::from_bits(bytes.to_bits() ^ 0x8080_8080))
}

/// Four products of signed bytes added to each 32-bit sum.
#[inline]
#[target_feature(enable = "neon")]
fn multiply_bytes(x: float32x4_t, weights: float32x4_t, sums: float32x4_t) -> float32x4_t {
    let (x, weights) = (vreinterpretq_s8_f32(x), vreinterpretq_s8_f32(weights));
    // A product is at most 128 · 127, so that two of them fit 16 bits.
    let low = vmull_s8(vget_low_s8(x), vget_low_s8(weights));
    let high = vmull_high_s8(x, weights);
    vreinterpretq_f32_s32(vpadalq_s16(vreinterpretq_s32_f32(sums), vpaddq_s16(low, high)))
}

/// The same in one instruction.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot_bytes(x: float32x4_t, weights: float32x4_t, mut sums: float32x4_t) -> float32x4_t {
    // SAFETY: the instruction is part of the features of this function and reads registers only.
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inlateout(vreg) sums, in(vreg) x, in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags));
    }
    sums
}

/// Defines a tile on an instruction that multiplies a 2 × 16 byte matrix with the transpose of another and
/// adds to a 2 × 2 matrix: rows and columns are taken in pairs, two lanes of the depth at a time.
macro_rules! matrix_tile {
    ($name:ident, $multiply:ident, $features:literal, $instruction:literal) => {
        #[inline]
        #[target_feature(enable = $features)]
        fn $multiply(x: float32x4_t, weights: float32x4_t, mut sums: float32x4_t) -> float32x4_t {
            // SAFETY: the instruction is part of the features and reads registers only.
            unsafe {
                asm!($instruction, inlateout(vreg) sums, in(vreg) x, in(vreg) weights,
                    options(pure, nomem, nostack, preserves_flags));
            }
            sums
        }

        #[target_feature(enable = $features)]
        unsafe fn $name(x: Matrix<'_>, panel: &[f32], tile: &mut [f32]) {
            /// Two lanes from `at`; behind the last lane is 0.
            #[inline]
            #[target_feature(enable = $features)]
            fn two_lanes(row: &[f32], at: usize) -> float32x2_t {
                match row.get(at..at + 2) {
                    // SAFETY: the slice has two values.
                    Some(two) => unsafe { vld1_f32(two.as_ptr()) },
                    None => vset_lane_f32::<0>(row[at], vdup_n_f32(0.0)),
                }
            }

            /// The tile of P pairs of rows. Of an odd number of rows, the last is its own partner.
            #[inline]
            #[target_feature(enable = $features)]
            fn pairs<const P: usize>(x: Matrix<'_>, panel: &[f32], tile: &mut [f32]) {
                let last = x.rows() - 1;
                let rows: [[&[f32]; 2]; P] =
                    std::array::from_fn(|p| [x.row(2 * p), x.row((2 * p + 1).min(last))]);
                let mut sums = [[zero(); 6]; P];
                for k in (0..x.columns()).step_by(2) {
                    let x: [float32x4_t; P] =
                        std::array::from_fn(|p| vcombine_f32(two_lanes(rows[p][0], k), two_lanes(rows[p][1], k)));
                    for v in 0..3 {
                        let first = &panel[k * 12 + v * 4..][..4];
                        // SAFETY: the slice has four values.
                        let first = unsafe { vld1q_f32(first.as_ptr()) };
                        let second = match panel.get((k + 1) * 12 + v * 4..(k + 1) * 12 + v * 4 + 4) {
                            // SAFETY: as above.
                            Some(second) => unsafe { vld1q_f32(second.as_ptr()) },
                            None => zero(),
                        };
                        let columns = [vzip1q_f32(first, second), vzip2q_f32(first, second)];
                        for (p, &x) in x.iter().enumerate() {
                            for (half, &columns) in columns.iter().enumerate() {
                                sums[p][2 * v + half] = $multiply(x, columns, sums[p][2 * v + half]);
                            }
                        }
                    }
                }
                for (pair, sums) in tile.chunks_exact_mut(2 * Neon::COLUMNS).zip(&sums) {
                    let (upper, lower) = pair.split_at_mut(Neon::COLUMNS);
                    for (c, &sums) in sums.iter().enumerate() {
                        let (upper, lower) = (&mut upper[2 * c..2 * c + 2], &mut lower[2 * c..2 * c + 2]);
                        // SAFETY: both slices have two values.
                        unsafe {
                            vst1_f32(upper.as_mut_ptr(), vget_low_f32(sums));
                            vst1_f32(lower.as_mut_ptr(), vget_high_f32(sums));
                        }
                    }
                }
            }

            assert!(x.rows() <= Neon::ROWS && panel.len() == x.columns() * Neon::COLUMNS);
            match x.rows().div_ceil(2) {
                4 => pairs::<4>(x, panel, tile),
                3 => pairs::<3>(x, panel, tile),
                2 => pairs::<2>(x, panel, tile),
                1 => pairs::<1>(x, panel, tile),
                _ => {}
            }
        }
    };
}

matrix_tile!(matrix_int8, matrix_multiply_int8, "neon,i8mm", "usmmla {0:v}.4s, {1:v}.16b, {2:v}.16b");
matrix_tile!(matrix_bf16, matrix_multiply_bf16, "neon,bf16", "bfmmla {0:v}.4s, {1:v}.8h, {2:v}.8h");
