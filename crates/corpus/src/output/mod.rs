//! Rows with their vectors in each output format: as parts, which appear whole one after the other, and joined.

mod array_file;
mod arrow;
mod format;
mod heading;
mod joining;
mod jsonl;
mod parquet;
mod parts;
pub(crate) mod record;
mod whole;

pub use array_file::{npy_header, safetensors_header};
pub use format::{Format, Output};
pub(crate) use heading::{About, Heading};
pub(crate) use joining::Joining;
pub(crate) use parts::{join, part_name, write_part};
pub(crate) use whole::whole;
