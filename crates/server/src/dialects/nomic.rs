//! Nomic's words.

use super::request::Call;
use crate::answer::{Answer, write_list, write_string};
use crate::call::{Asked, Give, Text, TooLong, embed};
use crate::fault::Fault;
use crate::json::Fields;
use std::sync::Arc;
use taskvec::Task;

const TASKS: &[(&str, Task)] = &[
    ("search_document", Task::RetrievalDocument),
    ("search_query", Task::RetrievalQuery),
    ("classification", Task::Classification),
    ("clustering", Task::Clustering),
];

/// What happens to long texts: cut, or embedded in windows of which the mean is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LongText {
    Truncate,
    Mean,
}

/// `/v1/embedding/text`
pub(super) async fn embed_text(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, mended) = call.fields()?;
    let mode =
        fields.choice("long_text_mode", &[("truncate", LongText::Truncate), ("mean", LongText::Mean)])?;
    let asked = Arc::new(Asked {
        task: Some(fields.choice("task_type", TASKS)?.unwrap_or(Task::RetrievalDocument)),
        dimensions: fields.count("dimensionality")?,
        too_long: Some(match mode {
            Some(LongText::Mean) => TooLong::Windows,
            Some(LongText::Truncate) => TooLong::CutEnd,
            None => call.settings.too_long.unwrap_or(TooLong::CutEnd),
        }),
        ..Asked::default()
    });
    let texts = fields.strings("texts")?.ok_or_else(|| Fault::invalid("texts", "texts is missing"))?;
    let texts = texts.into_iter().map(|text| Text::new(text, &asked)).collect();
    let named = fields.string("model")?;
    let mut embedded = embed(call.models, call.caller, named, Give::Dense, texts).await?;
    embedded.facts.mended = mended;
    let mut out = b"{\"embeddings\":".to_vec();
    write_list(embedded.done.len(), &mut out, |i, out| embedded.write(i, crate::numbers::Form::FLOAT, out))?;
    let tokens = embedded.facts.tokens;
    out.extend_from_slice(
        format!(",\"usage\":{{\"prompt_tokens\":{tokens},\"total_tokens\":{tokens}}},\"model\":").as_bytes(),
    );
    write_string(&call.model_name(named), &mut out);
    out.push(b'}');
    Ok(Answer::bytes(out).facts(embedded.facts))
}
