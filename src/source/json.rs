//! JSON files of a model, read with errors that name the file, the key, what was found and what was expected.

use crate::error::{ModelError, ModelResult as Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A JSON object with the path it came from, for messages that say where a value is wrong. It remembers which of its
/// keys were asked for: the others had no say in what the model does.
pub(crate) struct Json {
    pub(crate) path: PathBuf,
    pub(crate) value: Value,
    /// What stands before its keys' names: `rope_scaling.`, for an object inside the file.
    place: String,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Json {
    /// The contents of a file.
    pub(crate) fn new(path: PathBuf, value: Value) -> Json {
        Json { path, value, place: String::new(), asked: Arc::default() }
    }

    /// An object without keys, in place of a file that need not be there.
    pub(crate) fn empty(path: PathBuf) -> Json {
        Json::new(path, Value::Object(serde_json::Map::new()))
    }

    /// Parses a file as Python's json does, which also writes and reads NaN and Infinity: those become strings, so
    /// that whoever reads such a number finds none.
    pub(crate) fn parse(path: PathBuf, bytes: &[u8]) -> Result<Json> {
        let value = serde_json::from_slice(bytes).or_else(|source| match quoted_constants(bytes) {
            Some(text) => serde_json::from_slice(&text),
            None => Err(source),
        });
        match value {
            Ok(value) => Ok(Json::new(path, value)),
            Err(source) => Err(ModelError::Json { path, source }),
        }
    }

    /// The value of a key; `null` counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("{}{key}", self.place);
        if !asked.contains(&name) {
            asked.insert(name);
        }
        self.value.get(key).filter(|value| !value.is_null())
    }

    /// Takes these keys for asked for: others say what they would.
    pub(crate) fn heed<'k>(&self, keys: impl IntoIterator<Item = &'k str>) {
        for key in keys {
            self.get(key);
        }
    }

    /// The keys that nobody has asked for, with the values that they have.
    pub(crate) fn unasked(&self) -> Vec<(String, &Value)> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.value.as_object().into_iter().flatten();
        let named = keys.map(|(key, value)| (format!("{}{key}", self.place), value));
        named.filter(|(name, _)| !asked.contains(name)).collect()
    }

    /// The same object with these keys instead of its own of these names.
    pub(crate) fn with(&self, keys: &Json) -> Json {
        let mut value = self.value.clone();
        if let (Some(own), Some(other)) = (value.as_object_mut(), keys.value.as_object()) {
            own.extend(other.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        Json { path: self.path.clone(), value, place: self.place.clone(), asked: self.asked.clone() }
    }

    /// An error about this file.
    pub(crate) fn error(&self, problem: impl Into<String>) -> ModelError {
        ModelError::Config { path: self.path.clone(), problem: problem.into() }
    }

    fn wrong_type(&self, key: &str, expected: &str) -> ModelError {
        let found = self.get(key).map_or_else(|| "nothing".to_owned(), shortened);
        self.error(format!("`{key}` is {found}, expected {expected}"))
    }

    /// A positive whole number that must be there. Sizes of models stay far below 2^31.
    pub(crate) fn size(&self, key: &str) -> Result<usize> {
        let number = self.get(key).and_then(Value::as_u64).filter(|n| (1..=1 << 31).contains(n));
        number.map(|n| n as usize).ok_or_else(|| self.wrong_type(key, "a whole number from 1 to 2^31"))
    }

    /// [`Json::size`], or `default` where the key is absent.
    pub(crate) fn size_or(&self, key: &str, default: usize) -> Result<usize> {
        if self.get(key).is_some() { self.size(key) } else { Ok(default) }
    }

    /// The id of a token, or `None` where the key is absent. Some files have -1 for none.
    pub(crate) fn token_id(&self, key: &str) -> Result<Option<u32>> {
        let Some(value) = self.get(key).filter(|value| value.as_i64() != Some(-1)) else { return Ok(None) };
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.map(Some).ok_or_else(|| self.wrong_type(key, "a token id"))
    }

    /// [`Json::size`], or `None` where the key is absent.
    pub(crate) fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        self.get(key).map(|_| self.size(key)).transpose()
    }

    /// A finite number, or `default` where the key is absent.
    pub(crate) fn number_or(&self, key: &str, default: f64) -> Result<f64> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => {
                let number = value.as_f64().filter(|n| n.is_finite());
                number.ok_or_else(|| self.wrong_type(key, "a number"))
            }
        }
    }

    /// The epsilon of a norm: a number above 0 and at most 1.
    pub(crate) fn epsilon_or(&self, key: &str, default: f64) -> Result<f32> {
        let eps = self.number_or(key, default)?;
        if eps > 0.0 && eps <= 1.0 {
            Ok(eps as f32)
        } else {
            Err(self.wrong_type(key, "a number above 0, at most 1"))
        }
    }

    /// A flag, or `default` where the key is absent.
    pub(crate) fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong_type(key, "true or false")),
        }
    }

    /// A flag, or `None` where the key is absent.
    pub(crate) fn optional_flag(&self, key: &str) -> Result<Option<bool>> {
        self.get(key).map(|_| self.flag_or(key, false)).transpose()
    }

    /// A string, or `None` where the key is absent.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong_type(key, "a string")),
        }
    }

    /// A list, or `None` where the key is absent.
    pub(crate) fn list(&self, key: &str) -> Result<Option<&[Value]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(_) => Err(self.wrong_type(key, "a list")),
        }
    }

    /// The object under a key, as a [`Json`] of its own, or `None` where the key is absent.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Json>> {
        match self.get(key) {
            None => Ok(None),
            Some(value @ Value::Object(_)) => {
                let place = format!("{}{key}.", self.place);
                let (path, asked) = (self.path.clone(), self.asked.clone());
                Ok(Some(Json { path, value: value.clone(), place, asked }))
            }
            Some(_) => Err(self.wrong_type(key, "an object")),
        }
    }

    /// An error about a name in this file that taskvec does not know.
    pub(crate) fn unsupported(
        &self,
        what: &'static str,
        found: impl Into<String>,
        supported: impl Into<String>,
    ) -> ModelError {
        ModelError::Unsupported {
            path: self.path.clone(),
            what,
            found: found.into(),
            supported: supported.into(),
        }
    }
}

