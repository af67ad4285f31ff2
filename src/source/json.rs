//! JSON files of a model, read with errors that name the file, the key, what was found and what was expected.

use crate::error::{ModelError, ModelResult as Result};
use serde_json::Value;
use std::path::PathBuf;

/// A JSON object with the path it came from, for messages that say where a value is wrong.
pub(crate) struct Json {
    pub(crate) path: PathBuf,
    pub(crate) value: Value,
}

impl Json {
    /// An object without keys, in place of a file that need not be there.
    pub(crate) fn empty(path: PathBuf) -> Json {
        Json { path, value: Value::Object(serde_json::Map::new()) }
    }

    /// The value of a key; `null` counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.value.get(key).filter(|value| !value.is_null())
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
                Ok(Some(Json { path: self.path.clone(), value: value.clone() }))
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

/// A JSON value for a message, cut where it gets long.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
