//! `/v1/rerank`: one path of Cohere (v1), Jina and Voyage. The answer has each one's list.

use super::request::{Call, Dialect};
use crate::answer::Answer;
use crate::call::{Asked, Facts, score, sigmoid};
use crate::fault::Fault;
use crate::json::{Fields, kind};
use serde_json::{Map, Value, json};

/// The best documents: their places among those of the request, and their scores, the best first.
pub(super) async fn ranked(
    call: &Call<'_>,
    fields: &Map<String, Value>,
    documents: Vec<String>,
    top: Option<usize>,
) -> Result<(Vec<(usize, f32)>, Facts), Fault> {
    let query = match fields.required("query")? {
        Value::String(query) => query.clone(),
        Value::Object(query) => query.string("text")?.unwrap_or_default().to_owned(),
        other => return Err(Fault::field("query", other, "a string")),
    };
    let (scores, facts) =
        score(call.models, call.caller, fields.string("model")?, (query, documents), &asked(fields)?).await?;
    let mut ranked: Vec<(usize, f32)> = scores.into_iter().enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked.iter_mut().for_each(|(_, score)| *score = sigmoid(*score));
    ranked.truncate(top.unwrap_or(usize::MAX));
    Ok((ranked, facts))
}

/// What makes a document relevant, in the caller's words or by a prompt's name: no vendor has fields for it, and these are
/// those that embeddings have here.
pub(super) fn asked(fields: &Map<String, Value>) -> Result<Asked, Fault> {
    Ok(Asked {
        instruction: fields.string("instruction")?.map(str::to_owned),
        prompt_name: fields.string("prompt_name")?.map(str::to_owned),
        ..Asked::default()
    })
}

pub(super) async fn rerank(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, mended) = call.fields()?;
    let list = fields.required("documents")?;
    let list = list.as_array().ok_or_else(|| Fault::field("documents", list, "a list"))?;
    let keys: Vec<&str> = fields.strings("rank_fields")?.unwrap_or_else(|| vec!["text"]);
    let documents = list.iter().enumerate().map(|(i, document)| text(i, document, &keys));
    let documents = documents.collect::<Result<Vec<String>, Fault>>()?;
    let top = fields.count("top_n")?.or(fields.count("top_k")?);
    let (ranked, mut facts) = ranked(call, &fields, documents.clone(), top).await?;
    facts.mended = mended;
    let returns =
        fields.boolean("return_documents")?.unwrap_or_else(|| returns_unasked(call.dialect, &fields));
    let results: Vec<Value> = ranked
        .iter()
        .map(|(i, score)| {
            let mut result = json!({"index": i, "relevance_score": score});
            if returns {
                result["document"] = match &list[*i] {
                    Value::Object(object) => Value::Object(object.clone()),
                    _ => json!({"text": documents[*i]}),
                };
            }
            result
        })
        .collect();
    let data: Vec<Value> = ranked
        .iter()
        .map(|(i, score)| {
            let mut result = json!({"index": i, "relevance_score": score});
            if returns {
                result["document"] = documents[*i].clone().into();
            }
            result
        })
        .collect();
    let model = call.model_name(fields.string("model")?);
    let answer = json!({
        "id": call.id, "object": "list", "model": model, "results": results, "data": data,
        "usage": {"total_tokens": facts.tokens, "prompt_tokens": facts.tokens},
        "meta": {"api_version": {"version": "1"}, "billed_units": {"search_units": 1}},
    });
    Ok(Answer::json(&answer).facts(facts))
}

/// Jina's documents come back unless it is said that they shall not; Cohere's and Voyage's the other way round.
fn returns_unasked(dialect: Dialect, fields: &Map<String, Value>) -> bool {
    let has = |names: &[&str]| names.iter().any(|name| fields.contains_key(*name));
    match dialect {
        Dialect::Jina => true,
        Dialect::Shared => {
            !has(&["top_k", "truncation", "rank_fields", "max_chunks_per_doc", "return_documents"])
                && has(&["max_doc_length", "truncate"])
        }
        _ => false,
    }
}

/// A document's text: a string, or some keys of an object.
fn text(i: usize, document: &Value, keys: &[&str]) -> Result<String, Fault> {
    match document {
        Value::String(text) => Ok(text.clone()),
        Value::Object(object) => {
            let parts: Vec<String> = keys
                .iter()
                .filter_map(|key| object.field(key))
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                .collect();
            match parts.is_empty() {
                true => Err(Fault::invalid(
                    "documents",
                    format!("documents[{i}] has none of the keys {}", keys.join(", ")),
                )),
                false => Ok(parts.join("\n")),
            }
        }
        other => Err(Fault::invalid(
            "documents",
            format!("documents[{i}] is {}; expected a string or an object with a text", kind(other)),
        )),
    }
}
