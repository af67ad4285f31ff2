//! `taskvec embed`

use crate::arguments::{EmbedArguments, Format, Give, OutputArguments};
use crate::corpus;
use crate::input;
use crate::outcome::{Failure, Outcome};
use crate::output_options::{check, ranges, request};
use crate::progress::Progress;
use crate::records::{Heading, Record, Records, Values};
use crate::sink::Sink;
use crate::warnings::Warnings;
use serde_json::json;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use taskvec::{
    DenseAndSparse, EmbedOptions, Embedder, Error, Output, Piece, Prompt, Quantized, Request, RequestError,
    SparseVector, TokenVectors, Value, quantize,
};
use taskvec_corpus::{Corpus, TextRow};

pub(crate) fn run(arguments: &EmbedArguments) -> Outcome {
    let output = &arguments.output;
    if let Some(corpus) = corpus_output(arguments)? {
        return corpus::run(arguments, corpus);
    }
    let format = output.format()?;
    check(output, format)?;
    let said = match output.flush {
        true => Said::ByAndBy(Box::new(input::conversation(&arguments.texts, &arguments.input)?)),
        false => Said::AtOnce(input::items(&arguments.texts, &arguments.input)?),
    };
    let rows = said.rows();
    let sink = Sink::open(output.output.as_deref())?; // before the work, so that it is not done for nothing
    let embedder = arguments.model.open(arguments.task.dimensions)?;
    let options = Arc::new(arguments.task.options());
    let ranges = ranges(output, &embedder, &options)?;
    let records = Records::new(sink, format, output.output.is_none(), output.base64)?;
    let mut warnings = Warnings::default();
    warnings.about_dimensions(&embedder, arguments.task.dimensions);
    let typed = |vector: &[f32]| quantize(vector, output.output_type, ranges.as_ref());
    let mut work = Work {
        embedder: &embedder,
        options,
        output,
        format,
        rows,
        begun: false,
        before: 0,
        records,
        warnings,
        progress: Progress::of(rows),
    };
    match said {
        Said::AtOnce(items) => work.write_items(&items, &typed)?,
        Said::ByAndBy(corpus) => work.answer(*corpus, &typed)?,
    }
    work.progress.finish();
    work.warnings.print(&embedder, arguments.task.too_long());
    work.records.finish()
}

/// The texts of a call.
enum Said {
    AtOnce(Vec<TextRow>),
    /// They come while earlier ones are answered.
    ByAndBy(Box<Corpus>),
}

impl Said {
    /// How many there are, where that is known.
    fn rows(&self) -> usize {
        match self {
            Said::AtOnce(items) => items.len(),
            Said::ByAndBy(_) => 0,
        }
    }
}

/// Lines that wait to be answered together, and those that wait to be read from a program that writes them faster than
/// they are answered.
const TOGETHER: usize = 64;

/// A value to be written, and for a piece the text's position and the piece's first and last byte.
type Written = (Values, Option<(usize, usize, usize)>);

/// What is under way.
struct Work<'w> {
    embedder: &'w Embedder,
    options: Arc<EmbedOptions>,
    output: &'w OutputArguments,
    format: Format,
    /// Records that will be written.
    rows: usize,
    /// Whether what stands before the first record is written.
    begun: bool,
    /// Texts that were answered before those at hand.
    before: usize,
    records: Records,
    warnings: Warnings,
    progress: Progress,
}

