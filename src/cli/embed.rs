//! `taskvec embed`

use super::arguments::EmbedArguments;
use super::records::Records;
use super::sink::Sink;
use super::{Outcome, input, warn};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use taskvec::Error;

/// Texts that are embedded and written together: enough to fill batches, few enough to show
/// progress and to keep what is in memory small.
const CHUNK: usize = 512;

pub(crate) fn run(arguments: &EmbedArguments) -> Outcome {
    let texts = input::texts(arguments)?;
    let output = arguments.output.as_deref();
    let sink = Sink::open(output)?; // before the work, so that it is not done for nothing
    let embedder = arguments.model.open()?;
    let options = arguments.task.options();
    let mut records: Option<Records> = None;
    let mut all = Vec::new(); // without vectors, for the warnings
    let mut sink = Some(sink);
    let progress = progress_bar(texts.len());
    for (i, chunk) in texts.chunks(CHUNK).enumerate() {
        let embeddings = embedder.embed_batch(chunk, &options).map_err(|e| renumbered(e, i * CHUNK))?;
        if let (Some(sink), Some(first)) = (sink.take(), embeddings.first()) {
            let dimensions = first.vector.len();
            let mut started =
                Records::new(sink, arguments.format, output.is_none(), texts.len(), dimensions)?;
            started.begin(&embedder, first)?;
            records = Some(started);
        }
        if let Some(records) = &mut records {
            records.write(&embeddings)?;
        }
        all.extend(
            embeddings.into_iter().map(|embedding| taskvec::Embedding { vector: Vec::new(), ..embedding }),
        );
        progress.inc(chunk.len() as u64);
    }
    progress.finish_and_clear();
    warn(&embedder, &all);
    records.map_or(Ok(()), Records::finish)
}

/// The same error, about a text counted from the start of the input and not of its chunk.
fn renumbered(mut error: Error, first: usize) -> Error {
    if let Error::TooLong { index, .. }
    | Error::Tokenize { index, .. }
    | Error::NonFiniteResult { index, .. } = &mut error
    {
        *index += first;
    }
    error
}

/// A bar on stderr, if that is a terminal and the work is long.
fn progress_bar(texts: usize) -> ProgressBar {
    let target = if texts > CHUNK { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} texts, {per_sec}, {eta} left");
    let bar = ProgressBar::with_draw_target(Some(texts as u64), target);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}
