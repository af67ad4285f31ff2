//! What the machine could do at best, to measure kernels against.

#[cfg(target_arch = "aarch64")]
use super::neon;
use super::portable;
use super::tile::PeakLoop;
#[cfg(target_arch = "x86_64")]
use super::x86;
use crate::dispatch::dispatch;
use crate::isa::{Isa, Kind};
use crate::kernel::Kernel;
use crate::storage::Storage;
use crate::vector::Vector;

/// Multiplies and adds in registers with the instruction that products of this storage use, `times` times
/// over; returns the number of multiply-adds.
pub fn multiply_in_registers(isa: Isa, storage: Storage, times: usize) -> usize {
    let PeakLoop { run, products } = match isa.kind() {
        Kind::Portable => portable::peak(storage),
        #[cfg(target_arch = "x86_64")]
        kind => x86::peak(kind, storage),
        #[cfg(target_arch = "aarch64")]
        kind => neon::peak(kind, storage),
    };
    // SAFETY: holding an `Isa` is the proof that the CPU has it.
    unsafe { run(times) };
    products * times
}

dispatch! {
    /// Reads all values, fast enough that memory is the limit.
    pub fn read_memory(values: &[f32]) = read_body
}

#[inline(always)]
fn read_body<K: Kernel>(values: &[f32]) {
    let mut sums = [K::Vector::splat(0.0); 8];
    for chunk in values.chunks_exact(8 * K::Vector::LANES) {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = *sum + K::Vector::load(&chunk[i * K::Vector::LANES..]);
        }
    }
    for sum in sums {
        std::hint::black_box(sum.sum());
    }
}
