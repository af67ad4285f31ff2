//! Arguments of corpora: which files, which columns, and how a long job goes.

use crate::outcome::{Failure, Outcome};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;
use taskvec_corpus::{Chunks, Columns, Corpus, FieldPath, InputFormat, Keep, OnError, TextSource};

/// Which files, and which of their columns are texts.
#[derive(Args)]
#[command(next_help_heading = "Input")]
pub(crate) struct InputArguments {
    /// Read texts from files, folders of files or patterns such as 'data/*.csv'; - is standard input. Lines, JSONL,
    /// CSV, TSV, Parquet and Arrow are read, each also packed with gzip or Zstandard
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) input: Vec<PathBuf>,
    /// What the input holds [default: as its ending says, else lines]
    #[arg(long, value_parser = input_format(), value_name = "FORMAT")]
    pub(crate) input_format: Option<InputFormat>,
    /// The column that holds the text, a JSON pointer such as /body/en, or a template of several, such as
    /// '{title}\n{body}' [default: text, or the only column of text]
    #[arg(long = "text", value_parser = parse_of::<TextSource>, value_name = "COLUMN")]
    pub(crate) text_column: Option<TextSource>,
    /// The column of the texts' titles, for models whose prompt has a place for one [default: title, of JSONL without
    /// --text]
    #[arg(long, value_parser = parse_of::<FieldPath>, value_name = "COLUMN")]
    pub(crate) title_column: Option<FieldPath>,
}

fn input_format() -> impl TypedValueParser<Value = InputFormat> {
    let by_name = |name: String| InputFormat::ALL.into_iter().find(|format| format.name() == name);
    PossibleValuesParser::new(InputFormat::ALL.map(InputFormat::name))
        .try_map(move |name| by_name(name).ok_or("there is no such format"))
}

impl InputArguments {
    /// The texts and their titles, without other columns.
    pub(crate) fn corpus(&self, inputs: &[PathBuf]) -> Outcome<Corpus> {
        let (text, title) = (self.text_column.clone(), self.title_column.clone());
        let columns = Columns { text, title, ..Columns::default() };
        Ok(Corpus::open(inputs, self.input_format, columns)?)
    }
}

/// What comes out beside the vectors, and how a long job goes.
#[derive(Args)]
#[command(next_help_heading = "Corpora (--input with --output)")]
pub(crate) struct CorpusArguments {
    /// The column that a row is known by; it comes out beside the vector
    #[arg(long, value_name = "COLUMN")]
    pub(crate) id: Option<String>,
    /// The columns that come out beside the vector, with commas between them, or all
    #[arg(long, value_name = "COLUMN,…", value_parser = keep)]
    pub(crate) keep: Option<Keep>,
    /// The column that says each row's task
    #[arg(long, value_parser = parse_of::<FieldPath>, value_name = "COLUMN")]
    pub(crate) task_column: Option<FieldPath>,
    /// The column that names each row's prompt
    #[arg(long, value_parser = parse_of::<FieldPath>, value_name = "COLUMN")]
    pub(crate) prompt_name_column: Option<FieldPath>,
    /// The column of each row's instruction
    #[arg(long, value_parser = parse_of::<FieldPath>, value_name = "COLUMN")]
    pub(crate) instruction_column: Option<FieldPath>,
    /// Cut each text into pieces of at most N tokens, at sentences and paragraphs; each has a row of its own with its
    /// number and its place in the text; --overlap N has it begin with up to N tokens of the one before it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..).try_map(usize::try_from))]
    pub(crate) chunk: Option<usize>,
    /// What to do with a row that has no text, or whose text cannot be embedded
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Fault::Fail)]
    pub(crate) on_error: Fault,
    /// Do the share I, counted from 0, of N processes that need not know each other, into a folder; see taskvec merge
    #[arg(long, value_parser = parse_of::<Shard>, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,
    /// Begin anew, and not where an unfinished job of this output stopped
    #[arg(long)]
    pub(crate) restart: bool,
    /// Read the input, embed a sample of it, and say what the job will take; write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How to say how far the job is, on standard error
    #[arg(long, value_enum, value_name = "HOW", default_value_t = ProgressKind::Auto)]
    pub(crate) progress: ProgressKind,
}

/// How to say how far a job is.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressKind {
    /// A bar on a terminal, else a line now and then
    Auto,
    /// A JSON object a line, once a second
    Json,
    /// Not at all
    None,
}

/// What to do with a row that cannot be embedded.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// Stop there; what was computed is kept
    Fail,
    /// Leave the row out, and tell it in OUTPUT.rejects.jsonl
    Skip,
    /// Write the row without a vector, and tell it in OUTPUT.rejects.jsonl
    Null,
}

/// `I/N`
#[derive(Clone, Copy)]
pub(crate) struct Shard(pub(crate) usize, pub(crate) usize);

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let parts =
            text.split_once('/').and_then(|(place, of)| Some((place.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((place, of)) if place < of => Ok(Shard(place, of)),
            _ => Err("expected I/N, as 0/3, 1/3 and 2/3 for three processes".to_owned()),
        }
    }
}

impl CorpusArguments {
    /// Whether one of them is given that only a job on a corpus knows.
    pub(crate) fn first_given(&self) -> Option<&'static str> {
        [
            (self.id.is_some(), "--id"),
            (self.keep.is_some(), "--keep"),
            (self.task_column.is_some(), "--task-column"),
            (self.prompt_name_column.is_some(), "--prompt-name-column"),
            (self.instruction_column.is_some(), "--instruction-column"),
            (self.chunk.is_some(), "--chunk"),
            (self.on_error != Fault::Fail, "--on-error"),
            (self.shard.is_some(), "--shard"),
            (self.restart, "--restart"),
            (self.dry_run, "--dry-run"),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
    }

    pub(crate) fn columns(&self, input: &InputArguments) -> Columns {
        Columns {
            text: input.text_column.clone(),
            title: input.title_column.clone(),
            id: self.id.clone(),
            keep: self.keep.clone().unwrap_or_default(),
            task: self.task_column.clone(),
            prompt_name: self.prompt_name_column.clone(),
            instruction: self.instruction_column.clone(),
        }
    }

    pub(crate) fn on_error(&self) -> OnError {
        match self.on_error {
            Fault::Fail => OnError::Fail,
            Fault::Skip => OnError::Skip,
            Fault::Null => OnError::Null,
        }
    }

    pub(crate) fn chunks(&self, overlap: usize) -> Option<Chunks> {
        self.chunk.map(|tokens| Chunks { tokens, overlap })
    }
}

fn parse_of<T: FromStr<Err = String>>(text: &str) -> Result<T, String> {
    text.parse()
}

fn keep(list: &str) -> Result<Keep, String> {
    Ok(match list {
        "all" => Keep::All,
        names => Keep::Named(names.split(',').map(str::to_owned).collect()),
    })
}

impl From<taskvec_corpus::CorpusError> for Failure {
    fn from(error: taskvec_corpus::CorpusError) -> Self {
        use taskvec_corpus::CorpusError;
        match error {
            CorpusError::Engine(error) => error.into(),
            error @ (CorpusError::Options(_) | CorpusError::WhichText { .. }) => {
                Failure::Usage(error.to_string())
            }
            error => Failure::Failed(error.to_string()),
        }
    }
}
