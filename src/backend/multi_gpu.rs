//! Several GPUs for one model. Each takes the next batches whenever it is done with its own, so that work is
//! dealt by how fast each turns out to be.

use super::{Backend, Job, Running};
use crate::device::{DeviceKind, DeviceReport};
use crate::error::{DeviceError, Error, Result};
use crate::wait::block_on;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Batches that a GPU takes at once: as many as it has under way.
const TAKEN: usize = 2;

pub(crate) struct MultiGpu {
    gpus: Vec<Member>,
}

struct Member {
    gpu: Arc<dyn Backend>,
    /// Why it failed, if it did: it is given nothing any more.
    fault: OnceLock<String>,
}

/// The work of a call.
struct Work {
    /// Batches that are not done.
    open: usize,
    /// Runs of batches that nobody has taken.
    left: Vec<Range<usize>>,
    /// What went wrong last.
    problem: Option<Error>,
}

impl MultiGpu {
    /// GPUs that hold the same model. There must be one.
    pub(crate) fn new(gpus: Vec<Arc<dyn Backend>>) -> MultiGpu {
        let member = |gpu| Member { gpu, fault: OnceLock::new() };
        MultiGpu { gpus: gpus.into_iter().map(member).collect() }
    }

    fn working(&self) -> impl Iterator<Item = &Member> {
        self.gpus.iter().filter(|member| member.fault.get().is_none())
    }
}

impl Member {
    /// Takes batches until none is left or this GPU fails. What it failed at is left for the others.
    fn work(&self, work: &Mutex<Work>, job: &Job<'_>) {
        let lock = || work.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(taken) = lock().left.pop() else { return };
            let done = AtomicUsize::new(0);
            let take = |i, results| {
                (job.take)(taken.start + i, results)?;
                // A GPU gives them in order, so that what it leaves are the last ones.
                done.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            let part = Job { batches: &job.batches[taken.clone()], take: &take, ..*job };
            let result = block_on(self.gpu.run(&part));
            let done = done.into_inner();
            let mut work = lock();
            work.open -= done;
            let Err(problem) = result else { continue };
            if problem.is_the_devices() {
                self.fault.get_or_init(|| problem.to_string());
                work.left.push(taken.start + done..taken.end);
            } else {
                work.left.clear(); // it is the same on the others
            }
            work.problem = Some(problem);
            return;
        }
    }
}

impl Backend for MultiGpu {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Gpus
    }

    fn name(&self) -> String {
        let names: Vec<String> = self.working().map(|member| member.gpu.name()).collect();
        names.join(" and ")
    }

    fn report(&self) -> DeviceReport {
        let fault = self.gpus.iter().find_map(|member| member.fault.get().cloned());
        DeviceReport { kind: self.kind(), name: self.name(), reason: None, fault }
    }

    fn batch_tokens(&self, total: usize) -> usize {
        // Batches small enough that there are some for each.
        let share = total.div_ceil(self.gpus.len() * TAKEN).max(256);
        self.working().map(|member| member.gpu.batch_tokens(total)).min().unwrap_or(1).min(share)
    }

    fn weight_bytes(&self) -> usize {
        self.working().map(|member| member.gpu.weight_bytes()).sum()
    }

    fn batch_bytes(&self, tokens: usize, texts: usize) -> usize {
        self.working().map(|member| member.gpu.batch_bytes(tokens, texts)).sum()
    }

    fn run<'a>(&'a self, job: &'a Job<'a>) -> Running<'a> {
        Box::pin(async move { self.run_shared(job) })
    }
}

