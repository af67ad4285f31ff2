//! A model on a device: what [`Embedder`](crate::Embedder) and [`Reranker`](crate::Reranker) share.

use crate::backend::open::{Opened, open};
use crate::backend::threads::Threads;
use crate::backend::{Backend, Job, Results};
use crate::batch::{RaggedBatch, TokenizedText, pack};
use crate::cancel::CancelToken;
use crate::device::DeviceReport;
use crate::error::{Error, RequestError, Result};
use crate::model::{Model, ModelNote, Purpose, Tensor};
use crate::options::ModelOptions;
use crate::plan::Plan;
use crate::precision::Precision;
use crate::prompt::UserRegistry;
use crate::source::ModelFiles;
use crate::tokens::TextTokenizer;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What the model gives for one text, for each output that was asked for: rows for what is pooled, or
/// for tokens.
pub(crate) type TextResults = Vec<Vec<f32>>;

pub(crate) struct Engine {
    pub(crate) model: Arc<Model>,
    pub(crate) tokenizer: TextTokenizer,
    /// Of queries that are looked up in a table.
    pub(crate) query_tokenizer: Option<TextTokenizer>,
    pub(crate) plan: Arc<Plan>,
    /// Why the device was taken, where that was settled when the model was opened.
    reason: Option<String>,
    pub(crate) threads: Arc<Threads>,
    pub(crate) max_tokens: usize,
    plan_tokens: usize,
    pub(crate) options: ModelOptions,
    /// One for each task adapter and a last one without; each is made when it is first needed, with
    /// weights of its own.
    backends: Vec<Mutex<Option<Arc<dyn Backend>>>>,
}

/// A model before its tokenizer and its weights are ready.
struct Prepared {
    model: Model,
    max_tokens: usize,
    plan_tokens: usize,
    plan: Arc<Plan>,
    threads: Arc<Threads>,
}

impl Prepared {
    fn read(files: &ModelFiles, options: &ModelOptions, purpose: Purpose) -> Result<Prepared> {
        let registry = options.registry.as_deref().map(UserRegistry::read).transpose()?;
        let model = Model::open(files, purpose, options.dimensions, registry.as_ref())?;
        let max_tokens = token_limit(&model, options.max_tokens)?;
        let threads = Arc::new(Threads::start(options.threads, options.cores.as_deref())?);
        let plan_tokens = longest_sequence(&model, max_tokens);
        let plan = Arc::new(Plan::new(&model.encoder, &model.outputs, plan_tokens)?);
        Ok(Prepared { model, max_tokens, plan_tokens, plan, threads })
    }

    fn finish(self, tokenizers: Tokenizers, opened: Opened, options: &ModelOptions) -> Engine {
        let Prepared { model, max_tokens, plan_tokens, plan, threads } = self;
        let adapters = model.adapters.as_ref().map_or(0, |adapters| adapters.names.len());
        let mut backends: Vec<_> = (0..=adapters).map(|_| Mutex::new(None)).collect();
        backends[0] = Mutex::new(Some(opened.backend));
        let (reason, options) = (opened.reason, options.clone());
        Engine {
            model: Arc::new(model),
            tokenizer: tokenizers.0,
            query_tokenizer: tokenizers.1,
            plan,
            reason,
            threads,
            max_tokens,
            plan_tokens,
            options,
            backends,
        }
    }
}

/// Of texts, and of queries that are looked up.
type Tokenizers = (TextTokenizer, Option<TextTokenizer>);

fn tokenizers(model: &Model, files: &ModelFiles) -> Result<Tokenizers> {
    Ok((model.read_tokenizer(files)?, model.read_query_tokenizer(files)?))
}

