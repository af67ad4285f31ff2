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
use std::sync::Arc;

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
    /// Tokenises requests, on all threads if there are several.
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
            0 | 1 => requests.iter().zip(ready).enumerate().map(read).collect(),
            _ => engine
                .threads
                .install(|| requests.par_iter().zip(ready).enumerate().with_min_len(8).map(read).collect()),
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
        let outputs = T::outputs(to.engine)?;
        let mut rows = self.rows(to.engine, &outputs, cancel).await?.into_iter();
        let result = |(i, request): (usize, Result<TokenizedRequest>)| -> Result<Output<T>> {
            let request = request?;
            let parts: Vec<TextResults> = rows.by_ref().take(request.parts.len()).collect();
            let value = T::from_rows(to.engine, &request, &outputs, parts);
            value.and_then(|value| output(to, &request, outputs[0], value)).map_err(|error| error.of_text(i))
        };
        Ok(self.requests.into_iter().enumerate().map(result).collect())
    }

    /// What the model gives for each part. Parts with other task adapters are other weights, so other runs.
    async fn rows(
        &self,
        engine: &Engine,
        outputs: &[usize],
        cancel: &CancelToken,
    ) -> Result<Vec<TextResults>> {
        let requests = || self.requests.iter().flatten();
        let adapters: Vec<Option<&str>> = requests()
            .flat_map(|request| {
                std::iter::repeat_n(request.prompt.prompt.adapter.as_deref(), request.parts.len())
            })
            .collect();
        let parts: Vec<&TokenizedText> = self.parts().collect();
        let mut rows: Vec<Option<TextResults>> = vec![None; parts.len()];
        while let Some(first) = rows.iter().position(Option::is_none) {
            let adapter = adapters[first];
            let same: Vec<usize> = (first..parts.len()).filter(|&i| adapters[i] == adapter).collect();
            let texts: Vec<&TokenizedText> = same.iter().map(|&i| parts[i]).collect();
            let found = engine.run(&texts, adapter, outputs, cancel).await;
            let found = found.map_err(|error| self.about_request(error, &same))?;
            same.into_iter().zip(found).for_each(|(i, found)| rows[i] = Some(found));
        }
        Ok(rows.into_iter().flatten().collect())
    }

    /// The same error, about a request and not about one of the parts that were run.
    fn about_request(&self, mut error: Error, run: &[usize]) -> Error {
        if let Error::Request { text: Some(index), .. } = &mut error {
            let part = run.get(*index).copied().unwrap_or_default();
            let mut end = 0;
            let holds_part = |request: &Result<TokenizedRequest>| {
                end += request.as_ref().map_or(0, |request| request.parts.len());
                part < end
            };
            *index = self.requests.iter().position(holds_part).unwrap_or_default();
        }
        error
    }
}

/// A value with what is known about it.
fn output<T>(to: Recipient<'_>, request: &TokenizedRequest, of_model: usize, value: T) -> Result<Output<T>> {
    let finish = finish(to.engine, &request.options, of_model)?;
    let prompt = request.prompt.prompt.clone();
    let tokens = request.parts.iter().map(|part| part.ids.len()).sum();
    let untruncated_tokens = match &request.parts[..] {
        [whole] => whole.untruncated,
        _ => tokens, // windows hold the whole text
    };
    let space = Space::new(to.recipe.clone(), prompt.clone(), request.options.task, finish);
    Ok(Output { value, tokens, untruncated_tokens, prompt, space })
}
