//! What is common to everything that writes vectors: arguments that contradict each other, and the ranges of 8-bit values.

use crate::arguments::{Format, Give, OutputArguments};
use crate::input;
use crate::outcome::{Failure, Outcome};
use crate::sink::Sink;
use std::sync::Arc;
use taskvec::{EmbedOptions, Embedder, Output, OutputType, Ranges, Request, TokenVectors};
use taskvec_corpus::TextRow;

/// Arguments that contradict each other.
pub(crate) fn check(output: &OutputArguments, format: Format) -> Outcome {
    let usage = |problem: &str| Err(Failure::Usage(problem.to_owned()));
    if output.give != Give::Dense && matches!(format, Format::Npy | Format::Safetensors) {
        return usage(
            "sparse vectors and those of tokens have a length of their own for each text: use --format json or jsonl",
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
    if output.flush && format != Format::Jsonl {
        return usage("--flush answers in --format jsonl, a line for a line");
    }
    if output.base64 && !matches!(format, Format::Json | Format::Jsonl) {
        return usage("--base64 is for --format json and jsonl");
    }
    Ok(())
}

/// The ranges that are asked for, or taken from a sample.
pub(crate) fn ranges(
    output: &OutputArguments,
    embedder: &Embedder,
    options: &Arc<EmbedOptions>,
) -> Outcome<Option<Ranges>> {
    if let Some(file) = &output.ranges {
        let text = String::from_utf8_lossy(&input::read(file)?).into_owned();
        return Ok(Some(
            Ranges::from_json(&text).map_err(|e| Failure::Failed(format!("{}: {e:#}", file.display())))?,
        ));
    }
    let Some(file) = &output.calibrate else {
        return Ok(None);
    };
    let items = input::from_file(file)?;
    let requests = items.iter().map(|item| request(item, options));
    let vectors: Vec<Vec<f32>> = match output.give {
        Give::Tokens => {
            let tokens: Vec<Output<TokenVectors>> = embedder.embed_requests(requests)?;
            let rows = tokens.iter().flat_map(|t| t.value.values.chunks_exact(t.value.dimensions));
            rows.map(<[f32]>::to_vec).collect()
        }
        _ => {
            let vectors: Vec<Output<Vec<f32>>> = embedder.embed_requests(requests)?;
            vectors.into_iter().map(|embedding| embedding.value).collect()
        }
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

/// A text with its options.
pub(crate) fn request<'i>(item: &'i TextRow, options: &Arc<EmbedOptions>) -> Request<'i> {
    let request = Request::new(item.text.as_str()).options(options.clone());
    match &item.title {
        Some(title) => request.title(title.as_str()),
        None => request,
    }
}
