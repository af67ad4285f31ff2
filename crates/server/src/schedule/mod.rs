//! When what is computed. A model has a thread that takes texts from its queue whenever the device is free: no timer makes a batch
//! wait for more, and what came meanwhile shares the next one, whatever its tasks, prompts and sizes.

mod job;
mod queue;
mod worker;

pub(crate) use job::{Content, Done, Finished, Item, Value, Work};

use crate::fault::{Fault, FaultKind};
use crate::loaded::Loaded;
use job::{Class, Job};
use queue::Queue;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Work that takes about as long as this, or less, is a person's.
const INTERACTIVE: Duration = Duration::from_millis(100);

/// Seconds a token is thought to take before any was measured.
const FIRST_GUESS: f64 = 2e-5;

/// What a queue may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A request that would wait longer is refused.
    pub(crate) longest_wait: Duration,
    /// Bytes of texts that wait.
    pub(crate) bytes: usize,
}

/// A model's queue and the thread that serves it.
pub(crate) struct Schedule {
    shared: Arc<Shared>,
    limits: Limits,
    most: usize,
}

/// What requests and the thread share.
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// Seconds of a token, as f64's bits: what was measured last counts most.
    seconds: AtomicU64,
}

struct State {
    queue: Queue,
    /// Tokens that are being computed.
    running: u64,
    ended: bool,
    /// When a person last asked: batches are short for a while then.
    last_interactive: Option<Instant>,
}

/// A job's results, to be waited for. Who stops waiting abandons the job.
pub(crate) struct Pending {
    job: Arc<Job>,
    finished: tokio::sync::oneshot::Receiver<Finished>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.job.abandon();
    }
}

impl Pending {
    /// Waits for all results.
    pub(crate) async fn wait(mut self) -> Result<Finished, Fault> {
        let ended = || Fault::internal("the thread that computes has ended");
        (&mut self.finished).await.map_err(|_| ended())
    }
}

impl Schedule {
    /// Starts a model's thread.
    pub(crate) fn start(loaded: Arc<Loaded>, limits: Limits) -> std::io::Result<Schedule> {
        let most = loaded.max_tokens();
        let state = State { queue: Queue::new(most), running: 0, ended: false, last_interactive: None };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
            seconds: AtomicU64::new(FIRST_GUESS.to_bits()),
        });
        let of_thread = shared.clone();
        std::thread::Builder::new()
            .name("taskvec-schedule".to_owned())
            .spawn(move || worker::serve(&loaded, &of_thread))?;
        Ok(Schedule { shared, limits, most })
    }

    /// Puts work into the queue.
    ///
    /// # Errors
    /// [`FaultKind::Overloaded`] if it would wait too long, with the time after which it would not.
    pub(crate) fn submit(&self, work: Work, key: usize, deadline: Option<Instant>) -> Result<Pending, Fault> {
        let seconds = self.shared.seconds();
        let tokens: u64 = (0..work.len()).map(|i| work.tokens(i, self.most)).sum();
        let class = match tokens as f64 * seconds <= INTERACTIVE.as_secs_f64() {
            true => Class::Interactive,
            false => Class::Bulk,
        };
        let mut state = self.shared.state();
        let before = state.queue.before(class) + state.running;
        let wait = Duration::from_secs_f64((before as f64 * seconds).min(1e9));
        let longest = match deadline {
            Some(deadline) => {
                self.limits.longest_wait.min(deadline.saturating_duration_since(Instant::now()))
            }
            None => self.limits.longest_wait,
        };
        let is_full = state.queue.bytes() > 0 && state.queue.bytes() + work.bytes() > self.limits.bytes;
        if wait > longest || is_full {
            let after = (wait.saturating_sub(longest)).max(Duration::from_secs(1));
            return Err(Fault::new(
                FaultKind::Overloaded(after),
                format!(
                    "there is too much to do: this would wait for about {:.0} s; try again in {} s",
                    wait.as_secs_f64().ceil(),
                    after.as_secs_f64().ceil()
                ),
            ));
        }
        let (job, finished) = Job::new(work, class, key, deadline);
        if class == Class::Interactive {
            state.last_interactive = Some(Instant::now());
        }
        state.queue.push(job.clone());
        drop(state);
        self.shared.wake.notify_one();
        Ok(Pending { job, finished })
    }

    /// Tokens that wait, and those under way, about.
    pub(crate) fn tokens(&self) -> u64 {
        let state = self.shared.state();
        state.queue.tokens() + state.running
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seconds(&self) -> f64 {
        f64::from_bits(self.seconds.load(Ordering::Relaxed))
    }

    /// So many tokens took so long.
    fn measured(&self, tokens: u64, taken: Duration) {
        if tokens == 0 {
            return;
        }
        let each = taken.as_secs_f64() / tokens as f64;
        let seconds = self.seconds();
        // A large batch says more.
        let weight = (tokens as f64 / 4096.0).clamp(0.02, 0.5);
        let seconds = if seconds == FIRST_GUESS { each } else { seconds + weight * (each - seconds) };
        self.seconds.store(seconds.to_bits(), Ordering::Relaxed);
    }
}
