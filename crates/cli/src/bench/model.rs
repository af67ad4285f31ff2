//! `taskvec bench model`: latency and throughput of a model, from texts to vectors, and on a CPU the share of
//! what it could do if it did nothing but multiply with the model's weights.

use super::measure::{percentile, products_per_second};
use super::output::{warn_of_debug_build, write_file};
use crate::arguments::BenchModelArguments;
use crate::input;
use crate::outcome::{Failure, Outcome};
use crate::sink::Sink;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use taskvec::{EmbedOptions, Embedder, Precision};
use taskvec_kernels::{Isa, Storage};

pub(super) fn run(arguments: &BenchModelArguments) -> Outcome {
    warn_of_debug_build();
    let mut sink = Sink::open(None)?;
    let mut runs: Vec<Value> = Vec::new();
    let precisions = arguments.model.precisions(&arguments.precisions);
    for precision in precisions {
        let embedder = arguments.model.open_with(precision)?;
        let device = embedder.device().name;
        let head = ["tokens", "texts", "p50 ms", "p90 ms", "p99 ms", "texts/s", "tokens/s", "of peak"];
        let [tokens, texts, p50, p90, p99, texts_rate, tokens_rate, share] = head;
        sink.write(
            format!(
                "{device}\n{tokens:>8} {texts:>6} {p50:>10} {p90:>10} {p99:>10} {texts_rate:>10} {tokens_rate:>10} \
                 {share:>8}\n"
            )
            .as_bytes(),
        )?;
        let peak = Peak::of(arguments, &embedder, precision)?;
        for work in work(arguments, &embedder)? {
            let before = peak.as_ref().map(Peak::tokens_per_second);
            let mut seconds = latencies(&embedder, &work.texts, arguments.seconds)?;
            let after = peak.as_ref().map(Peak::tokens_per_second);
            let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|share| percentile(&mut seconds, share));
            let (texts_rate, tokens_rate) = (work.texts.len() as f64 / p50, work.tokens as f64 / p50);
            let share = before.zip(after).map(|(before, after)| tokens_rate / (0.5 * (before + after)));
            sink.write(
                format!(
                    "{:>8} {:>6} {:>10.3} {:>10.3} {:>10.3} {texts_rate:>10.1} {tokens_rate:>10.0} {:>8}\n",
                    work.length.map_or("ragged".to_owned(), |length| length.to_string()),
                    work.texts.len(),
                    p50 * 1e3,
                    p90 * 1e3,
                    p99 * 1e3,
                    share.map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0))
                )
                .as_bytes(),
            )?;
            sink.flush()?; // whoever waits sees how far it is
            runs.push(json!({
                // As it is after the work: which device Auto takes shows only then.
                "device": embedder.device().name, "precision": precision.name(), "tokens": work.length,
                "texts": work.texts.len(), "all_tokens": work.tokens, "calls": seconds.len(), "p50": p50,
                "p90": p90, "p99": p99, "share_of_peak": share,
            }));
        }
    }
    sink.finish()?;
    match &arguments.json {
        Some(path) => {
            let report = json!({"taskvec": env!("CARGO_PKG_VERSION"), "seconds": runs});
            write_file(path, &(report.to_string() + "\n"))
        }
        None => Ok(()),
    }
}

/// What the CPU could do if it did nothing but multiply the model's weight matrices, from registers.
struct Peak {
    isa: Isa,
    storage: Storage,
    threads: usize,
    macs_per_token: usize,
}

impl Peak {
    /// `None` on a GPU.
    fn of(
        arguments: &BenchModelArguments,
        embedder: &Embedder,
        precision: Precision,
    ) -> Outcome<Option<Peak>> {
        if !embedder.device().name.starts_with("cpu") {
            return Ok(None);
        }
        let named = arguments.model.how.instruction_set.as_deref().and_then(Isa::by_name);
        let isa = named.unwrap_or_else(Isa::best);
        let storage = match precision {
            Precision::Bf16 => isa.bf16_storage(),
            Precision::Int8 => Storage::Int8,
            _ => Storage::F32,
        };
        let macs_per_token = embedder.inspect()?.macs_per_token;
        let threads = arguments.model.cpu_threads();
        Ok((macs_per_token > 0).then_some(Peak { isa, storage, threads, macs_per_token }))
    }

