//! Options before opening a model, the same for embedders and rerankers.

use super::open_model::OpenModel;
use crate::device::Device;
use crate::error::Result;
#[cfg(not(target_arch = "wasm32"))]
use crate::error::{Error, HubError};
use crate::options::ModelOptions;
use crate::precision::Precision;
use crate::source::ModelFiles;
use std::marker::PhantomData;
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;
use std::path::PathBuf;

/// Options before opening a model: [`Embedder::builder`](crate::Embedder::builder),
/// [`Reranker::builder`](crate::Reranker::builder).
///
/// ```no_run
/// use taskvec::{Device, Embedder, Precision};
///
/// # fn main() -> taskvec::Result<()> {
/// let embedder =
///     Embedder::builder().device(Device::Cpu).precision(Precision::Bf16).threads(4).open("path/to/model")?;
/// # Ok(())
/// # }
/// ```
pub struct Builder<M> {
    options: ModelOptions,
    opens: PhantomData<fn() -> M>,
}

impl<M> Default for Builder<M> {
    fn default() -> Builder<M> {
        Builder { options: ModelOptions::default(), opens: PhantomData }
    }
}

impl<M> Clone for Builder<M> {
    fn clone(&self) -> Builder<M> {
        Builder { options: self.options.clone(), opens: PhantomData }
    }
}

impl<M> std::fmt::Debug for Builder<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Builder").field(&self.options).finish()
    }
}

impl<M> Builder<M> {
    /// Where to compute. Default: [`Device::Auto`].
    pub fn device(mut self, device: Device) -> Self {
        self.options.device = device;
        self
    }

    /// CPU threads, for tokenisation too. Default: as many as the process may use, or as many as there are
    /// [`cores`](Self::cores).
    pub fn threads(mut self, threads: usize) -> Self {
        self.options.threads = Some(threads);
        self
    }

    /// The cores that the CPU threads stay on, one each, by the system's numbers from 0. Default: the system
    /// moves them.
    ///
    /// For a process that has these cores to itself, or to keep models apart. After a pause a system may
    /// wake two threads on one core, and takes milliseconds to see that another is free: on a virtual
    /// machine of two cores, a text of 16 tokens after a pause of 2 ms took 2.3 ms without and 1.8 ms
    /// with cores of their own (f32; 1.45 and 1.07 in bf16). Two processes on the same cores wait for each
    /// other.
    pub fn cores(mut self, cores: impl IntoIterator<Item = usize>) -> Self {
        self.options.cores = Some(cores.into_iter().collect());
        self
    }

