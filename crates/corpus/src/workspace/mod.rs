//! The folder of a job under way: which parts are there, what the job is, and who works on it.
//!
//! ```text
//! vectors.parquet.parts/         of an output that is one file; an output that is a folder is this folder
//!   part-000000.parquet …        parts, which appear whole
//!   _taskvec/manifest.json       what the job is: input files, options, space
//!   _taskvec/done-0-of-1.jsonl   a line for each finished part, and at the end how many there are
//!   _taskvec/part-000007.journal vectors of the part under way
//!   _taskvec/lock-0-of-1         held by the process that works on this share
//! ```

mod done;
mod folder;
mod journal;
mod layout;
mod manifest;
mod merge;

pub(crate) use done::PartFacts;
pub(crate) use folder::Workspace;
pub(crate) use journal::{Entry, Journal};
pub(crate) use manifest::Manifest;
pub(crate) use merge::join_rejects;
pub use merge::merge;