    /// As many times what one core does now as there are threads.
    fn tokens_per_second(&self) -> f64 {
        let products = products_per_second(self.isa, self.storage, Duration::from_millis(100));
        products * self.threads as f64 / self.macs_per_token as f64
    }
}

/// Texts of one call.
struct Work {
    /// Tokens of each; `None`: any.
    length: Option<usize>,
    texts: Vec<String>,
    /// Of all texts.
    tokens: usize,
}

/// What is measured: texts of each length in batches of each size, or those of a file.
fn work(arguments: &BenchModelArguments, embedder: &Embedder) -> Outcome<Vec<Work>> {
    if let Some(file) = &arguments.texts {
        let items = input::from_file(file)?;
        let texts: Vec<String> = items.into_iter().map(|item| item.text).collect();
        let tokens = |text: &String| embedder.count_tokens(text, EmbedOptions::new());
        let limit = embedder.max_tokens();
        let tokens =
            texts.iter().map(|text| Ok(tokens(text)?.min(limit))).sum::<Result<usize, taskvec::Error>>()?;
        return Ok(vec![Work { length: None, texts, tokens }]);
    }
    let mut all = Vec::new();
    for &length in &arguments.lengths {
        for &batch in &arguments.batch {
            // Equal ones would be computed once.
            let texts: Vec<String> =
                (0..batch).map(|place| text_of(embedder, length, place)).collect::<Result<_, _>>()?;
            all.push(Work { length: Some(length), texts, tokens: batch * length });
        }
    }
    Ok(all)
}

/// Words of one token in any vocabulary, or nearly.
const WORDS: [&str; 8] = ["the", "of", "and", "to", "in", "for", "with", "on"];

/// A text of so many tokens, special tokens included; another one for each place in a batch.
pub(super) fn text_of(embedder: &Embedder, tokens: usize, place: usize) -> Outcome<String> {
    let count = |text: &str| embedder.token_ids(text, EmbedOptions::new()).map(|ids| ids.len());
    let empty = count("")?;
    if !(empty + 1..=embedder.max_tokens()).contains(&tokens) {
        return Err(Failure::Usage(format!(
            "--lengths {tokens}: this model takes {} to {} tokens",
            empty + 1,
            embedder.max_tokens()
        )));
    }
    // The place in octal, a digit a word.
    let word = |i: usize| WORDS[(place >> (3 * i).min(60)) % WORDS.len()];
    let text = (0..tokens - empty).map(word).collect::<Vec<_>>().join(" ");
    match count(&text)? {
        found if found == tokens => Ok(text),
        found => Err(Failure::Failed(format!("a text of {tokens} tokens came out as {found}"))),
    }
}

/// How many times the time is taken at most for the calls that are wanted.
const LONGER: u32 = 4;

/// Calls that are wanted, whatever the time.
const WANTED: usize = 10;

/// The seconds of calls, as many as fit the time; more of long ones until there are ten, but for no longer than
/// [`LONGER`] times as long.
fn latencies(embedder: &Embedder, texts: &[String], seconds: f64) -> Outcome<Vec<f64>> {
    let time = Duration::try_from_secs_f64(seconds)
        .map_err(|problem| Failure::Usage(format!("--seconds {seconds}: {problem}")))?;
    embedder.embed_batch(texts, EmbedOptions::new())?;
    let mut all = Vec::new();
    let start = Instant::now();
    loop {
        let call = Instant::now();
        embedder.embed_batch(texts, EmbedOptions::new())?;
        all.push(call.elapsed().as_secs_f64());
        let elapsed = start.elapsed();
        if elapsed >= time.saturating_mul(LONGER) || (elapsed >= time && all.len() >= WANTED) {
            return Ok(all);
        }
    }
}
