//! What can be wrong with a model's files.

use std::path::PathBuf;

/// What is wrong with a model's files: which file, what was found there and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The operating system could not do something with a file.
    #[error("{path}: cannot {action}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: "open", "read", "map into memory", …
        action: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// A JSON file is not JSON.
    #[error("{path}: not valid JSON", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where the parser stopped, and why.
        source: serde_json::Error,
    },
    /// A folder lacks a file that every model needs.
    #[error("{folder}: there is no {file} in it; a model folder holds config.json, tokenizer.json and model.safetensors (or model.safetensors.index.json and its shards), as the Hugging Face Hub serves them", folder = folder.display())]
    MissingFile {
        /// The model folder.
        folder: PathBuf,
        /// The missing file.
        file: String,
    },
    /// A file is not there: a pointer to it is, as git leaves it where Git LFS has not fetched the file.
    #[error("{} is a pointer of Git LFS and not the file itself; fetch it with `git lfs pull`, or download the file", path.display())]
    LfsPointer {
        /// The file.
        path: PathBuf,
    },
    /// A file is too large to be what its name says.
    #[error("{path} has {bytes} bytes; at most {limit} are read of such a file", path = path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The largest size that is accepted.
        limit: u64,
    },
    /// A value in a JSON file is missing, of another type or out of range.
    #[error("{path}: {problem}", path = path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the key, what was found and what was expected.
        problem: String,
    },
    /// wrong vector.
    #[error("{path}: {what} `{found}` is not supported; supported: {supported}", path = path.display())]
    Unsupported {
        /// The file that asks for it.
        path: PathBuf,
        /// What kind of thing it is: "model_type", "module", "activation", …
        what: &'static str,
        /// Its name in the file.
        found: String,
        /// The names that taskvec knows.
        supported: String,
    },
    /// A safetensors file contradicts itself.
    #[error("{path} is not a valid safetensors file; download it again", path = path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: safetensors::SafeTensorError,
    },
    /// Two files of a sharded model have a tensor of the same name.
    #[error("{path}: tensor `{name}` is in another file of the model too; download the model again", path = path.display())]
    DuplicateTensor {
        /// The second file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A file that PyTorch saved cannot be used.
    #[error("{path} is not a file of tensors that PyTorch saved: {problem}; download it again, or convert it to safetensors", path = path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A reranker was opened to embed texts.
    #[error(
        "{model} is a reranker: it scores pairs of texts and has no vector for a single one; open it as a Reranker (`taskvec rerank`)"
    )]
    Reranker {
        /// The model's name.
        model: String,
    },
    /// A model without a classification head was opened to score pairs of texts.
    #[error(
        "{model} is no reranker: its files name no …ForSequenceClassification architecture; open it as an Embedder"
    )]
    NotAReranker {
        /// The model's name.
        model: String,
    },
    /// A tensor that the model's configuration calls for is in none of its files.
    #[error("{path}: there is no tensor `{name}`, which config.json calls for", path = path.display())]
    MissingTensor {
        /// The file, or the index of a sharded model.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// be left out.
    #[error("{path}: tensor `{name}` ({count} such) is none that a {family} model has, so something that this model computes would be left out", path = path.display())]
    UnknownTensor {
        /// The file, or the index of a sharded model.
        path: PathBuf,
        /// The first such tensor by name.
        name: String,
        /// How many there are.
        count: usize,
        /// The `model_type`.
        family: &'static str,
    },
    /// A tensor has another shape than the model's configuration says.
    #[error("{path}: tensor `{name}` has shape {found:?}, expected {expected:?} ({because})", path = path.display())]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape in the file.
        found: Box<[usize]>,
        /// The shape that follows from the configuration.
        expected: Box<[usize]>,
        /// What the expected shape follows from.
        because: String,
    },
    /// A tensor's elements are of a type that taskvec does not compute with.
    #[error("{path}: tensor `{name}` has dtype {found}, expected F32, F16 or BF16; convert the model, or use a release of it that is not quantised", path = path.display())]
    TensorDtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type in the file.
        found: String,
    },
    /// A weight is NaN or infinite.
    #[error("{path}: tensor `{name}` has the value {value} at element {index}; the file is damaged or its training diverged", path = path.display())]
    NonFiniteWeight {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The first such element, counted in row-major order.
        index: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// tokenizer.json cannot be used.
    #[error("{path}: {problem}", path = path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}
