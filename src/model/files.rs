//! Where a model's files come from: a folder, or the program itself.

use super::mmap::Bytes;
use crate::error::{Error, Result};
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// No configuration file of a model comes near this size.
const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// The largest tokenizer.json in use (Gemma's) has 33 MB.
const MAX_TOKENIZER_BYTES: u64 = 512 << 20;

/// Gives the files of one model by their path inside its folder.
pub(crate) enum ModelFiles {
    Folder(PathBuf),
    #[cfg_attr(not(feature = "builtin"), allow(dead_code))]
    Embedded {
        name: &'static str,
        files: &'static [(&'static str, &'static [u8])],
    },
}

impl ModelFiles {
    /// The files of a folder, which must exist and hold a `config.json` or a `modules.json`.
    pub(crate) fn in_folder(folder: &Path) -> Result<ModelFiles> {
        let io = |source| Error::Io { path: folder.to_owned(), action: "open the model folder", source };
        // `canonicalize` finds the real names behind `.` and links: the prompt registry reads them.
        let folder = folder.canonicalize().map_err(io)?;
        if !folder.is_dir() {
            let source = std::io::Error::from(std::io::ErrorKind::NotADirectory);
            return Err(Error::Io { path: folder, action: "open the model folder", source });
        }
        Ok(ModelFiles::Folder(folder))
    }

    /// The folder, or a name for the files inside the program.
    pub(crate) fn root(&self) -> PathBuf {
        match self {
            ModelFiles::Folder(folder) => folder.clone(),
            ModelFiles::Embedded { name, .. } => PathBuf::from(format!("<built-in {name}>")),
        }
    }

    /// What the model goes by: the last parts of the folder's path. In the hub's cache the folder is
    /// named by a hash, and the model two folders above it.
    pub(crate) fn model_names(&self) -> Vec<String> {
        if let ModelFiles::Embedded { name, .. } = self {
            return vec![(*name).to_owned()];
        }
        let root = self.root();
        let mut names = root.iter().rev().map(|part| part.to_string_lossy().into_owned());
        let folder = names.next();
        let in_hub_cache = names.next().is_some_and(|parent| parent == "snapshots");
        let hub_name = names.next().filter(|_| in_hub_cache);
        hub_name
            .map(|name| name.replace("models--", "").replace("--", "/"))
            .into_iter()
            .chain(folder)
            .collect()
    }

    /// The full path of a file, for messages.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Whether there is such a file.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            ModelFiles::Folder(folder) => folder.join(name).is_file(),
            ModelFiles::Embedded { files, .. } => files.iter().any(|(file, _)| *file == name),
        }
    }

    /// The bytes of a file that must be there.
    pub(crate) fn bytes(&self, name: &str) -> Result<Bytes> {
        let missing = || Error::MissingFile { folder: self.root(), file: name.to_owned() };
        match self {
            ModelFiles::Folder(_) if !self.has(name) => Err(missing()),
            ModelFiles::Folder(folder) => Bytes::map(&folder.join(name)),
            ModelFiles::Embedded { files, .. } => {
                let found = files.iter().find(|(file, _)| *file == name);
                found.map(|(_, bytes)| Bytes::Static(bytes)).ok_or_else(missing)
            }
        }
    }

    /// A JSON file that may be absent.
    pub(crate) fn optional_json(&self, name: &str) -> Result<Option<Json>> {
        if self.has(name) { self.json(name).map(Some) } else { Ok(None) }
    }

    /// The bytes of tokenizer.json, which may be large.
    pub(crate) fn tokenizer_json(&self, name: &str) -> Result<Bytes> {
        self.bytes_up_to(name, MAX_TOKENIZER_BYTES)
    }

    fn bytes_up_to(&self, name: &str, limit: u64) -> Result<Bytes> {
        let bytes = self.bytes(name)?;
        if bytes.len() as u64 > limit {
            return Err(Error::FileTooLarge { path: self.path(name), bytes: bytes.len() as u64, limit });
        }
        Ok(bytes)
    }

    /// A JSON file that must be there.
    pub(crate) fn json(&self, name: &str) -> Result<Json> {
        let path = self.path(name);
        let bytes = self.bytes_up_to(name, MAX_CONFIG_BYTES)?;
        let value = serde_json::from_slice(&bytes)
            .map_err(|e| Error::Config { path: path.clone(), problem: format!("not valid JSON: {e}") })?;
        Ok(Json { path, value })
    }

    /// Joins the path of a module and a file name, as a model's own files give them: both must
    /// lie inside the model folder.
    pub(crate) fn join(&self, module: &str, file: &str) -> Result<String> {
        for path in [module, file] {
            let inside = Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
            if !inside || path.contains('\\') {
                let problem = format!("the path `{path}` does not lie inside the model folder");
                return Err(Error::Config { path: self.root(), problem });
            }
        }
        let module = module.trim_end_matches('/');
        Ok(if module.is_empty() { file.to_owned() } else { format!("{module}/{file}") })
    }
}

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
    pub(crate) fn error(&self, problem: impl Into<String>) -> Error {
        Error::Config { path: self.path.clone(), problem: problem.into() }
    }

    fn wrong_type(&self, key: &str, expected: &str) -> Error {
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
    ) -> Error {
        Error::Unsupported { path: self.path.clone(), what, found: found.into(), supported: supported.into() }
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
