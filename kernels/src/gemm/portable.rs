//! The tiles in plain Rust: vectorised by the compiler for the target's baseline.

use super::tile::{PeakLoop, Tile, TileFunction};
use crate::kernel::Kernel;
use crate::kernel::portable::{Portable, bf16_as_f32, f16_as_f32};
use crate::matrix::Matrix;
use crate::storage::Storage;
use crate::vector::mul_add;

pub(super) fn tile(storage: Storage) -> Tile {
    let run: TileFunction = match storage {
        Storage::F32 => f32_tile,
        Storage::F16Weights => f16_weights_tile,
        Storage::Bf16Weights | Storage::Bf16Widened => bf16_weights_tile,
        Storage::Bf16 => bf16_tile,
        Storage::Int8 => int8_tile,
    };
    run.into()
}

/// The loop for a tile's multiplication.
pub(super) fn peak(storage: Storage) -> PeakLoop {
    let run = match storage {
        Storage::F32 | Storage::F16Weights | Storage::Bf16Weights | Storage::Bf16Widened => {
            |times| peak_loop(times, mul_add)
        }
        Storage::Bf16 => |times| peak_loop(times, add_pair),
        Storage::Int8 => |times| peak_loop(times, add_bytes),
    };
    PeakLoop { run, products: 4 * Portable::COLUMNS * storage.of_rows().values_of_a_lane() }
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
    any_rows(x, panel, tile, mul_add, Lanes);
}

fn f16_weights_tile(x: Matrix<'_>, panel: &[f32], tile: &mut [f32]) {
    any_rows(x, panel, tile, mul_add, Halves(f16_as_f32));
}

fn bf16_weights_tile(x: Matrix<'_>, panel: &[f32], tile: &mut [f32]) {
    any_rows(x, panel, tile, mul_add, Halves(bf16_as_f32));
}

fn bf16_tile(x: Matrix<'_>, panel: &[f32], tile: &mut [f32]) {
    any_rows(x, panel, tile, add_pair, Lanes);
}

fn int8_tile(x: Matrix<'_>, panel: &[f32], tile: &mut [f32]) {
    any_rows(x, panel, tile, add_bytes, Lanes);
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

/// How a panel has the weights of a step of the depth.
trait Step {
    /// Lanes of a step.
    const LANES: usize;

    /// Its weights.
    fn weights(&self, lanes: &[f32]) -> [f32; Portable::COLUMNS];
}

/// One to a lane.
struct Lanes;

impl Step for Lanes {
    const LANES: usize = Portable::COLUMNS;

    #[inline(always)]
    fn weights(&self, lanes: &[f32]) -> [f32; Portable::COLUMNS] {
        std::array::from_fn(|c| lanes[c])
    }
}

/// Two to a lane, and what makes f32 of one.
struct Halves<F>(F);

impl<F: Fn(u16) -> f32> Step for Halves<F> {
    const LANES: usize = Portable::COLUMNS / 2;

    #[inline(always)]
    fn weights(&self, lanes: &[f32]) -> [f32; Portable::COLUMNS] {
        std::array::from_fn(|c| (self.0)((lanes[c / 2].to_bits() >> (16 * (c % 2))) as u16))
    }
}

#[inline(always)]
fn any_rows<S: Step>(
    x: Matrix<'_>,
    panel: &[f32],
    tile: &mut [f32],
    multiply_add: impl Fn(f32, f32, f32) -> f32,
    step: S,
) {
    let panel = &panel[..x.columns() * S::LANES];
    assert!(x.rows() <= Portable::ROWS);
    match x.rows() {
        4 => rows::<4, S>(x, panel, tile, multiply_add, step),
        3 => rows::<3, S>(x, panel, tile, multiply_add, step),
        2 => rows::<2, S>(x, panel, tile, multiply_add, step),
        1 => rows::<1, S>(x, panel, tile, multiply_add, step),
        _ => {}
    }
}

#[inline(always)]
fn rows<const R: usize, S: Step>(
    x: Matrix<'_>,
    panel: &[f32],
    tile: &mut [f32],
    multiply_add: impl Fn(f32, f32, f32) -> f32,
    step: S,
) {
    const C: usize = Portable::COLUMNS;
    let x: [&[f32]; R] = std::array::from_fn(|r| x.row(r));
    let mut sums = [[0.0f32; C]; R];
    for (k, lanes) in panel.chunks_exact(S::LANES).enumerate() {
        let weights = step.weights(lanes);
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
