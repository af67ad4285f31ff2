//! Weights, and the rows they are multiplied with, from f32 to how they are stored.

use crate::dispatch::dispatch;
use crate::kernel::Kernel;
use crate::storage::Storage;
use crate::vector::{MAX_LANES, Vector};
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

#[cfg(target_endian = "big")]
compile_error!("the kernels read several small values from one 32-bit lane, the first in its lowest bits");

dispatch! {
    /// Stores a row of x as a product with weights of this storage takes it: as [`Storage::of_rows`] says.
    ///
    /// bf16 is rounded to nearest, ties to even. For int8 see [`Storage::Int8`]. A row with a NaN (for
    /// int8 also with an infinity) gives products that are NaN.
    ///
    /// # Panics
    /// If `out` does not have [`Storage::stored_lanes`] of that.
    pub fn encode_row(storage: Storage, row: &[f32], out: &mut [f32]) = encode_row_body
}

#[inline(always)]
pub(super) fn encode_row_body<K: Kernel>(storage: Storage, row: &[f32], out: &mut [f32]) {
    assert_eq!(out.len(), storage.of_rows().stored_lanes(row.len()));
    match storage {
        Storage::F32 | Storage::F16Weights | Storage::Bf16Weights => out.copy_from_slice(row),
        Storage::Bf16 => round_to_bf16::<K::Row>(row, halves_mut(out)),
        Storage::Bf16Widened => round_as_bf16::<K>(row, out),
        Storage::Int8 => {
            let (values, scale_and_zero) = out.split_at_mut(storage.lanes(row.len()));
            let (scale, zero) = quantize_row::<K>(row, bytes(values));
            scale_and_zero.copy_from_slice(&[scale, f32::from_bits(zero)]);
        }
    }
}

/// The lanes as 16-bit values.
pub(super) fn halves(lanes: &[f32]) -> &[u16] {
    // SAFETY: the same memory, whose alignment is enough; all bit patterns are values of both types.
    unsafe { std::slice::from_raw_parts(lanes.as_ptr().cast(), 2 * lanes.len()) }
}

/// The lanes as 16-bit values.
pub(crate) fn halves_mut(lanes: &mut [f32]) -> &mut [u16] {
    // SAFETY: the same memory, whose alignment is enough; all bit patterns are values of both types.
    unsafe { std::slice::from_raw_parts_mut(lanes.as_mut_ptr().cast(), 2 * lanes.len()) }
}

/// The lanes as bytes.
fn bytes(lanes: &mut [f32]) -> &mut [u8] {
    // SAFETY: the same memory, whose alignment is enough; all bit patterns are values of both types.
    unsafe { std::slice::from_raw_parts_mut(lanes.as_mut_ptr().cast(), 4 * lanes.len()) }
}

/// A row as bf16, and zeros behind it.
#[inline(always)]
pub(crate) fn round_to_bf16<V: Vector>(row: &[f32], out: &mut [u16]) {
    let (values, padding) = out.split_at_mut(row.len());
    padding.fill(0);
    for (row, out) in row.chunks(V::LANES).zip(values.chunks_mut(V::LANES)) {
        if row.len() == V::LANES {
            V::load(row).store_bf16(out);
        } else {
            let mut halves = [0; MAX_LANES];
            V::load_part(row, 0.0).store_bf16(&mut halves);
            out.copy_from_slice(&halves[..row.len()]);
        }
    }
}

/// A row as f32 that bf16 has numbers for.
#[inline(always)]
fn round_as_bf16<K: Kernel>(row: &[f32], out: &mut [f32]) {
    let lanes = K::Vector::LANES;
    let mut halves = [0; MAX_LANES];
    for (row, out) in row.chunks(lanes).zip(out.chunks_mut(lanes)) {
        let x = if row.len() == lanes { K::Vector::load(row) } else { K::Vector::load_part(row, 0.0) };
        x.store_bf16(&mut halves);
        if out.len() == lanes {
            K::widened(Storage::Bf16Weights, &halves).store(out);
        } else {
            let mut values = [0.0; MAX_LANES];
            K::widened(Storage::Bf16Weights, &halves).store(&mut values);
            out.copy_from_slice(&values[..out.len()]);
        }
    }
}

