//! Options of a call.

use crate::errors::raised;
use pyo3::prelude::*;
use taskvec::{EmbedOptions, Error, Task, Truncation};

/// Options as Python gives them: a dictionary with each of these, or None for it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Options {
    task: Option<String>,
    prompt_name: Option<String>,
    prompt: Option<String>,
    template: Option<String>,
    instruction: Option<String>,
    dimensions: Option<usize>,
    normalize: Option<bool>,
    too_long: Option<String>,
}

impl Options {
    /// The same for the engine.
    pub(crate) fn read(self, py: Python<'_>) -> PyResult<EmbedOptions> {
        self.options().map_err(|error| raised(py, &error))
    }

    fn options(self) -> Result<EmbedOptions, Error> {
        let mut options = EmbedOptions::new();
        if let Some(task) = self.task {
            options = options.task(task.parse::<Task>()?);
        }
        if let Some(name) = self.prompt_name {
            options = options.prompt_name(name);
        }
        if let Some(prompt) = self.prompt {
            options = options.prompt(prompt);
        }
        if let Some(template) = self.template {
            options = options.template(template);
        }
        if let Some(instruction) = self.instruction {
            options = options.instruction(instruction);
        }
        if let Some(dimensions) = self.dimensions {
            options = options.dimensions(dimensions);
        }
        if let Some(normalize) = self.normalize {
            options = options.normalize(normalize);
        }
        if let Some(too_long) = self.too_long {
            options = options.truncation(too_long.parse::<Truncation>()?);
        }
        Ok(options)
    }
}
