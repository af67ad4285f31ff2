//! Models of the Hugging Face Hub: downloaded once into the Hub's own cache, shared with its other
//! clients.
//!
//! `HF_HOME` says where the cache is, `HF_ENDPOINT` where the Hub is, `HF_TOKEN` (or the token that
//! `huggingface-cli login` stored) who is asking, and `HF_HUB_OFFLINE` that nothing may be downloaded.
//! What is in the cache is used as it is; nothing is looked up again.

use crate::error::{HubError, Source};
use hf_hub::api::Progress;
use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// A model on the Hub: `org/name`, or `org/name@revision` with a branch, tag or commit.
///
/// ```
/// use taskvec::HubModel;
///
/// let model: HubModel = "intfloat/e5-small-v2@main".parse().unwrap();
/// assert_eq!((model.id.as_str(), model.revision.as_str()), ("intfloat/e5-small-v2", "main"));
/// let model = model.cache("models"); // instead of the folder that the Hub's other clients use
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct HubModel {
    /// `org/name`
    pub id: String,
    /// A branch, tag or commit; `main` where none is given.
    pub revision: String,
    /// The cache's folder, where it is not the one of the environment.
    cache: Option<PathBuf>,
}

impl std::str::FromStr for HubModel {
    type Err = HubError;

    /// [`HubModel::parse`], with an error.
    fn from_str(text: &str) -> Result<HubModel, HubError> {
        HubModel::parse(text).ok_or_else(|| HubError::Name { found: text.to_owned() })
    }
}

impl HubModel {
    /// Reads `org/name` or `org/name@revision`; `None` for anything else, such as a path.
    pub fn parse(text: &str) -> Option<HubModel> {
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (org, name) = id.split_once('/')?;
        let is_part = |part: &str| {
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
                && part.chars().any(|c| c != '.')
        };
        let is_revision = !revision.is_empty() && revision.split('/').all(is_part);
        (is_part(org) && is_part(name) && is_revision).then(|| HubModel {
            id: id.to_owned(),
            revision: revision.to_owned(),
            cache: None,
        })
    }

    /// Keeps the model in this folder, laid out as the Hub's own cache. Default: `HF_HOME`, else
    /// `~/.cache/huggingface`, and there the folder `hub`.
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> HubModel {
        self.cache = Some(folder.into());
        self
    }

    fn cache_folder(&self) -> Cache {
        self.cache.clone().map_or_else(Cache::from_env, Cache::new)
    }

    fn repo(&self) -> Repo {
        Repo::with_revision(self.id.clone(), RepoType::Model, self.revision.clone())
    }

    /// What the Hub sent is not what was expected.
    fn answer(&self, problem: impl Into<String>) -> HubError {
        HubError::Answer { model: self.id.clone(), problem: problem.into() }
    }

    fn failed(&self, source: impl Into<Source>) -> HubError {
        HubError::Download { model: self.id.clone(), source: source.into() }
    }

    /// The model's folder in the cache, if everything that is needed is there.
    pub fn cached(&self) -> Option<PathBuf> {
        let folder = self.cache_folder().path().join(self.repo().folder_name());
        let commit = std::fs::read_to_string(folder.join("refs").join(&self.revision));
        let commit = commit.map_or_else(|_| self.revision.clone(), |commit| commit.trim().to_owned());
        let snapshot = folder.join("snapshots").join(commit);
        is_complete(&snapshot).then_some(snapshot)
    }

