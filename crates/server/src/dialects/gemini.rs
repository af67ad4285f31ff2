//! Gemini's words.

use super::request::Call;
use crate::answer::{Answer, write_list};
use crate::call::{Asked, Embedded, Give, Text, TooLong, embed, embedder};
use crate::fault::{Fault, FaultKind};
use crate::json::Fields;
use crate::numbers::Form;
use crate::schedule::Content;
use crate::served_model::Purpose;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use taskvec::{EmbedOptions, Task};

/// The words for tasks; the unspecified one is none.
pub(super) const TASKS: &[(&str, Option<Task>)] = &[
    ("TASK_TYPE_UNSPECIFIED", None),
    ("RETRIEVAL_QUERY", Some(Task::RetrievalQuery)),
    ("RETRIEVAL_DOCUMENT", Some(Task::RetrievalDocument)),
    ("SEMANTIC_SIMILARITY", Some(Task::SemanticSimilarity)),
    ("CLASSIFICATION", Some(Task::Classification)),
    ("CLUSTERING", Some(Task::Clustering)),
    ("QUESTION_ANSWERING", Some(Task::QuestionAnswering)),
    ("FACT_VERIFICATION", Some(Task::FactVerification)),
    ("CODE_RETRIEVAL_QUERY", Some(Task::CodeRetrievalQuery)),
];

/// `/v1beta/models/{model}:{verb}`; a model's name may have slashes and colons.
pub(super) async fn call(call: &Call<'_>) -> Result<Answer, Fault> {
    let (model, verb) = call.rest.rsplit_once(':').unwrap_or((call.rest, ""));
    let (fields, mended) = call.fields()?;
    match verb {
        "embedContent" => {
            let texts = vec![request("", &fields, call)?];
            let embedded = embedded(call, model, texts, mended).await?;
            let mut out = b"{\"embedding\":".to_vec();
            write_values(&embedded, 0, &mut out)?;
            finish(&embedded, out)
        }
        "batchEmbedContents" => {
            let mut texts = Vec::new();
            for (i, one) in fields.list("requests")?.unwrap_or_default().iter().enumerate() {
                let place = format!("requests[{i}]");
                let one = one.as_object().ok_or_else(|| Fault::field(&place, one, "an object"))?;
                texts.push(request(&format!("{place}."), one, call)?);
            }
            let embedded = embedded(call, model, texts, mended).await?;
            let mut out = b"{\"embeddings\":".to_vec();
            write_list(embedded.done.len(), &mut out, |i, out| write_values(&embedded, i, out))?;
            finish(&embedded, out)
        }
        "countTokens" => count(call, model, &fields).await,
        _ => Err(Fault::new(
            FaultKind::NoSuchRoute,
            format!("there is no `:{verb}` here; expected embedContent, batchEmbedContents or countTokens"),
        )),
    }
}

/// `countTokens`
pub(super) async fn count(
    call: &Call<'_>,
    model: &str,
    fields: &Map<String, Value>,
) -> Result<Answer, Fault> {
    let (open, _) = call.models.find(Some(model), Purpose::Embed).await?;
    let mut total = 0;
    for (i, content) in fields.list("contents")?.unwrap_or_default().iter().enumerate() {
        let text = content_text(&format!("contents[{i}]"), content)?;
        total += embedder(&open)?.count_tokens(&text, EmbedOptions::new())?;
    }
    Ok(Answer::json(&json!({"totalTokens": total})))
}

/// One request: its text, and what is asked of it, beside the text or in `embedContentConfig`, which comes first.
pub(super) fn request(place: &str, fields: &Map<String, Value>, call: &Call<'_>) -> Result<Text, Fault> {
    let content = fields.field("content");
    let content = content.ok_or_else(|| Fault::invalid("content", format!("{place}content is missing")))?;
    let text = content_text(&format!("{place}content"), content)?;
    let none = Map::new();
    let nested = fields.object("embedContentConfig")?.unwrap_or(&none);
    let either = [nested, fields];
    let mut task = None;
    for fields in either {
        for name in ["taskType", "task_type"] {
            task = task.or(fields.choice(name, TASKS)?);
        }
    }
    let first =
        |name: &str, other: &str| either.iter().find_map(|fields| fields.field(name).or(fields.field(other)));
    let title = first("title", "title").and_then(Value::as_str).filter(|title| !title.is_empty());
    let mut dimensions = None;
    let mut cut = None;
    for fields in either {
        dimensions =
            dimensions.or(fields.count("outputDimensionality")?).or(fields.count("output_dimensionality")?);
        cut = cut.or(fields.boolean("autoTruncate")?);
    }
    let too_long = cut.map(TooLong::cut).or(call.settings.too_long).unwrap_or(TooLong::CutEnd);
    let asked = Asked { task: task.flatten(), dimensions, too_long: Some(too_long), ..Asked::default() };
    Ok(Text { content: Content::Text(text), title: title.map(str::to_owned), asked: Arc::new(asked) })
}

/// A content's parts, which are one text.
pub(super) fn content_text(place: &str, content: &Value) -> Result<String, Fault> {
    if let Some(text) = content.as_str() {
        return Ok(text.to_owned());
    }
    let parts = content.get("parts").and_then(Value::as_array);
    let parts = parts.ok_or_else(|| Fault::invalid("content", format!("{place} has no list `parts`")))?;
    let mut texts = Vec::with_capacity(parts.len());
    for (i, part) in parts.iter().enumerate() {
        let text = part.get("text").and_then(Value::as_str);
        texts.push(text.ok_or_else(|| {
            Fault::invalid(
                "content",
                format!("{place}.parts[{i}] has no text; images and files are not taken"),
            )
        })?);
    }
    Ok(texts.join(" "))
}

async fn embedded(call: &Call<'_>, model: &str, texts: Vec<Text>, mended: usize) -> Result<Embedded, Fault> {
    let mut embedded = embed(call.models, call.caller, Some(model), Give::Dense, texts).await?;
    embedded.facts.mended = mended;
    Ok(embedded)
}

/// `{"values": […]}`
pub(super) fn write_values(embedded: &Embedded, text: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    out.extend_from_slice(b"{\"values\":");
    embedded.write(text, Form::FLOAT, out)?;
    out.push(b'}');
    Ok(())
}

fn finish(embedded: &Embedded, mut out: Vec<u8>) -> Result<Answer, Fault> {
    let tokens = embedded.facts.tokens;
    let usage =
        format!(",\"usageMetadata\":{{\"promptTokenCount\":{tokens},\"totalTokenCount\":{tokens}}}}}");
    out.extend_from_slice(usage.as_bytes());
    Ok(Answer::bytes(out).facts(embedded.facts))
}

/// A fault, in Google's words.
pub(super) fn refusal(fault: &Fault) -> Value {
    let status = match fault.kind {
        FaultKind::Unauthorized => "UNAUTHENTICATED",
        FaultKind::UnknownModel | FaultKind::NoSuchRoute => "NOT_FOUND",
        FaultKind::Overloaded(_) => "RESOURCE_EXHAUSTED",
        FaultKind::Late => "DEADLINE_EXCEEDED",
        FaultKind::Lost | FaultKind::Internal => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    };
    json!({"error": {"code": fault.status(), "message": fault.message, "status": status, "details": []}})
}
