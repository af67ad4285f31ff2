//! Models of the Hugging Face Hub: downloaded once into the Hub's own cache, shared with its other
//! clients.
//!
//! The environment is that of the Hub's own client: `HF_HUB_CACHE` or `HF_HOME` says where the cache is, `HF_ENDPOINT`
//! where the Hub is, `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN` or the file `HF_TOKEN_PATH` (or the token that `hf auth login`
//! stored) who is asking, and `HF_HUB_OFFLINE` that nothing may be downloaded. What is in the cache is used as it is;
//! nothing is looked up again.

use super::environment;
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
    /// Reads `org/name` or `org/name@revision`, or the address of a model's page; `None` for anything else, such as a
    /// path.
    pub fn parse(text: &str) -> Option<HubModel> {
        if let Some(page) = page(text) {
            let mut parts = page.trim_end_matches('/').splitn(4, '/');
            let (org, name) = (parts.next()?, parts.next()?);
            let revision = match (parts.next(), parts.next()) {
                (None, _) => "main",
                (Some("tree" | "blob" | "resolve"), Some(revision)) => revision.split('/').next()?,
                _ => return None,
            };
            return HubModel::parse(&format!("{org}/{name}@{revision}"));
        }
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

    /// Keeps the model in this folder, laid out as the Hub's own cache. Default: `HF_HUB_CACHE`, else the folder `hub`
    /// in `HF_HOME`, else in `~/.cache/huggingface`.
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> HubModel {
        self.cache = Some(folder.into());
        self
    }

    fn cache_folder(&self) -> Cache {
        Cache::new(self.cache.clone().unwrap_or_else(environment::cache))
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
        snapshot.is_dir().then_some(())?;
        missing(&snapshot).is_none().then_some(snapshot)
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
        if environment::is_offline() {
            return Err(HubError::Offline { model: self.id.clone() });
        }
        let api = ApiBuilder::from_env()
            .with_retries(3)
            .with_progress(false)
            .with_cache_dir(self.cache_folder().path().clone())
            .with_token(environment::token())
            .build()
            .map_err(|e| self.failed(e))?;
        let repo = api.repo(self.repo());
        let listing = self.listing(&repo)?;
        let mut folder = None;
        for (file, size) in settings_in(&listing, "") {
            let path = self.download(&repo, file, *size, report)?;
            folder = path.parent().map(Path::to_owned);
        }
        let folder = folder.ok_or_else(|| self.answer("there are no files of a model in it"))?;
        // What stands in these files says which others are needed.
        let modules = folders(&listing, &folder);
        for module in modules.iter().filter(|module| !module.is_empty()) {
            for (file, size) in settings_in(&listing, module) {
                self.download(&repo, file, *size, report)?;
            }
        }
        for module in &modules {
            for (file, size) in weights_in(&listing, module, &folder) {
                self.download(&repo, file, *size, report)?;
            }
        }
        match missing(&folder) {
            None => Ok(folder),
            Some(file) => Err(self.answer(format!("it has no {file}, which the model needs"))),
        }
    }

    /// The files of the model and their sizes.
    fn listing(&self, repo: &ApiRepo) -> Result<Vec<Listed>, HubError> {
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

/// A file of the Hub's list, and its size.
type Listed = (String, Option<u64>);

/// The part of an address behind the Hub's own.
fn page(text: &str) -> Option<&str> {
    let endpoint =
        std::env::var("HF_ENDPOINT").ok().map(|endpoint| format!("{}/", endpoint.trim_end_matches('/')));
    let known =
        ["https://huggingface.co/", "http://huggingface.co/", "huggingface.co/", "https://hf.co/", "hf.co/"];
    let own = endpoint.as_deref().and_then(|endpoint| text.strip_prefix(endpoint));
    own.or_else(|| known.iter().find_map(|known| text.strip_prefix(known)))
}

/// The folder of a file, and its name.
fn split(file: &str) -> (&str, &str) {
    file.rsplit_once('/').unwrap_or(("", file))
}

/// The files of a folder that say how the model is made.
fn settings_in<'l>(listing: &'l [Listed], folder: &str) -> Vec<&'l Listed> {
    let is_setting = |name: &str| match name {
        "config.json"
        | "tokenizer.json"
        | "tokenizer_config.json"
        | "special_tokens_map.json"
        | "added_tokens.json"
        | "chat_template.jinja"
        | "modules.json"
        | "config_sentence_transformers.json"
        | "artifact.metadata"
        | "adapter_config.json"
        | "router_config.json"
        | "model.safetensors.index.json"
        | "pytorch_model.bin.index.json" => true,
        name => name.starts_with("sentence_") && name.ends_with("_config.json"),
    };
    listing.iter().filter(|(file, _)| split(file).0 == folder && is_setting(split(file).1)).collect()
}

