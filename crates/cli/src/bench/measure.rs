//! Timing.

use std::time::{Duration, Instant};
use taskvec_kernels::{Isa, Storage, multiply_in_registers};

/// The median of the seconds that one call takes. Calls are timed in samples of at least a millisecond, as many
/// as fit the time, at least five.
pub(super) fn seconds_of(time: Duration, mut call: impl FnMut()) -> f64 {
    let calls = calls_of_a_sample(&mut call);
    let mut samples = Vec::new();
    let start = Instant::now();
    while samples.len() < 5 || start.elapsed() < time {
        samples.push(sample(calls, &mut call));
    }
    percentile(&mut samples, 0.5)
}

fn calls_of_a_sample(call: &mut impl FnMut()) -> u32 {
    call(); // memory is touched and caches are filled
    let mut calls = 1;
    while f64::from(calls) * sample(calls, call) < 1e-3 {
        calls *= 2;
    }
    calls
}

/// The seconds of a call, of so many.
fn sample(calls: u32, call: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..calls).for_each(|_| call());
    start.elapsed().as_secs_f64() / f64::from(calls)
}

/// Multiply-adds a second of one core that does nothing else.
pub(super) fn products_per_second(isa: Isa, storage: Storage, time: Duration) -> f64 {
    let seconds = seconds_of(time, || {
        multiply_in_registers(isa, storage, BARE_LOOPS);
    });
    multiply_in_registers(isa, storage, BARE_LOOPS) as f64 / seconds
}

/// Times around the loop of bare arithmetic: some 0.1 ms.
const BARE_LOOPS: usize = 20_000;

/// Takes turns between a kernel and bare arithmetic, so that a change of the machine's speed meets both.
#[derive(Clone, Copy)]
pub(super) struct Stopwatch {
    pub(super) isa: Isa,
    /// Whose arithmetic.
    pub(super) storage: Storage,
}

pub(super) struct Timing {
    /// The median of a call.
    pub(super) seconds: f64,
    /// Operations (a multiply-add is two) a second of bare arithmetic, so that the share that `seconds` are of it is
    /// the median of the shares.
    pub(super) peak: f64,
}

impl Stopwatch {
    /// Times calls for as long, bare arithmetic apart.
    pub(super) fn time(self, time: Duration, mut call: impl FnMut()) -> Timing {
        let calls = calls_of_a_sample(&mut call);
        let (mut samples, mut shares) = (Vec::new(), Vec::new());
        let start = Instant::now();
        while samples.len() < 5 || start.elapsed() < time {
            let seconds = sample(calls, &mut call);
            let mut products = 0;
            let bare =
                sample(1, &mut || products = multiply_in_registers(self.isa, self.storage, BARE_LOOPS));
            samples.push(seconds);
            shares.push(bare / products as f64 / seconds);
        }
        let seconds = percentile(&mut samples, 0.5);
        Timing { seconds, peak: 2.0 / (percentile(&mut shares, 0.5) * seconds) }
    }
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
