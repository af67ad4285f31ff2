//! What the threads of a model and its requests share.

use super::job::Class;
use super::queue::Queue;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Seconds a token is thought to take before any was measured.
const FIRST_GUESS: f64 = 2e-5;

/// What requests and the thread share.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// A thread of each class waits on its own.
    pub(super) wake: [Condvar; 2],
    /// Seconds of a token of each class, as f64's bits: what was measured last counts most.
    pub(super) seconds: [AtomicU64; 2],
}

pub(super) struct State {
    pub(super) queue: Queue,
    /// Tokens of each class that are being computed.
    pub(super) running: [u64; 2],
    pub(super) ended: bool,
}

impl Shared {
    /// Nothing waits yet. `most`: the most tokens of a text.
    pub(super) fn new(most: usize) -> Shared {
        Shared {
            state: Mutex::new(State { queue: Queue::new(most), running: [0; 2], ended: false }),
            wake: std::array::from_fn(|_| Condvar::new()),
            seconds: std::array::from_fn(|_| AtomicU64::new(FIRST_GUESS.to_bits())),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn seconds(&self, class: Class) -> f64 {
        f64::from_bits(self.seconds[class as usize].load(Ordering::Relaxed))
    }

    /// So many tokens took so long.
    pub(super) fn measured(&self, class: Class, tokens: u64, taken: Duration) {
        if tokens == 0 {
            return;
        }
        let each = taken.as_secs_f64() / tokens as f64;
        let seconds = self.seconds(class);
        // A large batch says more.
        let weight = (tokens as f64 / 4096.0).clamp(0.02, 0.5);
        let seconds = if seconds == FIRST_GUESS { each } else { seconds + weight * (each - seconds) };
        self.seconds[class as usize].store(seconds.to_bits(), Ordering::Relaxed);
    }
}
