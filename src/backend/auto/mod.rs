//! The CPU and a GPU for one model: each call is done where it is done sooner, and none is lost with the GPU.
//!
//! The CPU is ready at once. The first call that has enough tokens for a GPU to be worth while starts a probe: a
//! thread that opens the GPU and times both devices on a few batches, while the CPU does that call and those after it.
//! From how many tokens on the GPU is faster is remembered for this machine and model. A GPU that fails is given
//! up: its work is done again on the CPU.
//!
//! No call waits for the probe, and none takes a lock: what the probe found is written once and only read after.

mod crossover;

use super::{Backend, Job, Running};
use crate::device::{DeviceKind, DeviceReport};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crossover::Crossover;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

/// Tokens of a call from which a GPU is looked for: fewer take a CPU some milliseconds.
const LOOK_FROM: usize = 512;

/// Opens a GPU for the plan, or says why not.
pub(crate) type Opener = Box<dyn Fn() -> Result<Arc<dyn Backend>> + Send + Sync>;

pub(crate) struct Auto {
    shared: Arc<Shared>,
    /// Whether a call has started the probe.
    started: AtomicBool,
    probe: Mutex<Option<JoinHandle<()>>>,
}

/// What calls and the probe share.
struct Shared {
    plan: Arc<Plan>,
    cpu: Arc<dyn Backend>,
    open_gpu: Opener,
    /// What the probe found.
    found: OnceLock<Found>,
    /// Why the GPU failed, if it did: then it is not used any more.
    fault: OnceLock<String>,
    /// Ends the probe early.
    stop: AtomicBool,
}

/// What a probe found.
enum Found {
    /// The GPU is faster from this many tokens on.
    Gpu { on_gpu: Arc<OnGpu>, from: usize, how: &'static str },
    /// No GPU is to be used.
    None { reason: String },
}

/// A GPU whose work the CPU does again if it fails.
struct OnGpu {
    gpu: Arc<dyn Backend>,
    shared: std::sync::Weak<Shared>,
}

impl Auto {
    pub(crate) fn new(plan: Arc<Plan>, cpu: Arc<dyn Backend>, open_gpu: Opener) -> Auto {
        let shared = Shared {
            plan,
            cpu,
            open_gpu,
            found: OnceLock::new(),
            fault: OnceLock::new(),
            stop: AtomicBool::new(false),
        };
        Auto { shared: Arc::new(shared), started: AtomicBool::new(false), probe: Mutex::default() }
    }

    /// Starts the probe, unless an earlier call did.
    fn start_probe(&self) {
        if self.started.swap(true, Ordering::Relaxed) {
            return;
        }
        let shared = self.shared.clone();
        let probe = move || {
            let found = shared.look();
            shared.found.get_or_init(|| found);
        };
        match std::thread::Builder::new().name("taskvec-gpu-probe".to_owned()).spawn(probe) {
            Ok(probe) => *self.probe.lock().unwrap_or_else(PoisonError::into_inner) = Some(probe),
            Err(problem) => {
                let reason = format!("no thread could be started to look for a GPU: {problem}");
                self.shared.found.get_or_init(|| Found::None { reason });
            }
        }
    }

    /// Waits until the probe is done.
    fn wait_for_probe(&self) {
        let probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner).take();
        if probe.is_some_and(|probe| probe.join().is_err()) {
            let reason = "the thread that looked for a GPU panicked".to_owned();
            self.shared.found.get_or_init(|| Found::None { reason });
        }
    }
}

impl Drop for Auto {
    /// A driver that is being opened must not outlive the process: the probe is told to stop, and waited for.
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.wait_for_probe();
    }
}

impl Shared {
    /// The GPU, with the tokens from which it is used, unless it failed.
    fn gpu(&self) -> Option<(&Arc<OnGpu>, usize)> {
        match self.found.get() {
            Some(Found::Gpu { on_gpu, from, .. }) if self.fault.get().is_none() => Some((on_gpu, *from)),
            _ => None,
        }
    }

    fn look(self: &Arc<Shared>) -> Found {
        let gpu = match (self.open_gpu)() {
            Ok(gpu) => gpu,
            Err(why_not) => return Found::None { reason: why_not.to_string() },
        };
        let on_gpu = Arc::new(OnGpu { gpu, shared: Arc::downgrade(self) });
        let crossover = Crossover { plan: &self.plan, cpu: &*self.cpu, gpu: &*on_gpu.gpu, stop: &self.stop };
        if let Some(from) = crossover.remembered() {
            return Found::Gpu { on_gpu, from, how: "as measured before" };
        }
        match crossover.measure() {
            Ok(Some(from)) => {
                crossover.remember(from);
                Found::Gpu { on_gpu, from, how: "as measured just now" }
            }
            Ok(None) => Found::None { reason: "the model was closed before a GPU was timed".to_owned() },
            Err(fault) => {
                self.fault.get_or_init(|| fault.to_string());
                Found::None { reason: "the GPU failed".to_owned() }
            }
        }
    }
}

