//! Python's strings, without a copy.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyString;

/// Texts, and what is wrong with the first that is none.
pub(crate) fn texts(items: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<PyBackedStr>> {
    let mut texts = Vec::with_capacity(items.len().unwrap_or(0));
    for (i, item) in items.try_iter()?.enumerate() {
        texts.push(text(&item?, || format!("{what} {i}"))?);
    }
    Ok(texts)
}

/// Texts of which some may be missing.
pub(crate) fn optional_texts(items: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<Option<PyBackedStr>>> {
    let mut texts = Vec::new();
    for (i, item) in items.try_iter()?.enumerate() {
        let item = item?;
        texts.push(if item.is_none() { None } else { Some(text(&item, || format!("{what} {i}"))?) });
    }
    Ok(texts)
}

fn text(item: &Bound<'_, PyAny>, place: impl Fn() -> String) -> PyResult<PyBackedStr> {
    let Ok(string) = item.cast::<PyString>() else {
        let found = item.get_type().name()?;
        return Err(PyTypeError::new_err(format!("{} is {found}, expected str", place())));
    };
    PyBackedStr::try_from(string.clone())
        .map_err(|e| PyValueError::new_err(format!("{} is not valid Unicode: {e}", place())))
}