/// The folders of a model: the root, those that modules.json names, and those beside them that are numbered as modules
/// are or hold adapters. Others hold the same model for other programs.
fn folders(listing: &[Listed], snapshot: &Path) -> Vec<String> {
    let mut folders = vec![String::new()];
    folders.extend(modules(snapshot).into_iter().map(|(_, folder)| folder));
    let numbered = |folder: &str| !folder.contains('/') && folder.starts_with(|c: char| c.is_ascii_digit());
    let others = listing.iter().map(|(file, _)| split(file).0);
    let of_adapters = |folder: &str| folder == "adapters" || folder.starts_with("adapters/");
    folders.extend(others.filter(|folder| numbered(folder) || of_adapters(folder)).map(str::to_owned));
    folders.sort_unstable();
    folders.dedup();
    folders
}

/// The kind and the folder of each module.
fn modules(snapshot: &Path) -> Vec<(String, String)> {
    let modules = json(&snapshot.join("modules.json"));
    let entries = modules.as_ref().and_then(Value::as_array).into_iter().flatten();
    let text =
        |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let folder = |path: String| {
        path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
    };
    let named: Vec<(String, String)> =
        entries.map(|entry| (text(entry, "type"), folder(text(entry, "path")))).collect();
    match &named[..] {
        [(kind, path)] if kind.ends_with("Router") => routes(snapshot, path).unwrap_or(named),
        _ => named,
    }
}

/// The modules behind a Router, the documents' first.
fn routes(snapshot: &Path, folder: &str) -> Option<Vec<(String, String)>> {
    let json = json(&snapshot.join(inside(folder, "router_config.json")))?;
    let route = |name: &str| json.get("structure")?.get(name)?.as_array();
    let modules = route("document")?.iter().chain(route("query")?).filter_map(Value::as_str);
    let kind = |module: &str| json.get("types")?.get(module)?.as_str();
    Some(modules.map(|path| (kind(path).unwrap_or_default().to_owned(), within(folder, path))).collect())
}

/// A folder in a folder; either may be the model's own, which has no name.
fn within(folder: &str, path: &str) -> String {
    if path.is_empty() { folder.to_owned() } else { inside(folder, path) }
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn inside(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The weights of a folder, in the form that is read of those that `has` has: safetensors before PyTorch's own, whole
/// before sharded. An index says what its shards are called.
fn weight_files(folder: &str, snapshot: &Path, has: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let shards = |index: &str| -> Option<Vec<String>> {
        let index = json(&snapshot.join(inside(folder, index)))?;
        let names = index.get("weight_map")?.as_object()?.values().filter_map(Value::as_str);
        let mut names: Vec<String> = names.map(|name| inside(folder, name)).collect();
        names.sort_unstable();
        names.dedup();
        Some(names)
    };
    let [whole, index, pickled, pickled_index] = [
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ];
    // The order of `Weights::open`.
    if has(&inside(folder, whole)) {
        Some(vec![inside(folder, whole)])
    } else if has(&inside(folder, index)) {
        shards(index)
    } else if has(&inside(folder, pickled)) {
        Some(vec![inside(folder, pickled)])
    } else if has(&inside(folder, pickled_index)) {
        shards(pickled_index)
    } else {
        None
    }
}

/// The listed files of a folder's weights.
fn weights_in<'l>(listing: &'l [Listed], folder: &str, snapshot: &Path) -> Vec<&'l Listed> {
    let find = |name: &str| listing.iter().find(|(file, _)| file == name);
    let main = weight_files(folder, snapshot, |name| find(name).is_some()).unwrap_or_default();
    let heads = [
        "sparse_linear.safetensors",
        "colbert_linear.safetensors",
        "sparse_linear.pt",
        "colbert_linear.pt",
        "adapter_model.safetensors",
    ];
    let heads = heads.map(|name| inside(folder, name));
    main.iter().chain(&heads).filter_map(|name| find(name)).collect()
}

