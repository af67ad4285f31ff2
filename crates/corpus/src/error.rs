//! What can go wrong with a corpus, by whose fault it is.

use std::path::{Path, PathBuf};

/// The result of work on a corpus.
pub type Result<T, E = CorpusError> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// A file could not be read or written.
    #[error("{}: cannot {doing}: {source}", shown(.path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What was to be done, such as "read".
        doing: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file as a whole is not what it was taken for.
    #[error("{}: {problem}", shown(.path))]
    File {
        /// The file.
        path: PathBuf,
        /// What was found and expected.
        problem: String,
    },
    /// Nothing was found to read.
    #[error("{0}")]
    NoInput(String),
    /// A column that was asked for is not there.
    #[error("{}: there is no column `{column}`; it has: {}", shown(.path), .known.join(", "))]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The column's name.
        column: String,
        /// The columns that there are.
        known: Vec<String>,
    },
    /// It is not clear which column holds the texts.
    #[error("{}: which column holds the texts? Say it with --text; it has: {}", shown(.path), .known.join(", "))]
    WhichText {
        /// The file.
        path: PathBuf,
        /// The columns that there are.
        known: Vec<String>,
    },
    /// A row has no text that can be embedded.
    #[error("{place}: {problem}")]
    Row {
        /// File, and line or row.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Options contradict each other, or the output cannot hold what is asked for.
    #[error("{0}")]
    Options(String),
    /// An unfinished job was found that was begun with other options or input.
    #[error(
        "{}: a job was begun there otherwise, so going on would mix two: {}; run it as it was begun, or begin anew with --restart",
        shown(.path), .differences.join("; ")
    )]
    Changed {
        /// Where the unfinished job is.
        path: PathBuf,
        /// What differs, each with what it was and is.
        differences: Vec<String>,
    },
    /// Another process works on the same output.
    #[error("{}: another process works on this output; wait for it, or write elsewhere", shown(.path))]
    Busy {
        /// Where it works.
        path: PathBuf,
    },
    /// Parts of an output are not there.
    #[error("{}: it is not complete: {missing}", shown(.path))]
    Incomplete {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        missing: String,
    },
    /// The job was interrupted; what was computed is kept, and the same job goes on there.
    #[error("interrupted; what was computed is kept")]
    Interrupted,
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] taskvec::Error),
}

/// How a file is called in messages.
pub(crate) fn shown(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}

impl CorpusError {
    pub(crate) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> CorpusError + '_ {
        move |source| CorpusError::Io { path: path.to_owned(), doing: "read", source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> CorpusError + '_ {
        move |source| CorpusError::Io { path: path.to_owned(), doing: "write", source }
    }

    pub(crate) fn file(path: &Path, problem: impl ToString) -> CorpusError {
        CorpusError::File { path: path.to_owned(), problem: problem.to_string() }
    }
}
