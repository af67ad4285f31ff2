//! Voyage's words.

use super::request::{Call, Read};
use crate::answer::{Answer, write_list, write_string};
use crate::call::{Asked, Give, TooLong, embed, joined};
use crate::fault::Fault;
use crate::json::{Fields, strings};
use crate::numbers::{ELEMENTS, Form};
use serde_json::{Map, Value};
use std::sync::Arc;
use taskvec::Task;

const INPUT_TYPES: &[(&str, Task)] =
    &[("query", Task::RetrievalQuery), ("document", Task::RetrievalDocument)];

pub(super) fn asked(fields: &Map<String, Value>, call: &Call<'_>) -> Result<Read, Fault> {
    let element = fields.choice("output_dtype", ELEMENTS)?.unwrap_or_default();
    let base64 = fields.choice("encoding_format", &[("base64", true), ("float", false)])?.unwrap_or(false);
    let cut = fields.boolean("truncation")?.map(TooLong::cut);
    let task = match fields.choice("input_type", INPUT_TYPES) {
        Ok(task) => task,
        Err(fault) => super::openai::task(fields, &["input_type"]).map_err(|_| fault)?,
    };
    let asked = Asked {
        task,
        dimensions: fields.count("output_dimension")?,
        too_long: Some(cut.or(call.settings.too_long).unwrap_or(TooLong::CutEnd)),
        ..Asked::default()
    };
    Ok(Read { asked, form: Form { element, base64 }, give: Give::Dense })
}

/// `/v1/contextualizedembeddings`: pieces of documents, whose vectors know their document (late chunking).
pub(super) async fn contextualized(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, mended) = call.fields()?;
    let Read { asked, form, .. } = asked(&fields, call)?;
    let asked = Arc::new(asked);
    let mut documents = Vec::new();
    for (i, document) in fields.list("inputs")?.unwrap_or_default().iter().enumerate() {
        let name = format!("inputs[{i}]");
        let pieces = document.as_array().ok_or_else(|| Fault::field(&name, document, "a list of strings"))?;
        documents.push(joined(&strings(&name, pieces)?, &asked));
    }
    let named = fields.string("model")?;
    let mut embedded = embed(call.models, call.caller, named, Give::Pieces, documents).await?;
    embedded.facts.mended = mended;
    let mut out = b"{\"object\":\"list\",\"data\":".to_vec();
    write_list(embedded.done.len(), &mut out, |i, out| {
        out.extend_from_slice(format!("{{\"object\":\"list\",\"index\":{i},\"data\":").as_bytes());
        let vectors = embedded.vectors(i)?;
        write_list(vectors.len(), out, |piece, out| {
            out.extend_from_slice(b"{\"object\":\"embedding\",\"embedding\":");
            form.write(vectors[piece], out)?;
            out.extend_from_slice(format!(",\"index\":{piece}}}").as_bytes());
            Ok::<(), Fault>(())
        })?;
        out.push(b'}');
        Ok::<(), Fault>(())
    })?;
    out.extend_from_slice(b",\"model\":");
    write_string(&call.model_name(named), &mut out);
    out.extend_from_slice(format!(",\"usage\":{{\"total_tokens\":{}}}}}", embedded.facts.tokens).as_bytes());
    Ok(Answer::bytes(out).facts(embedded.facts))
}
