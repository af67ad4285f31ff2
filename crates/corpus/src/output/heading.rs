//! What is said of all rows.

use super::format::Format;
use super::record;
use arrow_schema::SchemaRef;
use taskvec::OutputType;

/// What is said of all rows.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) heading: Heading,
    pub(crate) schema: SchemaRef,
    pub(crate) shape: record::Shape,
}

/// What stands at the head of a file.
#[derive(Clone, Debug)]
pub(crate) struct Heading {
    pub(crate) format: Format,
    pub(crate) output_type: OutputType,
    /// Values of a vector as it is stored.
    pub(crate) width: usize,
    /// Model, prompt, dimensions and so on.
    pub(crate) json: serde_json::Value,
    /// Whether columns are kept that stand in a file of their own beside an array.
    pub(crate) rows_beside: bool,
}

impl Heading {
    /// Bytes of a vector as it is stored.
    pub(crate) fn row_bytes(&self) -> usize {
        self.width * self.output_type.value_bytes()
    }
}
