//! `taskvec embed` on a corpus: a job of the corpus library, with its progress and its end told.

use crate::arguments::{EmbedArguments, Format, Give, OutputArguments};
use crate::leftovers;
use crate::outcome::{Failure, Outcome};
use crate::output_options::{check, ranges};
use crate::progress::CorpusProgress;
use crate::text::{bytes, duration};
use crate::warnings::Warnings;
use std::path::Path;
use std::sync::Arc;
use taskvec::{CancelToken, Embedder};
use taskvec_corpus::{Corpus, CorpusError, Job, Output, Prediction, Report};

/// Where the vectors go, if they go into files that a job writes: not to a pipe or a device, nor in a form that is read as
/// one.
pub(crate) fn output(arguments: &OutputArguments) -> Outcome<Option<Output>> {
    let Some(path) = &arguments.output else { return Ok(None) };
    let found = std::fs::metadata(path).ok();
    let ends_with_slash = path.to_string_lossy().ends_with(['/', std::path::MAIN_SEPARATOR]);
    let is_folder = ends_with_slash || found.as_ref().is_some_and(std::fs::Metadata::is_dir);
    if found.is_some_and(|found| !found.is_file() && !found.is_dir()) {
        return Ok(None);
    }
    let format = match (arguments.format, is_folder) {
        (None, true) => Format::Parquet,
        _ => arguments.format()?,
    };
    let format = match format {
        Format::Parquet => taskvec_corpus::Format::Parquet,
        Format::Arrow => taskvec_corpus::Format::Arrow,
        Format::Jsonl => taskvec_corpus::Format::Jsonl,
        Format::Npy => taskvec_corpus::Format::Npy,
        Format::Safetensors => taskvec_corpus::Format::Safetensors,
        Format::Json | Format::Table => return Ok(None),
    };
    Ok(Some(if is_folder { Output::folder(path, format) } else { Output::file(path, format) }))
}

pub(crate) fn run(arguments: &EmbedArguments, output: Output) -> Outcome {
    let (to, job) = (&arguments.output, &arguments.corpus);
    check(to, to.format().unwrap_or(Format::Parquet))?; // a folder has no ending
    let corpus =
        Corpus::open(&arguments.input.input, arguments.input.input_format, job.columns(&arguments.input))?;
    let embedder = arguments.model.open(arguments.task.dimensions)?;
    let options = Arc::new(arguments.task.options());
    let ranges = ranges(to, &embedder, &options)?;
    let mut output = output.values(to.output_type, ranges).base64(to.base64).restart(job.restart);
    if let Some(shard) = job.shard {
        output = output.shard(shard.0, shard.1);
    }
    let cancel = CancelToken::new();
    let give = match to.give {
        Give::Sparse => taskvec_corpus::Give::Sparse,
        Give::Both => taskvec_corpus::Give::Both,
        _ => taskvec_corpus::Give::Dense,
    };
    let mut work = Job::new(&embedder, &corpus, output).options(options).give(give);
    work = work.on_error(job.on_error()).cancel(&cancel);
    if let Some(chunks) = job.chunks(arguments.task.overlap) {
        work = work.chunks(chunks);
    }
    if job.dry_run {
        predict(&work.predict()?, to, &embedder);
        return Ok(());
    }
    if corpus.can_be_read_again() {
        leftovers::stop_by_signal(&cancel); // else there is nothing to go on with, and a signal ends the process
    }
    let shares = job.shard.map_or(1, |shard| shard.1);
    let result =
        CorpusProgress::show(job.progress, (&corpus, shares), |report| work.on_progress(report).run());
    match result {
        Ok(report) => {
            tell(&report, arguments, &embedder);
            Ok(())
        }
        Err(CorpusError::Interrupted) => Err(Failure::Interrupted(format!(
            "interrupted; what was computed is kept, and this goes on with it:\n  {}",
            command()
        ))),
        Err(error @ CorpusError::Row { .. }) => Err(Failure::Failed(format!(
            "{error}; --on-error skip leaves such rows out, and null keeps them without a vector"
        ))),
        Err(error) => Err(error.into()),
    }
}

/// What the user should know of a job that is done.
fn tell(report: &Report, arguments: &EmbedArguments, embedder: &Embedder) {
    if report.rows == 0 {
        eprintln!("taskvec: warning: there are no rows in the input");
    }
    let mut warnings = Warnings::default();
    warnings.about_dimensions(embedder, arguments.task.dimensions);
    if let Ok(prompt) = embedder.prompt(arguments.task.options()) {
        warnings.about_prompt(&prompt);
    }
    warnings.about_cut(report.truncated as usize, embedder.max_tokens());
    warnings.print(embedder, arguments.task.too_long());
    if let Some(rejects) = &report.rejects {
        let rows = if report.rejected == 1 { "row has" } else { "rows have" };
        eprintln!(
            "taskvec: warning: {} {rows} no vector; {} says which, and why",
            report.rejected,
            rejects.display()
        );
    }
}

fn predict(prediction: &Prediction, output: &OutputArguments, embedder: &Embedder) {
    let Prediction { rows, sampled, tokens, tokens_per_second, truncated, longest, .. } = prediction;
    println!("rows          {rows}");
    if prediction.rejected > 0 {
        println!("without text  {}", prediction.rejected);
    }
    println!("tokens        {tokens}, from a sample of {sampled} texts; the longest of them has {longest}");
    println!("time          {} at {tokens_per_second:.0} tokens/s", duration(prediction.time.as_secs_f64()));
    println!("vectors       {} as {}", bytes(prediction.vector_bytes), output.output_type);
    if *truncated > 0.0 {
        let limit = embedder.max_tokens();
        println!("cut           about {:.1} % of the texts, to {limit} tokens", truncated * 100.0);
    }
}

/// The command that was given, as a shell takes it.
fn command() -> String {
    let quoted =
        |word: String| match word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./,:=@%+".contains(c)) {
            true if !word.is_empty() => word,
            _ => format!("'{}'", word.replace('\'', "'\\''")),
        };
    let words: Vec<String> = std::env::args_os()
        .enumerate()
        .map(|(i, word)| match i {
            0 => Path::new(&word).file_name().unwrap_or(&word).to_string_lossy().into_owned(),
            _ => word.to_string_lossy().into_owned(),
        })
        // It would begin anew.
        .filter(|word| word != "--restart")
        .map(quoted)
        .collect();
    words.join(" ")
}
