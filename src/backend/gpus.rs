//! Several GPUs for one model. Each takes the next batches whenever it is done with its own, so that work is
//! dealt by how fast each turns out to be.

use super::{Backend, Results};
use crate::backend::auto::is_the_gpus;
use crate::device::DeviceReport;
use crate::error::{Error, Result};
use crate::tokens::RaggedBatch;
use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Batches that a GPU takes at once: as many as it has under way.
const TAKEN: usize = 2;

pub(crate) struct Gpus {
    gpus: Vec<Member>,
}

struct Member {
    gpu: Box<dyn Backend>,
    /// Why it failed, if it did: it is given nothing any more.
    fault: OnceLock<String>,
}

/// What is left to do of a call, and what is done.
struct Work {
    /// Runs of batches that nobody has taken.
    left: Vec<Range<usize>>,
    /// `[batches]`
    done: Vec<Option<Results>>,
    /// What went wrong last.
    problem: Option<Error>,
}

impl Gpus {
    /// GPUs that hold the same model. There must be one.
    pub(crate) fn new(gpus: Vec<Box<dyn Backend>>) -> Gpus {
        let member = |gpu| Member { gpu, fault: OnceLock::new() };
        Gpus { gpus: gpus.into_iter().map(member).collect() }
    }

    fn working(&self) -> impl Iterator<Item = &Member> {
        self.gpus.iter().filter(|member| member.fault.get().is_none())
    }
}

impl Member {
    /// Takes batches until none is left or this GPU fails. What it failed at is left for the others.
    fn work(&self, work: &Mutex<Work>, batches: &[RaggedBatch], ends: &[usize]) {
        let lock = || work.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(taken) = lock().left.pop() else { return };
            match self.gpu.run(&batches[taken.clone()], ends) {
                Ok(results) => {
                    let mut work = lock();
                    taken.zip(results).for_each(|(batch, results)| work.done[batch] = Some(results));
                }
                Err(problem) => {
                    let mut work = lock();
                    if is_the_gpus(&problem) {
                        self.fault.get_or_init(|| problem.to_string());
                        work.left.push(taken);
                    } else {
                        work.left.clear(); // it is the same on the others
                    }
                    work.problem = Some(problem);
                    return;
                }
            }
        }
    }
}

impl Backend for Gpus {
    fn name(&self) -> String {
        let names: Vec<String> = self.working().map(|member| member.gpu.name()).collect();
        names.join(" and ")
    }

    fn report(&self) -> DeviceReport {
        let fault = self.gpus.iter().find_map(|member| member.fault.get().cloned());
        DeviceReport { name: self.name(), reason: None, fault }
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

    fn run(&self, batches: &[RaggedBatch], ends: &[usize]) -> Result<Vec<Results>> {
        let starts = (0..batches.len()).step_by(TAKEN);
        let left = starts.map(|start| start..(start + TAKEN).min(batches.len())).rev().collect();
        let work = Mutex::new(Work { left, done: vec![None; batches.len()], problem: None });
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
                    scope.spawn(|| member.work(&work, batches, ends));
                }
            });
        }
        let Work { done, problem, .. } = work.into_inner().unwrap_or_else(PoisonError::into_inner);
        let results: Option<Vec<Results>> = done.into_iter().collect();
        results.ok_or_else(|| {
            problem.unwrap_or(Error::DeviceLost {
                adapter: "all GPUs".to_owned(),
                reason: "each failed at an earlier call".to_owned(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Gives each text's tokens, after a while; fails at the call of some number.
    struct Counting {
        takes: std::time::Duration,
        fails_at: usize,
        calls: AtomicUsize,
        batches: AtomicUsize,
        fault: fn() -> Error,
    }

    impl Backend for std::sync::Arc<Counting> {
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

        fn run(&self, batches: &[RaggedBatch], _: &[usize]) -> Result<Vec<Results>> {
            std::thread::sleep(self.takes);
            if self.calls.fetch_add(1, Ordering::Relaxed) >= self.fails_at {
                return Err((self.fault)());
            }
            self.batches.fetch_add(batches.len(), Ordering::Relaxed);
            Ok(batches.iter().map(|batch| vec![vec![batch.tokens() as f32]]).collect())
        }
    }

    fn lost() -> Error {
        Error::DeviceLost { adapter: "one".to_owned(), reason: "unplugged".to_owned() }
    }

    fn counting(millis: u64, fails_at: usize, fault: fn() -> Error) -> std::sync::Arc<Counting> {
        let takes = std::time::Duration::from_millis(millis);
        let (calls, batches) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::sync::Arc::new(Counting { takes, fails_at, calls, batches, fault })
    }

    fn gpus(members: &[&std::sync::Arc<Counting>]) -> Gpus {
        Gpus::new(members.iter().map(|gpu| Box::new((*gpu).clone()) as Box<dyn Backend>).collect())
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
        assert_eq!(both.run(&batches(41), &[0]).unwrap(), expected(41));
        let [of_fast, of_slow] = [&fast, &slow].map(|gpu| gpu.batches.load(Ordering::Relaxed));
        assert_eq!(of_fast + of_slow, 41);
        assert!(of_fast > of_slow && of_slow > 0, "{of_fast} and {of_slow}");
        assert_eq!(both.run(&[], &[0]).unwrap(), expected(0));
    }

    /// What a GPU leaves when it is lost is done by the others; when all are lost it is an error.
    #[test]
    fn a_gpu_that_is_lost_leaves_its_work_to_the_others() {
        let (good, bad) = (counting(1, usize::MAX, lost), counting(1, 1, lost));
        let both = gpus(&[&good, &bad]);
        assert_eq!(both.report().fault, None);
        for _ in 0..3 {
            assert_eq!(both.run(&batches(30), &[0]).unwrap(), expected(30));
        }
        assert_eq!(both.report().fault, Some(lost().to_string()));
        assert_eq!(both.name(), "counting");
        let (one, other) = (counting(1, 2, lost), counting(1, 1, lost));
        let both = gpus(&[&one, &other]);
        assert!(matches!(both.run(&batches(30), &[0]), Err(Error::DeviceLost { .. })));
        let again = both.run(&batches(3), &[0]).unwrap_err();
        assert!(again.to_string().contains("each failed at an earlier call"), "{again}");
    }

    #[test]
    fn an_error_of_the_input_is_returned_at_once() {
        let bad = || Error::NonFiniteResult { index: 0, cause: "weights".to_owned() };
        let both = gpus(&[&counting(1, 0, bad), &counting(1, 0, bad)]);
        assert!(matches!(both.run(&batches(9), &[0]), Err(Error::NonFiniteResult { .. })));
        assert_eq!(both.working().count(), 2);
    }
}
