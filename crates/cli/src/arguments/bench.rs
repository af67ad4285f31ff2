//! Arguments of `taskvec bench`.

use super::model::ModelArguments;
use super::parse::named;
use clap::builder::TypedValueParser;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use taskvec::Precision;

#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// Measure what one core or a GPU can do, and each kernel at a model's sizes beside it
    Kernels(BenchKernelsArguments),
    /// Measure a model from texts to vectors
    Model(BenchModelArguments),
    /// Measure an exact search over files of vectors, beside the machine's memory
    Search(BenchSearchArguments),
}

#[derive(Args)]
pub(crate) struct BenchKernelsArguments {
    /// Only kernels with one of these in their name: product (with its activation, and on the CPU the encoding of
    /// its rows), bare product, attention, layer_norm, activation, encode
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Rows of products, and tokens of attention (on a GPU in texts of up to 128)
    #[arg(long, value_delimiter = ',', value_name = "N,…", default_value = "1,16,128,512",
        value_parser = clap::value_parser!(u32).range(1..=65536).try_map(usize::try_from))]
    pub(crate) rows: Vec<usize>,
    /// Rounds over all kernels; the median counts (on the CPU)
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Write the measurements
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a roofline plot
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
}

impl BenchKernelsArguments {
    /// Whether the kernel of this name is asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|part| name.contains(part))
    }
}

#[derive(Args)]
pub(crate) struct BenchSearchArguments {
    /// Files of vectors, or folders of them, that `taskvec embed` wrote
    #[arg(long = "in", value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,
    /// Queries that are asked at once
    #[arg(long, value_delimiter = ',', value_name = "N,…", default_value = "1,64",
        value_parser = clap::value_parser!(u32).range(1..=65536).try_map(usize::try_from))]
    pub(crate) queries: Vec<usize>,
    /// Hits for each query
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) top: usize,
    /// Seconds for each number of queries; at least five calls are made
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    pub(crate) seconds: f64,
    /// Write the measurements
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct BenchModelArguments {
    /// Tokens of a text, special tokens included
    #[arg(long, value_delimiter = ',', value_name = "N,…", default_value = "16,128")]
    pub(crate) lengths: Vec<usize>,
    /// Texts of a call
    #[arg(long, value_delimiter = ',', value_name = "N,…", default_value = "1,32",
        value_parser = clap::value_parser!(u32).range(1..=65536).try_map(usize::try_from))]
    pub(crate) batch: Vec<usize>,
    /// Instead: all texts of a file, one a line, in one call
    #[arg(long, value_name = "FILE", conflicts_with_all = ["lengths", "batch"])]
    pub(crate) texts: Option<PathBuf>,
    /// Several precisions, one after the other [default: that of --precision]
    #[arg(long, value_parser = named(Precision::ALL, Precision::name), value_delimiter = ',', value_name = "NAME,…")]
    pub(crate) precisions: Vec<Precision>,
    /// Seconds for each length and batch; where fewer than ten calls fit, up to four times as long
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Write the measurements
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
}
