//! What can go wrong, and what to do about it.
//!
//! An [`Error`] says whose fault it is ([`Error::kind`]) and holds the details as a type of its own:
//! [`ModelError`] for a model's files, [`RequestError`] for texts and options, [`DeviceError`] for what
//! computes, [`HubError`] for downloads. What the system or a library said is behind
//! [`source`](std::error::Error::source); `{error}` prints taskvec's own message, `{error:#}` the whole chain,
//! each part once.
//!
//! ```
//! use taskvec::{Embedder, Error, ErrorKind, ModelError};
//!
//! let error = Embedder::open("/no/such/folder").unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::Model);
//! assert!(matches!(error, Error::Model(ModelError::Io { .. })));
//! println!("{error:#}");
//! ```

mod device;
mod hub;
mod model;
mod request;

pub use device::DeviceError;
pub use hub::HubError;
pub use model::ModelError;
pub use request::RequestError;

use std::fmt;

/// The result of a taskvec call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The result of reading a model's files.
pub(crate) type ModelResult<T> = Result<T, ModelError>;

/// The result of checking a text or an option.
pub(crate) type RequestResult<T> = Result<T, RequestError>;

/// What a library said, as the source of an error.
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a call failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A model's files are missing, damaged, or ask for something that taskvec does not know.
    Model(ModelError),
    /// A text or an option is wrong for this model.
    Request {
        /// The text's position in the call, counted from 0; `None` where the options are wrong whatever the text is.
        text: Option<usize>,
        /// What is wrong.
        problem: RequestError,
    },
    /// The device cannot be used, or failed.
    Device(DeviceError),
    /// A model of the Hugging Face Hub could not be had.
    Hub(HubError),
    /// A mistake in taskvec itself: please report it.
    Internal {
        /// What should not have been.
        what: &'static str,
    },
}

/// Whose fault an error is: what a caller decides by, as a server between 400 and 500.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A model's files: [`Error::Model`].
    Model,
    /// The caller's texts and options: [`Error::Request`].
    Request,
    /// The device: [`Error::Device`].
    Device,
    /// The Hugging Face Hub: [`Error::Hub`].
    Hub,
    /// taskvec: [`Error::Internal`].
    Internal,
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Model(_) => ErrorKind::Model,
            Error::Request { .. } => ErrorKind::Request,
            Error::Device(_) => ErrorKind::Device,
            Error::Hub(_) => ErrorKind::Hub,
            Error::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// The position of the text that it concerns, counted from 0 in the call's texts, if it concerns one.
    pub fn text(&self) -> Option<usize> {
        match self {
            Error::Request { text, .. } => *text,
            _ => None,
        }
    }

    /// The same error about the text at this position, if it is about a text or an option and does not say which
    /// text yet.
    pub(crate) fn of_text(self, index: usize) -> Error {
        match self {
            Error::Request { text: None, problem } => Error::Request { text: Some(index), problem },
            other => other,
        }
    }

    /// Whether it is the device's, so that another device may do better.
    #[cfg(feature = "gpu")]
    pub(crate) fn is_the_devices(&self) -> bool {
        use DeviceError::{Gpu, Limit, Lost, OutOfMemory, ShaderRejected};
        let of_gpu = |error: &DeviceError| {
            matches!(
                error,
                Gpu { .. } | Lost { .. } | Limit { .. } | OutOfMemory { .. } | ShaderRejected { .. }
            )
        };
        matches!(self, Error::Device(error) if of_gpu(error))
    }

    fn inner(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Model(error) => Some(error),
            Error::Request { problem, .. } => Some(problem),
            Error::Device(error) => Some(error),
            Error::Hub(error) => Some(error),
            Error::Internal { .. } => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Model(error) => write!(f, "{error}")?,
            Error::Request { text: None, problem } => write!(f, "{problem}")?,
            Error::Request { text: Some(index), problem } => write!(f, "text {index}: {problem}")?,
            Error::Device(error) => write!(f, "{error}")?,
            Error::Hub(error) => write!(f, "{error}")?,
            Error::Internal { what } => write!(f, "internal error: {what}; please report it")?,
        }
        if f.alternate() {
            write_sources(std::error::Error::source(self), f)?;
        }
        Ok(())
    }
}

/// Writes a chain of sources. Some libraries repeat a source in their own message: it is written once.
fn write_sources(
    mut source: Option<&(dyn std::error::Error + 'static)>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let mut written = String::new();
    while let Some(error) = source {
        let message = error.to_string();
        if !written.contains(&message) {
            write!(f, ": {message}")?;
            written = message;
        }
        source = error.source();
    }
    Ok(())
}

impl std::error::Error for Error {
    /// What the system or a library said: the details of [`Error::kind`] are this error's own message.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner()?.source()
    }
}

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Error {
        Error::Model(error)
    }
}

impl From<RequestError> for Error {
    fn from(problem: RequestError) -> Error {
        Error::Request { text: None, problem }
    }
}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Error {
        Error::Device(error)
    }
}

impl From<HubError> for Error {
    fn from(error: HubError) -> Error {
        Error::Hub(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each part of a chain is printed once, and only where it is asked for.
    #[test]
    fn a_source_is_printed_once() {
        let source = std::io::Error::other("the disk is on fire");
        let error = Error::from(ModelError::Io { path: "a/b".into(), action: "open", source });
        assert_eq!(error.to_string(), "a/b: cannot open");
        assert_eq!(format!("{error:#}"), "a/b: cannot open: the disk is on fire");
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source.as_deref(), Some("the disk is on fire"));
    }

    #[test]
    fn an_error_keeps_the_first_text_that_it_was_given() {
        let error = Error::from(RequestError::TooLong { tokens: 9, limit: 8 });
        assert_eq!((error.text(), error.kind()), (None, ErrorKind::Request));
        let error = error.of_text(3).of_text(0);
        assert_eq!(error.text(), Some(3));
        assert!(error.to_string().starts_with("text 3: "), "{error}");
        let internal = Error::Internal { what: "no vector" }.of_text(1);
        assert_eq!((internal.text(), internal.kind()), (None, ErrorKind::Internal));
    }
}
