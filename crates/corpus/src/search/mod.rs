//! Exact search over files of vectors: the files are mapped, and each vector meets the query once.
//!
//! | file | what it does |
//! |---|---|
//! | `index.rs` | all files together: what a caller sees |
//! | `file.rs` | what a file of vectors is: its size, its type, what it says of how they were made |
//! | `stored.rs` | its vectors, in blocks, where they lie in the mapped file |
//! | `scoring.rs` | queries in the form that vectors of a type are compared with |
//! | `top.rs` | the best of each query |
//! | `filter.rs` | conditions on kept columns |
//! | `sparse.rs` | sparse vectors, and queries compared with them |
//! | `sample.rs` | some of the vectors, as numbers |
//! | `columns.rs` | the kept columns of what was found |

mod columns;
mod file;
mod filter;
mod hit;
mod index;
mod layout;
mod sample;
mod scoring;
mod sparse;
mod stored;
mod top;

pub use filter::Condition;
pub use hit::Hit;
pub use index::Index;
pub use sample::Sample;