/// The first file that a folder lacks of those that opening the model will ask for.
fn missing(folder: &Path) -> Option<String> {
    let has = |name: &str| folder.join(name).is_file();
    let weights = |module: &str| match weight_files(module, folder, has) {
        None => Some(inside(module, "model.safetensors (or pytorch_model.bin)")),
        Some(files) => files.into_iter().find(|file| !has(file)),
    };
    let need = |name: String| (!has(&name)).then_some(name);
    let modules = modules(folder);
    let first = modules.first().map_or("", |(_, path)| path.as_str());
    for (kind, path) in modules.iter().skip(1) {
        let config = || need(inside(path, "config.json"));
        let absent = match kind.rsplit('.').next().unwrap_or_default() {
            kind if kind.ends_with("Pooling") => config(),
            "Dense" | "LayerNorm" => config().or_else(|| weights(path)),
            "SparseStaticEmbedding" | "IDF" => need(inside(path, "tokenizer.json")).or_else(|| weights(path)),
            _ => None,
        };
        if absent.is_some() {
            return absent;
        }
    }
    let config = || if modules.is_empty() { need("config.json".to_owned()) } else { None };
    config().or_else(|| need(inside(first, "tokenizer.json"))).or_else(|| weights(first))
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
    let folders = std::fs::read_dir(environment::cache()).into_iter().flatten().flatten();
    let model = |folder: std::fs::DirEntry| {
        let name = folder.file_name().to_string_lossy().into_owned();
        let id = name.strip_prefix("models--")?.replacen("--", "/", 1);
        let mut snapshots = std::fs::read_dir(folder.path().join("snapshots")).ok()?.flatten();
        snapshots.any(|snapshot| missing(&snapshot.path()).is_none()).then_some(())?;
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
    fn the_address_of_a_page_is_a_name() {
        let parsed = |text: &str| HubModel::parse(text).map(|model| (model.id, model.revision));
        let some = |revision: &str| Some(("BAAI/bge-m3".to_owned(), revision.to_owned()));
        assert_eq!(parsed("https://huggingface.co/BAAI/bge-m3"), some("main"));
        assert_eq!(parsed("https://huggingface.co/BAAI/bge-m3/"), some("main"));
        assert_eq!(parsed("hf.co/BAAI/bge-m3/tree/v2"), some("v2"));
        assert_eq!(parsed("https://huggingface.co/BAAI/bge-m3/blob/main/config.json"), some("main"));
        for other in
            ["https://huggingface.co/BAAI", "https://example.com/BAAI/bge-m3", "https://huggingface.co/a/b/c"]
        {
            assert_eq!(parsed(other), None, "{other}");
        }
    }

    fn listed(files: &[&str]) -> Vec<Listed> {
        files.iter().map(|file| ((*file).to_owned(), None)).collect()
    }

    fn names(files: Vec<&Listed>) -> Vec<&str> {
        files.into_iter().map(|(file, _)| file.as_str()).collect()
    }

    /// Modules in folders of any name, shards of any name, and PyTorch's own files beside another folder's safetensors.
    #[test]
    fn what_a_model_needs_is_what_its_files_name() {
        let listing = listed(&[
            "README.md",
            "config.json",
            "tokenizer.json",
            "special_tokens_map.json",
            "modules.json",
            "onnx/model.onnx",
            "pooling/config.json",
            "dense/config.json",
            "dense/model.safetensors",
            "openvino/config.json",
            "model.fp16.safetensors",
            "sub/dir/config.json",
            "pytorch_model.bin.index.json",
            "part-a.bin",
            "part-b.bin",
            "2_Dense_256/config.json",
            "2_Dense_256/pytorch_model.bin",
            "adapter_config.json",
            "chat_template.jinja",
        ]);
        let snapshot = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = snapshot.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        assert_eq!(
            names(settings_in(&listing, "")),
            [
                "config.json",
                "tokenizer.json",
                "special_tokens_map.json",
                "modules.json",
                "pytorch_model.bin.index.json",
                "adapter_config.json",
                "chat_template.jinja",
            ]
        );
        write(
            "modules.json",
            r#"[{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "./pooling"},
            {"type": "a.Dense", "path": "dense/"}]"#,
        );
        write(
            "pytorch_model.bin.index.json",
            r#"{"weight_map": {"a": "part-a.bin", "b": "part-b.bin", "c": "part-a.bin"}}"#,
        );
        assert_eq!(folders(&listing, snapshot.path()), ["", "2_Dense_256", "dense", "pooling"]);
        let weights = |folder: &str| names(weights_in(&listing, folder, snapshot.path()));
        assert_eq!(weights(""), ["part-a.bin", "part-b.bin"]);
        assert_eq!(weights("dense"), ["dense/model.safetensors"]);
        assert_eq!(weights("2_Dense_256"), ["2_Dense_256/pytorch_model.bin"]);
        for file in [
            "pooling/config.json",
            "dense/config.json",
            "dense/model.safetensors",
            "tokenizer.json",
            "part-a.bin",
            "part-b.bin",
        ] {
            let absent = missing(snapshot.path()).expect("a file that is missing");
            assert_eq!(absent.split(" (or ").next(), Some(file));
            write(file, "");
        }
        assert_eq!(missing(snapshot.path()), None);
    }
}
