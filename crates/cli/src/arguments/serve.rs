//! `taskvec serve`

use super::model::OpenArguments;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct ServeArguments {
    /// A model to serve: a folder, or a model of the Hugging Face Hub as ORG/NAME or ORG/NAME@REVISION, which is downloaded
    /// once. Given several times: all of these, embedding models and rerankers [default: the built-in all-MiniLM-L6-v2]
    #[arg(long = "model", value_name = "MODEL", help_heading = "Model")]
    pub(crate) models: Vec<String>,
    /// A name that clients use for a model, as text-embedding-3-small=MODEL; any name may have a task behind it, as
    /// MODEL@query, for clients that cannot say one
    #[arg(long, value_name = "NAME=MODEL", help_heading = "Model")]
    pub(crate) alias: Vec<String>,
    #[command(flatten)]
    pub(crate) how: OpenArguments,
    /// The name or address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// The port; 0 for any that is free
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// Listen on a socket in the file system instead
    #[cfg(unix)]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["host", "port"])]
    pub(crate) unix: Option<PathBuf>,
    /// Requests need this key, or another one that is given; as TASKVEC_API_KEY it is not seen in lists of processes
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Vec<String>,
    /// A file of keys, one a line, each with the tokens a minute that it may have behind it, or nothing; lines that begin with #
    /// are comments
    #[arg(long, value_name = "FILE")]
    pub(crate) api_keys: Option<PathBuf>,
    /// Tokens a minute that a key may have, unless the file of keys says otherwise; without keys: all clients together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tokens_per_minute: Option<u64>,
    /// Encrypted connections: the file of the certificates, in PEM, the server's own first
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The file of the certificate's key, in PEM
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Open a model when it is first asked for, and not before clients are let in
    #[arg(long)]
    pub(crate) lazy: bool,
    /// Megabytes that open models may take together, about; those that were asked for longest ago are closed for others
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_memory: Option<u64>,
    /// Vectors of single texts that each model keeps, those that were asked for last
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) cache: usize,
    /// Texts that are too long, of requests that do not say: cut, refused, or as each vendor has it
    #[arg(long, value_enum, default_value_t = TooLong::Vendor)]
    pub(crate) too_long: TooLong,
    /// Token ids in OpenAI's input: refused, or taken for the model's own
    #[arg(long, value_enum, default_value_t = TokenIds::Refuse)]
    pub(crate) token_ids: TokenIds,
    /// Refuse names of models that are not served, even if one alone is
    #[arg(long)]
    pub(crate) strict: bool,
    /// Let pages of other origins ask
    #[arg(long)]
    pub(crate) cors: bool,
    /// Write a line of JSON for each request to standard error: id, path, status, tokens, times; never a text
    #[arg(long)]
    pub(crate) log: bool,
    /// Seconds that a request may wait before it is begun; those that would wait longer are refused at once
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) longest_wait: u64,
    /// Bytes of a request's body
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    pub(crate) largest_body: usize,
    /// Connections at once
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub(crate) connections: usize,
    /// Seconds that requests under way may take when the server is told to end
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) grace: u64,
}

/// What happens to texts that are too long, of requests that do not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum TooLong {
    Vendor,
    Cut,
    Refuse,
}

/// What happens to token ids in OpenAI's `input`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum TokenIds {
    Refuse,
    Model,
}
