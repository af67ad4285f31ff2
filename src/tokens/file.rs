//! tokenizer.json, with its long parts left as the text they are.
//!
//! A vocabulary and its merges are almost all of the file (Gemma's has 33 MB). The tokenizer library
//! reads them itself; what the engine looks up or changes is in the rest. So only the rest becomes a
//! tree, and the long parts go from file to library as they stand.

use super::file_keys::unknown_keys;
use super::vocabulary::Vocabulary;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Parts of an object as the text they are.
type Parts<'a> = BTreeMap<String, &'a RawValue>;

pub(super) struct TokenizerFile<'a> {
    /// The file, with empty values in place of what is left as text.
    value: Value,
    pub(super) vocabulary: Vocabulary<'a>,
    merges: Option<&'a RawValue>,
}

impl<'a> TokenizerFile<'a> {
    /// Reads a file that must hold an object.
    pub(super) fn parse(text: &'a str) -> serde_json::Result<TokenizerFile<'a>> {
        let mut parts: Parts<'a> = serde_json::from_str(text)?;
        let model = parts.remove("model");
        let mut value = tree(&parts)?;
        let (mut vocabulary, mut merges) = (None, None);
        if let Some(model) = model {
            let model = match is(model, '{') {
                true => {
                    let mut parts: Parts<'a> = serde_json::from_str(model.get())?;
                    vocabulary = take(&mut parts, "vocab", |part| is(part, '{') || is(part, '['));
                    merges = take(&mut parts, "merges", is_pairs);
                    let mut model = tree(&parts)?;
                    if let Some(vocabulary) = vocabulary {
                        let empty = if is(vocabulary, '{') { json!({}) } else { json!([]) };
                        model.insert("vocab".to_owned(), empty);
                    }
                    if merges.is_some() {
                        model.insert("merges".to_owned(), json!([]));
                    }
                    Value::Object(model)
                }
                false => serde_json::from_str(model.get())?,
            };
            value.insert("model".to_owned(), model);
        }
        let vocabulary = Vocabulary::new(vocabulary.map_or("null", RawValue::get))?;
        Ok(TokenizerFile { value: Value::Object(value), vocabulary, merges })
    }

    /// What the file has under a name.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.value.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.value.get_mut(name)
    }

    /// Puts a value under a name.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        if let Some(root) = self.value.as_object_mut() {
            root.insert(name.to_owned(), value);
        }
    }

    /// Puts another model in place of the file's, with the file's vocabulary and merges.
    pub(super) fn set_model(&mut self, mut model: Value) {
        for name in ["vocab", "merges"] {
            let kept = self.value.get("model").and_then(|model| model.get(name)).cloned();
            if let (Some(model), Some(kept)) = (model.as_object_mut(), kept) {
                model.insert(name.to_owned(), kept);
            }
        }
        self.set("model", model);
    }

    /// Whether words of bytes start with a space that is put there. The library does not put it: who calls this does.
    pub(super) fn take_prefix_space(&mut self) -> bool {
        let words = self.get_mut("pre_tokenizer").and_then(Value::as_object_mut);
        let Some(words) = words.filter(|words| words.get("type").is_some_and(|kind| kind == "ByteLevel"))
        else {
            return false;
        };
        words.insert("add_prefix_space".to_owned(), Value::Bool(false)) == Some(Value::Bool(true))
    }

    /// Whether words are made of bytes.
    pub(super) fn is_byte_level(&self) -> bool {
        let parts = ["pre_tokenizer", "decoder", "normalizer"].into_iter().filter_map(|part| self.get(part));
        parts.into_iter().any(|part| part.to_string().contains("\"ByteLevel\""))
    }

    /// Keys of the file that nobody knows.
    pub(super) fn unknown_keys(&self) -> Vec<String> {
        unknown_keys(&self.value)
    }

    /// The end at which the file's own truncation cuts: `left` or `right`.
    pub(super) fn truncation_direction(&self) -> Option<String> {
        self.get("truncation")?.get("direction")?.as_str().map(str::to_lowercase)
    }

    /// A hash of the file as it is now, less what is left as text.
    pub(super) fn fingerprint(&self) -> String {
        blake3::hash(self.value.to_string().as_bytes()).to_hex().to_string()
    }

    /// Rewrites a file of an older version into the form that the library reads.
    pub(super) fn canonicalize(&mut self) -> Result<(), String> {
        // Truncation and padding belong to one use of the file; the engine does both itself.
        for name in ["truncation", "padding"] {
            self.value.as_object_mut().and_then(|root| root.remove(name));
        }
        tokenizers::canonicalize_value(&mut self.value).map_err(|e| e.to_string())
    }

    /// The file's text, its long parts put back.
    pub(super) fn text(&self) -> String {
        self.written(self.vocabulary.is_some().then(|| self.vocabulary.text()))
    }

    /// The file's text with another vocabulary.
    pub(super) fn text_with(&self, vocabulary: &Value) -> String {
        self.written(Some(&vocabulary.to_string()))
    }

    fn written(&self, vocabulary: Option<&str>) -> String {
        let Some(root) = self.value.as_object() else { return self.value.to_string() };
        let model_part = |(name, value): (&'_ String, &Value)| -> String {
            match (name.as_str(), vocabulary, self.merges) {
                ("vocab", Some(vocabulary), _) => vocabulary.to_owned(),
                ("merges", _, Some(merges)) => merges.get().to_owned(),
                _ => value.to_string(),
            }
        };
        object(root.iter().map(|(name, value)| match (name.as_str(), value) {
            ("model", Value::Object(model)) => {
                (name, object(model.iter().map(|part| (part.0, model_part(part)))))
            }
            _ => (name, value.to_string()),
        }))
    }
}

