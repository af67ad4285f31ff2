//! OpenAI's and Azure's words, and what others took from them.

use super::request::{Call, Dialect};
use crate::answer::Answer;
use crate::call::{Asked, TooLong};
use crate::fault::{Fault, FaultKind};
use crate::json::Fields;
use crate::numbers::{ELEMENTS, Form};
use serde_json::{Map, Value, json};
use taskvec::Task;

/// What OpenAI's route is asked for; and, as its clients can add fields, the task in our words.
pub(super) fn asked(fields: &Map<String, Value>, call: &Call<'_>) -> Result<(Asked, Form), Fault> {
    let too_long = call.settings.too_long.unwrap_or(TooLong::Refuse);
    let mut form = match fields.choice("encoding_format", &[("float", false), ("base64", true)])? {
        Some(base64) => Form { base64, ..Form::FLOAT },
        None => Form::FLOAT,
    };
    if let Some(element) = fields.choice("output_type", ELEMENTS)? {
        form.element = element;
    }
    let asked = Asked {
        task: task(fields, &["task", "input_type"])?,
        prompt_name: fields.string("prompt_name")?.map(str::to_owned),
        instruction: fields.string("instruction")?.map(str::to_owned),
        dimensions: fields.count("dimensions")?,
        too_long: Some(too_long),
        ..Asked::default()
    };
    Ok((asked, form))
}

/// The task that one of these fields names, in any vendor's word.
pub(super) fn task(fields: &Map<String, Value>, names: &[&str]) -> Result<Option<Task>, Fault> {
    for name in names {
        if let Some(word) = fields.string(name)? {
            let task = word.parse::<Task>();
            return Ok(Some(task.map_err(|error| Fault::invalid(name, format!("{name}: {error}")))?));
        }
    }
    Ok(None)
}

/// The list of models, in the form of all vendors that have this path.
pub(super) fn models(call: &Call<'_>) -> Answer {
    let names: Vec<&str> = call.models.names().collect();
    let is_google = call.is_google || call.dialect == Dialect::Gemini;
    let most = |name: &str| {
        let known = call.models.known().find(|(known, _)| *known == name).and_then(|(_, known)| known);
        known.map(|known| known.max_tokens)
    };
    let data: Vec<Value> = names.iter().map(|name| entry(name, most(name))).collect();
    let models: Vec<Value> = names
        .iter()
        .map(|name| {
            let shown = if is_google { format!("models/{name}") } else { (*name).to_owned() };
            json!({
                "name": shown, "endpoints": ["embed"], "context_length": most(name), "displayName": name,
                "supportedGenerationMethods": ["embedContent"], "inputTokenLimit": most(name),
            })
        })
        .collect();
    Answer::json(&json!({"object": "list", "data": data, "models": models}))
}

/// One model of the list.
pub(super) fn model(call: &Call<'_>) -> Result<Answer, Fault> {
    let asked = call.rest.strip_prefix("models/").unwrap_or(call.rest);
    let Some(name) = call.models.names().find(|name| *name == asked) else {
        return Err(Fault::new(FaultKind::UnknownModel, format!("model '{asked}' not found")));
    };
    Ok(Answer::json(&entry(name, None)))
}

fn entry(name: &str, most: Option<usize>) -> Value {
    json!({
        "id": name, "object": "model", "created": 0, "owned_by": "local", "type": "base", "capabilities": {},
        "max_context_length": most,
    })
}

/// A fault, in OpenAI's words.
pub(super) fn refusal(fault: &Fault) -> Value {
    let kind = match fault.kind {
        FaultKind::Lost | FaultKind::Internal => "server_error",
        FaultKind::Overloaded(_) => "rate_limit_error",
        FaultKind::Unauthorized => "authentication_error",
        _ => "invalid_request_error",
    };
    json!({"error": {"message": fault.message, "type": kind, "param": fault.field, "code": code(fault)}})
}

/// A code that programs look for.
fn code(fault: &Fault) -> Option<&'static str> {
    match fault.kind {
        FaultKind::TooLong => Some("context_length_exceeded"),
        FaultKind::Unauthorized => Some("invalid_api_key"),
        FaultKind::UnknownModel => Some("model_not_found"),
        FaultKind::Overloaded(_) => Some("rate_limit_exceeded"),
        _ => None,
    }
}
