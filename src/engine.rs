//! A model on a device: what [`Embedder`](crate::Embedder) and [`Reranker`](crate::Reranker) share.

use crate::backend::Backend;
use crate::device::{self, DeviceReport};
use crate::error::{Error, Result};
use crate::model::{Model, ModelFiles, Purpose, Tensor};
use crate::options::{EmbedderBuilder, Precision};
use crate::plan::Plan;
use crate::threads::Threads;
use crate::tokens::{RaggedBatch, TextTokenizer, TokenizedText, pack};
use std::sync::{Arc, Mutex, PoisonError};

/// What the model gives for one text, for each end that was asked for: rows for what is pooled, or
/// for tokens.
pub(crate) type TextResults = Vec<Vec<f32>>;

pub(crate) struct Engine {
    pub(crate) model: Model,
    pub(crate) tokenizer: TextTokenizer,
    pub(crate) plan: Arc<Plan>,
    /// Why the device was taken, where that was settled when the model was opened.
    reason: Option<String>,
    pub(crate) threads: Arc<Threads>,
    pub(crate) max_tokens: usize,
    plan_tokens: usize,
    options: EmbedderBuilder,
    /// One for each task adapter and a last one without; each is made when it is first needed, with
    /// weights of its own.
    backends: Vec<Mutex<Option<Arc<dyn Backend>>>>,
}

impl Engine {
    pub(crate) fn open(files: &ModelFiles, options: &EmbedderBuilder, purpose: Purpose) -> Result<Engine> {
        let model = Model::open(files, purpose, options.dimensions, options.registry.as_ref())?;
        let max_tokens = token_limit(&model, options.max_tokens)?;
        let threads = Arc::new(Threads::start(options.threads, options.cores.as_deref())?);
        let plan_tokens = longest_sequence(&model, max_tokens);
        let plan = Arc::new(Plan::new(&model.encoder, &model.ends, plan_tokens)?);
        let (tokenizer, started) = threads.install(|| {
            rayon::join(|| model.read_tokenizer(files), || device::start(options, &plan, &threads))
        });
        let (tokenizer, (backend, reason)) = (tokenizer?, started?);
        let adapters = model.adapters.as_ref().map_or(0, |adapters| adapters.names.len());
        let mut backends: Vec<_> = (0..=adapters).map(|_| Mutex::new(None)).collect();
        backends[0] = Mutex::new(Some(Arc::from(backend)));
        let options = options.clone();
        Ok(Engine { model, tokenizer, plan, reason, threads, max_tokens, plan_tokens, options, backends })
    }

    /// The backend whose weights carry the adapter of this name.
    pub(crate) fn backend(&self, adapter: Option<&str>) -> Result<Arc<dyn Backend>> {
        let place = match (&self.model.adapters, adapter) {
            (Some(adapters), Some(name)) => adapters.names.iter().position(|known| known == name),
            _ => None,
        };
        let slot = &self.backends[place.unwrap_or(self.backends.len() - 1)];
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(backend) = &*slot {
            return Ok(backend.clone());
        }
        let encoder = self.model.encoder_with(place)?;
        let plan = Arc::new(Plan::new(&encoder, &self.model.ends, self.plan_tokens)?);
        let (backend, _) = self.threads.install(|| device::start(&self.options, &plan, &self.threads))?;
        Ok(slot.insert(Arc::from(backend)).clone())
    }

