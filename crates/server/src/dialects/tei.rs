//! text-embeddings-inference's words, which Hugging Face's InferenceClient speaks too.

use super::request::Call;
use crate::answer::{Answer, write_list};
use crate::call::{Asked, Embedded, Give, Text, TooLong, embed as embed_texts, embedder, score, sigmoid};
use crate::fault::{Fault, FaultKind};
use crate::json::{Fields, kind};
use crate::numbers::Form;
use crate::schedule::{Content, Value as Made};
use crate::served_model::Purpose;
use serde_json::{Map, Value, json};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use taskvec::{EmbedOptions, cosine};

/// `/embed`
pub(super) async fn embed(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, mended) = call.fields()?;
    embed_fields(call, &fields, mended).await
}

async fn embed_fields(call: &Call<'_>, fields: &Map<String, Value>, mended: usize) -> Result<Answer, Fault> {
    let asked = asked(call, fields, fields.boolean("normalize")?.unwrap_or(true))?;
    let embedded = embedded(call, fields, Give::Dense, &asked, mended).await?;
    let form = match fields.choice("encoding_format", &[("float", false), ("base64", true)])? {
        Some(true) => Form::BASE64,
        _ => Form::FLOAT,
    };
    let mut out = Vec::with_capacity(embedded.done.len() * 4096);
    write_list(embedded.done.len(), &mut out, |i, out| embedded.write(i, form, out))?;
    Ok(Answer::bytes(out).facts(embedded.facts))
}

/// `/embed_all`: the vectors of each text's tokens.
pub(super) async fn embed_all(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, mended) = call.fields()?;
    let asked = asked(call, &fields, false)?;
    let embedded = embedded(call, &fields, Give::Tokens, &asked, mended).await?;
    let mut out = Vec::new();
    write_list(embedded.done.len(), &mut out, |i, out| match &embedded.done[i].value {
        Made::Tokens(vectors) => write_list(vectors.ids.len(), out, |token, out| {
            Form::FLOAT.write(&vectors.values[token * vectors.dimensions..][..vectors.dimensions], out)
        }),
        _ => Err(Fault::internal("a text has no vectors of its tokens")),
    })?;
    Ok(Answer::bytes(out).facts(embedded.facts))
}

/// `/embed_sparse`
pub(super) async fn embed_sparse(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, mended) = call.fields()?;
    let asked = asked(call, &fields, true)?;
    let embedded = embedded(call, &fields, Give::Sparse, &asked, mended).await?;
    let mut out = Vec::new();
    write_list(embedded.done.len(), &mut out, |i, out| match &embedded.done[i].value {
        Made::Sparse(vector) => write_list(vector.indices.len(), out, |entry, out| {
            let (index, value) = (vector.indices[entry], vector.values[entry]);
            out.extend_from_slice(json!({"index": index, "value": value}).to_string().as_bytes());
            Ok::<(), Fault>(())
        }),
        _ => Err(Fault::internal("a text has no sparse vector")),
    })?;
    Ok(Answer::bytes(out).facts(embedded.facts))
}

/// `/rerank`
pub(super) async fn rerank(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, mended) = call.fields()?;
    rerank_fields(call, &fields, mended).await
}

async fn rerank_fields(call: &Call<'_>, fields: &Map<String, Value>, mended: usize) -> Result<Answer, Fault> {
    let texts = fields.strings("texts")?.ok_or_else(|| Fault::invalid("texts", "texts is missing"))?;
    let query = fields.string("query")?.ok_or_else(|| Fault::invalid("query", "query is missing"))?;
    let documents = texts.iter().map(|text| (*text).to_owned()).collect();
    let (scores, mut facts) =
        score(call.models, call.caller, None, (query.to_owned(), documents), &super::rerank::asked(fields)?)
            .await?;
    facts.mended = mended;
    let (raw, with_text) =
        (fields.boolean("raw_scores")? == Some(true), fields.boolean("return_text")? == Some(true));
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let entry = |i: usize| {
        let score = if raw { scores[i] } else { sigmoid(scores[i]) };
        match with_text {
            true => json!({"index": i, "score": score, "text": texts[i]}),
            false => json!({"index": i, "score": score}),
        }
    };
    Ok(Answer::json(&order.into_iter().map(entry).collect()).facts(facts))
}

