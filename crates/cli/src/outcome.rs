//! How commands end.

use std::fmt;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something went wrong: exit code 1.
    Failed(String),
    /// The arguments contradict each other in a way that clap does not see: exit code 2.
    Usage(String),
    /// A signal ended the work, and what was done is kept.
    Interrupted(String),
}

impl Failure {
    /// What went wrong, without the word for it.
    #[cfg(feature = "serve")]
    pub(crate) fn message(self) -> String {
        match self {
            Failure::Failed(problem) | Failure::Interrupted(problem) | Failure::Usage(problem) => problem,
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Failed(_) | Failure::Interrupted(_) => 1,
            Failure::Usage(_) => 2,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Failed(problem) | Failure::Interrupted(problem) => write!(f, "error: {problem}"),
            Failure::Usage(problem) => write!(f, "usage: {problem}\n\nFor more information, try '--help'."),
        }
    }
}

impl From<taskvec::Error> for Failure {
    fn from(error: taskvec::Error) -> Self {
        Failure::Failed(format!("{error:#}"))
    }
}

/// The result of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;
