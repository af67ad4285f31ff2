//! Where a model's files come from: a folder, or memory.

use super::json::Json;
use super::mmap::Bytes;
use crate::error::{ModelError, ModelResult as Result};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// No configuration file of a model comes near this size.
const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// The largest tokenizer.json in use (Gemma's) has 33 MB.
const MAX_TOKENIZER_BYTES: u64 = 512 << 20;

/// The files of one model, by their paths inside its folder: `config.json`, `1_Pooling/config.json`.
///
/// ```
/// use taskvec::ModelFiles;
///
/// let files = ModelFiles::in_memory("my-org/my-model", [
///     ("config.json", b"{}".to_vec()), // fetched, decrypted, unpacked, …
///     ("tokenizer.json", b"{}".to_vec()),
/// ]);
/// assert_eq!(files.names().collect::<Vec<_>>(), ["config.json", "tokenizer.json"]);
/// ```
#[derive(Clone)]
pub struct ModelFiles(Origin);

#[derive(Clone)]
enum Origin {
    Folder {
        path: PathBuf,
        /// What the folder was called by whoever opened it, which may be a link.
        given: Option<String>,
    },
    Memory {
        name: String,
        files: Arc<BTreeMap<String, Bytes>>,
    },
}

impl std::fmt::Debug for ModelFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ModelFiles").field(&self.root()).finish()
    }
}

impl ModelFiles {
    /// The files of a folder. They are mapped into memory when they are needed.
    ///
    /// # Errors
    /// If there is no such folder.
    pub fn in_folder(folder: impl AsRef<Path>) -> Result<ModelFiles> {
        let folder = folder.as_ref();
        let io = |source| ModelError::Io { path: folder.to_owned(), action: "open the model folder", source };
        // `canonicalize` finds the real names behind `.` and links: the prompt registry reads both.
        let given = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let folder = folder.canonicalize().map_err(io)?;
        if !folder.is_dir() {
            let source = std::io::Error::from(std::io::ErrorKind::NotADirectory);
            return Err(ModelError::Io { path: folder, action: "open the model folder", source });
        }
        Ok(ModelFiles(Origin::Folder { path: folder, given }))
    }

    /// Files that are in memory already. `name` is what the model goes by: the prompt registry looks for it, so
    /// `org/name` as on the Hugging Face Hub is best.
    pub fn in_memory<N: Into<String>, B: Into<Bytes>>(
        name: impl Into<String>,
        files: impl IntoIterator<Item = (N, B)>,
    ) -> ModelFiles {
        let files = files.into_iter().map(|(name, bytes)| (name.into(), bytes.into())).collect();
        ModelFiles(Origin::Memory { name: name.into(), files: Arc::new(files) })
    }

    /// The paths of files in memory, sorted; those of a folder are not listed.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let files = match &self.0 {
            Origin::Folder { .. } => None,
            Origin::Memory { files, .. } => Some(files),
        };
        files.into_iter().flat_map(|files| files.keys().map(String::as_str))
    }

    /// The folder, or a name for files in memory.
    pub(crate) fn root(&self) -> PathBuf {
        match &self.0 {
            Origin::Folder { path, .. } => path.clone(),
            Origin::Memory { name, .. } => PathBuf::from(format!("<{name} in memory>")),
        }
    }

    /// What the model goes by: the folder's name, and that of the folder behind it if it is a link. In the hub's cache
    /// the folder is named by a hash, which is no name, and the model two folders above it.
    pub(crate) fn model_names(&self) -> Vec<String> {
        let given = match &self.0 {
            Origin::Memory { name, .. } => return vec![name.clone()],
            Origin::Folder { given, .. } => given.clone(),
        };
        let root = self.root();
        let mut names = root.iter().rev().map(|part| part.to_string_lossy().into_owned());
        let folder = names.next();
        let in_snapshots = names.next().is_some_and(|parent| parent == "snapshots");
        let hub_name = names.next().filter(|_| in_snapshots);
        let hub_name = hub_name.and_then(|name| Some(name.strip_prefix("models--")?.replace("--", "/")));
        let own = if hub_name.is_some() { None } else { folder.clone() };
        hub_name.into_iter().chain(given.filter(|given| Some(given) != folder.as_ref())).chain(own).collect()
    }

    /// The names of the folders inside the model's folder, sorted.
    pub(crate) fn folders(&self) -> Vec<String> {
        let mut folders: Vec<String> = match &self.0 {
            Origin::Folder { path, .. } => {
                let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
                let folders = entries.filter(|entry| entry.path().is_dir());
                folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
            }
            Origin::Memory { files, .. } => {
                files.keys().filter_map(|file| Some(file.split_once('/')?.0.to_owned())).collect()
            }
        };
        folders.sort_unstable();
        folders.dedup();
        folders
    }

    /// The full path of a file, for messages.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Whether there is such a file.
    pub(crate) fn has(&self, name: &str) -> bool {
        match &self.0 {
            Origin::Folder { path, .. } => path.join(name).is_file(),
            Origin::Memory { files, .. } => files.contains_key(name),
        }
    }

    /// The bytes of a file that must be there.
    pub(crate) fn bytes(&self, name: &str) -> Result<Bytes> {
        let missing = || ModelError::MissingFile { folder: self.root(), file: name.to_owned() };
        let bytes = match &self.0 {
            Origin::Folder { .. } if !self.has(name) => Err(missing()),
            Origin::Folder { path, .. } => Bytes::map(&path.join(name)),
            Origin::Memory { files, .. } => files.get(name).cloned().ok_or_else(missing),
        }?;
        match bytes.starts_with(b"version https://git-lfs.github.com/spec") {
            true => Err(ModelError::LfsPointer { path: self.path(name) }),
            false => Ok(bytes),
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
            return Err(ModelError::FileTooLarge { path: self.path(name), bytes: bytes.len() as u64, limit });
        }
        Ok(bytes)
    }

    /// A file of text that must be there.
    pub(crate) fn text(&self, name: &str) -> Result<String> {
        let bytes = self.bytes_up_to(name, MAX_CONFIG_BYTES)?;
        String::from_utf8(bytes.to_vec()).map_err(|e| ModelError::Config {
            path: self.path(name),
            problem: format!("not valid UTF-8: {e}"),
        })
    }

    /// A JSON file that may be absent, as one without keys then.
    pub(crate) fn json_or_empty(&self, name: &str) -> Result<Json> {
        Ok(self.optional_json(name)?.unwrap_or_else(|| Json::empty(self.path(name))))
    }

    /// A JSON file that must be there.
    pub(crate) fn json(&self, name: &str) -> Result<Json> {
        let path = self.path(name);
        let bytes = self.bytes_up_to(name, MAX_CONFIG_BYTES)?;
        Json::parse(path, &bytes)
    }

    /// Joins the path of a module and a file name, as a model's own files give them: both must
    /// lie inside the model folder.
    pub(crate) fn join(&self, module: &str, file: &str) -> Result<String> {
        for path in [module, file] {
            let inside = Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
            if !inside || path.contains('\\') {
                let problem = format!("the path `{path}` does not lie inside the model folder");
                return Err(ModelError::Config { path: self.root(), problem });
            }
        }
        let module = module.trim_end_matches('/');
        Ok(if module.is_empty() { file.to_owned() } else { format!("{module}/{file}") })
    }
}
