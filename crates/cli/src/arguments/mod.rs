//! All arguments.

mod bench;
mod corpus;
mod model;
mod parse;
mod search;
#[cfg(feature = "serve")]
mod serve;
mod task;

pub(crate) use bench::{BenchCommand, BenchKernelsArguments, BenchModelArguments, BenchSearchArguments};
pub(crate) use corpus::{CorpusArguments, InputArguments, ProgressKind};
pub(crate) use model::ModelArguments;
pub(crate) use search::{By, MapArguments, Placing, SearchArguments};
#[cfg(feature = "serve")]
pub(crate) use serve::{ServeArguments, TokenIds, TooLong};
pub(crate) use task::TaskArguments;

use crate::outcome::{Failure, Outcome};
use clap::{Args, Parser, Subcommand, ValueEnum};
use parse::{named, parse};
use std::path::PathBuf;
use taskvec::{OutputType, Similarity, Task};

/// Task-aware text embeddings: the vector of a text depends on what it is for.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print or write the vectors of texts
    Embed(Box<EmbedArguments>),
    /// Join the shares that `taskvec embed --shard` wrote into folders, and check that nothing is missing
    Merge(MergeArguments),
    /// Find the texts most like a query in files that `taskvec embed` wrote
    Search(Box<SearchArguments>),
    /// Draw a map of the texts in files that `taskvec embed` wrote: what is alike stands together
    Map(MapArguments),
    /// Show what a model sees of a text: prompt, tokens, which of them are pooled, adapter
    Explain(ExplainArguments),
    /// Show how tasks move the vectors of texts: a table of cosines, and a picture
    Compare(CompareArguments),
    /// Print how alike texts are
    Similarity(SimilarityArguments),
    /// Sort documents by how relevant a reranker finds them for a query
    #[command(mut_arg("model", |model| model.required(true).help(
        "Model folder of a reranker, or a model of the Hugging Face Hub as ORG/NAME or ORG/NAME@REVISION, which is \
         downloaded once, such as cross-encoder/ms-marco-MiniLM-L6-v2; there is no built-in one")))]
    Rerank(RerankArguments),
    /// Answer over HTTP, in the words of OpenAI's, Cohere's, Google's, Jina's, Voyage's, Mistral's, Nomic's, Ollama's and
    /// text-embeddings-inference's clients
    #[cfg(feature = "serve")]
    Serve(ServeArguments),
    /// Say whether the vectors of two files, or of a file and a model, may be compared
    Verify(VerifyArguments),
    /// Show what a model is made of and what each task does with it
    Inspect(InspectArguments),
    /// List the models that are known, and which of them are in the cache
    Models(ModelsArguments),
    /// List what this machine can compute on
    Devices,
    /// Measure kernels and models on this machine
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Print a script that completes this command's arguments in a shell
    Completions(CompletionsArguments),
}

#[derive(Args)]
pub(crate) struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Args)]
pub(crate) struct EmbedArguments {
    /// Texts to embed; a single - is standard input, one text a line
    #[arg(value_name = "TEXT", conflicts_with = "input")]
    pub(crate) texts: Vec<String>,
    #[command(flatten)]
    pub(crate) input: InputArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
    #[command(flatten)]
    pub(crate) corpus: CorpusArguments,
    #[command(flatten)]
    pub(crate) task: TaskArguments,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
}

/// What to write, and where.
#[derive(Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArguments {
    /// How to write vectors [default: as the ending of --output says, else table; jsonl with --flush]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Write to a file, which appears whole or not at all; of --input also to a folder of files, if it ends with / or
    /// is one [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// What to give for each text: bge-m3 has all three, ColBERT tokens, SPLADE sparse
    #[arg(long, value_enum, default_value_t = Give::Dense)]
    pub(crate) give: Give,
    /// Split each text into pieces of at most N tokens, and give a vector for each that knows the
    /// whole text (late chunking)
    #[arg(long, value_name = "N")]
    pub(crate) pieces: Option<usize>,
    /// The type of values
    #[arg(long = "type", value_parser = named(OutputType::ALL, OutputType::name), value_name = "TYPE", default_value = "f32")]
    pub(crate) output_type: OutputType,
    /// Ranges for int8 and uint8: a JSON file with the least and largest value of each dimension
    #[arg(long, value_name = "FILE", conflicts_with = "calibrate")]
    pub(crate) ranges: Option<PathBuf>,
    /// Take the ranges for int8 and uint8 from the vectors of these texts: lines, or .jsonl
    #[arg(long, value_name = "FILE")]
    pub(crate) calibrate: Option<PathBuf>,
    /// Write the ranges that were taken with --calibrate
    #[arg(long, value_name = "FILE", requires = "calibrate")]
    pub(crate) save_ranges: Option<PathBuf>,
    /// In JSON, write a vector as the base64 of its bytes
    #[arg(long)]
    pub(crate) base64: bool,
    /// Answer each line of standard input (- or --input -) as it comes, with a line of JSON before the next is waited
    /// for: for programs that write a line and read its answer
    #[arg(long, conflicts_with = "output")]
    pub(crate) flush: bool,
}

