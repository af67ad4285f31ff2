//! Why a model of the Hugging Face Hub could not be had.

use super::Source;

/// Why a model of the Hugging Face Hub could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The text is no name of a model.
    #[error("`{found}` is no model of the Hugging Face Hub; expected ORG/NAME or ORG/NAME@REVISION")]
    Name {
        /// What was given.
        found: String,
    },
    /// There is no such folder, and the Hub's names have two parts.
    #[error(
        "there is no folder {found}; a model of the Hugging Face Hub is named ORG/NAME{}",
        if known.is_empty() { String::new() } else { format!(", such as {}", known.join(" or ")) }
    )]
    BareName {
        /// What was given.
        found: String,
        /// Known models of that name.
        known: Vec<String>,
    },
    /// A folder was to be opened, and the Hub has such names.
    #[error(
        "there is no folder {model}; it looks like a model of the Hugging Face Hub: open it with `Embedder::from_hub` (or Builder::from_hub), which downloads it once"
    )]
    NotOpened {
        /// Its name on the Hub.
        model: String,
    },
    /// This build cannot reach the Hub.
    #[error(
        "{model} looks like a model of the Hugging Face Hub, and there is no such folder; this build cannot download it: build taskvec with the feature `hub` and open it with `Embedder::from_hub`, or give a folder"
    )]
    NotBuilt {
        /// Its name on the Hub.
        model: String,
    },
    /// The Hub has no such model or revision.
    #[error("{model} of the Hugging Face Hub: there is no such model, or no revision `{revision}` of it")]
    NotFound {
        /// Its name on the Hub.
        model: String,
        /// The branch, tag or commit.
        revision: String,
        /// What the Hub answered.
        source: Source,
    },
    /// The Hub does not let the caller have it.
    #[error(
        "{model} of the Hugging Face Hub: the Hub refuses it: it is private or gated, or does not exist; set HF_TOKEN to a token that may read it"
    )]
    Refused {
        /// Its name on the Hub.
        model: String,
        /// What the Hub answered.
        source: Source,
    },
    /// It is not in the cache, and nothing may be downloaded.
    #[error(
        "{model} of the Hugging Face Hub: it is not in the cache, and HF_HUB_OFFLINE forbids downloading it"
    )]
    Offline {
        /// Its name on the Hub.
        model: String,
    },
    /// There is no room for it.
    #[error(
        "{model} of the Hugging Face Hub: the disk is full; what was downloaded stays, and a later try goes on from there"
    )]
    DiskFull {
        /// Its name on the Hub.
        model: String,
        /// What the system said.
        source: Source,
    },
    /// A download failed on the way.
    #[error(
        "{model} of the Hugging Face Hub: the download failed; what was downloaded stays, and a later try goes on from there"
    )]
    Download {
        /// Its name on the Hub.
        model: String,
        /// What the connection or the system said.
        source: Source,
    },
    /// What the Hub sent is not what it lists, or not a model.
    #[error("{model} of the Hugging Face Hub: {problem}")]
    Answer {
        /// Its name on the Hub.
        model: String,
        /// What was found, and what was expected.
        problem: String,
    },
}