fn tree(parts: &Parts<'_>) -> serde_json::Result<Map<String, Value>> {
    parts.iter().map(|(name, part)| Ok((name.clone(), serde_json::from_str(part.get())?))).collect()
}

fn take<'a>(parts: &mut Parts<'a>, name: &str, stays: impl Fn(&RawValue) -> bool) -> Option<&'a RawValue> {
    if parts.get(name).is_some_and(|part| stays(part)) { parts.remove(name) } else { None }
}

/// Whether a value is of the kind that starts with this character.
fn is(part: &RawValue, start: char) -> bool {
    part.get().starts_with(start)
}

/// Whether merges are pairs, as in the library's own form, and not strings.
fn is_pairs(merges: &RawValue) -> bool {
    let inside = merges.get().strip_prefix('[').map(str::trim_start);
    inside.is_some_and(|inside| inside.starts_with('['))
}

fn object<'s>(parts: impl Iterator<Item = (&'s String, String)>) -> String {
    let parts: Vec<String> =
        parts.map(|(name, text)| format!("{}:{text}", Value::from(name.as_str()))).collect();
    format!("{{{}}}", parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written out again, a file says what it said, whatever its parts are.
    #[test]
    fn the_long_parts_come_back() {
        for text in [
            r#"{"version": "1.0", "model": {"type": "WordPiece", "vocab": {"a\"": 0, "é": 1}, "unk_token": "a"}}"#,
            r#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"], ["c", "d"]], "x": [1]}}"#,
            r#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}"#,
            r#"{"model": {"type": "Unigram", "vocab": [["a", -1.25]], "unk_id": 0}, "added_tokens": []}"#,
            r#"{"model": {"vocab": null, "merges": []}}"#,
            r#"{"model": 3, "a \" quote": null}"#,
            r#"{}"#,
        ] {
            let file = TokenizerFile::parse(text).expect(text);
            let [expected, found] =
                [text, &file.text()].map(|text| serde_json::from_str::<Value>(text).expect(text));
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn merges_that_are_strings_become_pairs() {
        let text = r#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}}"#;
        let mut file = TokenizerFile::parse(text).expect("an object");
        file.canonicalize().expect("an older file");
        let written: Value = serde_json::from_str(&file.text()).expect("JSON");
        assert_eq!(written["model"]["merges"], json!([["a", "b"]]));
        assert_eq!(written["model"]["vocab"], json!({"a": 0, "b": 1, "ab": 2}));
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for text in ["", "3", "[]", "null", "{", r#"{"model": {"vocab": {}"#] {
            assert!(TokenizerFile::parse(text).is_err(), "{text}");
        }
    }
}