/// `/predict`: the label of a pair of texts. A cross-encoder of one label has one.
pub(super) async fn predict(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, mended) = call.fields()?;
    predict_fields(call, &fields, mended).await
}

async fn predict_fields(
    call: &Call<'_>,
    fields: &Map<String, Value>,
    mended: usize,
) -> Result<Answer, Fault> {
    let inputs = fields.required("inputs")?;
    let raw = fields.boolean("raw_scores")? == Some(true);
    let pair = |value: &Value| -> Result<(String, String), Fault> {
        match value.as_array().map(Vec::as_slice) {
            Some([Value::String(one), Value::String(other)]) => Ok((one.clone(), other.clone())),
            _ => Err(Fault::invalid(
                "inputs",
                "expected pairs of texts: the model scores one text for another",
            )),
        }
    };
    let list = inputs.as_array().filter(|list| list.iter().all(Value::is_array));
    let pairs = match list {
        Some(list) => list.iter().map(pair).collect::<Result<Vec<_>, Fault>>()?,
        None => vec![pair(inputs)?],
    };
    let (mut labels, mut facts) = (Vec::new(), crate::call::Facts::default());
    for (query, document) in pairs {
        let (scores, of_pair) =
            score(call.models, call.caller, None, (query, vec![document]), &super::rerank::asked(fields)?)
                .await?;
        facts.tokens += of_pair.tokens;
        facts.texts += of_pair.texts;
        let score = if raw { scores[0] } else { sigmoid(scores[0]) };
        labels.push(json!([{"score": score, "label": "LABEL_0"}]));
    }
    facts.mended = mended;
    let nests = list.is_some() || fields.field("parameters").is_some();
    let answer = if nests { Value::from(labels) } else { labels.swap_remove(0) };
    Ok(Answer::json(&answer).facts(facts))
}

/// `/similarity`
pub(super) async fn similarity(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, mended) = call.fields()?;
    similarity_fields(call, &fields, mended).await
}

async fn similarity_fields(
    call: &Call<'_>,
    fields: &Map<String, Value>,
    mended: usize,
) -> Result<Answer, Fault> {
    let inputs = fields.object("inputs")?.ok_or_else(|| Fault::invalid("inputs", "inputs is missing"))?;
    let source = inputs.string("source_sentence")?;
    let source = source.ok_or_else(|| Fault::invalid("inputs", "inputs.source_sentence is missing"))?;
    let sentences = inputs.strings("sentences")?;
    let sentences = sentences.ok_or_else(|| Fault::invalid("inputs", "inputs.sentences is missing"))?;
    let none = Map::new();
    let asked = asked(call, fields.object("parameters")?.unwrap_or(&none), true)?;
    let texts = std::iter::once(&source).chain(&sentences).map(|text| Text::new(text, &asked)).collect();
    let mut embedded = embed_texts(call.models, call.caller, None, Give::Dense, texts).await?;
    embedded.facts.mended = mended;
    let source = embedded.vector(0)?;
    let cosines = (1..embedded.done.len()).map(|i| Ok(cosine(source, embedded.vector(i)?)));
    let cosines = cosines.collect::<Result<Vec<f32>, Fault>>()?;
    let mut out = Vec::new();
    Form::FLOAT.write(&cosines, &mut out)?;
    Ok(Answer::bytes(out).facts(embedded.facts))
}

/// `/tokenize`
pub(super) async fn tokenize(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, _) = call.fields()?;
    let inputs = match fields.required("inputs")? {
        Value::String(text) => vec![text.as_str()],
        Value::Array(list) => crate::json::strings("inputs", list)?,
        other => return Err(Fault::field("inputs", other, "a string or a list of strings")),
    };
    let (open, _) = call.models.find(None, Purpose::Embed).await?;
    let options = match fields.string("prompt_name")? {
        Some(name) => EmbedOptions::new().prompt_name(name),
        None => EmbedOptions::new().prompt(""),
    };
    let with_special = fields.boolean("add_special_tokens")? != Some(false);
    let mut all = Vec::new();
    for text in inputs {
        let explanation = embedder(&open)?.explain(text, options.clone())?;
        let tokens = explanation.tokens.iter().filter(|token| with_special || !token.special);
        // Where a token stands in the text is not known: tokenizers here give ids alone.
        let token = |token: &taskvec::ExplainedToken| json!({"id": token.id, "text": token.piece, "special": token.special, "start": null, "stop": null});
        all.push(Value::from(tokens.map(token).collect::<Vec<Value>>()));
    }
    Ok(Answer::json(&all.into()))
}

