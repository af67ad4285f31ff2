//! `taskvec embed`

use super::arguments::{EmbedArguments, Format, Give, InputFormat, OutputArguments};
use super::input::{self, Item};
use super::records::{Heading, Record, Records, Values};
use super::sink::Sink;
use super::{Failure, Outcome, Warnings};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use taskvec::{Document, EmbedOptions, Embedder, Error, OutputType, Prompt, Quantized, Ranges, quantize};

/// Texts that are embedded and written together: enough to fill batches, few enough to show
/// progress and to keep what is in memory small.
const CHUNK: usize = 512;

pub(crate) fn run(arguments: &EmbedArguments) -> Outcome {
    let items = input::items(&arguments.texts, arguments.input.as_deref(), arguments.input_format)?;
    let output = &arguments.output;
    check(output)?;
    if (output.pieces.is_some() || output.give != Give::Dense)
        && items.iter().any(|item| item.title.is_some())
    {
        let problem =
            "titles in the input are for one vector a text: not with --pieces, --give sparse or tokens";
        return Err(Failure::Usage(problem.to_owned()));
    }
    let sink = Sink::open(output.output.as_deref())?; // before the work, so that it is not done for nothing
    let embedder = arguments.model.open(arguments.task.dimensions)?;
    let options = arguments.task.options();
    let ranges = ranges(output, &embedder, &options)?;
    let mut records = Records::new(sink, output.format(), output.output.is_none(), output.base64)?;
    let mut warnings = Warnings::default();
    warnings.about_dimensions(&embedder, arguments.task.dimensions);
    let progress = progress_bar(items.len());
    let pieces = pieces(&embedder, &items, output)?;
    let rows = pieces.as_ref().map_or(items.len(), |pieces| pieces.iter().map(Vec::len).sum());
    for (i, chunk) in items.chunks(CHUNK).enumerate() {
        let first = i * CHUNK;
        let (prompt, chunk_records) = match &pieces {
            Some(pieces) => {
                embed_pieces(&embedder, chunk, first, &pieces[first..], &options, output, ranges.as_ref())
            }
            None => embed(&embedder, chunk, &options, output, ranges.as_ref()),
        }
        .map_err(|e| renumbered(e, first))?;
        if i == 0 {
            records.begin(heading(&embedder, &options, output, rows, &prompt)?)?;
        }
        for record in &chunk_records {
            warnings.note(&prompt, record.tokens, record.untruncated);
            records.write(record)?;
        }
        progress.inc(chunk.len() as u64);
    }
    progress.finish_and_clear();
    warnings.print(&embedder);
    records.finish()
}

/// Arguments that contradict each other.
fn check(output: &OutputArguments) -> Outcome {
    let usage = |problem: &str| Err(Failure::Usage(problem.to_owned()));
    if output.give != Give::Dense && matches!(output.format(), Format::Npy | Format::Safetensors) {
        return usage(
            "--give sparse and tokens have a length of their own for each text: use --format json or jsonl",
        );
    }
    if output.give == Give::Sparse && output.output_type != OutputType::F32 {
        return usage("--type is for vectors, and --give sparse gives weights");
    }
    if output.pieces.is_some() && output.give != Give::Dense {
        return usage("--pieces gives one vector a piece, so it goes with --give dense");
    }
    let has_ranges = output.ranges.is_some() || output.calibrate.is_some();
    if has_ranges && !output.output_type.needs_ranges() {
        return usage("--ranges and --calibrate are for --type int8 and uint8");
    }
    if !has_ranges && output.output_type.needs_ranges() {
        return usage("--type int8 and uint8 need --ranges FILE, or --calibrate FILE with a sample of texts");
    }
    if output.base64 && !matches!(output.format(), Format::Json | Format::Jsonl) {
        return usage("--base64 is for --format json and jsonl");
    }
    Ok(())
}

fn ranges(output: &OutputArguments, embedder: &Embedder, options: &EmbedOptions) -> Outcome<Option<Ranges>> {
    if let Some(file) = &output.ranges {
        let text = String::from_utf8_lossy(&input::read(file)?).into_owned();
        return Ok(Some(
            Ranges::from_json(&text).map_err(|e| Failure::Failed(format!("{}: {e}", file.display())))?,
        ));
    }
    let Some(file) = &output.calibrate else {
        return Ok(None);
    };
    let texts: Vec<String> =
        input::from_file(file, InputFormat::Lines)?.into_iter().map(|item| item.text).collect();
    let vectors: Vec<Vec<f32>> = match output.give {
        Give::Tokens => {
            let tokens = embedder.embed_tokens(&texts, options)?;
            tokens.iter().flat_map(|t| t.values.chunks_exact(t.dimensions).map(<[f32]>::to_vec)).collect()
        }
        _ => embedder.embed_batch(&texts, options)?.into_iter().map(|embedding| embedding.vector).collect(),
    };
    let ranges = Ranges::of(&vectors)?;
    if vectors.len() < 100 {
        eprintln!(
            "taskvec: warning: ranges from {} vectors only; a hundred or more are wanted",
            vectors.len()
        );
    }
    if let Some(file) = &output.save_ranges {
        let mut sink = Sink::open(Some(file))?;
        sink.write(ranges.to_json().as_bytes())?;
        sink.finish()?;
    }
    Ok(Some(ranges))
}