impl MultiGpu {
    /// A thread for each GPU takes batches until none is left.
    fn run_shared(&self, job: &Job<'_>) -> Result<()> {
        let count = job.batches.len();
        let starts = (0..count).step_by(TAKEN);
        let left = starts.map(|start| start..(start + TAKEN).min(count)).rev().collect();
        let work = Mutex::new(Work { open: count, left, problem: None });
        // What a failing GPU leaves may come when the others are done: they go on with it.
        loop {
            let members: Vec<&Member> = self.working().collect();
            let done = {
                let work = work.lock().unwrap_or_else(PoisonError::into_inner);
                work.left.is_empty()
            };
            if members.is_empty() || done {
                break;
            }
            std::thread::scope(|scope| {
                for member in members {
                    scope.spawn(|| member.work(&work, job));
                }
            });
        }
        let Work { open, problem, .. } = work.into_inner().unwrap_or_else(PoisonError::into_inner);
        if open == 0 {
            return Ok(());
        }
        Err(problem.unwrap_or_else(|| {
            let reason = "each failed at an earlier call".to_owned();
            DeviceError::Lost { adapter: "all GPUs".to_owned(), reason }.into()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Results, run_now};
    use crate::batch::RaggedBatch;
    use crate::error::RequestError;

    /// Gives each text's tokens, after a while; fails at the call of some number.
    struct Counting {
        takes: std::time::Duration,
        fails_at: usize,
        calls: AtomicUsize,
        batches: AtomicUsize,
        fault: fn() -> Error,
    }

    impl Backend for Counting {
        fn kind(&self) -> DeviceKind {
            DeviceKind::Gpu
        }

        fn name(&self) -> String {
            "counting".to_owned()
        }

        fn batch_tokens(&self, _: usize) -> usize {
            4096
        }

        fn weight_bytes(&self) -> usize {
            10
        }

        fn batch_bytes(&self, _: usize, _: usize) -> usize {
            1
        }

        fn run<'a>(&'a self, job: &'a Job<'a>) -> Running<'a> {
            Box::pin(async move {
                std::thread::sleep(self.takes);
                let fails = self.calls.fetch_add(1, Ordering::Relaxed) >= self.fails_at;
                // Halfway, if it does: what it gave before is not given again.
                let done = &job.batches[..if fails { job.batches.len() / 2 } else { job.batches.len() }];
                self.batches.fetch_add(done.len(), Ordering::Relaxed);
                let tokens = done.iter().map(|batch| vec![vec![batch.tokens() as f32]]);
                tokens.enumerate().try_for_each(|(i, results)| (job.take)(i, results))?;
                if fails { Err((self.fault)()) } else { Ok(()) }
            })
        }
    }

    fn lost() -> Error {
        DeviceError::Lost { adapter: "one".to_owned(), reason: "unplugged".to_owned() }.into()
    }

    fn counting(millis: u64, fails_at: usize, fault: fn() -> Error) -> Arc<Counting> {
        let takes = std::time::Duration::from_millis(millis);
        let (calls, batches) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Counting { takes, fails_at, calls, batches, fault })
    }

    fn gpus(members: &[&Arc<Counting>]) -> MultiGpu {
        MultiGpu::new(members.iter().map(|gpu| Arc::clone(gpu) as Arc<dyn Backend>).collect())
    }

    fn batches(count: usize) -> Vec<RaggedBatch> {
        let batch = |i: usize| RaggedBatch { ids: vec![0; i + 1], ..RaggedBatch::default() };
        (0..count).map(batch).collect()
    }

    fn expected(count: usize) -> Vec<Results> {
        (0..count).map(|i| vec![vec![(i + 1) as f32]]).collect()
    }

    #[test]
    fn results_are_in_order_and_the_faster_one_does_more() {
        let (fast, slow) = (counting(5, usize::MAX, lost), counting(200, usize::MAX, lost));
        let both = gpus(&[&fast, &slow]);
        assert_eq!(run_now(&both, &batches(41)).unwrap(), expected(41));
        let [of_fast, of_slow] = [&fast, &slow].map(|gpu| gpu.batches.load(Ordering::Relaxed));
        assert_eq!(of_fast + of_slow, 41);
        assert!(of_fast > of_slow && of_slow > 0, "{of_fast} and {of_slow}");
        assert_eq!(run_now(&both, &[]).unwrap(), expected(0));
    }

    /// What a GPU leaves when it is lost is done by the others; when all are lost it is an error.
    #[test]
    fn a_gpu_that_is_lost_leaves_its_work_to_the_others() {
        let (good, bad) = (counting(1, usize::MAX, lost), counting(1, 1, lost));
        let both = gpus(&[&good, &bad]);
        assert_eq!(both.report().fault, None);
        for _ in 0..3 {
            assert_eq!(run_now(&both, &batches(30)).unwrap(), expected(30));
        }
        assert_eq!(both.report().fault, Some(lost().to_string()));
        assert_eq!(both.name(), "counting");
        let (one, other) = (counting(1, 2, lost), counting(1, 1, lost));
        let both = gpus(&[&one, &other]);
        assert!(matches!(run_now(&both, &batches(30)), Err(Error::Device(DeviceError::Lost { .. }))));
        let again = run_now(&both, &batches(3)).unwrap_err();
        assert!(again.to_string().contains("each failed at an earlier call"), "{again}");
    }

    #[test]
    fn an_error_of_the_input_is_returned_at_once() {
        let bad = || RequestError::NonFiniteResult { cause: "weights".to_owned() }.into();
        let both = gpus(&[&counting(1, 0, bad), &counting(1, 0, bad)]);
        assert!(matches!(
            run_now(&both, &batches(9)),
            Err(Error::Request { problem: RequestError::NonFiniteResult { .. }, .. })
        ));
        assert_eq!(both.working().count(), 2);
    }
}
