//! Timing.

use std::time::{Duration, Instant};
use taskvec_kernels::{Isa, Storage, multiply_in_registers};

/// The median of the seconds that one call takes. Calls are timed in samples of at least a millisecond, as many
/// as fit the time, at least five.
pub(super) fn seconds_of(time: Duration, mut call: impl FnMut()) -> f64 {
    call(); // memory is touched and caches are filled
    let mut calls = 1;
    loop {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        if start.elapsed() >= Duration::from_millis(1) {
            break;
        }
        calls *= 2;
    }
    let mut samples = Vec::new();
    let start = Instant::now();
    while samples.len() < 5 || start.elapsed() < time {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        samples.push(start.elapsed().as_secs_f64() / f64::from(calls));
    }
    percentile(&mut samples, 0.5)
}

/// Multiply-adds a second of one core that does nothing else.
pub(super) fn products_per_second(isa: Isa, storage: Storage, time: Duration) -> f64 {
    const TIMES: usize = 20_000;
    let seconds = seconds_of(time, || {
        multiply_in_registers(isa, storage, TIMES);
    });
    multiply_in_registers(isa, storage, TIMES) as f64 / seconds
}

/// The value below which this share of the samples is.
pub(super) fn percentile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let place = (share * (samples.len() - 1) as f64).round();
    samples[place as usize]
}

/// Deterministic values in -1..1.
pub(super) fn values(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
