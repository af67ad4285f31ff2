//! Ollama's words.

use super::request::Call;
use crate::answer::{Answer, write_list, write_string};
use crate::call::{Asked, Embedded, Give, Text, TooLong, embed as embed_texts};
use crate::fault::{Fault, FaultKind};
use crate::json::Fields;
use crate::loaded::Loaded;
use crate::numbers::Form;
use crate::served_model::Purpose;
use crate::slot::Known;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// `/api/embed`
pub(super) async fn embed(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, mended) = call.fields()?;
    let cut = fields.boolean("truncate")?.map(TooLong::cut);
    let asked = asked(call, cut, &fields, Some(true))?;
    let texts = match fields.required("input")? {
        Value::String(text) => vec![Text::new(text, &asked)],
        Value::Array(list) => {
            crate::json::strings("input", list)?.into_iter().map(|text| Text::new(text, &asked)).collect()
        }
        other => return Err(Fault::field("input", other, "a string or a list of strings")),
    };
    let named = fields.string("model")?;
    let embedded = embedded(call, named, texts, mended).await?;
    let mut out = b"{\"model\":".to_vec();
    write_string(&call.model_name(named), &mut out);
    out.extend_from_slice(b",\"embeddings\":");
    write_list(embedded.done.len(), &mut out, |i, out| embedded.write(i, Form::FLOAT, out))?;
    let facts = embedded.facts;
    let total = (facts.waited + facts.computed).as_nanos();
    out.extend_from_slice(
        format!(",\"total_duration\":{total},\"load_duration\":0,\"prompt_eval_count\":{}}}", facts.tokens)
            .as_bytes(),
    );
    Ok(Answer::bytes(out).facts(facts))
}

/// `/api/embeddings`, the older one: one text, and its vector as the model gives it.
pub(super) async fn embed_old(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, mended) = call.fields()?;
    let asked = asked(call, None, &fields, None)?;
    let text = fields.string("prompt")?.unwrap_or_default();
    if text.is_empty() {
        return Ok(Answer::json(&json!({"embedding": []})));
    }
    let embedded = embedded(call, fields.string("model")?, vec![Text::new(text, &asked)], mended).await?;
    let mut out = b"{\"embedding\":".to_vec();
    embedded.write(0, Form::FLOAT, &mut out)?;
    out.push(b'}');
    Ok(Answer::bytes(out).facts(embedded.facts))
}

/// `/api/tags`
pub(super) fn tags(call: &Call<'_>) -> Answer {
    let model = |name: &str| {
        let name = if name.contains(':') { name.to_owned() } else { format!("{name}:latest") };
        json!({"name": name, "model": name, "size": 0, "digest": "", "details": details()})
    };
    Answer::json(&json!({"models": call.models.names().map(model).collect::<Vec<Value>>()}))
}

/// `/api/ps`: the models that are open, and the memory that they take, about.
pub(super) fn open(call: &Call<'_>) -> Answer {
    let model = |(name, known): (&str, Option<Known>)| {
        call.models.open().any(|open| open.name == name).then(|| {
            let bytes = known.map_or(0, |known| known.bytes);
            let name = if name.contains(':') { name.to_owned() } else { format!("{name}:latest") };
            json!({"name": name, "model": name, "size": bytes, "size_vram": 0, "digest": "", "details": details(),
                "expires_at": "9999-12-31T23:59:59Z"})
        })
    };
    Answer::json(&json!({"models": call.models.known().filter_map(model).collect::<Vec<Value>>()}))
}

/// `/api/show`
pub(super) async fn show(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, _) = call.fields()?;
    let named = fields.string("model")?.or(fields.string("name")?);
    let (open, _) = call.models.find(named, Purpose::Embed).await?;
    let mut info = Map::new();
    info.insert("general.architecture".to_owned(), "bert".into());
    info.insert("bert.context_length".to_owned(), open.loaded.max_tokens().into());
    if let Loaded::Embedder(embedder) = &*open.loaded {
        info.insert("bert.embedding_length".to_owned(), embedder.dimensions().into());
    }
    let answer = json!({"details": details(), "model_info": info, "capabilities": ["embedding"]});
    Ok(Answer::json(&answer))
}

/// `/api/pull`: a model that is served is here.
pub(super) async fn pull(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, _) = call.fields()?;
    let named = fields.string("model")?.or(fields.string("name")?);
    call.models.find(named, Purpose::Embed).await?;
    let mut answer = Answer::json(&json!({"status": "success"}));
    if fields.boolean("stream")? != Some(false) {
        answer.body.push(b'\n');
        answer.content_type = "application/x-ndjson";
    }
    Ok(answer)
}

fn details() -> Value {
    json!({
        "family": "bert", "families": ["bert"], "format": "safetensors", "parameter_size": "",
        "quantization_level": "", "parent_model": "",
    })
}

fn asked(
    call: &Call<'_>,
    cut: Option<TooLong>,
    fields: &Map<String, Value>,
    normalize: Option<bool>,
) -> Result<Arc<Asked>, Fault> {
    Ok(Arc::new(Asked {
        task: super::openai::task(fields, &["task", "input_type"])?,
        dimensions: fields.count("dimensions")?,
        normalize,
        too_long: Some(cut.or(call.settings.too_long).unwrap_or(TooLong::CutEnd)),
        ..Asked::default()
    }))
}

/// The vectors of texts. The message about an unknown model is Ollama's own.
async fn embedded(
    call: &Call<'_>,
    named: Option<&str>,
    texts: Vec<Text>,
    mended: usize,
) -> Result<Embedded, Fault> {
    let embedded = embed_texts(call.models, call.caller, named, Give::Dense, texts).await;
    let mut embedded = embedded.map_err(|fault| match (fault.kind, named) {
        (FaultKind::UnknownModel, Some(named)) => {
            Fault::new(FaultKind::UnknownModel, format!("model '{named}' not found"))
        }
        _ => fault,
    })?;
    embedded.facts.mended = mended;
    Ok(embedded)
}
