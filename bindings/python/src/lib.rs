//! The Rust half of the Python package `taskvec`: engines, and what passes between them and Python.
//!
//! | file | what it does |
//! |---|---|
//! | `embedder.rs` | an embedding model: dense, sparse and token vectors |
//! | `reranker.rs` | a cross-encoder |
//! | `open.rs` | how either is opened |
//! | `options.rs` | options of a call |
//! | `texts.rs` | Python's strings, without a copy |
//! | `calls.rs` | calls without Python's lock, which Ctrl-C ends |
//! | `errors.rs` | Rust's errors as Python's exceptions |

mod calls;
mod embedder;
mod errors;
mod open;
mod options;
mod reranker;
mod texts;

use pyo3::prelude::*;

/// Engines. The package `taskvec` is what they are used through.
#[pymodule]
fn _taskvec(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<embedder::Engine>()?;
    module.add_class::<reranker::RerankerEngine>()?;
    module.add_function(wrap_pyfunction!(embedder::maxsim, module)?)?;
    Ok(())
}
