//! What is looked up in tokenizer.json and tokenizer_config.json themselves.

use super::file::TokenizerFile;
use crate::error::{ModelError, ModelResult as Result};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

/// The id of a token by its text, added or of the model's own vocabulary.
pub(super) fn id_of(tokenizer: &TokenizerFile<'_>, text: &str) -> Option<u32> {
    let added = tokenizer.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
    let added = added.filter(|token| token.get("content").and_then(Value::as_str) == Some(text));
    let added = added.filter_map(|token| token.get("id")).find_map(Value::as_u64);
    added.or_else(|| tokenizer.vocabulary.id_of(text)).and_then(|id| u32::try_from(id).ok())
}

/// Gives each added token the id that the library has given it, whatever the file says.
pub(super) fn correct_ids(tokenizer: &mut TokenizerFile<'_>, ids: &HashMap<String, u32>) {
    let added = tokenizer.get_mut("added_tokens").and_then(Value::as_array_mut).into_iter().flatten();
    for token in added {
        let found =
            token.get("content").and_then(Value::as_str).and_then(|content| ids.get(content)).copied();
        if let (Some(id), Some(token)) = (found, token.as_object_mut())
            && token.get("id").and_then(Value::as_u64) != Some(id.into())
        {
            token.insert("id".to_owned(), Value::from(id));
        }
    }
}

/// The id that stands for what the vocabulary does not have.
pub(super) fn unknown_token(tokenizer: &TokenizerFile<'_>) -> Option<u32> {
    let model = tokenizer.get("model")?;
    match model.get("unk_token").and_then(Value::as_str) {
        Some(text) => id_of(tokenizer, text),
        None => model.get("unk_id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok()),
    }
}

/// Makes a marker that the vocabulary has (all of it, or its first word) one special token, so that
/// it is found in a text whatever the normalizer does.
pub(super) fn register_marker(tokenizer: &mut TokenizerFile<'_>, marker: &str) {
    let first_word = marker.split_whitespace().next().unwrap_or_default();
    let found =
        [marker, first_word].into_iter().find_map(|text| Some((text.to_owned(), id_of(tokenizer, text)?)));
    let Some((text, id)) = found.filter(|(text, _)| !text.trim().is_empty()) else {
        return; // a text prompt like any other
    };
    let token = json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true});
    if let Some(added) = tokenizer.get_mut("added_tokens").and_then(Value::as_array_mut) {
        added.retain(|token| token.get("content").and_then(Value::as_str) != Some(&text));
        added.push(token);
        added.sort_by_key(|token| token.get("id").and_then(Value::as_u64));
    }
}

/// Checks the kind of tokenizer, which the library's own message does not name.
pub(super) fn check_model_type(path: &Path, tokenizer: &TokenizerFile<'_>) -> Result<()> {
    const KNOWN: [&str; 4] = ["BPE", "Unigram", "WordPiece", "WordLevel"];
    let kind = tokenizer.get("model").and_then(|model| model.get("type")).and_then(Value::as_str);
    match kind {
        Some(kind) if !KNOWN.contains(&kind) => Err(ModelError::Unsupported {
            path: path.to_owned(),
            what: "tokenizer model",
            found: kind.to_owned(),
            supported: KNOWN.join(", "),
        }),
        _ => Ok(()),
    }
}

/// Checks that no token of the file's own vocabulary lies beyond the model's embedding table: a
/// tokenizer of another model. (Added tokens may; they are refused where a text has them.)
pub(super) fn check_vocabulary(
    tokenizer: &TokenizerFile<'_>,
    vocabulary: usize,
) -> std::result::Result<(), String> {
    match tokenizer.vocabulary.max_id() {
        Some(max) if max >= vocabulary as u64 => Err(format!(
            "its vocabulary reaches to the id {max}, but the model's embedding table has {vocabulary} rows; it belongs to another model"
        )),
        _ => Ok(()),
    }
}

/// The median number of characters of the vocabulary's tokens, rounded down.
pub(super) fn median_length(tokenizer: &TokenizerFile<'_>) -> usize {
    let mut lengths = tokenizer.vocabulary.lengths();
    lengths.sort_unstable();
    let middle = |i: usize| lengths.get(i).copied().unwrap_or(1);
    (middle(lengths.len().saturating_sub(1) / 2) + middle(lengths.len() / 2)) / 2
}
