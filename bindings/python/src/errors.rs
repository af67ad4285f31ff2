//! Rust's errors as Python's exceptions: the classes of `taskvec.errors`, with the same text.

use pyo3::prelude::*;
use taskvec::{Error, RequestError};

/// The exception that says what an error says.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    let name = match error {
        Error::Request { problem: RequestError::Cancelled, .. } => "CancelledError",
        Error::Request { .. } => "RequestError",
        Error::Model(_) => "ModelError",
        Error::Device(_) => "DeviceError",
        Error::Hub(_) => "HubError",
        _ => "TaskvecError",
    };
    exception(py, name, format!("{error:#}"))
}

/// An exception of `taskvec.errors`.
pub(crate) fn exception(py: Python<'_>, name: &str, message: String) -> PyErr {
    let raise = || py.import("taskvec.errors")?.getattr(name)?.call1((message,));
    match raise() {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}
