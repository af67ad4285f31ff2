//! The CPU and a GPU for one model: each call is done where it is done sooner, and none is lost with the GPU.
//!
//! The CPU is ready at once. A GPU is looked for when a call first has enough tokens for one to be worth
//! while; then both are timed on a few batches, and from how many tokens on the GPU is faster is
//! remembered for this machine and model. A GPU that fails is given up: its work is done again on the
//! CPU.

use super::{Backend, Results};
use crate::cache;
use crate::device::DeviceReport;
use crate::error::{Error, Result};
use crate::plan::{Described, Plan, Step};
use crate::tokens::{RaggedBatch, TokenizedText, pack};
use serde_json::{Map, Value};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tokens of a call from which a GPU is looked for: fewer take a CPU some milliseconds.
const LOOK_FROM: usize = 512;

/// Sizes of calls, in tokens, on which both devices are timed.
const SIZES: [usize; 4] = [64, 256, 1024, 4096];

/// Where a device takes longer for one of these, larger ones are not timed: what was faster so far is taken to
/// stay so.
const SLOW: Duration = Duration::from_secs(1);

/// Where crossovers are remembered.
const FILE: &str = "crossovers.json";

/// Opens a GPU for the plan, or says why not.
pub(crate) type Opener = Box<dyn Fn() -> Result<Arc<dyn Backend>> + Send + Sync>;

pub(crate) struct Auto {
    plan: Arc<Plan>,
    cpu: Box<dyn Backend>,
    open_gpu: Opener,
    gpu: Mutex<Gpu>,
}

/// What is known of the GPU.
enum Gpu {
    /// No call was large enough so far.
    NotLookedFor,
    /// It is faster from this many tokens on.
    Ready { gpu: Arc<dyn Backend>, from: usize, how: &'static str },
    /// There is none.
    Without { reason: String },
    /// It failed.
    GivenUp { fault: String },
}

impl Auto {
    pub(crate) fn new(plan: Arc<Plan>, cpu: Box<dyn Backend>, open_gpu: Opener) -> Auto {
        Auto { plan, cpu, open_gpu, gpu: Mutex::new(Gpu::NotLookedFor) }
    }

    /// The GPU, if it is the faster one for a call of this many tokens.
    fn gpu_for(&self, tokens: usize) -> Option<Arc<dyn Backend>> {
        let mut state = self.gpu.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, Gpu::NotLookedFor) && tokens >= LOOK_FROM {
            *state = self.look();
        }
        match &*state {
            Gpu::Ready { gpu, from, .. } if tokens >= *from => Some(gpu.clone()),
            _ => None,
        }
    }

    fn look(&self) -> Gpu {
        let gpu = match (self.open_gpu)() {
            Ok(gpu) => gpu,
            Err(why_not) => return Gpu::Without { reason: why_not.to_string() },
        };
        let key = self.key(&*gpu);
        if let Some(from) = remembered(&key) {
            return Gpu::Ready { gpu, from, how: "as measured before" };
        }
        match self.crossover(&*gpu) {
            Ok(from) => {
                remember(&key, from);
                Gpu::Ready { gpu, from, how: "as measured just now" }
            }
            Err(fault) => Gpu::GivenUp { fault: fault.to_string() },
        }
    }

    /// What a crossover holds for: both devices, with their precision, and the model's shape.
    fn key(&self, gpu: &dyn Backend) -> String {
        let steps = self.plan.steps.iter().map(|step| Described(&self.plan, step).to_string());
        let shape = blake3::hash(steps.collect::<Vec<_>>().join("\n").as_bytes());
        format!("{} | {} | {}", gpu.name(), self.cpu.name(), &shape.to_hex()[..16])
    }

    /// The smallest of [`SIZES`] from which the GPU is faster at all sizes that were timed; `usize::MAX`: at none.
    fn crossover(&self, gpu: &dyn Backend) -> Result<usize> {
        let mut from = usize::MAX;
        for size in SIZES {
            let (on_gpu, on_cpu) = (self.time(gpu, size)?, self.time(&*self.cpu, size)?);
            from = if on_gpu < on_cpu { from.min(size) } else { usize::MAX };
            if on_gpu.max(on_cpu) > SLOW {
                break;
            }
        }
        Ok(from)
    }

    /// The time that a device takes for this many tokens: the best of three, after one that warms it up.
    fn time(&self, backend: &dyn Backend, tokens: usize) -> Result<Duration> {
        let batches = self.batches(backend, tokens);
        let mut best = Duration::MAX;
        for i in 0..4 {
            let start = Instant::now();
            backend.run(&batches, &[0])?;
            let taken = start.elapsed();
            best = if i == 0 { best } else { best.min(taken) };
            if taken > SLOW {
                return Ok(taken);
            }
        }
        Ok(best)
    }

