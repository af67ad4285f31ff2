//! The tiles in plain Rust: vectorised by the compiler for the target's baseline.

use super::peak::PeakLoop;
use super::{Kernel, Storage, Tile, TileFunction};
use crate::matrix::Matrix;
use crate::vector::{Portable8, Wide};

/// Any CPU.
pub(crate) struct Portable;

impl Kernel for Portable {
    type Vector = Portable8;
    type Row = Wide<Portable8, 1>;
    const ROWS: usize = 4;
    const COLUMNS: usize = 8;
}

/// Fused only where that is one instruction: elsewhere it would be a slow library call.
#[inline(always)]
pub(crate) fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, c) } else { a * b + c }
}

pub(super) fn tile(storage: Storage) -> Tile {
    let run: TileFunction = match storage {
        Storage::F32 => f32_tile,
        Storage::Bf16 => bf16_tile,
        Storage::Int8 => int8_tile,
    };
    run.into()
}

/// The loop for a tile's multiplication.
pub(super) fn peak(storage: Storage) -> PeakLoop {
    let run = match storage {
        Storage::F32 => |times| peak_loop(times, mul_add),
        Storage::Bf16 => |times| peak_loop(times, add_pair),
        Storage::Int8 => |times| peak_loop(times, add_bytes),
    };
    PeakLoop { run, products: 4 * Portable::COLUMNS * storage.values_of_a_lane() }
}

#[inline(always)]
fn peak_loop(times: usize, multiply_add: impl Fn(f32, f32, f32) -> f32) {
    let weights = std::hint::black_box(0.25);
    let mut sums = [0.5f32; 4 * Portable::COLUMNS];
    for _ in 0..times {
        let x = std::hint::black_box(0.5);
        for sum in &mut sums {
            *sum = multiply_add(x, weights, *sum);
        }
    }
    std::hint::black_box(sums);
}

fn f32_tile(x: Matrix<'_>, panel: &[f32], tile: &mut [f32]) {
    any_rows(x, panel, tile, mul_add);
}

fn bf16_tile(x: Matrix<'_>, panel: &[f32], tile: &mut [f32]) {
    any_rows(x, panel, tile, add_pair);
}

fn int8_tile(x: Matrix<'_>, panel: &[f32], tile: &mut [f32]) {
    any_rows(x, panel, tile, add_bytes);
}

/// Two products of bf16 pairs added to a sum: a bf16 is the upper half of an f32.
#[inline(always)]
fn add_pair(a: f32, b: f32, sum: f32) -> f32 {
    let low = |pair: f32| f32::from_bits(pair.to_bits() << 16);
    let high = |pair: f32| f32::from_bits(pair.to_bits() & 0xffff_0000);
    mul_add(high(a), high(b), mul_add(low(a), low(b), sum))
}

/// Four products of unsigned and signed bytes added to a 32-bit sum.
#[inline(always)]
fn add_bytes(a: f32, b: f32, sum: f32) -> f32 {
    let products = a.to_bits().to_le_bytes().into_iter().zip(b.to_bits().to_le_bytes());
    let products = products.map(|(a, b)| i32::from(a) * i32::from(b.cast_signed()));
    f32::from_bits((sum.to_bits().cast_signed() + products.sum::<i32>()).cast_unsigned())
}

#[inline(always)]
fn any_rows(x: Matrix<'_>, panel: &[f32], tile: &mut [f32], multiply_add: impl Fn(f32, f32, f32) -> f32) {
    assert!(x.rows() <= Portable::ROWS && panel.len() == x.columns() * Portable::COLUMNS);
    match x.rows() {
        4 => rows::<4>(x, panel, tile, multiply_add),
        3 => rows::<3>(x, panel, tile, multiply_add),
        2 => rows::<2>(x, panel, tile, multiply_add),
        1 => rows::<1>(x, panel, tile, multiply_add),
        _ => {}
    }
}

#[inline(always)]
fn rows<const R: usize>(
    x: Matrix<'_>,
    panel: &[f32],
    tile: &mut [f32],
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
