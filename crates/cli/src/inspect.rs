//! `taskvec inspect`

use crate::arguments::InspectArguments;
use crate::outcome::Outcome;
use crate::sink::Sink;
use serde_json::json;
use std::fmt::Write;
use taskvec::{DeviceReport, Inspection, ModelNote, PromptSource, TaskPrompt};

pub(crate) fn run(arguments: &InspectArguments) -> Outcome {
    let embedder = arguments.model.open(None)?;
    let mut sink = Sink::open(None)?;
    if arguments.json {
        let report = json!({
            "model": embedder.inspect()?, "device": embedder.device(), "max_tokens": embedder.max_tokens(),
        });
        sink.write(format!("{report:#}\n").as_bytes())?;
        return sink.finish();
    }
    sink.write(report(&embedder.inspect()?, &embedder.device(), embedder.max_tokens()).as_bytes())?;
    sink.finish()
}

fn report(model: &Inspection, device: &DeviceReport, max_tokens: usize) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{label:12}{value}");
    };
    line("model", model.model.display().to_string());
    line("family", model.family.to_owned());
    line(
        "size",
        format!(
            "{:.1} M parameters in {} layers, hidden {}, vocabulary {}",
            model.parameters as f64 / 1e6,
            model.layers,
            model.hidden,
            model.vocabulary
        ),
    );
    line("vector", format!("{} values", model.dimensions));
    line(
        "tokens",
        format!("{max_tokens} at most, prompt included (the model's own limit: {})", model.max_tokens),
    );
    let reason = device.reason.as_ref().map_or_else(String::new, |reason| format!(" (auto: {reason})"));
    line("device", format!("{}{reason}", device.name));
    line(
        "memory",
        format!(
            "{} of weights in the files ({}), {} on the device, up to {} a batch",
            megabytes(model.stored_bytes),
            model.stored_as.join(", "),
            megabytes(model.weight_bytes),
            megabytes(model.batch_bytes)
        ),
    );
    for (i, module) in model.modules.iter().enumerate() {
        line(if i == 0 { "modules" } else { "" }, module.clone());
    }
    if model.prompts.is_empty() {
        line("prompts", "none in the model's files".to_owned());
    }
    for (i, (name, prompt)) in model.prompts.iter().enumerate() {
        line(if i == 0 { "prompts" } else { "" }, format!("{name}: {prompt:?}"));
    }
    line("registry", model.registry.clone().unwrap_or_else(|| "no entry for this model".to_owned()));
    if !model.adapters.is_empty() {
        line("adapters", model.adapters.join(", "));
    }
    for (i, task) in model.tasks.iter().enumerate() {
        line(if i == 0 { "tasks" } else { "" }, format!("{:22}{}", task.task.name(), described(task)));
    }
    if let Some(note) = model.tasks.iter().find_map(|task| task.prompt.note.as_ref()) {
        line("", format!("note: {note}"));
    }
    for note in model.notes.iter().filter(|note| !matches!(note, ModelNote::UnknownKey { .. })) {
        line("", format!("note: {note}"));
    }
    for (i, step) in model.plan.iter().enumerate() {
        line(if i == 0 { "plan" } else { "" }, format!("{i:4}  {step}"));
    }
    text
}

/// The exact text around a text, the adapter, where they came from, and whether the model was trained
/// with them.
fn described(task: &TaskPrompt) -> String {
    let prompt = &task.prompt;
    if prompt.source == PromptSource::None {
        return "no prompt".to_owned();
    }
    let suffix = if prompt.suffix.is_empty() { String::new() } else { format!(" … {:?}", prompt.suffix) };
    let adapter = prompt.adapter.as_ref().map_or_else(String::new, |name| format!(", adapter {name}"));
    let trained = if task.trained { "trained" } else { "the nearest that it was trained with" };
    format!("{:?}{suffix}{adapter}  ({}; {trained})", prompt.text, prompt.source)
}

fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
