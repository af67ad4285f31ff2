//! What the vectors are for.

use super::parse::parse;
use clap::Args;
use taskvec::{EmbedOptions, Task, Truncation};

/// What the vectors are for.
#[derive(Args)]
#[command(next_help_heading = "Task")]
pub(crate) struct TaskArguments {
    /// What the vectors are for; chooses the model's prompt and adapter
    #[arg(long, value_parser = parse::<Task>, value_name = "TASK", long_help = task_help())]
    pub(crate) task: Option<Task>,
    /// A prompt of the model by its name, as `taskvec inspect` lists them
    #[arg(long, value_name = "NAME")]
    prompt_name: Option<String>,
    /// Text to put in front of each text as it is, instead of a prompt of the model's
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Text to put each text into, where it says {text}; a title, or none, goes where it says {title}
    #[arg(long, value_name = "TEXT")]
    template: Option<String>,
    /// The task in your own words, for instruction models such as Qwen3-Embedding and Instructor
    #[arg(long, value_name = "TEXT")]
    instruction: Option<String>,
    /// Let pooling take the prompt's tokens, or keep them out [default: as the model wants]
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    pool_prompt: Option<bool>,
    /// The model's task adapter of this name, whatever the task is, as `taskvec inspect` lists them
    #[arg(long, value_name = "NAME")]
    task_adapter: Option<String>,
    /// The documents' title, for models whose prompt has a place for one
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Keep the first N values of each vector (Matryoshka), or take the model's own projection to N
    #[arg(long, value_name = "N")]
    pub(crate) dimensions: Option<usize>,
    /// Bring vectors to unit length or leave them as they are [default: as the model's files say]
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    normalize: Option<bool>,
    /// What to do with a text that has too many tokens
    ///
    /// truncate: cut it where the model's files say, its end for almost all, with a warning; truncate-end and
    /// truncate-start: cut that end off; error: fail; windows: take the mean of windows
    #[arg(long, value_parser = parse::<Truncation>, value_name = "POLICY", default_value = "truncate")]
    too_long: Truncation,
    /// Tokens that each window shares with the one before it, for --too-long windows, or each piece, for --chunk
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) overlap: usize,
}

impl TaskArguments {
    /// What to do with a text that has too many tokens.
    pub(crate) fn too_long(&self) -> Truncation {
        match self.too_long {
            Truncation::Windows { overlap: 0 } => Truncation::Windows { overlap: self.overlap },
            truncation => truncation,
        }
    }

    /// Whether they say what is put around texts.
    pub(crate) fn says_a_prompt(&self) -> bool {
        let texts = [&self.prompt_name, &self.prompt, &self.template, &self.instruction, &self.task_adapter];
        self.task.is_some() || texts.into_iter().any(Option::is_some)
    }

    /// The same for the library.
    pub(crate) fn options(&self) -> EmbedOptions {
        let mut options = EmbedOptions::new().truncation(self.too_long());
        if let Some(task) = self.task {
            options = options.task(task);
        }
        if let Some(name) = &self.prompt_name {
            options = options.prompt_name(name);
        }
        if let Some(prompt) = &self.prompt {
            options = options.prompt(prompt);
        }
        if let Some(template) = &self.template {
            options = options.template(template);
        }
        if let Some(instruction) = &self.instruction {
            options = options.instruction(instruction);
        }
        if let Some(pool) = self.pool_prompt {
            options = options.pool_prompt(pool);
        }
        if let Some(name) = &self.task_adapter {
            options = options.adapter(name);
        }
        if let Some(title) = &self.title {
            options = options.title(title);
        }
        if let Some(dimensions) = self.dimensions {
            options = options.dimensions(dimensions);
        }
        if let Some(normalize) = self.normalize {
            options = options.normalize(normalize);
        }
        options
    }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("expected yes or no".to_owned()),
    }
}

fn task_help() -> String {
    let names: Vec<String> = Task::ALL.iter().map(|task| format!("- {task}")).collect();
    format!(
        "What the vectors are for; chooses the model's prompt and adapter. Vendors' own names such as query, \
         passage, search_query or retrieval.passage are understood too. Tasks:\n{}",
        names.join("\n")
    )
}