    /// The model's folder: from the cache, or downloaded now. Only the files that are needed are.
    /// `report` hears of each file's progress.
    ///
    /// # Errors
    /// If it is not in the cache and cannot be downloaded: no such model, no permission, no connection,
    /// no room on the disk, or `HF_HUB_OFFLINE` forbids it. What was downloaded before stays, and a
    /// later call goes on from there.
    pub fn fetch(&self, report: &mut dyn FnMut(Download<'_>)) -> Result<PathBuf, HubError> {
        if let Some(folder) = self.cached() {
            return Ok(folder);
        }
        if std::env::var_os("HF_HUB_OFFLINE").is_some_and(|value| !value.is_empty() && value != "0") {
            return Err(HubError::Offline { model: self.id.clone() });
        }
        let token = std::env::var("HF_TOKEN").ok().filter(|token| !token.is_empty());
        let mut builder = ApiBuilder::from_env().with_retries(3).with_progress(false);
        if let Some(folder) = &self.cache {
            builder = builder.with_cache_dir(folder.clone());
        }
        if token.is_some() {
            builder = builder.with_token(token);
        }
        let api = builder.build().map_err(|e| self.failed(e))?;
        let repo = api.repo(self.repo());
        let listing = self.listing(&repo)?;
        let mut folder = None;
        for (file, size) in needed(&listing) {
            let path = self.download(&repo, file, *size, report)?;
            let depth = Path::new(file).components().count();
            folder = path.ancestors().nth(depth).map(Path::to_owned);
        }
        let folder = folder.ok_or_else(|| self.answer("there are no files of a model in it"))?;
        if is_complete(&folder) {
            return Ok(folder);
        }
        Err(self.answer(format!(
            "{} is downloaded, but some of what a model needs is not there: config.json, tokenizer.json and model.safetensors (or pytorch_model.bin), or what modules.json names",
            folder.display()
        )))
    }

    /// The files of the model and their sizes.
    fn listing(&self, repo: &ApiRepo) -> Result<Vec<(String, Option<u64>)>, HubError> {
        let response = repo.info_request().query("blobs", "true").call();
        let response = response.map_err(|e| self.explain(ApiError::from(Box::new(e))))?;
        let json: Value = response.into_json().map_err(|e| self.failed(e))?;
        let files = json.get("siblings").and_then(Value::as_array);
        let files = files.ok_or_else(|| self.answer("the Hub gave no list of its files"))?;
        let entry = |file: &Value| {
            let name = file.get("rfilename")?.as_str()?;
            let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
            inside.then(|| (name.to_owned(), file.get("size").and_then(Value::as_u64)))
        };
        Ok(files.iter().filter_map(entry).collect())
    }

    /// Downloads a file unless it is in the cache, and checks its size.
    fn download(
        &self,
        repo: &ApiRepo,
        file: &str,
        size: Option<u64>,
        report: &mut dyn FnMut(Download<'_>),
    ) -> Result<PathBuf, HubError> {
        let cached = self.cache_folder().repo(self.repo()).get(file);
        let right = |path: &Path| {
            let found = std::fs::metadata(path).map(|metadata| metadata.len());
            found.is_ok_and(|found| size.is_none_or(|size| size == found))
        };
        if let Some(path) = cached.filter(|path| right(path)) {
            return Ok(path);
        }
        let mut progress = Reporter { file, done: 0, total: size.unwrap_or(0), report };
        let path = match repo.download_with_progress(file, &mut progress) {
            // Another process is at it: it takes as long as it takes.
            Err(ApiError::LockAcquisition(_)) => self.wait_for(repo, file, &mut progress)?,
            result => result.map_err(|e| self.explain(e))?,
        };
        if right(&path) {
            return Ok(path);
        }
        let found = std::fs::metadata(&path).map(|metadata| metadata.len()).unwrap_or(0);
        // Neither the file nor the link to it may pass for the real one next time.
        if let Ok(blob) = path.canonicalize() {
            let _ = std::fs::remove_file(blob);
        }
        let _ = std::fs::remove_file(&path);
        Err(self.answer(format!(
            "{file} came with {found} bytes, the Hub lists it with {}; try again",
            size.unwrap_or(0)
        )))
    }

    /// Waits for another process's download, as long as that grows.
    fn wait_for(&self, repo: &ApiRepo, file: &str, progress: &mut Reporter<'_>) -> Result<PathBuf, HubError> {
        const TRIES: usize = 600;
        for _ in 0..TRIES {
            if let Some(path) = self.cache_folder().repo(self.repo()).get(file) {
                return Ok(path);
            }
            match repo.download_with_progress(file, &mut *progress) {
                Err(ApiError::LockAcquisition(_)) => {} // it has waited some seconds
                result => return result.map_err(|e| self.explain(e)),
            }
        }
        Err(self.answer(format!("another process has been downloading {file} for too long")))
    }

    /// What a failure of the Hub's client means.
    fn explain(&self, error: ApiError) -> HubError {
        let model = self.id.clone();
        match status(&error) {
            Some(404) => HubError::NotFound { model, revision: self.revision.clone(), source: error.into() },
            Some(401 | 403) => HubError::Refused { model, source: error.into() },
            _ if is_full_disk(&error) => HubError::DiskFull { model, source: error.into() },
            _ => HubError::Download { model, source: error.into() },
        }
    }
}

/// The HTTP status that the Hub answered with, if it answered.
fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(request) => match &**request {
            ureq::Error::Status(status, _) => Some(*status),
            ureq::Error::Transport(_) => None,
        },
        ApiError::TooManyRetries(last) => status(last),
        _ => None,
    }
}

