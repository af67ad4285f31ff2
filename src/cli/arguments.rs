//! All arguments, and what they mean to the library.

use super::{Failure, Outcome};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use taskvec::{Device, EmbedOptions, Embedder, GpuSelector, Task, TooLong};

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
    Embed(EmbedArguments),
    /// Show what a model is made of and what each task does with it
    Inspect(InspectArguments),
    /// List what this machine can compute on
    Devices,
    /// Print how alike texts are: the cosine of each pair
    Similarity(SimilarityArguments),
}

/// Which model, on what.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArguments {
    /// Model folder, as the Hugging Face Hub lays it out [default: the built-in all-MiniLM-L6-v2]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Where to compute; auto takes a hardware GPU if there is one
    #[arg(long, value_enum, default_value_t = DeviceName::Auto)]
    device: DeviceName,
    /// The GPU: its number or a part of its name, as `taskvec devices` lists them
    #[arg(long, value_name = "GPU")]
    adapter: Option<String>,
    /// CPU threads [default: all]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The most tokens of a text, its prompt included [default: the model's own limit]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// The CPU's instruction set, as `taskvec devices` lists them [default: the fastest]
    #[arg(long, value_name = "NAME")]
    instruction_set: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DeviceName {
    Auto,
    Cpu,
    Gpu,
    Reference,
}

/// What the vectors are for.
#[derive(Args)]
#[command(next_help_heading = "Task")]
pub(crate) struct TaskArguments {
    /// What the vectors are for; chooses the model's prompt
    #[arg(long, value_parser = parse_task, value_name = "TASK", long_help = task_help())]
    pub(crate) task: Option<Task>,
    /// A prompt of the model by its name, as `taskvec inspect` lists them
    #[arg(long, value_name = "NAME")]
    prompt_name: Option<String>,
    /// Text to put in front of each text as it is, instead of a prompt of the model's
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// The task in your own words, for instruction models such as Qwen3-Embedding
    #[arg(long, value_name = "TEXT")]
    instruction: Option<String>,
    /// The documents' title, for models whose prompt has a place for one
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Keep the first N values of each vector (Matryoshka)
    #[arg(long, value_name = "N")]
    dimensions: Option<usize>,
    /// What to do with a text that has too many tokens
    #[arg(long, value_enum, default_value_t = TooLongName::Truncate)]
    too_long: TooLongName,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TooLongName {
    /// Cut its end off, with a warning
    Truncate,
    /// Fail
    Error,
}

#[derive(Args)]
pub(crate) struct EmbedArguments {
    /// Texts to embed
    #[arg(value_name = "TEXT", conflicts_with = "input")]
    pub(crate) texts: Vec<String>,
    /// Read texts from a file; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// What the input file holds [default: lines]
    #[arg(long, value_enum)]
    pub(crate) input_format: Option<InputFormat>,
    /// How to write vectors
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Write to a file, which appears whole or not at all [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) task: TaskArguments,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputFormat {
    /// One text a line
    Lines,
    /// One JSON object a line, with the text under "text"
    Jsonl,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For reading: the first values of each vector
    Table,
    /// One JSON object with all vectors and how they were made
    Json,
    /// One JSON object a text: index, embedding, tokens, truncated
    Jsonl,
    /// A NumPy array of float32, [texts, dimensions]
    Npy,
}

#[derive(Args)]
pub(crate) struct InspectArguments {
    #[command(flatten)]
    pub(crate) model: ModelArguments,
}

#[derive(Args)]
pub(crate) struct SimilarityArguments {
    /// Texts to compare
    #[arg(value_name = "TEXT", required = true, num_args = 2..)]
    pub(crate) texts: Vec<String>,
    #[command(flatten)]
    pub(crate) task: TaskArguments,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
}

impl ModelArguments {
    /// Opens the model.
    pub(crate) fn open(&self) -> Outcome<Embedder> {
        let mut builder = Embedder::builder().device(self.device()?);
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(tokens) = self.max_tokens {
            builder = builder.max_tokens(tokens);
        }
        if let Some(name) = &self.instruction_set {
            builder = builder.instruction_set(name);
        }
        Ok(match &self.model {
            Some(folder) => builder.open(folder)?,
            None => builder.builtin()?,
        })
    }

    fn device(&self) -> Outcome<Device> {
        let Some(adapter) = &self.adapter else {
            return Ok(match self.device {
                DeviceName::Auto => Device::Auto,
                DeviceName::Cpu => Device::Cpu,
                DeviceName::Gpu => Device::Gpu(GpuSelector::Best),
                DeviceName::Reference => Device::Reference,
            });
        };
        if matches!(self.device, DeviceName::Cpu | DeviceName::Reference) {
            return Err(Failure::Usage("--adapter names a GPU, so it needs --device gpu".to_owned()));
        }
        Ok(Device::Gpu(match adapter.parse() {
            Ok(index) => GpuSelector::Index(index),
            Err(_) => GpuSelector::Name(adapter.clone()),
        }))
    }
}

impl TaskArguments {
    /// The same for the library.
    pub(crate) fn options(&self) -> EmbedOptions {
        let mut options = EmbedOptions::new().too_long(match self.too_long {
            TooLongName::Truncate => TooLong::Truncate,
            TooLongName::Error => TooLong::Error,
        });
        if let Some(task) = self.task {
            options = options.task(task);
        }
        if let Some(name) = &self.prompt_name {
            options = options.prompt_name(name);
        }
        if let Some(prompt) = &self.prompt {
            options = options.prompt(prompt);
        }
        if let Some(instruction) = &self.instruction {
            options = options.instruction(instruction);
        }
        if let Some(title) = &self.title {
            options = options.title(title);
        }
        if let Some(dimensions) = self.dimensions {
            options = options.dimensions(dimensions);
        }
        options
    }
}

fn parse_task(name: &str) -> Result<Task, String> {
    name.parse().map_err(|error: taskvec::Error| error.to_string())
}

fn task_help() -> String {
    let names: Vec<String> = Task::ALL.iter().map(|task| format!("- {task}")).collect();
    format!("What the vectors are for; chooses the model's prompt. Tasks:\n{}", names.join("\n"))
}