    /// The most tokens a text may have, special tokens and prompt included: fewer than the model's
    /// authors set, or more if its positions reach. Default: theirs.
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.options.max_tokens = Some(tokens);
        self
    }

    /// Tokens that are computed together. More use the device better and take more memory; results
    /// do not depend on it. Default: chosen for the device.
    pub fn batch_tokens(mut self, tokens: usize) -> Self {
        self.options.batch_tokens = Some(tokens);
        self
    }

    /// The CPU's instruction set: one of [`instruction_sets`](crate::instruction_sets), such as `avx2-vnni`,
    /// `avx512-bf16`, `neon-dotprod` or `portable`. Default: the fastest it has.
    pub fn instruction_set(mut self, name: impl Into<String>) -> Self {
        self.options.instruction_set = Some(name.into());
        self
    }

    /// The precision of weights and matrix products. Default: [`Precision::F32`], the reference's vector.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.options.precision = precision;
        self
    }

    /// Chooses the projection to this size, for models that have several in folders of their own
    /// (stella's `2_Dense_256` to `2_Dense_8192`); for any other model this does nothing, and
    /// [`EmbedOptions::dimensions`](crate::EmbedOptions::dimensions) cuts vectors. Default: the model's own choice.
    pub fn dimensions(mut self, dimensions: usize) -> Self {
        self.options.dimensions = Some(dimensions);
        self
    }

    /// A registry file of your own, whose prompts come before the model's and the built-in ones. Its
    /// form is that of the built-in registry, `src/prompt/registry.json`. It is read when the model is opened.
    pub fn registry(mut self, file: impl Into<PathBuf>) -> Self {
        self.options.registry = Some(file.into());
        self
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl<M: OpenModel> Builder<M> {
    /// Opens a model folder, laid out as the Hugging Face Hub and sentence-transformers do; see
    /// [`Embedder::open`](crate::Embedder::open).
    ///
    /// # Errors
    /// As [`Embedder::open`](crate::Embedder::open), or if an option does not fit the model or this machine.
    pub fn open(&self, folder: impl AsRef<Path>) -> Result<M> {
        let folder = folder.as_ref();
        if !folder.exists()
            && let Some(model) = named_on_hub(folder)
        {
            return Err(model);
        }
        self.open_files(&ModelFiles::in_folder(folder)?)
    }

    /// Opens a model whose files are in memory, or wherever [`ModelFiles`] has them from.
    ///
    /// ```no_run
    /// use taskvec::{Embedder, ModelFiles};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let names = ["config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json", "model.safetensors"];
    /// let mut files = Vec::new();
    /// for name in names {
    ///     files.push((name, std::fs::read(format!("path/to/model/{name}"))?)); // or fetched, unpacked, embedded, …
    /// }
    /// let embedder = Embedder::builder().open_files(&ModelFiles::in_memory("my-org/my-model", files))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub fn open_files(&self, files: &ModelFiles) -> Result<M> {
        M::open_now(files, &self.options)
    }

    /// Opens a model of the Hugging Face Hub, `org/name` or `org/name@revision`: from the Hub's cache, or downloaded
    /// into it now. `report` hears of each file's progress. For a cache elsewhere, see
    /// [`HubModel::cache`](crate::HubModel::cache).
    ///
    /// # Errors
    /// As [`Builder::open`]; also if the model cannot be downloaded: [`Error::Hub`].
    #[cfg(feature = "hub")]
    pub fn from_hub(&self, name: &str, report: &mut dyn FnMut(crate::Download<'_>)) -> Result<M> {
        let model: crate::HubModel = name.parse()?;
        self.open(model.fetch(report)?)
    }
}

impl<M: OpenModel> Builder<M> {
    /// [`Builder::open_files`] without a thread that waits: in a browser, where none may.
    ///
    /// # Errors
    /// As [`Builder::open_files`].
    pub async fn open_files_async(&self, files: &ModelFiles) -> Result<M> {
        M::open_async(files, &self.options).await
    }
}

/// The error for a path that does not exist but looks like the name of a model on the Hub.
#[cfg(not(target_arch = "wasm32"))]
fn named_on_hub(path: &Path) -> Option<Error> {
    let name = path.to_str()?;
    if name.starts_with("https://") || name.starts_with("http://") {
        return Some(HubError::NotOpened { model: name.to_owned() }.into());
    }
    let is_bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if is_bare && name.chars().any(|c| c != '.') {
        let known = crate::catalogue::known_models().into_iter().map(|model| model.name);
        let same =
            |known: &String| known.split_once('/').is_some_and(|(_, own)| own.eq_ignore_ascii_case(name));
        return Some(
            HubError::BareName { found: name.to_owned(), known: known.filter(same).collect() }.into(),
        );
    }
    let (organisation, model) = name.split('@').next()?.split_once('/')?;
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let model = (is_part(organisation) && is_part(model)).then(|| name.to_owned())?;
    Some(match cfg!(feature = "hub") {
        true => HubError::NotOpened { model }.into(),
        false => HubError::NotBuilt { model }.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Embedder;

    #[test]
    fn a_name_of_the_hub_is_told_from_a_path() {
        for name in [
            "intfloat/e5-small-v2",
            "BAAI/bge-m3@main",
            "https://huggingface.co/BAAI/bge-m3",
            "all-MiniLM-L6-v2",
        ] {
            let error = Embedder::open(name).unwrap_err();
            assert!(matches!(error, Error::Hub(_)), "{error}");
            assert!(error.to_string().to_lowercase().contains("hub"), "{error}");
        }
        let error = Embedder::open("all-minilm-l6-v2").unwrap_err().to_string();
        assert!(error.contains("sentence-transformers/all-MiniLM-L6-v2"), "{error}");
        for path in ["/no/such/folder", "./a/b", "./folder", "a/b/c", "../a"] {
            let error = Embedder::open(path).unwrap_err();
            assert!(matches!(error, Error::Model(_)), "{error}");
        }
    }
}