/// Whether the system had no room for a file, wherever in the chain it said so.
fn is_full_disk(error: &ApiError) -> bool {
    if let ApiError::TooManyRetries(last) = error {
        return is_full_disk(last);
    }
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull) {
            return true;
        }
        next = error.source();
    }
    false
}

/// The progress of one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Download<'a> {
    /// The file's name in the model.
    pub file: &'a str,
    /// Bytes that are there.
    pub done: u64,
    /// Bytes of the whole file; 0 if unknown.
    pub total: u64,
}

struct Reporter<'a> {
    file: &'a str,
    done: u64,
    total: u64,
    report: &'a mut dyn FnMut(Download<'_>),
}

impl Progress for &mut Reporter<'_> {
    fn init(&mut self, size: usize, _: &str) {
        (self.done, self.total) = (0, size as u64);
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        let Reporter { file, done, total, .. } = **self;
        (self.report)(Download { file, done, total });
    }

    fn finish(&mut self) {}
}

/// Of a model's files those that are needed: configuration first, weights last.
fn needed(listing: &[(String, Option<u64>)]) -> Vec<&(String, Option<u64>)> {
    let safe = listing
        .iter()
        .any(|(file, _)| file.ends_with("model.safetensors") || file.ends_with(".safetensors.index.json"));
    let kind = |file: &str| {
        let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
        // Folders of modules are numbered; the others hold the same model for other programs.
        if folder.contains('/') || !(folder.is_empty() || folder.starts_with(|c: char| c.is_ascii_digit())) {
            return None;
        }
        match name {
            "config.json"
            | "tokenizer.json"
            | "tokenizer_config.json"
            | "modules.json"
            | "config_sentence_transformers.json"
            | "artifact.metadata"
            | "model.safetensors.index.json" => Some(0),
            name if name.starts_with("sentence_") && name.ends_with("_config.json") => Some(0),
            "sparse_linear.pt" | "colbert_linear.pt" => Some(1),
            "model.safetensors" => Some(2),
            name if name.starts_with("model-") && name.ends_with(".safetensors") => Some(2),
            "pytorch_model.bin" if !safe || !folder.is_empty() => Some(2),
            _ => None,
        }
    };
    let mut files: Vec<(i32, &(String, Option<u64>))> =
        listing.iter().filter_map(|entry| Some((kind(&entry.0)?, entry))).collect();
    files.sort_by_key(|(kind, _)| *kind);
    files.into_iter().map(|(_, entry)| entry).collect()
}

