//! Results in the order of requests, in constant memory. Every call that embeds is a stream.

use super::chunk::{Chunk, Recipient};
use super::outputs::Output;
use super::request::{ReadyPrompts, Request};
use super::value::{Value, check_options};
use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::options::EmbedOptions;
use crate::wait::block_on;
use std::collections::VecDeque;
use std::iter::Fuse;
use std::marker::PhantomData;
use std::sync::Arc;

/// Batches of a chunk: many, so that the last, partly filled one matters little.
const CHUNK_BATCHES: usize = 64;

/// Bytes of text to a token, about.
const BYTES_PER_TOKEN: usize = 4;

/// Bytes of text that are tokenised and computed together at least and at most.
const CHUNK_BYTES: std::ops::RangeInclusive<usize> = 64 << 10..=4 << 20;

/// Requests that are taken together at most, however short they are.
const CHUNK_REQUESTS: usize = 8192;

/// How far a stream is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// Texts whose results are ready, or failed.
    pub texts: usize,
    /// Tokens that were computed for them.
    pub tokens: usize,
}

/// Results of requests, in their order: [`Embedder::stream`](crate::Embedder::stream) and
/// [`Embedder::stream_of`](crate::Embedder::stream_of).
///
/// Requests are taken from their iterator some at a time, as many as the device works well with; the next ones are
/// tokenised while it works. An item is an error if its text or options are wrong: others go on. After an error that
/// is not about one text (a device that failed, a call that was cancelled) the stream ends.
pub struct Stream<'e, I, T> {
    to: Recipient<'e>,
    requests: Fuse<I>,
    chunk_bytes: usize,
    /// Whether one wrong request spoils them all.
    all_or_nothing: bool,
    prompts: ReadyPrompts,
    /// Tokenised ahead.
    ahead: Option<Chunk>,
    ready: VecDeque<Result<Output<T>>>,
    /// Requests taken so far.
    taken: usize,
    progress: Progress,
    on_progress: Option<Box<dyn FnMut(Progress) + 'e>>,
    cancel: CancelToken,
    ended: bool,
    value: PhantomData<fn() -> T>,
}

impl<I, T> std::fmt::Debug for Stream<'_, I, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("progress", &self.progress).finish_non_exhaustive()
    }
}

impl<'e, I: Iterator, T> Stream<'e, I, T> {
    pub(super) fn new(to: Recipient<'e>, requests: I) -> Stream<'e, I, T> {
        let tokens = to.engine.tokens_at_once() * CHUNK_BATCHES;
        let chunk_bytes = (tokens * BYTES_PER_TOKEN).clamp(*CHUNK_BYTES.start(), *CHUNK_BYTES.end());
        Stream {
            to,
            requests: requests.fuse(),
            chunk_bytes,
            all_or_nothing: false,
            prompts: ReadyPrompts::default(),
            ahead: None,
            ready: VecDeque::new(),
            taken: 0,
            progress: Progress { texts: 0, tokens: 0 },
            on_progress: None,
            cancel: CancelToken::new(),
            ended: false,
            value: PhantomData,
        }
    }

    /// Takes requests for so many batches of each of the device's threads at a time, and not for 64: results come sooner,
    /// and the last batches of each time are filled less well.
    pub fn batches_at_a_time(mut self, batches: usize) -> Self {
        let tokens = self.to.engine.tokens_at_once().saturating_mul(batches);
        self.chunk_bytes = tokens.saturating_mul(BYTES_PER_TOKEN).clamp(1, *CHUNK_BYTES.end());
        self
    }

    /// Stops between two batches when the token is cancelled; the item after that is
    /// [`RequestError::Cancelled`](crate::RequestError::Cancelled), and the last.
    pub fn cancel(mut self, token: &CancelToken) -> Self {
        self.cancel = token.clone();
        self
    }

    /// Ends the stream at the first wrong request, before any result of those that were taken with it: for callers
    /// that have no use for the others.
    pub fn stop_at_first_error(mut self) -> Self {
        self.all_or_nothing = true;
        self
    }

    /// Calls this on the caller's thread whenever results are ready.
    pub fn on_progress(mut self, report: impl FnMut(Progress) + 'e) -> Self {
        self.on_progress = Some(Box::new(report));
        self
    }
}

impl<'a, I: Iterator<Item: Into<Request<'a>>>, T: Value> Stream<'_, I, T> {
    /// All of them, in one chunk, since texts and results are in memory anyway; or the first error. Options that all
    /// requests share are checked first, so that an error does not blame a text.
    pub(super) fn collect_all(mut self, shared: Option<&Arc<EmbedOptions>>) -> Result<Vec<Output<T>>> {
        (self.chunk_bytes, self.all_or_nothing) = (usize::MAX, true);
        if let Some(options) = shared {
            self.prompts.get(self.to.engine, options, None)?;
            check_options::<T>(self.to.engine, options)?;
        }
        self.collect()
    }

    /// Takes the next requests.
    fn take(&mut self) -> Vec<Request<'a>> {
        let (mut requests, mut bytes) = (Vec::new(), 0);
        let most = if self.chunk_bytes == usize::MAX { usize::MAX } else { CHUNK_REQUESTS };
        while bytes < self.chunk_bytes && requests.len() < most {
            let Some(request) = self.requests.next() else { break };
            let request: Request<'a> = request.into();
            bytes += request.bytes();
            requests.push(request);
        }
        requests
    }

    /// Computes the next chunk, and tokenises the one after it meanwhile.
    fn fill(&mut self) -> Result<()> {
        let to = self.to;
        let chunk = match self.ahead.take() {
            Some(chunk) => chunk,
            None => {
                let requests = self.take();
                Chunk::new::<T>(to.engine, &mut self.prompts, requests)
            }
        };
        self.cancel.check()?;
        if chunk.is_empty() {
            self.ended = true;
            return Ok(());
        }
        let chunk = if self.all_or_nothing { chunk.without_errors()? } else { chunk };
        let (count, tokens) = (chunk.len(), chunk.tokens());
        let following = self.take();
        let cancel = &self.cancel;
        let run = || block_on(chunk.run::<T>(to, cancel));
        let results = if following.is_empty() {
            run()
        } else {
            let prompts = &mut self.prompts;
            let ahead = || Chunk::new::<T>(to.engine, prompts, following);
            let (results, ahead) = to.engine.threads.join(run, ahead);
            self.ahead = Some(ahead);
            results
        };
        let first = self.taken;
        self.taken += count;
        let results = results.map_err(|error| renumbered(error, first))?;
        self.progress.texts += count;
        self.progress.tokens += tokens;
        self.ready.extend(results.into_iter().map(|result| result.map_err(|error| renumbered(error, first))));
        if let Some(report) = &mut self.on_progress {
            report(self.progress);
        }
        Ok(())
    }
}

impl<'a, I: Iterator<Item: Into<Request<'a>>>, T: Value> Iterator for Stream<'_, I, T> {
    type Item = Result<Output<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && !self.ended {
            if let Err(error) = self.fill() {
                self.ended = true;
                return Some(Err(error));
            }
        }
        self.ready.pop_front()
    }
}

/// The same error, about a text counted from the start of the stream and not of its chunk.
fn renumbered(mut error: Error, first: usize) -> Error {
    if let Error::Request { text: Some(index), .. } = &mut error {
        *index += first;
    }
    error
}