    /// What runs the model, and why.
    pub(crate) fn device(&self) -> DeviceReport {
        let started = self.backends.iter().find_map(|slot| {
            slot.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|backend| backend.report())
        });
        let mut report = started.unwrap_or_else(DeviceReport::none);
        report.reason = report.reason.or_else(|| self.reason.clone());
        report
    }

    /// The most tokens that a sequence may have: what tables of positions were made for.
    pub(crate) fn plan_tokens(&self) -> usize {
        self.plan_tokens
    }

    /// Tokens that are computed together at most.
    pub(crate) fn batch_tokens(&self, backend: &dyn Backend, total: usize) -> usize {
        self.options.batch_tokens.unwrap_or_else(|| backend.batch_tokens(total))
    }

    /// What the model gives for each text, in their order.
    pub(crate) fn run(
        &self,
        texts: &[TokenizedText],
        adapter: Option<&str>,
        ends: &[usize],
    ) -> Result<Vec<TextResults>> {
        let backend = self.backend(adapter)?;
        // A text without a token has no result: zeros stand for it.
        let there: Vec<usize> = (0..texts.len()).filter(|&i| !texts[i].ids.is_empty()).collect();
        let lengths: Vec<usize> = there.iter().map(|&i| texts[i].ids.len()).collect();
        let packed = pack(&lengths, self.batch_tokens(&*backend, lengths.iter().sum()));
        let batches: Vec<RaggedBatch> =
            packed.iter().map(|batch| RaggedBatch::new(batch.iter().map(|&i| &texts[there[i]]))).collect();
        let results = backend.run(&batches, ends)?;
        let zeros = |text: &TokenizedText| -> TextResults {
            ends.iter().map(|&end| vec![0.0; self.rows(end, text) * self.model.width(end)]).collect()
        };
        let mut of_texts: Vec<TextResults> = texts
            .iter()
            .map(|text| match text.ids.is_empty() {
                true => zeros(text),
                false => Vec::with_capacity(ends.len()),
            })
            .collect();
        for (indices, results) in packed.iter().zip(results) {
            for (&end, mut values) in ends.iter().zip(results.iter().map(Vec::as_slice)) {
                for index in indices.iter().map(|&i| there[i]) {
                    let own;
                    (own, values) = values.split_at(self.rows(end, &texts[index]) * self.model.width(end));
                    if !own.iter().all(|value| value.is_finite()) {
                        return Err(self.explain_non_finite(index));
                    }
                    of_texts[index].push(own.to_vec());
                }
            }
        }
        Ok(of_texts)
    }

    /// Rows that an end has for a text.
    fn rows(&self, end: usize, text: &TokenizedText) -> usize {
        match self.model.ends[end].pooling {
            Some(_) => text.pools.len(),
            None => text.ids.len(),
        }
    }

    /// The weight that is to blame for a result that is not finite, if one is.
    fn explain_non_finite(&self, index: usize) -> Error {
        let blame = self.model.tensors().into_iter().find_map(Tensor::first_non_finite);
        let remedy = match self.options.precision {
            Precision::F16 | Precision::Auto => "; f16 overflows at 65504: use bf16 or f32",
            _ => "",
        };
        let cause = format!("the model's weights are finite, so its arithmetic overflowed{remedy}");
        blame.unwrap_or(Error::NonFiniteResult { index, cause })
    }
}

/// Queries and documents of a ColBERT model may be longer than its texts otherwise are.
fn longest_sequence(model: &Model, max_tokens: usize) -> usize {
    let late = model.late_interaction.as_ref();
    let own = late.into_iter().flat_map(|late| {
        [late.query_length, late.document_length, late.expansion.as_ref().map(|expansion| expansion.length)]
    });
    let longest = own.flatten().fold(max_tokens, usize::max);
    longest.min(model.encoder.max_tokens.unwrap_or(usize::MAX))
}

fn token_limit(model: &Model, wanted: Option<usize>) -> Result<usize> {
    /// For architectures that take any length.
    const MOST: usize = 1 << 20;
    let architecture = model.encoder.max_tokens.unwrap_or(MOST);
    match wanted {
        None => Ok(model.max_tokens),
        Some(wanted) if (1..=architecture).contains(&wanted) => Ok(wanted),
        Some(wanted) => Err(Error::InvalidOption {
            option: "max_tokens",
            found: wanted.to_string(),
            expected: format!("1 to {architecture}, the positions of the model"),
        }),
    }
}