impl Work<'_> {
    fn request<'i>(&self, item: &'i TextRow) -> Request<'i> {
        request(item, &self.options)
    }

    /// Writes what the arguments ask for of each text.
    fn write_items(
        &mut self,
        items: &[TextRow],
        typed: &impl Fn(&[f32]) -> Result<Quantized, Error>,
    ) -> Outcome {
        let requests =
            |work: &Self| items.iter().map(|item| work.request(item)).collect::<Vec<Request<'_>>>();
        match (self.output.give, self.output.pieces) {
            (Give::Dense, None) => self.write_all(requests(self), None, |_, vector: Vec<f32>| {
                Ok(vec![(Values::Vector(typed(&vector)?), None)])
            }),
            (Give::Dense, Some(tokens)) => self.write_pieces(items, tokens, typed),
            (Give::Sparse, _) => self.write_all(requests(self), None, |_, vector: SparseVector| {
                Ok(vec![(Values::Sparse(vector), None)])
            }),
            (Give::Both, _) => self.write_all(requests(self), None, |_, both: DenseAndSparse| {
                Ok(vec![(Values::Both(typed(&both.dense)?, both.sparse), None)])
            }),
            (Give::Tokens, _) => self.write_all(requests(self), None, |_, tokens: TokenVectors| {
                let vectors = tokens.values.chunks_exact(tokens.dimensions).map(typed);
                let vectors: Vec<Quantized> = vectors.collect::<Result<_, _>>()?;
                Ok(vec![(Values::Tokens(tokens.ids, vectors), None)])
            }),
        }
    }

    /// Answers lines as they come: those that are there are computed together.
    fn answer(&mut self, corpus: Corpus, typed: &impl Fn(&[f32]) -> Result<Quantized, Error>) -> Outcome {
        let (send, lines) = sync_channel(TOGETHER);
        // Not waited for: after an error it may wait for a line that never comes.
        std::thread::spawn(move || {
            for line in corpus.texts() {
                let failed = line.is_err();
                if send.send(line).is_err() || failed {
                    return;
                }
            }
        });
        while let Ok(first) = lines.recv() {
            let waiting = std::iter::once(first).chain(lines.try_iter()).take(TOGETHER);
            let (mut items, mut failed) = (Vec::new(), None);
            for line in waiting {
                match line {
                    Ok(item) => items.push(item),
                    Err(error) => failed = Some(error),
                }
            }
            let written = self.write_items(&items, typed);
            self.before += items.len();
            self.records.flush()?; // those before a line that is wrong have their answers
            written?;
            if let Some(error) = failed {
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Writes the records of all requests, as `values` makes them of each result and its position. `places`: of the
    /// requests among the texts, where not each text is one.
    fn write_all<T: Value>(
        &mut self,
        requests: Vec<Request<'_>>,
        places: Option<&[usize]>,
        values: impl Fn(usize, T) -> Result<Vec<Written>, Error>,
    ) -> Outcome {
        let before = self.before;
        let stream = self.embedder.stream_of(requests);
        let stream = if self.output.flush { stream } else { stream.stop_at_first_error() };
        for (i, result) in stream.enumerate() {
            let output: Output<T> = result.map_err(|error| of_place(error, before, places))?;
            if !self.begun {
                self.begin(&output.prompt)?;
            }
            self.warnings.note(&output);
            let (tokens, untruncated) = (output.tokens, output.untruncated_tokens);
            for (values, piece) in values(i, output.value)? {
                self.records.write(&Record { values, piece, tokens, untruncated })?;
            }
            self.progress.set(i + 1);
        }
        if !self.begun {
            self.begin(&self.embedder.prompt(self.options.clone())?)?;
        }
        Ok(())
    }

    /// A record for each piece of each text; a text without tokens of its own has none.
    fn write_pieces(
        &mut self,
        items: &[TextRow],
        tokens: usize,
        typed: &impl Fn(&[f32]) -> Result<Quantized, Error>,
    ) -> Outcome {
        let mut requests = Vec::new();
        let mut places = Vec::new();
        self.rows = 0;
        for (i, item) in items.iter().enumerate() {
            let place = self.before + i;
            let ends = self.ends(item, tokens).map_err(|error| of_text(error, place))?;
            if ends.is_empty() {
                self.warnings.note_without_pieces(place);
            } else {
                self.rows += ends.len();
                places.push(place);
                requests.push(self.request(item).pieces(ends));
            }
        }
        self.write_all(requests, Some(&places), |i, pieces: Vec<Piece>| {
            let record = |piece: Piece| -> Result<Written, Error> {
                let place = (places[i], piece.bytes.start, piece.bytes.end);
                Ok((Values::Piece(typed(&piece.vector)?, piece.tokens), Some(place)))
            };
            pieces.into_iter().map(record).collect()
        })
    }

    /// Where the pieces of a text end, once it is known that the model takes it whole.
    fn ends(&self, item: &TextRow, tokens: usize) -> Result<Vec<usize>, Error> {
        let mut options = EmbedOptions::clone(&self.options);
        if let Some(title) = &item.title {
            options = options.title(title.as_str());
        }
        let (found, limit) =
            (self.embedder.count_tokens(&item.text, options.clone())?, self.embedder.max_tokens());
        if found > limit {
            return Err(RequestError::TooLong { tokens: found, limit }.into());
        }
        self.embedder.split(&item.text, tokens, options)
    }

    fn heading(&self, prompt: &Prompt) -> Outcome<Heading> {
        let Work { embedder, options, output, rows, .. } = self;
        let space = embedder.space(options.clone())?;
        let fingerprint = match Records::has_fingerprint(self.format) {
            true => space.fingerprint().to_string(),
            false => String::new(),
        };
        let dimensions = space.dimensions();
        let about = json!({
            "model": embedder.model(),
            "device": embedder.device().name,
            "dimensions": dimensions,
            "type": output.output_type.name(),
            "prompt": prompt.text,
            "suffix": prompt.suffix,
            "adapter": prompt.adapter,
            "prompt_source": prompt.source.to_string(),
            "note": prompt.note.as_ref().map(ToString::to_string),
            "fingerprint": fingerprint,
        });
        Ok(Heading { rows: *rows, dimensions, output_type: output.output_type, fingerprint, about })
    }

    /// Writes what stands before the first record.
    fn begin(&mut self, prompt: &Prompt) -> Outcome {
        let heading = self.heading(prompt)?;
        self.begun = true;
        self.records.begin(heading)
    }
}

/// An error about a request as one about the text that the request was made of.
fn of_place(error: Error, before: usize, places: Option<&[usize]>) -> Error {
    let Error::Request { text: Some(request), .. } = &error else { return error };
    let place = match places {
        Some(places) => places.get(*request).copied().unwrap_or(*request),
        None => before + request,
    };
    of_text(error, place)
}

/// The same error, about the text at a position.
fn of_text(error: Error, place: usize) -> Error {
    match error {
        Error::Request { problem, .. } => Error::Request { text: Some(place), problem },
        other => other,
    }
}

/// The output of a job on a corpus, if that is what is asked for: dense vectors of --input in files.
fn corpus_output(arguments: &EmbedArguments) -> Outcome<Option<taskvec_corpus::Output>> {
    let (output, given) = (&arguments.output, arguments.corpus.first_given());
    let usage = |problem: String| Err(Failure::Usage(problem));
    let is_job = !arguments.input.input.is_empty() && output.give != Give::Tokens && output.pieces.is_none();
    if is_job && let Some(job) = corpus::output(output)? {
        return Ok(Some(job));
    }
    if let Some(name) = given {
        return usage(format!(
            "{name} is for jobs on corpora: --input FILE with --output, in parquet, arrow, jsonl, npy or safetensors, \
             and vectors of whole texts"
        ));
    }
    match output.format() {
        Ok(format @ (Format::Parquet | Format::Arrow)) => usage(format!(
            "{}--format {} holds dense vectors of --input beside its columns, in a file; name both, or take --format \
             json or jsonl",
            output.output.as_ref().map_or(String::new(), |path| format!("--output {}: ", path.display())),
            if format == Format::Parquet { "parquet" } else { "arrow" },
        )),
        _ => Ok(None),
    }
}
