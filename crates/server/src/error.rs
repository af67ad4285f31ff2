//! Why a server did not start.

use thiserror::Error;

/// Why a server did not start, or ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// There is no model to serve.
    #[error("there is no model to serve; name at least one")]
    NoModel,
    /// Two models have one name.
    #[error("two models are called `{0}`; give one of them another name")]
    SameName(String),
    /// A model could not be opened.
    #[error("{0}")]
    Model(String),
    /// The address cannot be listened on.
    #[error("{address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of certificates or of their key is no such thing.
    #[cfg(feature = "tls")]
    #[error("{}: {problem}", path.display())]
    Certificate {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The system did not give threads, or what else a server needs.
    #[error("the server could not be set up: {0}")]
    SetUp(String),
}
