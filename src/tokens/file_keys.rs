//! Keys of tokenizer.json that its library does not read.

use serde_json::{Map, Value};
use std::sync::LazyLock;

/// Parts of the file, and under which key each has parts of its own.
const PARTS: [(&str, &str); 3] =
    [("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers"), ("post_processor", "processors")];

/// The keys that nobody knows, each with the place where it stands. What decodes tokens is left out: a vector does not
/// depend on it.
pub(super) fn unknown_keys(file: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    note(file, known("file", None), String::new, &mut unknown);
    let of_token = known("added_token", None);
    for (place, token) in file["added_tokens"].as_array().into_iter().flatten().enumerate() {
        note(token, of_token, || format!("added_tokens[{place}]."), &mut unknown);
    }
    note_part("model", None, &file["model"], "model", &mut unknown);
    for (part, inner) in PARTS {
        note_part(part, Some(inner), &file[part], part, &mut unknown);
    }
    unknown
}

/// Of a part, and of the parts in it where it is a sequence.
fn note_part(part: &str, inner: Option<&str>, value: &Value, place: &str, unknown: &mut Vec<String>) {
    // A type that is not in the list is one for the library to judge.
    let keys = value["type"].as_str().and_then(|kind| known(part, Some(kind)));
    note(value, keys, || format!("{place}."), unknown);
    let parts = inner.and_then(|inner| Some((inner, value.get(inner)?.as_array()?)));
    for (inner, (at, value)) in
        parts.into_iter().flat_map(|(inner, parts)| parts.iter().enumerate().map(move |part| (inner, part)))
    {
        note_part(part, Some(inner), value, &format!("{place}.{inner}[{at}]"), unknown);
    }
}

/// Keys of one object. There may be thousands of tokens, so that their places are written only where one is unknown.
fn note(value: &Value, known: Option<&Value>, place: impl Fn() -> String, unknown: &mut Vec<String>) {
    let Some((keys, known)) = value.as_object().zip(known.and_then(Value::as_array)) else { return };
    let says_something = keys.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key);
    let is_unknown = |key: &&String| !known.iter().any(|known| known == key.as_str());
    unknown.extend(says_something.filter(is_unknown).map(|key| format!("{}{key}", place())));
}

/// The keys of a part; of those of one type, where its keys depend on it.
fn known(part: &str, kind: Option<&str>) -> Option<&'static Value> {
    static KEYS: LazyLock<Map<String, Value>> =
        // It is part of the program, and a test reads it: a mistake in it is ours.
        LazyLock::new(|| serde_json::from_str(include_str!("file_keys.json")).unwrap_or_default());
    let part = KEYS.get(part)?;
    kind.map_or(Some(part), |kind| part.get(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_known_by_the_type_of_the_part_that_they_stand_in() {
        let file = json!({
            "version": "1.0",
            "added_tokens": [{"id": 0, "content": "a", "special": true, "twist": 1}],
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase", "locale": "tr"}]},
            "pre_tokenizer": {"type": "Metaspace", "replacement": "_", "add_prefix_space": true, "str_rep": "_"},
            "post_processor": null,
            "decoder": {"type": "Fuse", "anything": 1},
            "model": {"type": "WordPiece", "unk_token": "a", "vocab": {}, "byte_fallback": true},
            "languages": ["tr"],
        });
        let expected =
            ["languages", "added_tokens[0].twist", "model.byte_fallback", "normalizer.normalizers[1].locale"];
        assert_eq!(unknown_keys(&file), expected);
    }
}
