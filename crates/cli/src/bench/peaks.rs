//! What one core does at best.

use super::measure::{products_per_second, seconds_of};
use super::point::Point;
use std::time::Duration;
use taskvec_kernels::{Isa, Storage, read_memory};

/// How long each kernel is measured in a round.
pub(super) const TIME: Duration = Duration::from_millis(50);

/// What products of each precision multiply on this CPU.
pub(super) fn storages(isa: Isa) -> [(Storage, &'static str); 3] {
    [(Storage::F32, "f32"), (isa.bf16_storage(), "bf16"), (Storage::Int8, "int8")]
}

/// What one core does at best.
pub(super) struct Peaks {
    /// Name of the storage and arithmetic, in operations (a multiply-add is two) per second.
    pub(super) arithmetic: Vec<(&'static str, f64)>,
    /// Size that is read again and again, in bytes, and bytes per second.
    pub(super) memory: Vec<(&'static str, usize, f64)>,
    /// The same at powers of two in between, so that a kernel is held to memory that its bytes lie in.
    finer: Vec<(usize, f64)>,
}

impl Peaks {
    pub(super) fn measure(isa: Isa) -> Peaks {
        let arithmetic =
            storages(isa).map(|(storage, name)| (name, 2.0 * products_per_second(isa, storage, 6 * TIME)));
        let arithmetic = arithmetic.into();
        let memory = [("16 KiB", 1 << 14), ("256 KiB", 1 << 18), ("8 MiB", 1 << 23), ("256 MiB", 1 << 28)];
        let rate = |bytes: usize, time: Duration| {
            let buffer = vec![1.0f32; bytes / size_of::<f32>()];
            bytes as f64 / seconds_of(time, || read_memory(isa, &buffer))
        };
        let memory = memory.into_iter().map(|(name, bytes)| (name, bytes, rate(bytes, 6 * TIME)));
        let finer = (12..=28).map(|power| (1 << power, rate(1 << power, TIME)));
        Peaks { arithmetic, memory: memory.collect(), finer: finer.collect() }
    }

    /// Of a device with one memory.
    #[cfg(feature = "gpu")]
    pub(super) fn of_one_memory(arithmetic: Vec<(&'static str, f64)>, bandwidth: f64) -> Peaks {
        Peaks { arithmetic, memory: vec![("memory", usize::MAX / 4, bandwidth)], finer: Vec::new() }
    }

    /// Bytes per second of so many that are read again and again: at most what any as large or larger are read at, and
    /// what half as many are.
    pub(super) fn bandwidth(&self, bytes: f64) -> f64 {
        let large = self.finer.iter().filter(|(size, _)| 2.0 * *size as f64 >= bytes).map(|(_, rate)| *rate);
        let fastest = large.fold(f64::NAN, f64::max);
        if fastest.is_nan() { self.memory.last().map_or(f64::NAN, |(.., rate)| *rate) } else { fastest }
    }

    /// What the machine allows a kernel: the lower of arithmetic and memory.
    pub(super) fn bound(&self, point: &Point) -> f64 {
        let memory = self.bandwidth(point.bytes) * point.operations / point.bytes;
        point.peak.min(memory)
    }
}
