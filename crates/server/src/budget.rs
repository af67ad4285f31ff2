//! How much a key may have: tokens a minute.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Tokens that a key may still have. It fills up steadily, to a minute's worth. A request is let in while anything is left, however
/// large it is, and what it took beyond that is paid back by waiting: none is too large to be ever answered.
pub(crate) struct Budget {
    per_second: f64,
    level: Mutex<(f64, Instant)>,
}

impl Budget {
    pub(crate) fn new(per_minute: u64) -> Budget {
        Budget {
            per_second: per_minute.max(1) as f64 / 60.0,
            level: Mutex::new((per_minute.max(1) as f64, Instant::now())),
        }
    }

    /// How long until something is left; `None` if something is.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.wait_at(Instant::now())
    }

    fn wait_at(&self, now: Instant) -> Option<Duration> {
        let level = self.filled(now).0;
        let seconds = (1.0 - level) / self.per_second;
        (level < 1.0).then(|| Duration::from_secs_f64(seconds.min(1e9)))
    }

    /// Takes tokens; a negative number gives them back.
    pub(crate) fn take(&self, tokens: f64) {
        self.filled(Instant::now()).0 -= tokens;
    }

    fn filled(&self, now: Instant) -> MutexGuard<'_, (f64, Instant)> {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_duration_since(level.1).as_secs_f64();
        level.0 = (level.0 + since * self.per_second).min(60.0 * self.per_second);
        level.1 = now.max(level.1);
        level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fills_steadily_and_lets_any_size_in() {
        let budget = Budget::new(600);
        let now = Instant::now();
        assert_eq!(budget.wait_at(now), None);
        budget.take(10_000.0);
        let wait = budget.wait_at(Instant::now()).unwrap().as_secs_f64();
        assert!((930.0..945.0).contains(&wait), "{wait}");
        budget.take(-10_000.0);
        assert_eq!(budget.wait(), None);
        budget.take(601.0);
        assert!(budget.wait().is_some());
        assert_eq!(budget.wait_at(Instant::now() + Duration::from_secs(1)), None);
        // It never holds more than a minute's worth.
        assert_eq!(budget.wait_at(Instant::now() + Duration::from_secs(100_000)), None);
        budget.take(1200.0);
        assert!(budget.wait_at(Instant::now() + Duration::from_secs(59)).is_some());
    }
}
