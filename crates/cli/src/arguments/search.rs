//! Arguments of what reads files of vectors.

use super::{ModelArguments, TaskArguments};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use taskvec_corpus::Condition;

#[derive(Args)]
pub(crate) struct SearchArguments {
    /// The query
    #[arg(value_name = "QUERY", required_unless_present = "queries", conflicts_with = "queries")]
    pub(crate) query: Option<String>,
    /// Files of vectors as Parquet or Arrow, or folders of them, that `taskvec embed` wrote
    #[arg(long = "in", value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,
    /// Read many queries from a file, as --input of `taskvec embed` does; the stored vectors are read once for all
    #[arg(long, value_name = "FILE")]
    pub(crate) queries: Option<PathBuf>,
    /// Print this many for each query
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) top: usize,
    /// Compare by dense vectors, by sparse ones, or by the ranks that both give [default: by all that the files have]
    #[arg(long, value_enum, value_name = "VECTORS")]
    pub(crate) by: Option<By>,
    /// Only rows whose kept columns fulfil this, such as year>=2020 or language=en; several: all of them
    #[arg(long = "where", value_name = "CONDITION", value_parser = condition)]
    pub(crate) conditions: Vec<Condition>,
    /// The columns to print beside the score, with commas between them [default: all that were kept]
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    pub(crate) show: Vec<String>,
    /// Print a JSON object a hit
    #[arg(long)]
    pub(crate) jsonl: bool,
    #[command(flatten)]
    pub(crate) task: TaskArguments,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
}

/// Which vectors a search goes by.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// Dense vectors
    Dense,
    /// Sparse vectors
    Sparse,
    /// The ranks by both (reciprocal rank fusion)
    Hybrid,
}

fn condition(text: &str) -> Result<Condition, String> {
    text.parse()
}

#[derive(Args)]
pub(crate) struct MapArguments {
    /// Files of vectors as Parquet or Arrow, or folders of them, that `taskvec embed` wrote
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Where to write the map: one .html file that needs nothing else, or an .svg picture
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Colour texts by this kept column [default: by clusters, each named by its most typical text]
    #[arg(long, value_name = "COLUMN", conflicts_with = "clusters")]
    pub(crate) label: Option<String>,
    /// The kept column to show of a text that is pointed at [default: text, else that with the longest texts]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) text: Option<String>,
    /// How many clusters to look for
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=18))]
    pub(crate) clusters: u8,
    /// How to bring vectors to two dimensions
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Placing::Tsne)]
    pub(crate) method: Placing,
    /// Show at most this many texts, evenly taken from all
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) rows: usize,
    /// Only rows whose kept columns fulfil this, such as year>=2020 or language=en; several: all of them
    #[arg(long = "where", value_name = "CONDITION", value_parser = condition)]
    pub(crate) conditions: Vec<Condition>,
    /// What to write above the map [default: the first file's name]
    #[arg(long, value_name = "TEXT")]
    pub(crate) title: Option<String>,
}

/// How vectors are brought to two dimensions.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Placing {
    /// What is near is alike; distances between groups say nothing
    Tsne,
    /// The two directions in which vectors differ most
    Pca,
}
