//! From how many tokens of a call on a GPU is faster than the CPU: measured once, then remembered.

use crate::backend::gpu::cache;
use crate::backend::{Backend, Job};
use crate::batch::{RaggedBatch, TokenizedText, pack};
use crate::cancel::CancelToken;
use crate::error::Result;
use crate::plan::{Described, Plan, Step};
use crate::wait::block_on;
use serde_json::{Map, Value};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Sizes of calls, in tokens, on which both devices are timed.
pub(super) const SIZES: [usize; 4] = [64, 256, 1024, 4096];

/// Where a device takes longer for one of these, larger ones are not timed: what was faster so far is taken to
/// stay so.
pub(super) const SLOW: Duration = Duration::from_secs(1);

/// Where crossovers are remembered.
pub(super) const FILE: &str = "crossovers.json";

/// Two devices with the same model.
pub(super) struct Crossover<'a> {
    pub(super) plan: &'a Plan,
    pub(super) cpu: &'a dyn Backend,
    pub(super) gpu: &'a dyn Backend,
    /// Whether to stop before the next measurement.
    pub(super) stop: &'a AtomicBool,
}

impl Crossover<'_> {
    /// What a crossover holds for: both devices, with their precision, and the model's shape.
    fn key(&self) -> String {
        let steps = self.plan.steps.iter().map(|step| Described(self.plan, step).to_string());
        let shape = blake3::hash(steps.collect::<Vec<_>>().join("\n").as_bytes());
        format!("{} | {} | {}", self.gpu.name(), self.cpu.name(), &shape.to_hex()[..16])
    }

    /// What an earlier process measured.
    pub(super) fn remembered(&self) -> Option<usize> {
        let all: Map<String, Value> = serde_json::from_slice(&cache::read(FILE)?).ok()?;
        all.get(&self.key()).map(|from| from.as_u64().map_or(usize::MAX, |from| from as usize))
    }

    /// Keeps what was measured for later processes.
    pub(super) fn remember(&self, from: usize) {
        let known = cache::read(FILE).and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut all: Map<String, Value> = known.unwrap_or_default();
        let from = if from == usize::MAX { Value::Null } else { Value::from(from) };
        all.insert(self.key(), from);
        cache::write(FILE, format!("{:#}\n", Value::Object(all)).as_bytes());
    }

    /// The smallest of [`SIZES`] from which the GPU is faster at all sizes that were timed; `usize::MAX`: at none.
    /// `None`: it was stopped.
    ///
    /// The CPU may be at work for calls meanwhile. The best of several times is what counts, and calls that keep the
    /// CPU busy throughout are a reason to prefer the GPU.
    pub(super) fn measure(&self) -> Result<Option<usize>> {
        let mut from = usize::MAX;
        for size in SIZES {
            let on_gpu = self.time(self.gpu, size)?;
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let on_cpu = self.time(self.cpu, size)?;
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            from = if on_gpu < on_cpu { from.min(size) } else { usize::MAX };
            if on_gpu.max(on_cpu) > SLOW {
                break;
            }
        }
        Ok(Some(from))
    }

    /// The time that a device takes for this many tokens: the best of three, after one that warms it up.
    fn time(&self, backend: &dyn Backend, tokens: usize) -> Result<Duration> {
        let batches = batches(self.plan, backend, tokens);
        let cancel = CancelToken::new();
        let job = Job { batches: &batches, outputs: &[0], cancel: &cancel, take: &|_, _| Ok(()) };
        let mut best = Duration::MAX;
        for i in 0..4 {
            let start = Instant::now();
            block_on(backend.run(&job))?;
            let taken = start.elapsed();
            best = if i == 0 { best } else { best.min(taken) };
            if taken > SLOW || self.stop.load(Ordering::Relaxed) {
                return Ok(taken);
            }
        }
        Ok(best)
    }
}

/// Texts of 64 tokens, or what the model takes.
pub(super) fn batches(plan: &Plan, backend: &dyn Backend, tokens: usize) -> Vec<RaggedBatch> {
    let vocabulary = plan.steps.iter().find_map(|step| match step {
        Step::Embed { word, .. } => Some(word.rows()),
        _ => None,
    });
    let length = plan.max_tokens.clamp(1, 64);
    let ids: Vec<u32> = (0..length).map(|i| (i * 31 % vocabulary.unwrap_or(1)) as u32).collect();
    let pools = std::iter::once(0..length).collect();
    let text = TokenizedText { ids, pools, keys: length, second: length, untruncated: length };
    let lengths = vec![length; tokens.div_ceil(length)];
    let packed = pack(&lengths, backend.batch_tokens(tokens));
    packed.iter().map(|batch| RaggedBatch::new(batch.iter().map(|_| &text))).collect()
}
