//! Threads that share one piece of work after another and do not sleep in between.
//!
//! A layer of one short text takes some ten microseconds on a core. Waking a sleeping thread takes as long. So
//! helpers stay awake from the first layer to the last and keep looking for work. The caller brings the threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// Looks at memory before a waiting thread lets others run: some microseconds.
const SPINS: usize = 1000;

/// One leader and any number of helpers. Shared work gets done even if no helper comes.
#[derive(Default)]
pub struct Team {
    /// What is being shared, or null. It lives on the leader's stack.
    job: AtomicPtr<Job>,
    /// Counts the jobs, so that no helper takes part in one twice.
    jobs: AtomicUsize,
    /// Helpers that may hold a pointer to `job`.
    visitors: AtomicUsize,
    panicked: AtomicBool,
    dismissed: AtomicBool,
}

/// A task, once for each number below `count`.
struct Job {
    /// Borrowed for as long as [`Team::share`] runs.
    task: *const (dyn Fn(usize) + Sync),
    next: AtomicUsize,
    count: usize,
}

impl Job {
    /// Takes numbers until none are left.
    fn work(&self) {
        // SAFETY: a `Job` is held only while `share` waits, so the task is still borrowed.
        let task = unsafe { &*self.task };
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.count {
                return;
            }
            task(number);
        }
    }
}

impl Team {
    /// Calls `task` with each number below `count`, on this thread and on those that help, and returns when
    /// all calls have returned. One thread at a time may share.
    ///
    /// # Panics
    /// If another thread is sharing, or if a call panics, on whichever thread.
    pub fn share(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        // SAFETY: only the lifetime changes. No one has the task after this function: see `Recall`.
        let task = unsafe {
            std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const (dyn Fn(usize) + Sync + 'static)>(
                task,
            )
        };
        let job = Job { task, next: AtomicUsize::new(0), count };
        let none = null_mut();
        let started =
            self.job.compare_exchange(none, (&raw const job).cast_mut(), Ordering::SeqCst, Ordering::SeqCst);
        assert!(started.is_ok(), "a team shares one thing at a time");
        let recall = Recall(self);
        self.jobs.fetch_add(1, Ordering::SeqCst);
        job.work();
        drop(recall);
        assert!(!self.panicked.load(Ordering::Relaxed), "a thread that helped panicked");
    }

    /// Helps with what is shared until [`Team::dismiss`].
    pub fn help(&self) {
        let (mut last, mut spins) = (0, 0);
        while !self.dismissed.load(Ordering::Acquire) {
            let current = self.jobs.load(Ordering::Acquire);
            if current == last {
                wait(&mut spins);
                continue;
            }
            (last, spins) = (current, 0);
            self.visitors.fetch_add(1, Ordering::SeqCst);
            // This comes after the visit is known, and the leader looks for visits after it has taken the job
            // back: so either null is read here, or the leader waits. (Both in the one order of `SeqCst`.)
            let job = self.job.load(Ordering::SeqCst);
            // SAFETY: not null, it is a job that its leader keeps until the visit ends.
            if let Some(job) = unsafe { job.as_ref() }
                && catch_unwind(AssertUnwindSafe(|| job.work())).is_err()
            {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.visitors.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Sends the helpers away, now and in future.
    pub fn dismiss(&self) {
        self.dismissed.store(true, Ordering::Release);
    }
}

/// Takes the job back, also from a leader that panics, and waits until no helper has it.
struct Recall<'a>(&'a Team);

impl Drop for Recall<'_> {
    fn drop(&mut self) {
        self.0.job.store(null_mut(), Ordering::SeqCst);
        let mut spins = 0;
        while self.0.visitors.load(Ordering::SeqCst) != 0 {
            wait(&mut spins);
        }
    }
}

fn wait(spins: &mut usize) {
    *spins += 1;
    if *spins < SPINS {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `lead` with so many helpers.
    fn with_helpers(helpers: usize, lead: impl FnOnce(&Team)) {
        let team = Team::default();
        std::thread::scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|| team.help());
            }
            let result = catch_unwind(AssertUnwindSafe(|| lead(&team)));
            team.dismiss();
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    }

    #[test]
    fn every_number_is_taken_once_by_any_number_of_helpers() {
        for helpers in [0, 1, 3] {
            with_helpers(helpers, |team| {
                for round in 0..if cfg!(miri) { 100 } else { 2000 } {
                    let counts: Vec<AtomicUsize> = (0..round % 7).map(|_| AtomicUsize::new(0)).collect();
                    team.share(counts.len(), &|i| {
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
                }
            });
        }
    }

    /// Shares until a helper was there, and runs `at_helper` on it.
    fn share_with_a_helper(team: &Team, at_helper: impl Fn() + Sync) {
        let leader = std::thread::current().id();
        let helped = AtomicBool::new(false);
        while !helped.load(Ordering::Relaxed) {
            team.share(2, &|_| {
                if std::thread::current().id() != leader {
                    helped.store(true, Ordering::Relaxed);
                    at_helper();
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            });
        }
    }

    #[test]
    fn helpers_help() {
        with_helpers(1, |team| share_with_a_helper(team, || ()));
    }

    #[test]
    #[should_panic(expected = "a thread that helped panicked")]
    fn a_helpers_panic_reaches_the_leader() {
        with_helpers(1, |team| share_with_a_helper(team, || panic!("injected")));
    }

    #[test]
    fn a_leader_may_panic_and_share_again() {
        let team = Team::default();
        let failed = catch_unwind(AssertUnwindSafe(|| team.share(1, &|_| panic!("injected"))));
        assert!(failed.is_err());
        let done = AtomicUsize::new(0);
        team.share(3, &|_| {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.into_inner(), 3);
    }
}
