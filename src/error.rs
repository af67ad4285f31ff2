//! What can go wrong, and what to do about it.

use std::path::PathBuf;

/// The result of a taskvec call.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong: what was being read, what was found there and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system could not do something with a file.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: "open", "read", "map into memory", …
        action: &'static str,
        /// The system's own words.
        source: std::io::Error,
    },
    /// A folder is no model folder: a file that every model needs is not there.
    #[error("{folder}: there is no {file} in it; a model folder holds config.json, tokenizer.json and model.safetensors (or model.safetensors.index.json and its shards), as the Hugging Face Hub serves them", folder = folder.display())]
    MissingFile {
        /// The model folder.
        folder: PathBuf,
        /// The missing file.
        file: String,
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
    /// A JSON file is not JSON, or a value in it is missing, of another type or out of range.
    #[error("{path}: {problem}", path = path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the key, what was found and what was expected.
        problem: String,
    },
    /// A model asks for something that taskvec does not know: running it without would give a
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
    #[error("{path} is not a valid safetensors file: {problem}; download it again", path = path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file that PyTorch saved cannot be used.
    #[error("{path} is not a file of tensors that PyTorch saved: {problem}; download it again, or convert it to safetensors", path = path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The model does not give what was asked for.
    #[error("{model} does not give {asked}; it gives {offered}")]
    NoSuchResult {
        /// The model's name.
        model: String,
        /// What was asked for, and the method for it.
        asked: &'static str,
        /// What it gives, and the methods for it.
        offered: String,
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
    /// A file has tensors that its model family does not: the model computes something that would
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
        found: Vec<usize>,
        /// The shape that follows from the configuration.
        expected: Vec<usize>,
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
    /// A vector came out NaN or infinite, so it is not returned.
    #[error("the vector of text {index} is not finite: {cause}")]
    NonFiniteResult {
        /// The position of the text in the batch.
        index: usize,
        /// What is known of the reason.
        cause: String,
    },
    /// tokenizer.json cannot be used.
    #[error("{path}: {problem}", path = path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A text could not be split into tokens.
    #[error("text {index} cannot be tokenised: {problem}")]
    Tokenize {
        /// The position of the text in the batch.
        index: usize,
        /// The tokenizer's own words.
        problem: String,
    },
    /// No task has this name.
    #[error("there is no task `{found}`; tasks: {}", crate::Task::names())]
    UnknownTask {
        /// The name that was given.
        found: String,
    },
    /// The model has no prompt of this name.
    #[error("the model has no prompt named `{found}`; {}", listed(known))]
    UnknownPromptName {
        /// The name that was given.
        found: String,
        /// The names that the model has.
        known: Vec<String>,
    },
    /// An instruction was given for a model whose prompts have no place for one.
    #[error(
        "an instruction was given, but the prompts of {model} have no place for one; models such as Qwen3-Embedding do. Use an explicit prompt to put any text in front"
    )]
    InstructionNotSupported {
        /// The model's name.
        model: String,
    },
    /// A title was given for a model or task whose prompt has no place for one.
    #[error(
        "a title was given, but {model}'s prompt for {task} has no place for one; put the title into the text"
    )]
    TitleNotSupported {
        /// The model's name.
        model: String,
        /// The task, or "no task".
        task: String,
    },
    /// Options that exclude each other were given together.
    #[error("{first} and {second} cannot be used together: {because}")]
    Conflict {
        /// One option.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// Why not.
        because: &'static str,
    },
    /// A text has more tokens than the model takes, and truncation was not allowed.
    #[error(
        "text {index} has {tokens} tokens with its prompt, the limit is {limit}; split it, or allow truncation"
    )]
    TooLong {
        /// The position of the text in the batch.
        index: usize,
        /// Its tokens, special ones included.
        tokens: usize,
        /// The largest number allowed.
        limit: usize,
    },
    /// The prompt alone fills the token limit, so that nothing of the text would be embedded.
    #[error(
        "the prompt takes {prompt_tokens} tokens, which leaves no room for text within the limit of {limit}; raise the limit or shorten the prompt"
    )]
    PromptTooLong {
        /// Tokens of the prompt and the special tokens.
        prompt_tokens: usize,
        /// The token limit.
        limit: usize,
    },
    /// An option has a value that it cannot take.
    #[error("{option} is {found}, expected {expected}")]
    InvalidOption {
        /// The option.
        option: &'static str,
        /// What was given.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// No GPU fits what was asked for.
    #[error(
        "no GPU adapter for {asked}: {found}; install a Vulkan driver (on Debian mesa-vulkan-drivers has a software one), or use the cpu device"
    )]
    NoAdapter {
        /// What was asked for.
        asked: String,
        /// What there is.
        found: String,
    },
    /// This build has no GPU backend.
    #[error(
        "this build of taskvec has no GPU backend; build it with the feature `gpu`, or use the cpu device"
    )]
    GpuNotBuilt,
    /// The GPU driver refused something.
    #[error("GPU {adapter}: {problem}; use the cpu device, or update the driver")]
    Gpu {
        /// The adapter.
        adapter: String,
        /// The driver's own words.
        problem: String,
    },
    /// The GPU's driver does not take one of the shaders.
    #[error(
        "GPU {adapter} does not take the shader {shader}: {problem}; update the driver, use another precision, or the cpu device"
    )]
    ShaderRejected {
        /// The adapter.
        adapter: String,
        /// Which shader, in which form.
        shader: String,
        /// The driver's own words.
        problem: String,
    },
    /// The GPU has no memory left for the model's weights or a batch.
    #[error(
        "GPU {adapter} has no memory left for {what} ({needed} bytes): {problem}; use bf16 or f16 weights, smaller batches, or the cpu device"
    )]
    GpuOutOfMemory {
        /// The adapter.
        adapter: String,
        /// What did not fit.
        what: String,
        /// Bytes of it.
        needed: u64,
        /// The driver's own words.
        problem: String,
    },
    /// The work needs more of something than the GPU has.
    #[error(
        "GPU {adapter}: {what} needs {needed} bytes, the limit is {limit}; embed shorter texts, lower the batch size, or use the cpu device"
    )]
    GpuLimit {
        /// The adapter.
        adapter: String,
        /// What is too large.
        what: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The GPU went away (driver reset, unplugged, hang).
    #[error("GPU {adapter} was lost ({reason}); open the model again, or use the cpu device")]
    DeviceLost {
        /// The adapter.
        adapter: String,
        /// The driver's own words.
        reason: String,
    },
    /// A model of the Hugging Face Hub could not be had.
    #[error("{model} of the Hugging Face Hub: {problem}")]
    Hub {
        /// Its name on the Hub.
        model: String,
        /// What went wrong, and the remedy.
        problem: String,
    },
    /// Vectors that do not lie in one space were to be compared.
    #[error("vectors of {first} and {second} cannot be compared: {because}")]
    MixedSpaces {
        /// The fingerprint of one.
        first: String,
        /// The fingerprint of the other.
        second: String,
        /// Why not.
        because: &'static str,
    },
    /// The system did not start the threads asked for.
    #[error("cannot start {threads} threads: {problem}")]
    Threads {
        /// The number asked for.
        threads: usize,
        /// The system's own words.
        problem: String,
    },
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "it has none".to_owned(),
        names => format!("it has: {}", names.join(", ")),
    }
}
