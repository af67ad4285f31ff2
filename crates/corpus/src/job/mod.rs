//! A corpus to vectors.

mod compute;
mod options;
mod part;
mod prediction;
mod progress;
mod run;
mod settings;

pub use prediction::Prediction;
pub use progress::Progress;
pub use run::Report;
pub use settings::{Chunks, Give, Job, OnError};
