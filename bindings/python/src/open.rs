//! How a model is opened.

use crate::errors::raised;
use pyo3::prelude::*;
use std::path::PathBuf;
use taskvec::{Builder, Device, Error, GpuSelector, HubModel, OpenModel, Precision};

/// How a model is opened, as Python gives it: a dictionary with each of these, or None for it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct How {
    pub(crate) model: Option<PathBuf>,
    device: Option<String>,
    adapter: Option<String>,
    precision: Option<String>,
    threads: Option<usize>,
    max_tokens: Option<usize>,
    batch_tokens: Option<usize>,
    dimensions: Option<usize>,
    registry: Option<PathBuf>,
    instruction_set: Option<String>,
}

impl How {
    /// Sets up a builder.
    pub(crate) fn build<M: OpenModel>(&self, mut builder: Builder<M>) -> Result<Builder<M>, Error> {
        if let Some(device) = &self.device {
            builder = builder.device(device.parse::<Device>()?);
        }
        if let Some(adapter) = &self.adapter {
            builder = builder.device(Device::Gpu(adapter.parse::<GpuSelector>()?));
        }
        if let Some(precision) = &self.precision {
            builder = builder.precision(precision.parse::<Precision>()?);
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(tokens) = self.max_tokens {
            builder = builder.max_tokens(tokens);
        }
        if let Some(tokens) = self.batch_tokens {
            builder = builder.batch_tokens(tokens);
        }
        if let Some(dimensions) = self.dimensions {
            builder = builder.dimensions(dimensions);
        }
        if let Some(file) = &self.registry {
            builder = builder.registry(file);
        }
        if let Some(name) = &self.instruction_set {
            builder = builder.instruction_set(name);
        }
        Ok(builder)
    }

    /// Opens a model: a folder if there is one of that name, else one of the Hugging Face Hub.
    pub(crate) fn open<M: OpenModel + Send>(
        &self,
        py: Python<'_>,
        builder: Builder<M>,
        builtin: impl FnOnce(&Builder<M>) -> Result<M, Error> + Send,
    ) -> PyResult<M>
    where
        Builder<M>: Send,
    {
        let open = || {
            let builder = self.build(builder)?;
            let Some(model) = &self.model else { return builtin(&builder) };
            let name = model.to_string_lossy();
            match model.is_dir() || HubModel::parse(&name).is_none() {
                true => builder.open(model),
                false => builder.from_hub(&name, &mut |_| ()),
            }
        };
        py.detach(open).map_err(|error| raised(py, &error))
    }
}