/// The text with quotes around each NaN, Infinity and -Infinity that stands outside of strings; `None`: there is none.
fn quoted_constants(text: &[u8]) -> Option<Vec<u8>> {
    const CONSTANTS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut quoted = Vec::with_capacity(text.len() + 16);
    let (mut at, mut in_string, mut found) = (0, false, false);
    while let Some(&byte) = text.get(at) {
        let rest = &text[at..];
        let constant = CONSTANTS.into_iter().find(|constant| !in_string && rest.starts_with(constant));
        let taken = match (constant, byte) {
            (Some(constant), _) => {
                found = true;
                quoted.push(b'"');
                quoted.extend_from_slice(constant);
                quoted.push(b'"');
                at += constant.len();
                continue;
            }
            (None, b'\\') if in_string => 2,
            (None, b'"') => {
                in_string = !in_string;
                1
            }
            (None, _) => 1,
        };
        quoted.extend_from_slice(&rest[..taken.min(rest.len())]);
        at += taken;
    }
    found.then_some(quoted)
}

/// A JSON value for a message, cut where it gets long.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Json> {
        Json::parse("config.json".into(), text.as_bytes())
    }

    #[test]
    fn numbers_that_json_has_no_words_for_are_no_numbers_but_no_obstacle() {
        let json =
            parsed(r#"{"a": NaN, "b": [-Infinity, Infinity], "c": "NaN \" Infinity", "d": 2}"#).unwrap();
        assert_eq!(json.size("d").unwrap(), 2);
        assert_eq!(json.text("c").unwrap(), Some("NaN \" Infinity"));
        let error = json.number_or("a", 1.0).unwrap_err().to_string();
        assert!(error.contains("`a` is \"NaN\", expected a number"), "{error}");
        assert!(parsed(r#"{"a": Nan}"#).is_err());
        assert!(parsed(r#"{"a": 1"#).is_err());
    }

    #[test]
    fn what_nobody_asked_for_is_remembered() {
        let json = parsed(r#"{"a": 1, "b": {"c": 1, "d": 2}, "e": null, "f": 0}"#).unwrap();
        let inner = json.object("b").unwrap().unwrap();
        assert!(json.get("a").is_some() && json.get("e").is_none() && inner.get("c").is_some());
        let names = |json: &Json| json.unasked().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!((names(&json), names(&inner)), (vec!["f".to_owned()], vec!["b.d".to_owned()]));
    }
}
