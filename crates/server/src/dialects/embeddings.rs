//! `/v1/embeddings`: one path of OpenAI, Jina, Voyage, Mistral and others. The body says whose words it is in.

use super::request::{Call, Dialect, Read};
use super::{jina, mistral, openai, voyage};
use crate::answer::{Answer, write_list, write_string};
use crate::call::{Asked, Embedded, Give, Text, embed, joined};
use crate::fault::{Fault, FaultKind};
use crate::json::{Fields, kind, strings};
use crate::numbers::Form;
use crate::schedule::{Content, Value as Made};
use crate::settings::TokenIds;
use serde_json::{Map, Value};
use std::sync::Arc;

pub(super) async fn embeddings(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, mended) = call.fields()?;
    let speaker = speaker(call.dialect, &fields);
    let Read { asked, form, give } = match speaker {
        Dialect::Jina => jina::asked(&fields, call)?,
        Dialect::Voyage => voyage::asked(&fields, call)?,
        Dialect::Mistral => mistral::asked(&fields, call)?,
        _ => {
            let (asked, form) = openai::asked(&fields, call)?;
            Read { asked, form, give: Give::Dense }
        }
    };
    let asked = Arc::new(asked);
    let input = fields.required("input")?;
    let texts = match give {
        Give::Pieces => vec![joined(&pieces(input)?, &asked)],
        _ => texts(input, &asked, call)?,
    };
    let named = match call.dialect {
        Dialect::Azure if !call.rest.is_empty() => Some(call.rest),
        _ => fields.string("model")?,
    };
    let mut embedded = embed(call.models, call.caller, named, give, texts).await?;
    embedded.facts.mended = mended;
    let model = call.model_name(named);
    Ok(Answer::bytes(write(&embedded, form, &model, call.id)?).facts(embedded.facts))
}

/// The pieces of a text: a list of strings.
fn pieces(input: &Value) -> Result<Vec<&str>, Fault> {
    match input {
        Value::String(text) => Ok(vec![text]),
        Value::Array(list) if !list.is_empty() => strings("input", list),
        other => Err(Fault::field("input", other, "a list of strings")),
    }
}

/// Whose words a body is in, by the fields that nobody else has.
fn speaker(dialect: Dialect, fields: &Map<String, Value>) -> Dialect {
    if dialect != Dialect::Shared {
        return dialect;
    }
    let has = |names: &[&str]| names.iter().any(|name| fields.contains_key(*name));
    if has(&["truncation", "output_dtype", "output_dimension"]) && !has(&["metadata"]) {
        Dialect::Voyage
    } else if has(&["late_chunking", "embedding_type", "normalized", "return_multivector", "truncate"])
        || (has(&["task"]) && !has(&["encoding_format", "prompt_name", "instruction"]))
    {
        Dialect::Jina
    } else if has(&["metadata", "output_dtype", "output_dimension"]) {
        Dialect::Mistral
    } else {
        Dialect::OpenAi
    }
}

/// The texts of `input`: a string, ids of one, or a list of either. Jina's may be objects with a `text`.
pub(super) fn texts(input: &Value, asked: &Arc<Asked>, call: &Call<'_>) -> Result<Vec<Text>, Fault> {
    let one = |place: &dyn Fn() -> String, value: &Value| -> Result<Text, Fault> {
        match value {
            Value::String(text) => Ok(Text::new(text, asked)),
            Value::Array(ids) => {
                let ids = token_ids(ids, place, call.settings.token_ids)?;
                Ok(Text { content: Content::Ids(ids), title: None, asked: asked.clone() })
            }
            Value::Object(object) if call.dialect == Dialect::Jina || call.dialect == Dialect::Shared => {
                match object.string("text")? {
                    Some(text) => Ok(Text::new(text, asked)),
                    None => {
                        Err(Fault::invalid("input", format!("{} has no text: images are not taken", place())))
                    }
                }
            }
            other => {
                Err(Fault::invalid("input", format!("{} is {}; expected a string", place(), kind(other))))
            }
        }
    };
    match input {
        Value::Array(list) if list.first().is_some_and(Value::is_number) => {
            Ok(vec![one(&|| "input".to_owned(), input)?])
        }
        Value::Array(list) if list.is_empty() => Err(Fault {
            kind: FaultKind::Empty,
            message: "input is empty; expected a text or a list of texts".to_owned(),
            field: Some("input".to_owned()),
        }),
        Value::Array(list) => {
            list.iter().enumerate().map(|(i, value)| one(&|| format!("input[{i}]"), value)).collect()
        }
        value => Ok(vec![one(&|| "input".to_owned(), value)?]),
    }
}

/// Ids of tokens, if they may be the model's: clients make them with another vocabulary, which would give a vector of another text.
fn token_ids(list: &[Value], place: &dyn Fn() -> String, how: TokenIds) -> Result<Vec<u32>, Fault> {
    if let Some((i, other)) = list.iter().enumerate().find(|(_, value)| !value.is_u64()) {
        let message =
            format!("{}[{i}] is {}; expected a token id, or one text a string", place(), kind(other));
        return Err(Fault::invalid("input", message));
    }
    if how == TokenIds::Refuse {
        let message = format!(
            "{} is token ids, and nothing says that they are of this model's vocabulary: send text. LangChain's \
             OpenAIEmbeddings does with check_embedding_ctx_length=False. If the ids are the model's, start the server \
             with --token-ids model",
            place()
        );
        return Err(Fault::invalid("input", message));
    }
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids =
        list.iter().map(|value| id(value).ok_or_else(|| Fault::invalid("input", "a token id is too large")));
    ids.collect()
}

/// The answer that the clients of all these vendors read.
fn write(embedded: &Embedded, form: Form, model: &str, id: &str) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::with_capacity(embedded.done.len() * 4096 + 256);
    out.extend_from_slice(b"{\"id\":");
    write_string(&format!("emb-{id}"), &mut out);
    out.extend_from_slice(b",\"object\":\"list\",\"model\":");
    write_string(model, &mut out);
    out.extend_from_slice(b",\"data\":");
    let mut index = 0;
    write_list(embedded.done.len(), &mut out, |i, out| {
        if let Made::Tokens(vectors) = &embedded.done[i].value {
            out.extend_from_slice(
                format!("{{\"object\":\"embeddings\",\"index\":{i},\"embeddings\":").as_bytes(),
            );
            write_list(vectors.ids.len(), out, |token, out| {
                form.write(&vectors.values[token * vectors.dimensions..][..vectors.dimensions], out)
            })?;
            out.push(b'}');
            return Ok(());
        }
        for vector in embedded.vectors(i)? {
            if out.last() == Some(&b'}') {
                out.push(b',');
            }
            out.extend_from_slice(
                format!("{{\"object\":\"embedding\",\"index\":{index},\"embedding\":").as_bytes(),
            );
            form.write(vector, out)?;
            out.push(b'}');
            index += 1;
        }
        Ok::<(), Fault>(())
    })?;
    let tokens = embedded.facts.tokens;
    let usage = format!(
        ",\"usage\":{{\"prompt_tokens\":{tokens},\"total_tokens\":{tokens},\"completion_tokens\":0}}}}"
    );
    out.extend_from_slice(usage.as_bytes());
    Ok(out)
}
