//! Cohere's words, v1 and v2.

use super::request::Call;
use super::rerank;
use crate::answer::{Answer, write_list, write_string};
use crate::call::{Asked, Embedded, Give, Text, TooLong, embedder};
use crate::fault::Fault;
use crate::json::Fields;
use crate::numbers::{Element, Form};
use crate::served_model::Purpose;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use taskvec::{EmbedOptions, Task};

const INPUT_TYPES: &[(&str, Option<Task>)] = &[
    ("search_document", Some(Task::RetrievalDocument)),
    ("search_query", Some(Task::RetrievalQuery)),
    ("classification", Some(Task::Classification)),
    ("clustering", Some(Task::Clustering)),
    ("image", None),
];

const TYPES: &[(&str, Form)] = &[
    ("float", Form::FLOAT),
    ("int8", Form { element: Element::Int8, base64: false }),
    ("uint8", Form { element: Element::Uint8, base64: false }),
    ("binary", Form { element: Element::Binary, base64: false }),
    ("ubinary", Form { element: Element::Ubinary, base64: false }),
    ("base64", Form::BASE64),
];

const TRUNCATE: &[(&str, TooLong)] =
    &[("END", TooLong::CutEnd), ("START", TooLong::CutStart), ("NONE", TooLong::Refuse)];

/// `/v2/embed`
pub(super) async fn embed(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, mended) = call.fields()?;
    fields.required("model")?;
    fields.required("input_type")?;
    let types = types(&fields)?.unwrap_or_else(|| vec![("float", Form::FLOAT)]);
    let embedded = embedded(call, &fields, mended).await?;
    let mut out = start(call.id);
    write_types(&embedded, &types, &mut out)?;
    finish(&embedded, &fields, "2", &mut out)
}

/// `/v1/embed`
pub(super) async fn embed_v1(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, mended) = call.fields()?;
    let types = types(&fields)?;
    let embedded = embedded(call, &fields, mended).await?;
    let mut out = start(call.id);
    let kind = match types {
        Some(types) => {
            write_types(&embedded, &types, &mut out)?;
            "embeddings_by_type"
        }
        None => {
            write_list(embedded.done.len(), &mut out, |i, out| embedded.write(i, Form::FLOAT, out))?;
            "embeddings_floats"
        }
    };
    out.extend_from_slice(b",\"response_type\":");
    write_string(kind, &mut out);
    finish(&embedded, &fields, "1", &mut out)
}

/// `/v2/rerank`
pub(super) async fn rerank_v2(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, mended) = call.fields()?;
    let documents =
        fields.strings("documents")?.ok_or_else(|| Fault::invalid("documents", "documents is missing"))?;
    let documents = documents.into_iter().map(str::to_owned).collect();
    let (ranked, mut facts) = rerank::ranked(call, &fields, documents, fields.count("top_n")?).await?;
    facts.mended = mended;
    let results: Vec<Value> =
        ranked.iter().map(|(i, score)| json!({"index": i, "relevance_score": score})).collect();
    let answer = json!({
        "id": call.id, "results": results,
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    });
    Ok(Answer::json(&answer).facts(facts))
}

/// `/v1/tokenize`
pub(super) async fn tokenize(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, _) = call.fields()?;
    let text = fields.required("text")?;
    let text = text.as_str().ok_or_else(|| Fault::field("text", text, "a string"))?;
    let (open, _) = call.models.find(fields.string("model")?, Purpose::Embed).await?;
    let explanation = embedder(&open)?.explain(text, EmbedOptions::new().prompt(""))?;
    let tokens: Vec<u32> = explanation.tokens.iter().map(|token| token.id).collect();
    let pieces: Vec<&str> = explanation.tokens.iter().map(|token| &*token.piece).collect();
    Ok(Answer::json(
        &json!({"tokens": tokens, "token_strings": pieces, "meta": {"api_version": {"version": "1"}}}),
    ))
}

/// `/v1/detokenize`
pub(super) async fn detokenize(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, _) = call.fields()?;
    let tokens = fields.list("tokens")?.ok_or_else(|| Fault::invalid("tokens", "tokens is missing"))?;
    let ids = super::tei::token_ids("tokens", tokens)?;
    let (open, _) = call.models.find(fields.string("model")?, Purpose::Embed).await?;
    let text = embedder(&open)?.decode(&ids, true)?;
    Ok(Answer::json(&json!({"text": text, "meta": {"api_version": {"version": "1"}}})))
}