    /// Texts of 64 tokens, or what the model takes.
    fn batches(&self, backend: &dyn Backend, tokens: usize) -> Vec<RaggedBatch> {
        let vocabulary = self.plan.steps.iter().find_map(|step| match step {
            Step::Embed { word, .. } => Some(word.rows()),
            _ => None,
        });
        let length = self.plan.max_tokens.clamp(1, 64);
        let ids: Vec<u32> = (0..length).map(|i| (i * 31 % vocabulary.unwrap_or(1)) as u32).collect();
        let pools = std::iter::once(0..length).collect();
        let text = TokenizedText { ids, pools, keys: length, second: length, untruncated: length };
        let lengths = vec![length; tokens.div_ceil(length)];
        let packed = pack(&lengths, backend.batch_tokens(tokens));
        packed.iter().map(|batch| RaggedBatch::new(batch.iter().map(|_| &text))).collect()
    }

    fn give_up(&self, fault: &Error) {
        let mut state = self.gpu.lock().unwrap_or_else(PoisonError::into_inner);
        *state = Gpu::GivenUp { fault: fault.to_string() };
    }
}

/// Whether an error is the GPU's, so that the CPU may do better.
pub(crate) fn is_the_gpus(error: &Error) -> bool {
    matches!(
        error,
        Error::Gpu { .. }
            | Error::DeviceLost { .. }
            | Error::GpuLimit { .. }
            | Error::GpuOutOfMemory { .. }
            | Error::ShaderRejected { .. }
    )
}

fn remembered(key: &str) -> Option<usize> {
    let all: Map<String, Value> = serde_json::from_slice(&cache::read(FILE)?).ok()?;
    all.get(key).map(|from| from.as_u64().map_or(usize::MAX, |from| from as usize))
}

fn remember(key: &str, from: usize) {
    let known = cache::read(FILE).and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut all: Map<String, Value> = known.unwrap_or_default();
    let from = if from == usize::MAX { Value::Null } else { Value::from(from) };
    all.insert(key.to_owned(), from);
    cache::write(FILE, format!("{:#}\n", Value::Object(all)).as_bytes());
}

impl Backend for Auto {
    fn name(&self) -> String {
        match &*self.gpu.lock().unwrap_or_else(PoisonError::into_inner) {
            Gpu::Ready { gpu, from, .. } if *from < usize::MAX => {
                format!("{}; {} for fewer than {from} tokens", gpu.name(), self.cpu.name())
            }
            _ => self.cpu.name(),
        }
    }

    fn report(&self) -> DeviceReport {
        let name = self.name();
        let (reason, fault) = match &*self.gpu.lock().unwrap_or_else(PoisonError::into_inner) {
            Gpu::NotLookedFor => {
                (format!("no call had {LOOK_FROM} tokens so far, from which a GPU is looked for"), None)
            }
            Gpu::Ready { gpu, from: usize::MAX, how } => {
                (format!("{} is slower than it on calls of all sizes, {how}", gpu.name()), None)
            }
            Gpu::Ready { from, how, .. } => {
                (format!("the GPU is faster from {from} tokens a call on, {how}"), None)
            }
            Gpu::Without { reason } => (reason.clone(), None),
            Gpu::GivenUp { fault } => ("the GPU failed".to_owned(), Some(fault.clone())),
        };
        DeviceReport { name, reason: Some(reason), fault }
    }

    fn batch_tokens(&self, total: usize) -> usize {
        match self.gpu_for(total) {
            Some(gpu) => gpu.batch_tokens(total),
            None => self.cpu.batch_tokens(total),
        }
    }

    fn weight_bytes(&self) -> usize {
        let state = self.gpu.lock().unwrap_or_else(PoisonError::into_inner);
        let of_gpu = if let Gpu::Ready { gpu, .. } = &*state { gpu.weight_bytes() } else { 0 };
        self.cpu.weight_bytes() + of_gpu
    }

    fn batch_bytes(&self, tokens: usize, texts: usize) -> usize {
        match self.gpu_for(tokens) {
            Some(gpu) => gpu.batch_bytes(tokens, texts),
            None => self.cpu.batch_bytes(tokens, texts),
        }
    }

    fn run(&self, batches: &[RaggedBatch], ends: &[usize]) -> Result<Vec<Results>> {
        let tokens = batches.iter().map(RaggedBatch::tokens).sum();
        if let Some(gpu) = self.gpu_for(tokens) {
            match gpu.run(batches, ends) {
                Err(fault) if is_the_gpus(&fault) => self.give_up(&fault),
                result => return result,
            }
        }
        self.cpu.run(batches, ends)
    }
}

#[cfg(test)]
mod tests;