/// A row as bytes `q` with `value ≈ scale · (q - zero)`; returns scale and zero.
#[inline(always)]
fn quantize_row<K: Kernel>(row: &[f32], out: &mut [u8]) -> (f32, u32) {
    let (lowest, highest, nothing) = extent::<K::Row>(row);
    let width = highest - lowest;
    // Below this, 255 / width would be infinite. Such a row counts as 0.
    let (scale, steps) = if width < 1e-35 { (0.0, 0.0) } else { (width / 255.0, 255.0 / width) };
    let zero = (-lowest * steps).round_ties_even();
    let (values, padding) = out.split_at_mut(row.len());
    padding.fill(0);
    // Not fused, so that every instruction set rounds alike.
    let (steps, offset) = (K::Vector::splat(steps), K::Vector::splat(zero));
    let mut fours = row.chunks_exact(4 * K::Vector::LANES);
    let mut out = values.chunks_exact_mut(4 * K::Vector::LANES);
    for (row, out) in (&mut fours).zip(&mut out) {
        let mut registers = [offset; 4];
        for i in 0..4 {
            registers[i] = K::Vector::load(&row[i * K::Vector::LANES..]) * steps + offset;
        }
        K::Vector::store_bytes_of_four(registers, out);
    }
    let rest = fours.remainder().chunks(K::Vector::LANES);
    for (row, out) in rest.zip(out.into_remainder().chunks_mut(K::Vector::LANES)) {
        let mut bytes = [0; MAX_LANES];
        (K::Vector::load_part(row, 0.0) * steps + offset).store_bytes(&mut bytes);
        out.copy_from_slice(&bytes[..row.len()]);
    }
    (scale + nothing, zero as u32)
}

/// The smallest and the largest of a row and 0; then 0, or NaN if a value is not finite.
#[inline(always)]
fn extent<V: Vector>(row: &[f32]) -> (f32, f32, f32) {
    let none = V::splat(0.0);
    let (mut low, mut high, mut nothing) = (none, none, none);
    let mut chunks = row.chunks_exact(V::LANES);
    for chunk in &mut chunks {
        let x = V::load(chunk);
        low = x.min(low);
        high = x.max(high);
        nothing = x.mul_add(none, nothing);
    }
    if !chunks.remainder().is_empty() {
        let x = V::load_part(chunks.remainder(), 0.0);
        low = x.min(low);
        high = x.max(high);
        nothing = x.mul_add(none, nothing);
    }
    (low.reduce_min(), high.reduce_max(), nothing.sum())
}

dispatch! {
    /// Stores the weights of one output as a product takes them.
    ///
    /// # Panics
    /// If `out` does not have [`Storage::stored_lanes`] lanes.
    pub fn encode_weights(storage: Storage, row: &[f32], out: &mut [f32]) = encode_weights_body
}

#[inline(always)]
fn encode_weights_body<K: Kernel>(storage: Storage, row: &[f32], out: &mut [f32]) {
    assert_eq!(out.len(), storage.stored_lanes(row.len()));
    match storage {
        Storage::F32 => out.copy_from_slice(row),
        Storage::F16Weights => round_to_f16(row, halves_mut(out)),
        Storage::Bf16Weights | Storage::Bf16 | Storage::Bf16Widened => {
            round_to_bf16::<K::Row>(row, halves_mut(out))
        }
        Storage::Int8 => {
            let (values, scale_and_sum) = out.split_at_mut(storage.lanes(row.len()));
            let (scale, sum) = quantize_weights::<K::Row>(row, bytes(values));
            scale_and_sum.copy_from_slice(&[scale, f32::from_bits(sum.cast_unsigned())]);
        }
    }
}

/// A row in half precision, and zeros behind it.
fn round_to_f16(row: &[f32], out: &mut [u16]) {
    let (values, padding) = out.split_at_mut(row.len());
    padding.fill(0);
    values.reinterpret_cast_mut::<half::f16>().convert_from_f32_slice(row);
}

/// Weights of one output as bytes `w` with `weight ≈ scale · w`; returns the scale and the sum of w.
#[inline(always)]
fn quantize_weights<V: Vector>(row: &[f32], out: &mut [u8]) -> (f32, i32) {
    /// Adding it to a number rounds that to an integer, ties to even.
    const ROUND: f32 = 12_582_912.0;
    let none = V::splat(0.0);
    let mut max = none;
    for chunk in row.chunks(V::LANES) {
        max = V::load_part(chunk, 0.0).abs().max(max);
    }
    out.fill(0);
    let scale = max.reduce_max() / 127.0;
    if scale == 0.0 {
        return (0.0, 0);
    }
    let (steps, round, signed) = (V::splat(scale), V::splat(ROUND), V::splat(128.0));
    let mut sum = none;
    for (row, out) in row.chunks(V::LANES).zip(out.chunks_mut(V::LANES)) {
        let quantized = (V::load_part(row, 0.0) / steps + round) - round;
        sum = sum + quantized; // whole numbers below 2^24: exact
        let mut bytes = [0; MAX_LANES];
        (quantized + signed).store_bytes(&mut bytes);
        for (out, byte) in out.iter_mut().zip(&bytes[..row.len()]) {
            *out = byte ^ 0x80;
        }
    }
    (scale, sum.sum() as i32)
}
