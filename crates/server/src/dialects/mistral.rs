//! Mistral's words.

use super::request::{Call, Read};
use crate::call::{Asked, Give, TooLong};
use crate::fault::Fault;
use crate::json::Fields;
use crate::numbers::{ELEMENTS, Form};
use serde_json::{Map, Value};

pub(super) fn asked(fields: &Map<String, Value>, call: &Call<'_>) -> Result<Read, Fault> {
    let element = fields.choice("output_dtype", ELEMENTS)?.unwrap_or_default();
    let base64 = fields.choice("encoding_format", &[("float", false), ("base64", true)])?.unwrap_or(false);
    let asked = Asked {
        task: super::openai::task(fields, &["task", "input_type"])?,
        dimensions: fields.count("output_dimension")?,
        too_long: Some(call.settings.too_long.unwrap_or(TooLong::Refuse)),
        ..Asked::default()
    };
    Ok(Read { asked, form: Form { element, base64 }, give: Give::Dense })
}
