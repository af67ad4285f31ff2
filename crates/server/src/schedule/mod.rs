//! When what is computed. A model has a thread for each class that takes texts from its queue whenever it is free: no timer makes a
//! batch wait for more, and what came meanwhile shares the next one, whatever its tasks, prompts and sizes. The engine lets a short
//! call run beside a long one, and the system shares the cores between them: so nobody waits for a batch of a large request.

mod job;
mod queue;
mod shared;
mod worker;

pub(crate) use job::{Content, Done, Finished, Item, Value, Work, late};

use crate::fault::{Fault, FaultKind};
use crate::loaded::Loaded;
use job::{Class, Job};
use shared::Shared;
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

/// Work that takes about as long as this, or less, is a person's.
const INTERACTIVE: Duration = Duration::from_millis(100);

/// What a queue may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A request that would wait longer is refused.
    pub(crate) longest_wait: Duration,
    /// Bytes of texts that wait.
    pub(crate) bytes: usize,
}

/// A model's queue and the threads that serve it.
pub(crate) struct Schedule {
    shared: Arc<Shared>,
    limits: Limits,
    most: usize,
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
    /// Waits for all results, until the deadline.
    ///
    /// # Errors
    /// [`FaultKind::Late`] if that is over: what has not begun then never will be.
    pub(crate) async fn wait(mut self, deadline: Option<Instant>) -> Result<Finished, Fault> {
        let finished = match deadline {
            None => (&mut self.finished).await,
            Some(deadline) => {
                tokio::time::timeout_at(deadline.into(), &mut self.finished).await.map_err(|_| late())?
            }
        };
        finished.map_err(|_| Fault::internal("the thread that computes has ended"))
    }
}

impl Schedule {
    /// Starts a model's threads.
    pub(crate) fn start(loaded: Arc<Loaded>, limits: Limits) -> std::io::Result<Schedule> {
        let most = loaded.max_tokens();
        let shared = Arc::new(Shared::new(most));
        for class in [Class::Interactive, Class::Bulk] {
            let (loaded, shared) = (loaded.clone(), shared.clone());
            std::thread::Builder::new()
                .name(format!("taskvec-{class:?}").to_lowercase())
                .spawn(move || worker::serve(&loaded, &shared, class))?;
        }
        Ok(Schedule { shared, limits, most })
    }

    /// Puts work into the queue, of a key and for one who waits until a deadline.
    ///
    /// # Errors
    /// [`FaultKind::Overloaded`] if it would wait too long, with the time after which it would not.
    pub(crate) fn submit(&self, work: Work, key: usize, deadline: Option<Instant>) -> Result<Pending, Fault> {
        let seconds = self.shared.seconds(Class::Bulk).min(self.shared.seconds(Class::Interactive));
        let tokens: u64 = (0..work.len()).map(|i| work.tokens(i, self.most)).sum();
        let class = match tokens as f64 * seconds <= INTERACTIVE.as_secs_f64() {
            true => Class::Interactive,
            false => Class::Bulk,
        };
        let mut state = self.shared.state();
        let before = state.queue.waiting(class) + state.running[class as usize];
        let wait = Duration::from_secs_f64((before as f64 * self.shared.seconds(class)).min(1e9));
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
        let (job, finished) = Job::new(work, class, key);
        state.queue.push(job.clone());
        drop(state);
        self.shared.wake[class as usize].notify_one();
        Ok(Pending { job, finished })
    }

    /// Tokens that wait, and those under way, about.
    pub(crate) fn tokens(&self) -> u64 {
        let state = self.shared.state();
        state.queue.tokens() + state.running.iter().sum::<u64>()
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.wake.iter().for_each(Condvar::notify_all);
    }
}
