//! What is wrong with a request. Each dialect has its own words for it.

use serde_json::Value;
use std::time::Duration;
use taskvec::{DeviceError, Error, ErrorKind, RequestError};

/// What is wrong with a request, for its sender.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) message: String,
    /// The field that it is about.
    pub(crate) field: Option<String>,
}

/// Which answer a fault gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FaultKind {
    /// The body is not JSON of the expected form.
    Body,
    /// A field's value, or options that do not go together.
    Invalid,
    /// There is no text.
    Empty,
    /// A text is longer than the model takes.
    TooLong,
    /// The model does not do this.
    Unsupported,
    /// There is no key, or an unknown one.
    Unauthorized,
    UnknownModel,
    NoSuchRoute,
    WrongMethod,
    BodyTooLarge,
    /// The body is compressed.
    Encoding,
    /// The server cannot serve yet, or no more: of its health alone.
    NotReady,
    /// There is too much to do: try again after so long.
    Overloaded(Duration),
    /// The time that the client gave is over.
    Late,
    /// The GPU is gone: its model has to be opened again.
    Lost,
    /// The engine or the device failed.
    Internal,
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, message: impl Into<String>) -> Fault {
        Fault { kind, message: message.into(), field: None }
    }

    pub(crate) fn body(message: impl Into<String>) -> Fault {
        Fault::new(FaultKind::Body, message)
    }

    pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Fault {
        Fault { kind: FaultKind::Invalid, message: message.into(), field: Some(field.to_owned()) }
    }

    /// A value of the wrong kind.
    pub(crate) fn field(field: &str, found: &Value, expected: &str) -> Fault {
        let found = match found {
            Value::Number(number) => number.to_string(),
            other => kind(other).to_owned(),
        };
        Fault::invalid(field, format!("{field} is {found}; expected {expected}"))
    }

    pub(crate) fn internal(message: impl Into<String>) -> Fault {
        Fault::new(FaultKind::Internal, message)
    }

    /// What the engine said, of the text at this place in the request.
    pub(crate) fn of_engine(error: &Error, text: Option<usize>) -> Fault {
        let place = text.map(|i| format!("input {i}: ")).unwrap_or_default();
        let message = match error {
            Error::Request { problem, .. } => format!("{place}{problem}"),
            other => format!("{place}{other:#}"),
        };
        let kind = match error {
            Error::Request { problem, .. } => match problem {
                RequestError::TooLong { .. } => FaultKind::TooLong,
                RequestError::NoSuchOutput { .. } => FaultKind::Unsupported,
                RequestError::NonFiniteResult { .. } | RequestError::Cancelled => FaultKind::Internal,
                _ => FaultKind::Invalid,
            },
            Error::Device(DeviceError::Lost { .. }) => FaultKind::Lost,
            _ => FaultKind::Internal,
        };
        Fault::new(kind, message)
    }

    /// Whether the client is to blame, so that trying again is of no use.
    pub(crate) fn is_permanent(&self) -> bool {
        !matches!(
            self.kind,
            FaultKind::Overloaded(_)
                | FaultKind::Lost
                | FaultKind::Internal
                | FaultKind::Late
                | FaultKind::NotReady
        )
    }

    /// The status that most dialects give it.
    pub(crate) fn status(&self) -> u16 {
        match self.kind {
            FaultKind::Body
            | FaultKind::Invalid
            | FaultKind::Empty
            | FaultKind::TooLong
            | FaultKind::Unsupported => 400,
            FaultKind::Unauthorized => 401,
            FaultKind::UnknownModel | FaultKind::NoSuchRoute => 404,
            FaultKind::WrongMethod => 405,
            FaultKind::BodyTooLarge => 413,
            FaultKind::Encoding => 415,
            FaultKind::NotReady => 503,
            FaultKind::Overloaded(_) => 429,
            FaultKind::Late => 408,
            FaultKind::Lost | FaultKind::Internal => 500,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        match error.kind() {
            ErrorKind::Request => Fault::of_engine(&error, error.text()),
            _ => Fault::of_engine(&error, None),
        }
    }
}

/// What a value is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
