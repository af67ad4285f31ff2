//! The thread that computes.

use super::job::{Class, Content, Done, Item, Job, Value, Work, WorkKind};
use super::queue::Slice;
use super::shared::{Shared, State};
use crate::fault::Fault;
use crate::loaded::Loaded;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use taskvec::{CancelToken, Embedder, Error, Output, Piece, Request, SparseVector, TokenVectors};

/// How long a batch of programs takes: long enough that its start and end do not matter.
const LONG: Duration = Duration::from_millis(200);

/// The same of people: whoever comes now waits for what is under way. Where many wait, batches are longer, since that is faster in all.
const SHORT: Duration = Duration::from_millis(6);

/// Tokens of a batch at least: fewer would not use the device well.
const FEWEST: [u64; 2] = [64, 384];

/// Computes what comes of a class, until the schedule ends.
pub(super) fn serve(loaded: &Arc<Loaded>, shared: &Shared, class: Class) {
    while let Some(slices) = wait(shared, class) {
        let tokens = slices.iter().map(|slice| slice.tokens).sum();
        let begun = Instant::now();
        compute(loaded, &slices);
        drop(slices);
        shared.measured(class, tokens, begun.elapsed());
        shared.state().running[class as usize] = 0;
    }
}

/// Waits for texts of a class; `None` when the schedule ended.
fn wait(shared: &Shared, class: Class) -> Option<Vec<Slice>> {
    let mut state: MutexGuard<'_, State> = shared.state();
    loop {
        if state.ended {
            let ended = Fault::internal("the model was closed");
            state.queue.drain().iter().for_each(|job| job.fail(&ended));
            return None;
        }
        let tokens = |time: Duration| (time.as_secs_f64() / shared.seconds(class)) as u64;
        let room = match class {
            Class::Interactive => tokens(SHORT).max((state.queue.waiting(class) / 2).min(tokens(LONG))),
            Class::Bulk => tokens(LONG),
        };
        let slices = state.queue.take(class, room.max(FEWEST[class as usize]));
        if !slices.is_empty() {
            state.running[class as usize] = slices.iter().map(|slice| slice.tokens).sum();
            return Some(slices);
        }
        state = shared.wake[class as usize].wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Computes texts of several jobs together. If that fails as a whole, each job is computed by itself, so that one whose texts
/// break the engine fails alone.
fn compute(loaded: &Loaded, slices: &[Slice]) {
    let Err(fault) = compute_together(loaded, slices) else { return };
    if let [slice] = slices {
        slice.job.fail(&fault);
        return;
    }
    for slice in slices.iter().filter(|slice| !slice.job.is_finished()) {
        if let Err(fault) = compute_together(loaded, std::slice::from_ref(slice)) {
            slice.job.fail(&fault);
        }
    }
}

fn compute_together(loaded: &Loaded, slices: &[Slice]) -> Result<(), Fault> {
    let Some(first) = slices.first() else { return Ok(()) };
    let computed = catch_unwind(AssertUnwindSafe(|| match (loaded, first.job.work.kind()) {
        (Loaded::Embedder(embedder), WorkKind::Dense) => each::<Vec<f32>>(embedder, slices, Value::Dense),
        (Loaded::Embedder(embedder), WorkKind::Sparse) => {
            each::<SparseVector>(embedder, slices, Value::Sparse)
        }
        (Loaded::Embedder(embedder), WorkKind::Tokens) => {
            each::<TokenVectors>(embedder, slices, Value::Tokens)
        }
        (Loaded::Embedder(embedder), WorkKind::Pieces) => each::<Vec<Piece>>(embedder, slices, Value::Pieces),
        (Loaded::Reranker(reranker), WorkKind::Scores) => slices.iter().try_for_each(|slice| {
            let Work::Scores { query, documents, options } = &slice.job.work else { return Ok(()) };
            let cancel = CancelToken::new();
            let documents = &documents[slice.texts.clone()];
            let scores = reranker.logits_with(query, documents, options.clone(), &cancel);
            for (text, score) in slice.texts.clone().zip(scores?) {
                slice.job.set(text, Ok(done(score, Value::Score)));
            }
            Ok(())
        }),
        _ => Err(Error::Internal { what: "work of another kind of model was queued" }),
    }));
    match computed {
        Ok(result) => Ok(result?),
        Err(_) => Err(Fault::internal("the engine panicked; please report it")),
    }
}

/// What each text comes to, which its job gets at once.
fn each<T: taskvec::Value>(
    embedder: &Embedder,
    slices: &[Slice],
    value: impl Fn(T) -> Value + Sync,
) -> Result<(), Error> {
    let texts: Vec<(&Job, usize)> =
        slices.iter().flat_map(|slice| slice.texts.clone().map(|text| (&*slice.job, text))).collect();
    let requests = texts.iter().map(|(job, text)| request(&job.work.items()[*text]));
    embedder.stream_of(requests).for_each_ready(|i, output: taskvec::Result<Output<T>>| {
        let (job, text) = texts[i];
        job.set(
            text,
            match output {
                Ok(output) => Ok(done(output, &value)),
                Err(error) => Err(Fault::of_engine(&error, Some(text))),
            },
        );
        ControlFlow::Continue(())
    })
}

fn request(item: &Item) -> Request<'_> {
    let request = match &item.content {
        Content::Text(text) => Request::new(&**text),
        Content::Ids(ids) => Request::from_ids(&**ids),
        Content::Pieces(text, ends) => Request::new(&**text).pieces(&**ends),
    };
    let request = request.options(item.options.clone());
    match &item.title {
        Some(title) => request.title(&**title),
        None => request,
    }
}

fn done<T>(output: Output<T>, value: impl Fn(T) -> Value) -> Done {
    let (tokens, untruncated_tokens) = (output.tokens, output.untruncated_tokens);
    Done { value: value(output.value), tokens, untruncated_tokens }
}