#[derive(Args)]
pub(crate) struct MergeArguments {
    /// Folders that shares were written into
    #[arg(value_name = "FOLDER", required = true)]
    pub(crate) folders: Vec<PathBuf>,
    /// The file to write; it has the bytes of what one process would have written
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

impl OutputArguments {
    /// The format that is asked for, or that the output file's ending names. A pipe or a device needs no ending, and a folder is
    /// refused when it is opened.
    pub(crate) fn format(&self) -> Outcome<Format> {
        let Some(file) = &self.output else {
            return Ok(self.format.unwrap_or(if self.flush { Format::Jsonl } else { Format::Table }));
        };
        let ending = file.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        let named = match ending.as_deref() {
            Some("ndjson") => Some(Format::Jsonl),
            Some("feather" | "ipc") => Some(Format::Arrow),
            Some(ending) => Format::from_str(ending, true).ok(),
            None => None,
        };
        let is_special = || std::fs::metadata(file).is_ok_and(|found| !found.is_file());
        match self.format.or(named) {
            Some(format) => Ok(format),
            None if is_special() => Ok(Format::Table),
            None => Err(Failure::Usage(format!(
                "--output {}: {}; end it with .parquet, .arrow, .json, .jsonl, .npy or .safetensors, or say with --format \
                 what to write",
                file.display(),
                match ending {
                    Some(ending) => format!(".{ending} is no format that is written"),
                    None => "the name has no ending that says a format".to_owned(),
                }
            ))),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For reading: the first values of each vector
    Table,
    /// One JSON object with all vectors and how they were made
    Json,
    /// One JSON object a text: index, embedding, tokens, truncated, fingerprint
    Jsonl,
    /// A NumPy array, [texts, dimensions]
    Npy,
    /// A safetensors file with the tensor "embeddings", [texts, dimensions]
    Safetensors,
    /// A Parquet table with the vectors beside the kept columns
    Parquet,
    /// An Arrow IPC file (Feather) with the same
    Arrow,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Give {
    /// One vector
    Dense,
    /// Weights of entries of the vocabulary
    Sparse,
    /// One vector, and weights of entries of the vocabulary
    Both,
    /// A vector for each token
    Tokens,
}

#[derive(Args)]
pub(crate) struct InspectArguments {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
}

#[derive(Args)]
pub(crate) struct ExplainArguments {
    /// The text; with --document the query
    #[arg(value_name = "TEXT")]
    pub(crate) text: String,
    /// What a reranker sees of the text as a query, and this document
    #[arg(long, value_name = "TEXT")]
    pub(crate) document: Option<String>,
    #[command(flatten)]
    pub(crate) task: TaskArguments,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
}

#[derive(Args)]
pub(crate) struct CompareArguments {
    /// Texts, each embedded for every task
    #[arg(value_name = "TEXT", required = true)]
    pub(crate) texts: Vec<String>,
    /// The tasks, with commas between them, or all
    #[arg(long, value_parser = tasks, value_name = "TASK,…", default_value = "all")]
    pub(crate) tasks: Tasks,
    /// Write the cosines as a picture
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
}

/// Some tasks.
#[derive(Clone)]
pub(crate) struct Tasks(pub(crate) Vec<Task>);

fn tasks(list: &str) -> Result<Tasks, String> {
    if list == "all" {
        return Ok(Tasks(Task::ALL.to_vec()));
    }
    list.split(',').map(parse::<Task>).collect::<Result<_, _>>().map(Tasks)
}

#[derive(Args)]
pub(crate) struct SimilarityArguments {
    /// Texts to compare
    #[arg(value_name = "TEXT", required = true, num_args = 2..)]
    pub(crate) texts: Vec<String>,
    /// How alike is measured [default: what the model's files name, else cosine]
    #[arg(long, value_parser = named(Similarity::ALL, Similarity::name), value_name = "NAME")]
    pub(crate) by: Option<Similarity>,
    #[command(flatten)]
    pub(crate) task: TaskArguments,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
}

#[derive(Args)]
pub(crate) struct RerankArguments {
    /// The query
    #[arg(value_name = "QUERY")]
    pub(crate) query: String,
    /// Documents
    #[arg(value_name = "DOCUMENT", conflicts_with = "input")]
    pub(crate) texts: Vec<String>,
    #[command(flatten)]
    pub(crate) input: InputArguments,
    /// Print this many
    #[arg(long, value_name = "N")]
    pub(crate) top: Option<usize>,
    /// Print a JSON list: index, score, tokens, truncated
    #[arg(long)]
    pub(crate) json: bool,
    /// What makes a document relevant, in your own words, for models that take that, such as Qwen3-Reranker: the system message of
    /// a chat template, or else text in front of the query
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_name")]
    pub(crate) instruction: Option<String>,
    /// A prompt of the model by its name [default: the model's default prompt, if it has one]
    #[arg(long, value_name = "NAME")]
    pub(crate) prompt_name: Option<String>,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
}

#[derive(Args)]
pub(crate) struct VerifyArguments {
    /// A file that `taskvec embed` wrote (parquet, arrow, json, jsonl, npy or safetensors)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Another one; without it, the vectors that the model gives with the task arguments
    #[arg(value_name = "FILE")]
    pub(crate) other: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) task: TaskArguments,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
}

#[derive(Args)]
pub(crate) struct ModelsArguments {
    /// Only those with this in their name
    #[arg(value_name = "PART")]
    pub(crate) part: Option<String>,
    /// Only those in the cache
    #[arg(long)]
    pub(crate) cached: bool,
    /// Print a JSON list
    #[arg(long)]
    pub(crate) json: bool,
}