/// Whether a folder has everything that opening the model will ask for.
fn is_complete(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    let json = |name: &str| -> Option<Value> {
        serde_json::from_slice(&std::fs::read(folder.join(name)).ok()?).ok()
    };
    let modules = json("modules.json");
    let entries = modules.as_ref().and_then(Value::as_array).into_iter().flatten();
    let mut first = "";
    for (place, entry) in entries.enumerate() {
        let path = entry.get("path").and_then(Value::as_str).unwrap_or_default().trim_matches(['.', '/']);
        let kind = entry.get("type").and_then(Value::as_str).unwrap_or_default();
        let weights =
            || ["model.safetensors", "pytorch_model.bin"].iter().any(|file| has(&format!("{path}/{file}")));
        let there = match kind {
            _ if place == 0 => true,
            kind if kind.ends_with("Pooling") => has(&format!("{path}/config.json")),
            kind if kind.ends_with("Dense") => has(&format!("{path}/config.json")) && weights(),
            _ => true,
        };
        if !there {
            return false;
        }
        if place == 0 {
            first = path;
        }
    }
    let inside = |name: &str| if first.is_empty() { name.to_owned() } else { format!("{first}/{name}") };
    let shards = json(&inside("model.safetensors.index.json"));
    let shards = shards.as_ref().and_then(|index| index.get("weight_map")?.as_object());
    let weights = has(&inside("model.safetensors"))
        || has(&inside("pytorch_model.bin"))
        || shards.is_some_and(|map| {
            map.values().all(|shard| shard.as_str().is_some_and(|shard| has(&inside(shard))))
        });
    weights && has(&inside("tokenizer.json")) && (modules.is_some() || has("config.json"))
}

/// A model in the cache.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CachedModel {
    /// `org/name`
    pub id: String,
    /// Bytes of its files.
    pub bytes: u64,
}

/// The models in the Hub's cache that can be opened, by name.
pub fn cached_models() -> Vec<CachedModel> {
    let folders = std::fs::read_dir(Cache::from_env().path()).into_iter().flatten().flatten();
    let model = |folder: std::fs::DirEntry| {
        let name = folder.file_name().to_string_lossy().into_owned();
        let id = name.strip_prefix("models--")?.replacen("--", "/", 1);
        let mut snapshots = std::fs::read_dir(folder.path().join("snapshots")).ok()?.flatten();
        snapshots.any(|snapshot| is_complete(&snapshot.path())).then_some(())?;
        let blobs = std::fs::read_dir(folder.path().join("blobs")).into_iter().flatten().flatten();
        let bytes = blobs.filter_map(|blob| blob.metadata().ok()).map(|metadata| metadata.len()).sum();
        Some(CachedModel { id, bytes })
    };
    let mut models: Vec<CachedModel> = folders.filter_map(model).collect();
    models.sort_by(|a, b| a.id.cmp(&b.id));
    models
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        let parsed = |text: &str| HubModel::parse(text).map(|model| (model.id, model.revision));
        let some = |id: &str, revision: &str| Some((id.to_owned(), revision.to_owned()));
        assert_eq!(parsed("BAAI/bge-m3"), some("BAAI/bge-m3", "main"));
        assert_eq!(parsed("a/b@refs/pr/1"), some("a/b", "refs/pr/1"));
        for path in ["bge-m3", "./a/b", "/a/b", "a/b/c", "../b", "a/..", "a/b@", "a/b@../x", "a b/c", ""] {
            assert_eq!(parsed(path), None, "{path}");
        }
    }

    #[test]
    fn only_what_a_model_needs_is_downloaded() {
        let files = [
            "README.md",
            "config.json",
            "tokenizer.json",
            "model.safetensors",
            "pytorch_model.bin",
            "modules.json",
            "onnx/model.onnx",
            "1_Pooling/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/config.json",
            "openvino/config.json",
            "model.fp16.safetensors",
            "sentence_bert_config.json",
            "sub/dir/config.json",
        ];
        let listing: Vec<(String, Option<u64>)> =
            files.iter().map(|file| ((*file).to_owned(), None)).collect();
        let needed: Vec<&str> = needed(&listing).into_iter().map(|(file, _)| file.as_str()).collect();
        assert_eq!(
            needed,
            [
                "config.json",
                "tokenizer.json",
                "modules.json",
                "1_Pooling/config.json",
                "2_Dense/config.json",
                "sentence_bert_config.json",
                "model.safetensors",
                "2_Dense/model.safetensors"
            ]
        );
    }
}
