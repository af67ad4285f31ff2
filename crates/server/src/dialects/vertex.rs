//! Vertex AI's words: instances, and for newer models Gemini's.

use super::request::Call;
use super::{gemini, tei};
use crate::answer::{Answer, write_list};
use crate::call::{Asked, Give, Text, TooLong, embed};
use crate::fault::{Fault, FaultKind};
use crate::json::Fields;
use crate::schedule::Content;
use serde_json::{Map, Value};
use std::sync::Arc;

/// `…/publishers/{publisher}/models/{model}:{verb}`, `…/endpoints/{endpoint}:predict`
pub(super) async fn call(call: &Call<'_>) -> Result<Answer, Fault> {
    let (path, verb) = call.rest.rsplit_once(':').unwrap_or((call.rest, ""));
    let (fields, mended) = call.fields()?;
    let model = model(path);
    let texts = match verb {
        "predict" => {
            let instances = fields.list("instances")?.unwrap_or_default();
            if instances.first().is_some_and(|instance| instance.get("content").is_none()) {
                return tei::vertex(call).await;
            }
            instances_texts(&fields, instances, call)?
        }
        "embedContent" => vec![gemini::request("", &fields, call)?],
        "batchEmbedContents" => {
            let mut texts = Vec::new();
            for (i, one) in fields.list("requests")?.unwrap_or_default().iter().enumerate() {
                let place = format!("requests[{i}]");
                let one = one.as_object().ok_or_else(|| Fault::field(&place, one, "an object"))?;
                texts.push(gemini::request(&format!("{place}."), one, call)?);
            }
            texts
        }
        "countTokens" => return gemini::count(call, &model, &fields).await,
        _ => return Err(Fault::new(FaultKind::NoSuchRoute, format!("there is no `:{verb}` here"))),
    };
    let characters: usize = texts
        .iter()
        .map(|text| match &text.content {
            Content::Text(text) => text.chars().count(),
            _ => 0,
        })
        .sum();
    let mut embedded = embed(call.models, call.caller, Some(&model), Give::Dense, texts).await?;
    embedded.facts.mended = mended;
    let facts = embedded.facts;
    let tokens = facts.tokens;
    let usage = format!("\"usageMetadata\":{{\"promptTokenCount\":{tokens},\"totalTokenCount\":{tokens}}}");
    let mut out = Vec::new();
    match verb {
        "predict" => {
            out.extend_from_slice(b"{\"predictions\":");
            write_list(embedded.done.len(), &mut out, |i, out| {
                out.extend_from_slice(b"{\"embeddings\":");
                gemini::write_values(&embedded, i, out)?;
                out.pop(); // more comes into the object
                let done = &embedded.done[i];
                let cut = done.untruncated_tokens > done.tokens;
                let statistics =
                    format!(",\"statistics\":{{\"token_count\":{},\"truncated\":{cut}}}}}}}", done.tokens);
                out.extend_from_slice(statistics.as_bytes());
                Ok::<(), Fault>(())
            })?;
            out.extend_from_slice(
                format!(",\"metadata\":{{\"billableCharacterCount\":{characters}}}}}").as_bytes(),
            );
        }
        "embedContent" => {
            out.extend_from_slice(b"{\"embedding\":");
            gemini::write_values(&embedded, 0, &mut out)?;
            out.extend_from_slice(format!(",{usage},\"truncated\":{}}}", facts.truncated > 0).as_bytes());
        }
        _ => {
            out.extend_from_slice(b"{\"embeddings\":");
            write_list(embedded.done.len(), &mut out, |i, out| gemini::write_values(&embedded, i, out))?;
            out.extend_from_slice(format!(",{usage}}}").as_bytes());
        }
    }
    Ok(Answer::bytes(out).facts(facts))
}

/// The model that a path names: the client makes `publishers/a/models/b` of `a/b`.
fn model(path: &str) -> String {
    let name = path.rsplit_once("/models/").map_or(path, |(_, name)| name);
    let publisher = path.split("publishers/").nth(1).and_then(|rest| rest.split('/').next());
    match publisher.filter(|publisher| *publisher != "google") {
        Some(publisher) => format!("{publisher}/{name}"),
        None => name.rsplit('/').next().unwrap_or(name).to_owned(),
    }
}

fn instances_texts(
    fields: &Map<String, Value>,
    instances: &[Value],
    call: &Call<'_>,
) -> Result<Vec<Text>, Fault> {
    let none = Map::new();
    let parameters = fields.object("parameters")?.unwrap_or(&none);
    let cut = parameters.boolean("autoTruncate")?.map(TooLong::cut);
    let dimensions = parameters.count("outputDimensionality")?;
    let too_long = cut.or(call.settings.too_long).unwrap_or(TooLong::CutEnd);
    let text = |(i, instance): (usize, &Value)| {
        let place = format!("instances[{i}]");
        let instance = instance.as_object().ok_or_else(|| Fault::field(&place, instance, "an object"))?;
        let content = instance.string("content")?;
        let content =
            content.ok_or_else(|| Fault::invalid("content", format!("{place}.content is missing")))?;
        let task =
            instance.choice("task_type", gemini::TASKS)?.or(instance.choice("taskType", gemini::TASKS)?);
        let asked = Asked { task: task.flatten(), dimensions, too_long: Some(too_long), ..Asked::default() };
        let title = instance.string("title")?.filter(|title| !title.is_empty()).map(str::to_owned);
        Ok(Text { content: Content::Text(content.to_owned()), title, asked: Arc::new(asked) })
    };
    instances.iter().enumerate().map(text).collect()
}
