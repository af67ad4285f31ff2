//! Corpora of any size to task-aware text embeddings, on top of [`taskvec`].
//!
//! [`Corpus`] reads tables and lists of texts: lines, JSONL, CSV, TSV, Parquet and Arrow, plain or compressed.
//! [`Job`] embeds them in constant memory and writes the vectors beside the columns that are to be kept. A job that
//! was killed goes on where it stopped, and its output has the bytes of one that was not.
//!
//! ```
//! use taskvec::{Embedder, Task};
//! use taskvec_corpus::{Columns, Corpus, Format, Job, Output};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (table, vectors) = (folder.path().join("faq.csv"), folder.path().join("faq.parquet"));
//! std::fs::write(&table, "id,question\n7,How do I reset my password?\n8,Where is my order?\n")?;
//! let columns = Columns { text: Some("question".parse()?), id: Some("id".into()), ..Columns::default() };
//! let corpus = Corpus::open(&[table], None, columns)?;
//! let embedder = Embedder::builtin()?;
//! let report = Job::new(&embedder, &corpus, Output::file(&vectors, Format::Parquet))
//!     .options(Task::RetrievalDocument)
//!     .run()?;
//! assert_eq!(report.rows, 2);
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod columns;
mod error;
mod input;
mod job;
mod output;
mod search;
mod window;
mod workspace;

pub use columns::{Columns, FieldPath, Keep, TextSource};
pub use error::{CorpusError, Result};
pub use input::{Corpus, Count, InputFormat, TextRow};
pub use job::{Chunks, Give, Job, OnError, Prediction, Progress, Report};
pub use output::{Format, Output, npy_header, safetensors_header};
pub use search::{Condition, Hit, Index, Sample};
pub use workspace::merge;
