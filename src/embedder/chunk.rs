//! Requests that are computed together.

use super::outputs::Output;
use super::request::{ReadyPrompts, Request, TokenizedRequest, tokenize};
use super::value::{Value, check_options, finish};
use crate::batch::TokenizedText;
use crate::cancel::CancelToken;
use crate::engine::{Engine, TextResults};
use crate::error::{Error, Result};
use crate::space::{Space, SpaceRecipe};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Requests that are tokenised one after the other.
const FEW: usize = 8;

/// What computes a chunk, and what all its results have in common.
#[derive(Clone, Copy)]
pub(super) struct Recipient<'e> {
    pub(super) engine: &'e Engine,
    pub(super) recipe: &'e Arc<SpaceRecipe>,
}

/// Requests as the model sees them, or what is wrong with them. An error names its request's position here.
pub(super) struct Chunk {
    requests: Vec<Result<TokenizedRequest>>,
}

impl Chunk {
    /// Tokenises requests, on all threads if there are many: a few are not worth waking others, or waiting for those that are busy.
    pub(super) fn new<T: Value>(
        engine: &Engine,
        prompts: &mut ReadyPrompts,
        requests: Vec<Request<'_>>,
    ) -> Chunk {
        let ready = |request: &Request<'_>| prompts.get(engine, &request.options, request.title.as_deref());
        let ready: Vec<_> = requests.iter().map(ready).collect();
        let read = |(i, (request, ready)): (usize, (&Request<'_>, Result<_>))| {
            let tokenized = ready.and_then(|ready| {
                check_options::<T>(engine, &request.options)?;
                tokenize(engine, request, ready, T::SHAPE)
            });
            tokenized.map_err(|error| error.of_text(i))
        };
        let requests = match requests.len() {
            0..=FEW => requests.iter().zip(ready).enumerate().map(read).collect(),
            _ => engine
                .threads
                .install(|| requests.par_iter().zip(ready).enumerate().with_min_len(FEW).map(read).collect()),
        };
        Chunk { requests }
    }

    /// The chunk, or its first error.
    pub(super) fn without_errors(self) -> Result<Chunk> {
        let requests: Vec<TokenizedRequest> = self.requests.into_iter().collect::<Result<_>>()?;
        Ok(Chunk { requests: requests.into_iter().map(Ok).collect() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Tokens of all requests.
    pub(super) fn tokens(&self) -> usize {
        self.parts().map(|part| part.ids.len()).sum()
    }

    fn parts(&self) -> impl Iterator<Item = &TokenizedText> {
        self.requests.iter().flatten().flat_map(|request| &request.parts)
    }

    /// The results of its requests, in their order.
    pub(super) async fn run<T: Value>(
        self,
        to: Recipient<'_>,
        cancel: &CancelToken,
    ) -> Result<Vec<Result<Output<T>>>> {
        let all: Vec<Option<Result<Output<T>>>> = self.requests.iter().map(|_| None).collect();
        let all = Mutex::new(all);
        let take = |request: usize, result| {
            all.lock().unwrap_or_else(PoisonError::into_inner)[request] = Some(result);
            Ok(())
        };
        self.run_each(to, cancel, &take).await?;
        Ok(all.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect())
    }

    /// Hands on the result of each request, by its position, when it is ready: in any order, on any thread. An error of
    /// `take` ends the run.
    pub(super) async fn run_each<T: Value>(
        self,
        to: Recipient<'_>,
        cancel: &CancelToken,
        take: &TakeOutput<'_, T>,
    ) -> Result<()> {
        let outputs = T::outputs(to.engine)?;
        // Those that are wrong are ready.
        let mut requests = Vec::with_capacity(self.len());
        for (i, request) in self.requests.into_iter().enumerate() {
            match request {
                Ok(request) if request.looked_up.is_some() => {
                    let value = T::from_rows(to.engine, &request, &outputs, Vec::new());
                    let output = value.and_then(|value| output(to, &request, outputs[0], value));
                    take(i, output.map_err(|error| error.of_text(i)))?;
                }
                Ok(request) => requests.push((i, request)),
                Err(error) => take(i, Err(error))?,
            }
        }
        // The request and the place in it of each part, by the adapter: other adapters are other weights, so other runs.
        let mut runs: BTreeMap<Option<&str>, Vec<(usize, usize)>> = BTreeMap::new();
        for (i, (_, request)) in requests.iter().enumerate() {
            let run = runs.entry(request.prompt.prompt.adapter.as_deref()).or_default();
            run.extend((0..request.parts.len()).map(|part| (i, part)));
        }
        let found: Vec<Mutex<Vec<Option<TextResults>>>> =
            requests.iter().map(|(_, request)| Mutex::new(vec![None; request.parts.len()])).collect();
        for (adapter, run) in runs {
            let texts: Vec<&TokenizedText> =
                run.iter().map(|&(i, part)| &requests[i].1.parts[part]).collect();
            let take_text = |text: usize, results| {
                let (i, part) = run[text];
                let mut parts = found[i].lock().unwrap_or_else(PoisonError::into_inner);
                parts[part] = Some(results);
                if parts.iter().any(Option::is_none) {
                    return Ok(()); // the last part finishes the request
                }
                let parts = std::mem::take(&mut *parts).into_iter().flatten().collect();
                let (place, request) = &requests[i];
                let value = T::from_rows(to.engine, request, &outputs, parts);
                let output = value.and_then(|value| output(to, request, outputs[0], value));
                take(*place, output.map_err(|error| error.of_text(*place)))
            };
            let done = to.engine.run_each(&texts, adapter, &outputs, cancel, &take_text).await;
            done.map_err(|error| about_request(error, |text| requests[run[text].0].0))?;
        }
        Ok(())
    }
}

/// What takes the result of a request, by its position.
pub(super) type TakeOutput<'a, T> = dyn Fn(usize, Result<Output<T>>) -> Result<()> + Sync + 'a;

/// The same error, about a request and not about one of the parts that were run.
fn about_request(mut error: Error, request: impl Fn(usize) -> usize) -> Error {
    if let Error::Request { text: Some(index), .. } = &mut error {
        *index = request(*index);
    }
    error
}

/// A value with what is known about it.
fn output<T>(to: Recipient<'_>, request: &TokenizedRequest, of_model: usize, value: T) -> Result<Output<T>> {
    let finish = finish(to.engine, &request.options, of_model)?;
    let prompt = request.prompt.prompt.clone();
    let tokens = request.tokens().map(|part| part.ids.len()).sum();
    let untruncated_tokens = match (&request.parts[..], &request.looked_up) {
        ([whole], _) | (_, Some(whole)) => whole.untruncated,
        _ => tokens, // windows hold the whole text
    };
    let space = Space::new(to.recipe.clone(), prompt.clone(), request.options.task, finish);
    Ok(Output { value, tokens, untruncated_tokens, prompt, space })
}