fn types(fields: &Map<String, Value>) -> Result<Option<Vec<(&'static str, Form)>>, Fault> {
    let Some(names) = fields.strings("embedding_types")? else { return Ok(None) };
    let form = |name: &&str| {
        TYPES.iter().find(|(known, _)| known == name).copied().ok_or_else(|| {
            let known: Vec<&str> = TYPES.iter().map(|(known, _)| *known).collect();
            let message = format!("embedding_types has `{name}`; expected some of {}", known.join(", "));
            Fault::invalid("embedding_types", message)
        })
    };
    let mut forms: Vec<(&'static str, Form)> = Vec::new();
    for name in &names {
        let form = form(name)?;
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    Ok((!forms.is_empty()).then_some(forms))
}

async fn embedded(call: &Call<'_>, fields: &Map<String, Value>, mended: usize) -> Result<Embedded, Fault> {
    let task = match fields.choice("input_type", INPUT_TYPES) {
        Ok(Some(None)) => {
            return Err(Fault::invalid("input_type", "input_type is `image`; images are not embedded here"));
        }
        Ok(task) => task.flatten(),
        Err(fault) => super::openai::task(fields, &["input_type"]).map_err(|_| fault)?,
    };
    let cut = fields.choice("truncate", TRUNCATE)?;
    let asked = Arc::new(Asked {
        task,
        dimensions: fields.count("output_dimension")?,
        too_long: Some(cut.or(call.settings.too_long).unwrap_or(TooLong::CutEnd)),
        ..Asked::default()
    });
    let texts = match (fields.strings("texts")?, fields.list("inputs")?) {
        (Some(texts), _) => texts.into_iter().map(|text| Text::new(text, &asked)).collect(),
        (None, Some(inputs)) => {
            let text = |(i, input): (usize, &Value)| Ok(Text::new(&input_text(i, input)?, &asked));
            inputs.iter().enumerate().map(text).collect::<Result<Vec<Text>, Fault>>()?
        }
        (None, None) => return Err(Fault::invalid("texts", "texts is missing")),
    };
    let mut embedded =
        crate::call::embed(call.models, call.caller, fields.string("model")?, Give::Dense, texts).await?;
    embedded.facts.mended = mended;
    Ok(embedded)
}

/// The text of `{"content": [{"type": "text", "text": …}]}`.
fn input_text(i: usize, input: &Value) -> Result<String, Fault> {
    let place = format!("inputs[{i}]");
    let content = input.get("content").and_then(Value::as_array);
    let content =
        content.ok_or_else(|| Fault::invalid("inputs", format!("{place} has no list `content`")))?;
    let part = |part: &Value| {
        let text = part.get("text").and_then(Value::as_str);
        text.ok_or_else(|| Fault::invalid("inputs", format!("{place} has a part that is no text")))
            .map(str::to_owned)
    };
    Ok(content.iter().map(part).collect::<Result<Vec<String>, Fault>>()?.join(" "))
}

fn start(id: &str) -> Vec<u8> {
    let mut out = b"{\"id\":".to_vec();
    write_string(id, &mut out);
    out.extend_from_slice(b",\"embeddings\":");
    out
}

fn write_types(embedded: &Embedded, types: &[(&str, Form)], out: &mut Vec<u8>) -> Result<(), Fault> {
    for (i, (name, form)) in types.iter().enumerate() {
        out.push(if i == 0 { b'{' } else { b',' });
        write_string(name, out);
        out.push(b':');
        write_list(embedded.done.len(), out, |text, out| embedded.write(text, *form, out))?;
    }
    out.push(b'}');
    Ok(())
}

fn finish(
    embedded: &Embedded,
    fields: &Map<String, Value>,
    version: &str,
    out: &mut Vec<u8>,
) -> Result<Answer, Fault> {
    let texts = fields.field("texts").cloned().unwrap_or_else(|| json!([]));
    let meta =
        json!({"api_version": {"version": version}, "billed_units": {"input_tokens": embedded.facts.tokens}});
    out.extend_from_slice(format!(",\"texts\":{texts},\"meta\":{meta}}}").as_bytes());
    Ok(Answer::bytes(std::mem::take(out)).facts(embedded.facts))
}
