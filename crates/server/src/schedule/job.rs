//! A request's work, as the queue has it.

use crate::fault::{Fault, FaultKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use taskvec::{EmbedOptions, Piece, SparseVector, TokenVectors};
use tokio::sync::oneshot;

/// Bytes of text to a token, about.
const BYTES_PER_TOKEN: usize = 4;

/// Tokens around each text: special ones, and a prompt's.
const AROUND: u64 = 8;

/// A text, or the ids of its tokens in the model's own vocabulary.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Content {
    Text(String),
    Ids(Vec<u32>),
    /// A text, and where its pieces end: each gets a vector that knows the others.
    Pieces(String, Vec<usize>),
}

/// A text, and what is wanted of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Item {
    pub(crate) content: Content,
    pub(crate) title: Option<String>,
    pub(crate) options: Arc<EmbedOptions>,
}

/// What a request asks of a model.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// A vector for each text.
    Dense(Vec<Item>),
    /// Weights of the vocabulary's entries for each text.
    Sparse(Vec<Item>),
    /// A vector for each token of each text.
    Tokens(Vec<Item>),
    /// A vector for each piece of each text.
    Pieces(Vec<Item>),
    /// How relevant each document is for the query, before any activation.
    Scores { query: String, documents: Vec<String>, options: Arc<EmbedOptions> },
}

/// Works of one kind can share a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WorkKind {
    Dense,
    Sparse,
    Tokens,
    Pieces,
    Scores,
}

impl Work {
    pub(crate) fn kind(&self) -> WorkKind {
        match self {
            Work::Dense(_) => WorkKind::Dense,
            Work::Sparse(_) => WorkKind::Sparse,
            Work::Tokens(_) => WorkKind::Tokens,
            Work::Pieces(_) => WorkKind::Pieces,
            Work::Scores { .. } => WorkKind::Scores,
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Work::Dense(items) | Work::Sparse(items) | Work::Tokens(items) | Work::Pieces(items) => {
                items.len()
            }
            Work::Scores { documents, .. } => documents.len(),
        }
    }

    pub(crate) fn items(&self) -> &[Item] {
        match self {
            Work::Dense(items) | Work::Sparse(items) | Work::Tokens(items) | Work::Pieces(items) => items,
            Work::Scores { .. } => &[],
        }
    }

    /// Tokens of a text, about, of which the model takes so many at most.
    pub(crate) fn tokens(&self, i: usize, most: usize) -> u64 {
        let tokens = match self {
            Work::Scores { query, documents, .. } => (query.len() + documents[i].len()) / BYTES_PER_TOKEN,
            _ => match &self.items()[i].content {
                Content::Text(text) | Content::Pieces(text, _) => text.len() / BYTES_PER_TOKEN,
                Content::Ids(ids) => ids.len(),
            },
        };
        tokens.min(most) as u64 + AROUND
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        const EACH: usize = 64;
        let of_item = |item: &Item| match &item.content {
            Content::Text(text) | Content::Pieces(text, _) => text.len() + EACH,
            Content::Ids(ids) => 4 * ids.len() + EACH,
        };
        match self {
            Work::Scores { documents, .. } => documents.iter().map(|text| text.len() + EACH).sum(),
            _ => self.items().iter().map(of_item).sum(),
        }
    }
}

/// What a text came to.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Dense(Vec<f32>),
    Sparse(SparseVector),
    Tokens(TokenVectors),
    Pieces(Vec<Piece>),
    Score(f32),
}

/// What a text came to, and what the model saw of it.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) value: Value,
    pub(crate) tokens: usize,
    /// More than `tokens` if a part was cut off.
    pub(crate) untruncated_tokens: usize,
}

/// Who waits: a person, or a program with a lot to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Interactive,
    Bulk,
}

/// All results of a job, in order, and how long it took.
pub(crate) struct Finished {
    pub(crate) results: Vec<Result<Done, Fault>>,
    /// Until its first text was begun.
    pub(crate) waited: Duration,
    pub(crate) computed: Duration,
}

/// A request in the queue.
pub(crate) struct Job {
    pub(crate) work: Work,
    pub(crate) class: Class,
    /// Whose it is: requests of one key share what that key has a right to.
    pub(crate) key: usize,
    submitted: Instant,
    abandoned: AtomicBool,
    state: Mutex<State>,
}

struct State {
    results: Vec<Option<Result<Done, Fault>>>,
    left: usize,
    begun: Option<Instant>,
    finished: Option<oneshot::Sender<Finished>>,
}

impl Job {
    /// A job, and where its results will come.
    pub(crate) fn new(work: Work, class: Class, key: usize) -> (Arc<Job>, oneshot::Receiver<Finished>) {
        let (send, receive) = oneshot::channel();
        let left = work.len();
        let state = State { results: vec![None; left], left, begun: None, finished: Some(send) };
        let job = Job {
            work,
            class,
            key,
            submitted: Instant::now(),
            abandoned: AtomicBool::new(false),
            state: Mutex::new(state),
        };
        (Arc::new(job), receive)
    }

    /// Nobody waits for it any more: what has not begun need not be done.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Its first text is begun, if none was.
    pub(crate) fn begin(&self) {
        self.state().begun.get_or_insert_with(Instant::now);
    }

    /// Takes what a text came to.
    pub(crate) fn set(&self, text: usize, result: Result<Done, Fault>) {
        let mut state = self.state();
        // A job that is finished, or given up, has handed its results on.
        let Some(place) = state.results.get_mut(text) else { return };
        if place.replace(result).is_none() {
            state.left -= 1;
        }
        if state.left == 0 {
            self.finish(&mut state);
        }
    }

    /// Whether all results are handed on.
    pub(crate) fn is_finished(&self) -> bool {
        self.state().finished.is_none()
    }

    /// Gives up what is left.
    pub(crate) fn fail(&self, fault: &Fault) {
        let mut state = self.state();
        state.results.iter_mut().filter(|result| result.is_none()).for_each(|result| {
            *result = Some(Err(fault.clone()));
        });
        state.left = 0;
        self.finish(&mut state);
    }

    fn finish(&self, state: &mut State) {
        let Some(finished) = state.finished.take() else { return };
        let begun = state.begun.unwrap_or(self.submitted);
        let results = std::mem::take(&mut state.results);
        let lost = || Err(Fault::internal("a text was left without a result"));
        let results = results.into_iter().map(|result| result.unwrap_or_else(lost)).collect();
        // Who waited may have gone.
        let _ =
            finished.send(Finished { results, waited: begun - self.submitted, computed: begun.elapsed() });
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fault of a job whose time is over.
pub(crate) fn late() -> Fault {
    Fault::new(FaultKind::Late, "the time that the client waits was over before this could be computed")
}