/// Where the pieces of each text end, if there shall be some.
fn pieces(embedder: &Embedder, items: &[Item], output: &OutputArguments) -> Outcome<Option<Vec<Vec<usize>>>> {
    let Some(tokens) = output.pieces else {
        return Ok(None);
    };
    let ends: Result<Vec<Vec<usize>>, Error> =
        items.iter().map(|item| embedder.split(&item.text, tokens)).collect();
    Ok(Some(ends?))
}

/// A record for each piece of some texts, of which the first has the place `first`.
fn embed_pieces(
    embedder: &Embedder,
    items: &[Item],
    first: usize,
    pieces: &[Vec<usize>],
    options: &EmbedOptions,
    output: &OutputArguments,
    ranges: Option<&Ranges>,
) -> Result<(Prompt, Vec<Record>), Error> {
    let mut records = Vec::new();
    for (i, (item, ends)) in items.iter().zip(pieces).enumerate().filter(|(_, (_, ends))| !ends.is_empty()) {
        let embeddings = embedder.embed_pieces(&item.text, ends, options).map_err(|e| renumbered(e, i))?;
        let mut start = 0;
        for (embedding, &end) in embeddings.iter().zip(ends) {
            let values = Values::Vector(quantize(&embedding.vector, output.output_type, ranges)?);
            let (tokens, piece) = (embedding.tokens, Some((first + i, start, end)));
            records.push(Record { values, piece, tokens, untruncated: tokens });
            start = end;
        }
    }
    Ok((embedder.prompt(options)?, records))
}

/// The records of some texts, and the prompt of the first.
fn embed(
    embedder: &Embedder,
    items: &[Item],
    options: &EmbedOptions,
    output: &OutputArguments,
    ranges: Option<&Ranges>,
) -> Result<(Prompt, Vec<Record>), Error> {
    let typed = |vector: &[f32]| quantize(vector, output.output_type, ranges);
    let texts: Vec<&str> = items.iter().map(|item| item.text.as_str()).collect();
    let plain = |values, tokens| Record { values, piece: None, tokens, untruncated: tokens };
    match output.give {
        Give::Dense => {
            let documents: Vec<Document<'_>> = items
                .iter()
                .map(|item| Document { text: &item.text, title: item.title.as_deref() })
                .collect();
            let embeddings = embedder.embed_documents(&documents, options)?;
            let prompt = embeddings.first().map(|first| (*first.prompt).clone());
            let record = |e: &taskvec::Embedding| -> Result<Record, Error> {
                let (tokens, untruncated) = (e.tokens, e.untruncated_tokens);
                Ok(Record { values: Values::Vector(typed(&e.vector)?), piece: None, tokens, untruncated })
            };
            let records = embeddings.iter().map(record).collect::<Result<_, _>>()?;
            Ok((prompt.map_or_else(|| embedder.prompt(options), Ok)?, records))
        }
        Give::Sparse => {
            let sparse = embedder.embed_sparse(&texts, options)?.into_iter();
            let records = sparse.map(|vector| plain(Values::Sparse(vector), 0)).collect();
            Ok((embedder.prompt(options)?, records))
        }
        Give::Tokens => {
            let record = |t: taskvec::TokenVectors| -> Result<Record, Error> {
                let vectors: Result<Vec<Quantized>, Error> =
                    t.values.chunks_exact(t.dimensions).map(typed).collect();
                let tokens = t.ids.len();
                Ok(plain(Values::Tokens(t.ids, vectors?), tokens))
            };
            let records =
                embedder.embed_tokens(&texts, options)?.into_iter().map(record).collect::<Result<_, _>>()?;
            Ok((embedder.prompt(options)?, records))
        }
    }
}

fn heading(
    embedder: &Embedder,
    options: &EmbedOptions,
    output: &OutputArguments,
    rows: usize,
    prompt: &Prompt,
) -> Outcome<Heading> {
    let space = embedder.space(options)?;
    let fingerprint = match Records::has_fingerprint(output.format()) {
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
    Ok(Heading { rows, dimensions, output_type: output.output_type, fingerprint, about })
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
