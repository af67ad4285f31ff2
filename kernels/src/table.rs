//! Rows of embedding tables.

use crate::dispatch::dispatch;
use crate::kernel::Kernel;
use crate::storage::Storage;
use crate::vector::{MAX_LANES, Vector};

dispatch! {
    /// Asks for memory, so that it is near when it is read.
    pub fn prefetch(bytes: &[u8]) = prefetch_body
}

#[inline(always)]
fn prefetch_body<K: Kernel>(bytes: &[u8]) {
    for line in bytes.chunks(64) {
        K::Vector::prefetch(line.as_ptr().cast());
    }
}

dispatch! {
    /// Writes values of 16 bits as f32: of [`Storage::F16Weights`] f16, of [`Storage::Bf16Weights`] bf16.
    ///
    /// # Panics
    /// If `storage` is another, or `out` is not as long as `halves`.
    pub fn widen_halves(storage: Storage, halves: &[u16], out: &mut [f32]) = widen_halves_body
}

#[inline(always)]
fn widen_halves_body<K: Kernel>(storage: Storage, halves: &[u16], out: &mut [f32]) {
    assert!(matches!(storage, Storage::F16Weights | Storage::Bf16Weights) && out.len() == halves.len());
    let lanes = K::Vector::LANES;
    let (mut values, mut results) = (halves.chunks_exact(lanes), out.chunks_exact_mut(lanes));
    for (halves, out) in (&mut values).zip(&mut results) {
        K::widened(storage, halves).store(out);
    }
    let (halves, out) = (values.remainder(), results.into_remainder());
    if !halves.is_empty() {
        let mut whole = [0; MAX_LANES];
        whole[..halves.len()].copy_from_slice(halves);
        K::widened(storage, &whole).store_part(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn halves_of_any_number_are_widened_exactly() {
        let halves: Vec<u16> = (0..=u16::MAX).step_by(if cfg!(miri) { 257 } else { 1 }).collect();
        let of_f16 = |bits: u16| half::f16::from_bits(bits).to_f32();
        let of_bf16 = |bits: u16| half::bf16::from_bits(bits).to_f32();
        type Widen = fn(u16) -> f32;
        let types: [(Storage, Widen); 2] = [(Storage::F16Weights, of_f16), (Storage::Bf16Weights, of_bf16)];
        for isa in Isa::available() {
            for (storage, exact) in types {
                for count in [0, 1, 7, 8, 17, 33, 255, halves.len()] {
                    let halves = &halves[halves.len() - count..];
                    let mut out = vec![f32::INFINITY; count];
                    widen_halves(isa, storage, halves, &mut out);
                    for (&bits, got) in halves.iter().zip(out) {
                        let want = exact(bits);
                        let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
                        assert!(same, "{isa:?} {storage:?}: {bits:#x} is {got}, not {want}");
                    }
                }
            }
        }
    }
}
