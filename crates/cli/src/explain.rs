//! `taskvec explain`

use crate::arguments::ExplainArguments;
use crate::outcome::Outcome;
use crate::sink::Sink;
use std::fmt::Write;
use taskvec::Explanation;

pub(crate) fn run(arguments: &ExplainArguments) -> Outcome {
    let explanation = match &arguments.document {
        None => {
            let embedder = arguments.model.open(arguments.task.dimensions)?;
            embedder.explain(&arguments.text, arguments.task.options())?
        }
        Some(document) => {
            let reranker = arguments.model.open_reranker()?;
            reranker.explain(&arguments.text, document, arguments.task.options())?
        }
    };
    let mut sink = Sink::open(None)?;
    sink.write(report(&explanation).as_bytes())?;
    sink.finish()
}

fn report(explanation: &Explanation) -> String {
    let prompt = &explanation.prompt;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "{label:10}{value}");
    };
    line("text", &format!("{:?}", explanation.assembled));
    line("prompt", &format!("{:?}  ({})", prompt.text, prompt.source));
    if !prompt.suffix.is_empty() {
        line("suffix", &format!("{:?}", prompt.suffix));
    }
    line("adapter", prompt.adapter.as_deref().unwrap_or("none"));
    if let Some(note) = &prompt.note {
        line("note", &note.to_string());
    }
    let pooled = explanation.tokens.iter().filter(|token| token.pooled).count();
    let cut = match explanation.untruncated_tokens.saturating_sub(explanation.tokens.len()) {
        0 => String::new(),
        cut => format!("; {cut} more were cut off"),
    };
    line("tokens", &format!("{}, of which {pooled} are pooled{cut}", explanation.tokens.len()));
    for (place, token) in explanation.tokens.iter().enumerate() {
        let mark = if token.pooled { "pooled" } else { "" };
        line("", &format!("{place:4}  {:8}  {:6}  {:?}", token.id, mark, token.piece));
    }
    text
}