/// `/decode`: texts of tokens.
pub(super) async fn decode(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, _) = call.fields()?;
    let ids = fields.list("ids")?.ok_or_else(|| Fault::invalid("ids", "ids is missing"))?;
    let skip_special = fields.boolean("skip_special_tokens")? != Some(false);
    let lists = match ids.first() {
        Some(Value::Array(_)) => ids
            .iter()
            .enumerate()
            .map(|(i, list)| {
                let place = format!("ids[{i}]");
                token_ids(&place, list.as_array().ok_or_else(|| Fault::field(&place, list, "a list"))?)
            })
            .collect::<Result<Vec<_>, Fault>>()?,
        _ => vec![token_ids("ids", ids)?],
    };
    let (open, _) = call.models.find(fields.string("model")?, Purpose::Embed).await?;
    let texts = lists.iter().map(|ids| Ok(embedder(&open)?.decode(ids, skip_special)?));
    Ok(Answer::json(&texts.collect::<Result<Vec<String>, Fault>>()?.into()))
}

/// `/vertex`: any of the other requests, in a list.
pub(super) async fn vertex(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, mended) = call.fields()?;
    let (mut predictions, mut facts) = (Vec::new(), crate::call::Facts::default());
    for (i, instance) in fields.list("instances")?.unwrap_or_default().iter().enumerate() {
        let place = format!("instances[{i}]");
        let instance = instance.as_object().ok_or_else(|| Fault::field(&place, instance, "an object"))?;
        let answer = by_shape(call, instance, 0).await?;
        predictions.extend_from_slice(if i == 0 { b"" } else { b"," });
        predictions.extend_from_slice(&answer.body);
        if let Some(of_answer) = answer.facts {
            facts.texts += of_answer.texts;
            facts.tokens += of_answer.tokens;
            facts.truncated += of_answer.truncated;
        }
    }
    facts.mended = mended;
    let mut out = b"{\"predictions\":[".to_vec();
    out.append(&mut predictions);
    out.extend_from_slice(b"]}");
    Ok(Answer::bytes(out).facts(facts))
}

/// `/`, `/invocations`: the body's form says which.
pub(super) async fn any(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, mended) = call.fields()?;
    by_shape(call, &fields, mended).await
}

/// What a body asks for by its form.
fn by_shape<'c>(
    call: &'c Call<'_>,
    fields: &'c Map<String, Value>,
    mended: usize,
) -> Pin<Box<dyn Future<Output = Result<Answer, Fault>> + Send + 'c>> {
    Box::pin(async move {
        if fields.contains_key("query") && fields.contains_key("texts") {
            return rerank_fields(call, fields, mended).await;
        }
        if fields.get("inputs").is_some_and(Value::is_object) {
            return similarity_fields(call, fields, mended).await;
        }
        match call.models.find(None, Purpose::Embed).await {
            Ok(_) => embed_fields(call, fields, mended).await,
            Err(_) => predict_fields(call, fields, mended).await,
        }
    })
}