impl Backend for Auto {
    fn kind(&self) -> DeviceKind {
        match self.shared.gpu() {
            Some((_, from)) if from < usize::MAX => DeviceKind::CpuAndGpu,
            _ => self.shared.cpu.kind(),
        }
    }

    fn name(&self) -> String {
        let cpu = self.shared.cpu.name();
        match self.shared.gpu() {
            Some((on_gpu, from)) if from < usize::MAX => {
                format!("{}; {cpu} for fewer than {from} tokens", on_gpu.gpu.name())
            }
            _ => cpu,
        }
    }

    fn report(&self) -> DeviceReport {
        let fault = self.shared.fault.get().cloned();
        let reason = match (self.shared.found.get(), &fault) {
            (_, Some(_)) => "the GPU failed".to_owned(),
            (None, _) if self.started.load(Ordering::Relaxed) => {
                "a GPU is being looked for and timed meanwhile".to_owned()
            }
            (None, _) => format!("no call had {LOOK_FROM} tokens so far, from which a GPU is looked for"),
            (Some(Found::Gpu { on_gpu, from: usize::MAX, how }), _) => {
                format!("{} is slower than it on calls of all sizes, {how}", on_gpu.gpu.name())
            }
            (Some(Found::Gpu { from, how, .. }), _) => {
                format!("the GPU is faster from {from} tokens a call on, {how}")
            }
            (Some(Found::None { reason }), _) => reason.clone(),
        };
        DeviceReport { kind: self.kind(), name: self.name(), reason: Some(reason), fault }
    }

    /// The CPU, or the GPU from where it is faster. A call decides this once.
    fn for_call(&self, tokens: usize) -> Option<Arc<dyn Backend>> {
        match self.shared.gpu() {
            Some((on_gpu, from)) if tokens >= from => return Some(on_gpu.clone()),
            Some(_) => {}
            None if tokens >= LOOK_FROM => self.start_probe(),
            None => {}
        }
        Some(self.shared.cpu.clone())
    }

    fn batch_tokens(&self, total: usize) -> usize {
        self.shared.cpu.batch_tokens(total)
    }

    fn weight_bytes(&self) -> usize {
        let of_gpu = self.shared.gpu().map_or(0, |(on_gpu, _)| on_gpu.gpu.weight_bytes());
        self.shared.cpu.weight_bytes() + of_gpu
    }

    fn batch_bytes(&self, tokens: usize, texts: usize) -> usize {
        match self.shared.gpu() {
            Some((on_gpu, from)) if tokens >= from => on_gpu.gpu.batch_bytes(tokens, texts),
            _ => self.shared.cpu.batch_bytes(tokens, texts),
        }
    }

    fn run<'a>(&'a self, job: &'a Job<'a>) -> Running<'a> {
        self.shared.cpu.run(job)
    }
}

impl OnGpu {
    async fn run_or_give_up(&self, job: &Job<'_>) -> Result<()> {
        let done = AtomicUsize::new(0);
        let take = |i, results| {
            (job.take)(i, results)?;
            done.fetch_add(1, Ordering::Relaxed); // in order, as a GPU gives them
            Ok(())
        };
        let fault: Error = match self.gpu.run(&Job { take: &take, ..*job }).await {
            Err(fault) if fault.is_the_devices() => fault,
            result => return result,
        };
        let Some(shared) = self.shared.upgrade() else { return Err(fault) };
        shared.fault.get_or_init(|| fault.to_string());
        let done = done.into_inner();
        let take = |i, results| (job.take)(done + i, results);
        shared.cpu.run(&Job { batches: &job.batches[done..], take: &take, ..*job }).await
    }
}

impl Backend for OnGpu {
    fn kind(&self) -> DeviceKind {
        self.gpu.kind()
    }

    fn name(&self) -> String {
        self.gpu.name()
    }

    fn batch_tokens(&self, total: usize) -> usize {
        self.gpu.batch_tokens(total)
    }

    fn weight_bytes(&self) -> usize {
        self.gpu.weight_bytes()
    }

    fn batch_bytes(&self, tokens: usize, texts: usize) -> usize {
        self.gpu.batch_bytes(tokens, texts)
    }

    fn run<'a>(&'a self, job: &'a Job<'a>) -> Running<'a> {
        Box::pin(self.run_or_give_up(job))
    }
}

#[cfg(test)]
mod tests;
