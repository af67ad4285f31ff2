//! The CPU threads of a model: for its tokenizer, for packing its weights and for its layers.

use crate::error::Result;
#[cfg(not(target_arch = "wasm32"))]
use crate::error::{DeviceError, Error, RequestError};
#[cfg(not(target_arch = "wasm32"))]
use rayon::ThreadPool;

/// More are a mistake.
#[cfg(not(target_arch = "wasm32"))]
const MOST: usize = 4096;

/// Threads of a model's own. A browser gives none: the caller's thread does all the work.
pub(crate) struct Threads {
    #[cfg(not(target_arch = "wasm32"))]
    pool: ThreadPool,
    /// Whether each stays on a core of its own.
    pinned: bool,
}

impl Threads {
    /// Starts `count` threads, one on each of the first `cores`; without cores, the system moves them.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn start(count: Option<usize>, cores: Option<&[usize]>) -> Result<Threads> {
        let invalid =
            |option, found, expected| Err(RequestError::InvalidOption { option, found, expected }.into());
        let most = cores.map_or(MOST, <[usize]>::len);
        if let Some(count) = count.filter(|count| !(1..=most).contains(count)) {
            let of_cores = if cores.is_some() { ", the number of cores" } else { "" };
            return invalid("threads", count.to_string(), format!("1 to {most}{of_cores}"));
        }
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        let cores = match cores {
            None => Vec::new(),
            Some(wanted) => found_cores(wanted)?,
        };
        let count = count.unwrap_or_else(|| if cores.is_empty() { all() } else { cores.len() });
        let builder = rayon::ThreadPoolBuilder::new().num_threads(count);
        let failed = |source| Error::from(DeviceError::Threads { threads: count, source });
        let pool = builder.thread_name(|i| format!("taskvec-{i}")).build().map_err(|e| failed(e.into()))?;
        if !cores.is_empty() {
            let kept = pool.broadcast(|thread| core_affinity::set_for_current(cores[thread.index()]));
            if let Some(place) = kept.iter().position(|kept| !kept) {
                let problem = format!("the system does not keep one on core {}", cores[place].id);
                return Err(failed(problem.into()));
            }
        }
        Ok(Threads { pool, pinned: !cores.is_empty() })
    }

    /// There are no threads to start.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn start(_: Option<usize>, _: Option<&[usize]>) -> Result<Threads> {
        Ok(Threads { pinned: false })
    }

    pub(crate) fn count(&self) -> usize {
        #[cfg(target_arch = "wasm32")]
        return 1;
        #[cfg(not(target_arch = "wasm32"))]
        self.pool.current_num_threads()
    }

    /// Runs work on one of the threads, with the others at its service.
    pub(crate) fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        #[cfg(target_arch = "wasm32")]
        return work();
        #[cfg(not(target_arch = "wasm32"))]
        self.pool.install(work)
    }

    /// Does two things at a time.
    pub(crate) fn join<A: Send, B: Send>(
        &self,
        a: impl FnOnce() -> A + Send,
        b: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        #[cfg(target_arch = "wasm32")]
        return (a(), b());
        #[cfg(not(target_arch = "wasm32"))]
        self.pool.install(|| rayon::join(a, b))
    }

    /// Runs work that shares what it does itself: on the caller's thread, which saves waking another; where
    /// threads have cores of their own, on one of these, since the caller may stand on a helper's core.
    pub(crate) fn lead<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        if self.pinned { self.install(work) } else { work() }
    }

    /// Has one of the threads do something, and does not wait for it.
    pub(crate) fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        #[cfg(target_arch = "wasm32")]
        work();
        #[cfg(not(target_arch = "wasm32"))]
        self.pool.spawn(work);
    }
}

/// The cores of these numbers.
#[cfg(not(target_arch = "wasm32"))]
fn found_cores(wanted: &[usize]) -> Result<Vec<core_affinity::CoreId>> {
    let there = core_affinity::get_core_ids().unwrap_or_default();
    let invalid = |found| {
        let expected = format!("some of {}, each once", numbers(&there));
        Error::from(RequestError::InvalidOption { option: "cores", found, expected })
    };
    if wanted.is_empty() {
        return Err(invalid("none".to_owned()));
    }
    let mut cores = Vec::new();
    for number in wanted {
        let core = there.iter().find(|core| core.id == *number);
        let core = core.ok_or_else(|| invalid(format!("core {number}")))?;
        if cores.contains(core) {
            return Err(invalid(format!("core {number} twice")));
        }
        cores.push(*core);
    }
    Ok(cores)
}

/// `0-3, 8`: neighbours together.
#[cfg(not(target_arch = "wasm32"))]
fn numbers(cores: &[core_affinity::CoreId]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for core in cores {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == core.id => *last = core.id,
            _ => runs.push((core.id, core.id)),
        }
    }
    let run = |(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    runs.iter().map(run).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows and macOS do not tell where a thread may run.
    #[cfg(target_os = "linux")]
    #[test]
    fn threads_stay_on_their_cores() {
        let there: Vec<usize> = core_affinity::get_core_ids().unwrap().iter().map(|core| core.id).collect();
        let threads = Threads::start(None, Some(&there)).unwrap();
        assert_eq!(threads.count(), there.len());
        let places = threads.pool.broadcast(|_| core_affinity::get_core_ids().unwrap());
        for (core, places) in there.iter().zip(places) {
            assert_eq!(places.iter().map(|place| place.id).collect::<Vec<_>>(), [*core]);
        }
        // Who asks is left alone.
        assert_eq!(core_affinity::get_core_ids().unwrap().len(), there.len());
    }

    #[test]
    fn wrong_numbers_name_the_right_ones() {
        let message =
            |count, cores: Option<&[usize]>| Threads::start(count, cores).err().unwrap().to_string();
        assert!(message(Some(0), None).contains("1 to 4096"));
        assert!(message(None, Some(&[])).contains("none"));
        assert!(message(None, Some(&[0, 0])).contains("core 0 twice"));
        let unknown = message(None, Some(&[0, 99_999]));
        assert!(unknown.contains("core 99999") && unknown.contains("some of 0"), "{unknown}");
        assert!(message(Some(2), Some(&[0])).contains("1 to 1, the number of cores"));
    }

    #[test]
    fn cores_are_listed_in_runs() {
        let cores = [0, 1, 2, 5, 7, 8].map(|id| core_affinity::CoreId { id });
        assert_eq!(numbers(&cores), "0-2, 5, 7-8");
    }
}
