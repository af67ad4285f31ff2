//! What a job is to do.

use super::progress::{Progress, ReportFn};
use crate::error::{CorpusError, Result};
use crate::input::Corpus;
use crate::output::Output;
use std::sync::{Arc, Mutex};
use taskvec::{CancelToken, EmbedOptions, Embedder, IntoOptions, OutputType};

/// What to do with a row that has no text, or whose text cannot be embedded.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum OnError {
    /// Stop there. What was computed is kept.
    #[default]
    Fail,
    /// Leave the row out.
    Skip,
    /// Write the row without a vector.
    Null,
}

impl OnError {
    pub(super) fn name(self) -> &'static str {
        match self {
            OnError::Fail => "fail",
            OnError::Skip => "skip",
            OnError::Null => "null",
        }
    }
}

/// What is given for each text.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum Give {
    /// One vector, in the column `embedding`.
    #[default]
    Dense,
    /// Weights for entries of the vocabulary (SPLADE, bge-m3), in the column `sparse`: its lists `indices` and `values`.
    Sparse,
    /// Both, from one pass (bge-m3), for hybrid search.
    Both,
}

impl Give {
    /// The name in files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Give::Dense => "dense",
            Give::Sparse => "sparse",
            Give::Both => "both",
        }
    }
}

/// How rows are cut into pieces, each with a vector of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunks {
    /// Tokens of a piece at most, without the prompt.
    pub tokens: usize,
    /// Tokens at most that a piece begins with of the one before it.
    pub overlap: usize,
}

/// Embeds a corpus: [`Job::run`].
pub struct Job<'j> {
    pub(super) embedder: &'j Embedder,
    pub(super) corpus: &'j Corpus,
    pub(super) output: Output,
    pub(super) options: Arc<EmbedOptions>,
    pub(super) give: Give,
    pub(super) on_error: OnError,
    pub(super) chunks: Option<Chunks>,
    pub(super) cancel: CancelToken,
    pub(super) report: Mutex<Option<ReportFn<'j>>>,
}

impl<'j> Job<'j> {
    /// A job without a task.
    pub fn new(embedder: &'j Embedder, corpus: &'j Corpus, output: Output) -> Job<'j> {
        let (options, cancel) = (Arc::default(), CancelToken::new());
        let (on_error, give) = (OnError::default(), Give::default());
        Job {
            embedder,
            corpus,
            output,
            options,
            give,
            on_error,
            chunks: None,
            cancel,
            report: Mutex::default(),
        }
    }

    /// What the vectors are for.
    pub fn options(mut self, options: impl IntoOptions) -> Self {
        self.options = options.into_options();
        self
    }

    /// What is given for each text.
    pub fn give(mut self, give: Give) -> Self {
        self.give = give;
        self
    }

    /// What to do with rows that cannot be embedded.
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Cuts texts into pieces, at sentences and paragraphs.
    pub fn chunks(mut self, chunks: Chunks) -> Self {
        self.chunks = Some(chunks);
        self
    }

    /// Stops the job soon after the token is cancelled, with [`CorpusError::Interrupted`]. What was computed is kept, and
    /// the same job goes on there.
    pub fn cancel(mut self, token: &CancelToken) -> Self {
        self.cancel = token.clone();
        self
    }

    /// Is told how far the job is, some times a second.
    pub fn on_progress(mut self, report: impl FnMut(Progress) + Send + 'j) -> Self {
        self.report = Mutex::new(Some(Box::new(report)));
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let wrong = |problem: &str| Err(CorpusError::Options(problem.to_owned()));
        if self.on_error == OnError::Null && self.output.format.is_array() {
            return wrong(
                "npy and safetensors have no rows without a vector: skip such rows, or write parquet, arrow or jsonl",
            );
        }
        if self.give != Give::Dense && self.output.format.is_array() {
            return wrong(
                "npy and safetensors hold dense vectors; write sparse ones as parquet, arrow or jsonl",
            );
        }
        if self.give == Give::Sparse && self.output.output_type != OutputType::F32 {
            return wrong("a type of values is for dense vectors; the weights of sparse ones are f32");
        }
        match self.chunks {
            Some(Chunks { tokens, overlap }) if overlap >= tokens => {
                wrong("the overlap of pieces has to be smaller than they are")
            }
            _ => Ok(()),
        }
    }
}