/// `/info`
pub(super) async fn info(call: &Call<'_>) -> Result<Answer, Fault> {
    let embedding = call.models.find(None, Purpose::Embed).await.map(|(open, _)| open);
    let (open, model_type) = match embedding {
        Ok(open) => (open, json!({"embedding": {"pooling": "mean"}})),
        Err(_) => {
            let labels = json!({"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}});
            (call.models.find(None, Purpose::Rank).await?.0, json!({"reranker": labels}))
        }
    };
    Ok(Answer::json(&json!({
        "model_id": open.name, "model_sha": null, "model_dtype": "float32", "served_model_name": open.name,
        "model_type": model_type, "max_concurrent_requests": 1_000_000, "max_input_length": open.loaded.max_tokens(),
        "max_batch_tokens": 1_000_000_000, "max_batch_requests": null, "max_client_batch_size": 1_000_000,
        "auto_truncate": call.settings.too_long != Some(TooLong::Refuse), "tokenization_workers": 1,
        "version": env!("CARGO_PKG_VERSION"), "sha": null, "docker_label": null,
    })))
}

fn asked(call: &Call<'_>, fields: &Map<String, Value>, normalize: bool) -> Result<Arc<Asked>, Fault> {
    let direction =
        fields.choice("truncation_direction", &[("Right", TooLong::CutEnd), ("Left", TooLong::CutStart)])?;
    let too_long = match fields.boolean("truncate")? {
        Some(false) => TooLong::Refuse,
        Some(true) => direction.unwrap_or(TooLong::CutEnd),
        None => call.settings.too_long.unwrap_or(direction.unwrap_or(TooLong::CutEnd)),
    };
    // Callers put a query's instruction in front themselves: no prompt unless one is named.
    let prompt_name = fields.string("prompt_name")?.map(str::to_owned);
    let task = super::openai::task(fields, &["task"])?;
    let instruction = fields.string("instruction")?.map(str::to_owned);
    let prompt = (prompt_name.is_none() && task.is_none() && instruction.is_none()).then(String::new);
    let dimensions = fields.count("dimensions")?;
    Ok(Arc::new(Asked {
        task,
        prompt_name,
        prompt,
        instruction,
        dimensions,
        normalize: Some(normalize),
        too_long: Some(too_long),
    }))
}

async fn embedded(
    call: &Call<'_>,
    fields: &Map<String, Value>,
    give: Give,
    asked: &Arc<Asked>,
    mended: usize,
) -> Result<Embedded, Fault> {
    let texts = inputs(fields.required("inputs")?, asked)?;
    let mut embedded = embed_texts(call.models, call.caller, fields.string("model")?, give, texts).await?;
    embedded.facts.mended = mended;
    Ok(embedded)
}

/// A string, ids of the model's own vocabulary, or a list of either.
fn inputs(inputs: &Value, asked: &Arc<Asked>) -> Result<Vec<Text>, Fault> {
    let one = |place: &str, value: &Value| match value {
        Value::String(text) => Ok(Text::new(text, asked)),
        Value::Array(ids) => {
            Ok(Text { content: Content::Ids(token_ids(place, ids)?), title: None, asked: asked.clone() })
        }
        other => Err(Fault::invalid("inputs", format!("{place} is {}; expected a string", kind(other)))),
    };
    match inputs {
        Value::Array(list) if list.first().is_some_and(Value::is_number) => Ok(vec![one("inputs", inputs)?]),
        Value::Array(list) => {
            list.iter().enumerate().map(|(i, value)| one(&format!("inputs[{i}]"), value)).collect()
        }
        value => Ok(vec![one("inputs", value)?]),
    }
}

/// Ids of tokens.
pub(super) fn token_ids(place: &str, list: &[Value]) -> Result<Vec<u32>, Fault> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = list.iter().map(id).collect::<Option<Vec<u32>>>();
    let field = place.split('[').next().unwrap_or(place);
    ids.ok_or_else(|| Fault::invalid(field, format!("{place} has something that is no token id")))
}

/// A fault, in TEI's words. Its statuses differ from everybody's.
pub(super) fn refusal(fault: &Fault) -> (u16, Value) {
    let (status, kind) = match fault.kind {
        FaultKind::Empty => (400, "Empty"),
        FaultKind::Body | FaultKind::Invalid | FaultKind::TooLong => (422, "Validation"),
        FaultKind::Unsupported => (424, "Backend"),
        FaultKind::Overloaded(_) => (429, "Overloaded"),
        FaultKind::Lost | FaultKind::Internal => (500, "Backend"),
        _ => (fault.status(), "Validation"),
    };
    (status, json!({"error": fault.message, "error_type": kind}))
}
