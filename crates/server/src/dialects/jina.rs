//! Jina's words.

use super::openai;
use super::request::{Call, Read};
use crate::call::{Asked, Give, TooLong};
use crate::fault::{Fault, FaultKind};
use crate::json::Fields;
use crate::numbers::{Element, Form};
use serde_json::{Map, Value, json};

const FORMS: &[(&str, Form)] = &[
    ("float", Form::FLOAT),
    ("base64", Form::BASE64),
    ("binary", Form { element: Element::Binary, base64: false }),
    ("ubinary", Form { element: Element::Ubinary, base64: false }),
    ("int8", Form { element: Element::Int8, base64: false }),
    ("uint8", Form { element: Element::Uint8, base64: false }),
];

pub(super) fn asked(fields: &Map<String, Value>, call: &Call<'_>) -> Result<Read, Fault> {
    let mut form = Form::FLOAT;
    for name in ["embedding_type", "encoding_format", "encoding_type"] {
        let found = match fields.field(name) {
            Some(Value::Array(list)) if list.len() == 1 => {
                let mut only = Map::new();
                only.insert(name.to_owned(), list[0].clone());
                only.choice(name, FORMS)?
            }
            _ => fields.choice(name, FORMS)?,
        };
        if let Some(found) = found {
            form = found;
            break;
        }
    }
    let dimensions = fields.count("dimensions")?;
    let give = match fields.boolean("return_multivector")? {
        Some(true) if dimensions.is_some() => {
            return Err(Fault::invalid("dimensions", "dimensions does not go with return_multivector"));
        }
        Some(true) => Give::Tokens,
        _ if fields.boolean("late_chunking")? == Some(true) => Give::Pieces,
        _ => Give::Dense,
    };
    let cut = fields.boolean("truncate")?.map(TooLong::cut);
    let asked = Asked {
        task: openai::task(fields, &["task"])?,
        dimensions,
        normalize: fields.boolean("normalized")?,
        too_long: Some(cut.or(call.settings.too_long).unwrap_or(TooLong::CutEnd)),
        ..Asked::default()
    };
    Ok(Read { asked, form, give })
}

/// A fault, in Jina's words.
pub(super) fn refusal(fault: &Fault, id: &str) -> Value {
    let code = match fault.kind {
        FaultKind::TooLong => Some("INPUT_TOKEN_LIMIT_EXCEEDED"),
        FaultKind::Unauthorized => Some("INVALID_API_KEY"),
        FaultKind::UnknownModel => Some("MODEL_NOT_FOUND"),
        FaultKind::Overloaded(_) => Some("RATE_LIMIT_EXCEEDED"),
        _ => None,
    };
    json!({"detail": {"message": fault.message, "request_id": id, "code": code}})
}