impl Engine {
    /// Opens a model: the tokenizer is read while the weights are made ready.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn open(files: &ModelFiles, options: &ModelOptions, purpose: Purpose) -> Result<Engine> {
        use crate::wait::block_on;
        let prepared = Prepared::read(files, options, purpose)?;
        let Prepared { model, plan, threads, .. } = &prepared;
        let (tokenizer, opened) = threads
            .install(|| rayon::join(|| tokenizers(model, files), || block_on(open(options, plan, threads))));
        let (tokenizer, opened) = (tokenizer?, opened?);
        Ok(prepared.finish(tokenizer, opened, options))
    }

    /// Opens a model without a thread that waits.
    pub(crate) async fn open_async(
        files: &ModelFiles,
        options: &ModelOptions,
        purpose: Purpose,
    ) -> Result<Engine> {
        let prepared = Prepared::read(files, options, purpose)?;
        let tokenizer = tokenizers(&prepared.model, files)?;
        let opened = open(options, &prepared.plan, &prepared.threads).await?;
        Ok(prepared.finish(tokenizer, opened, options))
    }

    /// The backend whose weights carry the adapter of this name.
    pub(crate) async fn backend(&self, adapter: Option<&str>) -> Result<Arc<dyn Backend>> {
        let place = match (&self.model.adapters, adapter) {
            (Some(adapters), Some(name)) => adapters.names.iter().position(|known| known == name),
            _ => None,
        };
        let slot = &self.backends[place.unwrap_or(self.backends.len() - 1)];
        let known = slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(backend) = known {
            return Ok(backend);
        }
        let encoder = self.model.encoder_with(place)?;
        let plan = Arc::new(Plan::new(&encoder, &self.model.outputs, self.plan_tokens)?);
        let Opened { backend, .. } = open(&self.options, &plan, &self.threads).await?;
        // Another call may have been first: then its backend is everyone's.
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(slot.get_or_insert(backend).clone())
    }

    /// What to know about the model's files.
    pub(crate) fn notes(&self) -> Vec<ModelNote> {
        let (file, keys) = self.tokenizer.unknown_keys();
        let unknown = |key: &String| ModelNote::UnknownKey { file: file.to_owned(), key: key.clone() };
        keys.iter().map(unknown).chain(self.model.notes()).collect()
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

    /// Tokens of the batches that are under way at a time.
    pub(crate) fn tokens_at_once(&self) -> usize {
        let started = self.backends.iter().find_map(|slot| {
            let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            slot.as_ref().map(|backend| self.batch_tokens(&**backend, usize::MAX))
        });
        started.unwrap_or(1) * self.threads.count()
    }

    /// What the model gives for each text, in their order.
    pub(crate) async fn run(
        &self,
        texts: &[&TokenizedText],
        adapter: Option<&str>,
        outputs: &[usize],
        cancel: &CancelToken,
    ) -> Result<Vec<TextResults>> {
        let all = Mutex::new(vec![TextResults::new(); texts.len()]);
        let take = |text: usize, results| {
            all.lock().unwrap_or_else(PoisonError::into_inner)[text] = results;
            Ok(())
        };
        self.run_each(texts, adapter, outputs, cancel, &take).await?;
        Ok(all.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hands on what the model gives for each text, by its position, when it is ready: in any order, on any thread. An
    /// error of `take` ends the run. An error that is about a text names its position here.
    pub(crate) async fn run_each(
        &self,
        texts: &[&TokenizedText],
        adapter: Option<&str>,
        outputs: &[usize],
        cancel: &CancelToken,
        take: &(dyn Fn(usize, TextResults) -> Result<()> + Sync),
    ) -> Result<()> {
        let backend = self.backend(adapter).await?;
        // Equal texts are computed once: whatever shares a batch, a text's result has the same bits.
        let firsts = first_equals(texts);
        // A text without a token has no result: zeros stand for it.
        let there: Vec<usize> =
            (0..texts.len()).filter(|&i| firsts[i] == i && !texts[i].ids.is_empty()).collect();
        let lengths: Vec<usize> = there.iter().map(|&i| texts[i].ids.len()).collect();
        let total = lengths.iter().sum();
        let backend = backend.for_call(total).unwrap_or(backend);
        let packed = pack(&lengths, self.batch_tokens(&*backend, total));
        let batch = |batch: &Vec<usize>| RaggedBatch::new(batch.iter().map(|&i| texts[there[i]]));
        let batches: Vec<RaggedBatch> = packed.iter().map(batch).collect();
        let mut equals: HashMap<usize, Vec<usize>> = HashMap::new();
        for (i, first) in firsts.into_iter().enumerate().filter(|(i, first)| i != first) {
            equals.entry(first).or_default().push(i);
        }
        let values = |output: usize, text: &TokenizedText| self.rows(output, text) * self.model.width(output);
        for (i, text) in texts.iter().enumerate().filter(|(_, text)| text.ids.is_empty()) {
            take(i, outputs.iter().map(|&output| vec![0.0; values(output, text)]).collect())?;
        }
        let take_batch = |batch: usize, results: Results| {
            let mut left: Vec<&[f32]> = results.iter().map(Vec::as_slice).collect();
            for index in packed[batch].iter().map(|&i| there[i]) {
                let own = |(left, &output): (&mut &[f32], &usize)| -> Result<Vec<f32>> {
                    let (own, others) = left.split_at(values(output, texts[index]));
                    *left = others;
                    match own.iter().all(|value| value.is_finite()) {
                        true => Ok(own.to_vec()),
                        false => Err(self.explain_non_finite(index)),
                    }
                };
                let of_text: TextResults = left.iter_mut().zip(outputs).map(own).collect::<Result<_>>()?;
                for &equal in equals.get(&index).into_iter().flatten() {
                    take(equal, of_text.clone())?;
                }
                take(index, of_text)?;
            }
            Ok(())
        };
        backend.run(&Job { batches: &batches, outputs, cancel, take: &take_batch }).await
    }

    /// Rows that an output has for a text.
    fn rows(&self, output: usize, text: &TokenizedText) -> usize {
        match self.model.outputs[output].pooling {
            Some(_) => text.pools.len(),
            None => text.ids.len(),
        }
    }

    /// The weight that is to blame for a result that is not finite, if one is.
    fn explain_non_finite(&self, index: usize) -> Error {
        if let Some(blame) = self.model.tensors().into_iter().find_map(Tensor::first_non_finite) {
            return blame.into();
        }
        let remedy = match self.options.precision {
            Precision::F16 | Precision::Auto => "; f16 overflows at 65504: use bf16 or f32",
            _ => "",
        };
        let cause = format!("the model's weights are finite, so its arithmetic overflowed{remedy}");
        Error::from(RequestError::NonFiniteResult { cause }).of_text(index)
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
        Some(wanted) => Err(RequestError::InvalidOption {
            option: "max_tokens",
            found: wanted.to_string(),
            expected: format!("1 to {architecture}, the positions of the model"),
        }
        .into()),
    }
}

/// For each text, the position of the first one that is equal to it.
fn first_equals(texts: &[&TokenizedText]) -> Vec<usize> {
    let mut known = HashMap::with_capacity(texts.len());
    let mut firsts = Vec::with_capacity(texts.len());
    for (i, &text) in texts.iter().enumerate() {
        let TokenizedText { ids, pools, keys, second, untruncated: _ } = text;
        firsts.push(*known.entry((ids, pools, keys, second)).or_insert(i));
    }
    firsts
}
