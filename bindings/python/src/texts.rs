//! Python's strings and Arrow's, where they lie.

use arrow_array::{Array, ArrayRef, LargeStringArray, StringArray, StringViewArray};
use arrow_schema::DataType;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyString;
use pyo3_arrow::input::AnyArray;

/// Texts of which some may be missing, in Python's memory.
#[derive(Default)]
pub(crate) struct Texts {
    parts: Vec<Part>,
    count: usize,
    bytes: usize,
}

/// Texts that lie together.
enum Part {
    Strings(Vec<Option<PyBackedStr>>),
    Utf8(StringArray),
    LargeUtf8(LargeStringArray),
    Utf8View(StringViewArray),
}

impl Part {
    fn iter(&self) -> Box<dyn Iterator<Item = Option<&str>> + '_> {
        match self {
            Part::Strings(strings) => Box::new(strings.iter().map(|string| string.as_deref())),
            Part::Utf8(array) => Box::new(array.iter()),
            Part::LargeUtf8(array) => Box::new(array.iter()),
            Part::Utf8View(array) => Box::new(array.iter()),
        }
    }

    fn of_arrow(array: &ArrayRef) -> Option<Part> {
        let any = array.as_any();
        match array.data_type() {
            DataType::Utf8 => any.downcast_ref().cloned().map(Part::Utf8),
            DataType::LargeUtf8 => any.downcast_ref().cloned().map(Part::LargeUtf8),
            DataType::Utf8View => any.downcast_ref().cloned().map(Part::Utf8View),
            DataType::Null => Some(Part::Strings((0..array.len()).map(|_| None).collect())),
            _ => None,
        }
    }
}

impl Texts {
    /// Each must be there: an error says which is not.
    pub(crate) fn all(items: &Bound<'_, PyAny>, what: &str) -> PyResult<Texts> {
        let texts = Texts::some(items, what)?;
        let missing = texts.iter().position(|text| text.is_none());
        match missing {
            Some(i) => Err(PyTypeError::new_err(format!("{what} {i} is NoneType, expected str"))),
            None => Ok(texts),
        }
    }

    /// Some may be `None`.
    pub(crate) fn some(items: &Bound<'_, PyAny>, what: &str) -> PyResult<Texts> {
        let parts = match items.hasattr("__arrow_c_stream__")? || items.hasattr("__arrow_c_array__")? {
            true => of_arrow(items, what)?,
            false => vec![Part::Strings(of_python(items, what)?)],
        };
        let (mut count, mut bytes) = (0, 0);
        for text in parts.iter().flat_map(Part::iter) {
            count += 1;
            bytes += text.map_or(0, str::len);
        }
        Ok(Texts { parts, count, bytes })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        self.parts.iter().flat_map(Part::iter)
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// UTF-8's bytes, of all.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn of_python(items: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<Option<PyBackedStr>>> {
    let mut texts = Vec::with_capacity(items.len().unwrap_or(0));
    for (i, item) in items.try_iter()?.enumerate() {
        let item = item?;
        if item.is_none() {
            texts.push(None);
            continue;
        }
        let Ok(string) = item.cast::<PyString>() else {
            let found = item.get_type().name()?;
            return Err(PyTypeError::new_err(format!("{what} {i} is {found}, expected str")));
        };
        let text = PyBackedStr::try_from(string.clone());
        texts.push(Some(
            text.map_err(|e| PyValueError::new_err(format!("{what} {i} is not valid Unicode: {e}")))?,
        ));
    }
    Ok(texts)
}

/// The chunks of a column, by Arrow's C interface.
fn of_arrow(items: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<Part>> {
    let chunks = items.extract::<AnyArray>()?.into_chunked_array()?;
    let data_type = chunks.data_type().clone();
    let part = |chunk: &ArrayRef| {
        // Who made it may not have looked, and Rust's strings have to be UTF-8.
        chunk.to_data().validate_full().map_err(|e| {
            PyValueError::new_err(format!("{what}s are an Arrow column that is not valid: {e}"))
        })?;
        Part::of_arrow(chunk).ok_or_else(|| {
            PyTypeError::new_err(match data_type {
                DataType::Struct(_) => format!("{what}s are a table, expected one column of strings"),
                _ => format!("{what}s are an Arrow column of {data_type}, expected one of strings: cast it"),
            })
        })
    };
    // An empty slice of a column has offsets into bytes that it does not carry.
    chunks.chunks().iter().filter(|chunk| !chunk.is_empty()).map(part).collect()
}
