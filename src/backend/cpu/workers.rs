//! The threads that carry one batch through the network.

use crate::backend::threads::Threads;
use std::sync::{Arc, Mutex, PoisonError};
use taskvec_kernels::Team;

/// One thread, or several that share each layer.
#[derive(Default)]
pub(super) struct Workers {
    helpers: usize,
    team: Arc<Team>,
}

impl Workers {
    /// This thread leads, and other threads stay awake to help until the workers are dropped. Those that
    /// are busy elsewhere are not waited for.
    pub(super) fn new(count: usize, threads: &Threads) -> Workers {
        let workers = Workers { helpers: count.saturating_sub(1), team: Arc::default() };
        for _ in 0..workers.helpers {
            let team = Arc::clone(&workers.team);
            threads.spawn(move || team.help());
        }
        workers
    }

    /// Their number.
    pub(super) fn count(&self) -> usize {
        self.helpers + 1
    }

    /// Does the work of each part.
    pub(super) fn share<T: Send>(&self, parts: impl Iterator<Item = T>, work: impl Fn(T) + Sync) {
        if self.helpers == 0 {
            return parts.for_each(work);
        }
        let parts: Vec<_> = parts.map(|part| Mutex::new(Some(part))).collect();
        self.team.share(parts.len(), &|i| {
            let part = parts[i].lock().unwrap_or_else(PoisonError::into_inner).take();
            part.into_iter().for_each(&work);
        });
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.team.dismiss();
    }
}
