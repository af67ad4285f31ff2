//! From files to rows: [`Corpus`] finds the files, says what they hold, and reads them a batch of rows at a time.

mod corpus;
mod delimited;
mod files;
mod input_file;
mod json_types;
mod jsonl;
mod lines;
mod readers;
mod rows;
mod sniff;
mod stored;
mod stream;
mod table;

pub use corpus::{Corpus, Count, TextRow};
pub use input_file::InputFormat;
pub(crate) use rows::{RowBatch, RowReader, Texts};
