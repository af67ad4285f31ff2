//! Results in the order of requests, in constant memory. Every call that embeds is a stream.

use super::chunk::{Chunk, Recipient};
use super::outputs::Output;
use super::request::{ReadyPrompts, Request};
use super::value::{Value, check_options};
use crate::cancel::CancelToken;
use crate::error::{Error, RequestError, Result};
use crate::options::EmbedOptions;
use crate::wait::block_on;
use std::collections::VecDeque;
use std::iter::Fuse;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Batches of a chunk: many, so that the last, partly filled one matters little.
const CHUNK_BATCHES: usize = 64;

/// Bytes of text to a token, about.
const BYTES_PER_TOKEN: usize = 4;

/// Bytes of text that are tokenised and computed together at least and at most.
const CHUNK_BYTES: std::ops::RangeInclusive<usize> = 64 << 10..=4 << 20;

/// Requests that are taken together at most, however short they are; fewer where no result waits for the others.
const CHUNK_REQUESTS: usize = 8192;
const READY_REQUESTS: usize = 2048;

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
    chunk_requests: usize,
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
            chunk_requests: CHUNK_REQUESTS,
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
        (self.chunk_bytes, self.chunk_requests, self.all_or_nothing) = (usize::MAX, usize::MAX, true);
        if let Some(options) = shared {
            self.prompts.get(self.to.engine, options, None)?;
            check_options::<T>(self.to.engine, options)?;
        }
        self.collect()
    }

    /// Takes the next requests.
    fn take(&mut self) -> Vec<Request<'a>> {
        let (mut requests, mut bytes) = (Vec::new(), 0);
        while bytes < self.chunk_bytes && requests.len() < self.chunk_requests {
            let Some(request) = self.requests.next() else { break };
            let request: Request<'a> = request.into();
            bytes += request.bytes();
            requests.push(request);
        }
        requests
    }

    /// The next chunk, and how many requests are before it; `None`: there are no more.
    fn next_chunk(&mut self) -> Result<Option<(usize, Chunk)>> {
        let chunk = match self.ahead.take() {
            Some(chunk) => chunk,
            None => {
                let requests = self.take();
                Chunk::new::<T>(self.to.engine, &mut self.prompts, requests)
            }
        };
        self.cancel.check()?;
        if chunk.is_empty() {
            return Ok(None);
        }
        let chunk = if self.all_or_nothing { chunk.without_errors()? } else { chunk };
        let first = self.taken;
        self.taken += chunk.len();
        Ok(Some((first, chunk)))
    }

    /// Computes a chunk, and tokenises the one after it meanwhile.
    fn compute<R: Send>(
        &mut self,
        (first, chunk): (usize, Chunk),
        run: impl FnOnce(Chunk, &CancelToken) -> Result<R> + Send,
    ) -> Result<R> {
        let (count, tokens) = (chunk.len(), chunk.tokens());
        let following = self.take();
        let cancel = &self.cancel;
        let run = || run(chunk, cancel);
        let results = if following.is_empty() {
            run()
        } else {
            let (engine, prompts) = (self.to.engine, &mut self.prompts);
            let ahead = || Chunk::new::<T>(engine, prompts, following);
            let (results, ahead) = engine.threads.join(run, ahead);
            self.ahead = Some(ahead);
            results
        };
        let results = results.map_err(|error| renumbered(error, first))?;
        self.progress.texts += count;
        self.progress.tokens += tokens;
        if let Some(report) = &mut self.on_progress {
            report(self.progress);
        }
        Ok(results)
    }

    /// Computes the next chunk, for those who take results in order.
    fn fill(&mut self) -> Result<()> {
        let Some(chunk) = self.next_chunk()? else {
            self.ended = true;
            return Ok(());
        };
        let (to, first) = (self.to, chunk.0);
        let results = self.compute(chunk, |chunk, cancel| block_on(chunk.run::<T>(to, cancel)))?;
        self.ready.extend(results.into_iter().map(|result| result.map_err(|error| renumbered(error, first))));
        Ok(())
    }

    /// Calls `take` with each result, and the position of its request, as soon as its batch is computed: in any order,
    /// on the threads that compute. Whoever stores results as they come loses the fewest that way. Requests are taken
    /// in larger amounts than for the ordered stream, since no result waits for them: up to 2,048, or 4 MiB of text.
    ///
    /// # Errors
    /// As the last item of the stream; [`RequestError::Cancelled`](crate::RequestError::Cancelled) too if `take` broke off.
    pub fn for_each_ready(
        mut self,
        take: impl Fn(usize, Result<Output<T>>) -> ControlFlow<()> + Sync,
    ) -> Result<()> {
        let to = self.to;
        (self.chunk_bytes, self.chunk_requests) = (*CHUNK_BYTES.end(), READY_REQUESTS);
        while let Some(chunk) = self.next_chunk()? {
            let first = chunk.0;
            let take = |i, result: Result<Output<T>>| match take(
                first + i,
                result.map_err(|error| renumbered(error, first)),
            ) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(RequestError::Cancelled.into()),
            };
            self.compute(chunk, |chunk, cancel| block_on(chunk.run_each::<T>(to, cancel, &take)))?;
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
