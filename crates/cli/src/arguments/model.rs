//! Which model, on what.

use super::parse::{named, parse};
use crate::hub;
use crate::outcome::{Failure, Outcome};
use clap::Args;
use std::path::PathBuf;
use std::str::FromStr;
use taskvec::{
    Builder, Device, Embedder, EmbedderBuilder, GpuSelector, HubModel, ModelNote, Precision, Reranker,
};
#[cfg(feature = "serve")]
use taskvec::{Error, ModelError};
#[cfg(feature = "serve")]
use taskvec_server::Loaded;

/// Which model, on what.
#[derive(Args, Clone)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArguments {
    /// Model folder, or a model of the Hugging Face Hub as ORG/NAME or ORG/NAME@REVISION, which is
    /// downloaded once [default: the built-in all-MiniLM-L6-v2]
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) how: OpenArguments,
}

/// How a model is opened.
#[derive(Args, Clone)]
#[command(next_help_heading = "Model")]
pub(crate) struct OpenArguments {
    /// A file of prompts that come before the model's own and the built-in ones
    #[arg(long, value_name = "FILE")]
    registry: Option<PathBuf>,
    /// Where to compute: auto, cpu, gpu or reference (slow, what the others are tested against); auto takes the CPU,
    /// and for calls of many tokens a hardware GPU if it is faster
    #[arg(long, value_parser = parse::<Device>, value_name = "DEVICE", default_value = "auto")]
    device: Device,
    /// The GPU: its number or a part of its name, as `taskvec devices` lists them; vulkan, metal or dx12 for the
    /// best of these; fastest for the one that does most multiply-adds. Given
    /// several times: these share the work
    #[arg(long, value_parser = parse::<GpuSelector>, value_name = "GPU")]
    adapter: Vec<GpuSelector>,
    /// CPU threads [default: all]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The cores that the CPU threads stay on, one each: numbers and ranges with commas between, as 0-3,8
    /// [default: the system moves them]
    #[arg(long, value_name = "LIST")]
    cores: Option<CoreList>,
    /// The most tokens of a text, its prompt included [default: the model's own limit]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// The precision of weights and products: f32 gives the reference's vector; int8 (CPU) and f16
    /// (GPU) are faster, and bf16 where the CPU multiplies it faster (`taskvec devices` says how);
    /// auto takes f16 on a GPU where the model allows it, else f32
    #[arg(long, value_parser = named(Precision::ALL, Precision::name), value_name = "NAME", default_value = "f32")]
    precision: Precision,
    /// The CPU's instruction set, as `taskvec devices` lists them [default: the fastest]
    #[arg(long, visible_alias = "isa", value_name = "NAME")]
    pub(crate) instruction_set: Option<String>,
}

/// `0-3,8`
#[derive(Clone)]
struct CoreList(Vec<usize>);

impl FromStr for CoreList {
    type Err = String;

    fn from_str(list: &str) -> Result<CoreList, String> {
        let number = |text: &str| text.trim().parse::<u16>().map(usize::from).ok();
        let mut cores = Vec::new();
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => cores.extend(first..=last),
                _ => return Err(format!("{part:?} is not a core's number or a range as 0-3")),
            }
        }
        Ok(CoreList(cores))
    }
}

impl ModelArguments {
    /// The model on the CPU, to see what it is made of.
    pub(crate) fn open_on_cpu(&self) -> Outcome<Embedder> {
        if self.how.device == Device::Reference || self.is_on_gpu() {
            return Err(Failure::Usage(
                "kernels are measured on the cpu and on a gpu; bench model takes any device".to_owned(),
            ));
        }
        open_from(&self.how.builder()?.device(Device::Cpu), self.folder()?)
    }

    /// Whether a GPU is asked for.
    pub(crate) fn is_on_gpu(&self) -> bool {
        self.how.is_on_gpu()
    }

    /// The model on the CPU in f32, to hold a GPU's vectors against.
    #[cfg(feature = "gpu")]
    pub(crate) fn open_reference_of_gpu(&self) -> Outcome<Embedder> {
        let builder = self.how.builder()?.device(Device::Cpu).precision(Precision::F32);
        open_from(&builder, self.folder()?)
    }

    /// The model in another precision.
    pub(crate) fn open_with(&self, precision: Precision) -> Outcome<Embedder> {
        open_from(&self.how.builder()?.precision(precision), self.folder()?)
    }

    /// CPU threads that are asked for, or else all.
    pub(crate) fn cpu_threads(&self) -> usize {
        let of_cores = self.how.cores.as_ref().map(|CoreList(cores)| cores.len());
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        self.how.threads.or(of_cores).unwrap_or_else(all)
    }

    /// The same arguments, for the model and the precision that files say, where these do not say one.
    pub(crate) fn or(&self, model: Option<String>, precision: Option<Precision>) -> ModelArguments {
        let mut arguments = self.clone();
        arguments.model = arguments.model.or(model);
        if let (Precision::F32, Some(precision)) = (self.how.precision, precision) {
            arguments.how.precision = precision;
        }
        arguments
    }

    /// These precisions, or else the one of --precision.
    pub(crate) fn precisions(&self, several: &[Precision]) -> Vec<Precision> {
        if several.is_empty() { vec![self.how.precision] } else { several.to_vec() }
    }

    /// Opens the model. `dimensions` chooses its projection to that size, if it has one.
    pub(crate) fn open(&self, dimensions: Option<usize>) -> Outcome<Embedder> {
        let builder = self.how.builder()?;
        let builder = match dimensions {
            Some(dimensions) => builder.dimensions(dimensions),
            None => builder,
        };
        open_from(&builder, self.folder()?)
    }

    /// Opens a reranker; there is no built-in one.
    pub(crate) fn open_reranker(&self) -> Outcome<Reranker> {
        match self.folder()? {
            Some(folder) => {
                let reranker: Reranker = self.how.builder()?.open(folder)?;
                warn_of_keys(&reranker.notes());
                Ok(reranker)
            }
            None => Err(Failure::Usage(
                "there is no built-in reranker: give one with --model, such as cross-encoder/ms-marco-MiniLM-L6-v2"
                    .to_owned(),
            )),
        }
    }

    /// The model's folder: as given, or in the hub's cache, after a download if need be.
    fn folder(&self) -> Outcome<Option<PathBuf>> {
        let Some(model) = &self.model else {
            return Ok(None);
        };
        let path = PathBuf::from(model);
        match HubModel::parse(model) {
            Some(name) if !path.exists() => hub::fetch(&name).map(Some),
            _ => Ok(Some(path)),
        }
    }

    /// Opens the model, whichever of the two kinds it is.
    #[cfg(feature = "serve")]
    pub(crate) fn open_any(&self) -> Outcome<Loaded> {
        let (builder, folder) = (self.how.builder::<Embedder>()?, self.folder()?);
        let opened = match &folder {
            Some(folder) => builder.open(folder),
            None => builder.builtin(),
        };
        match opened {
            Ok(embedder) => {
                warn_of_keys(&embedder.notes());
                Ok(Loaded::Embedder(embedder))
            }
            Err(Error::Model(ModelError::Reranker { .. })) => Ok(Loaded::Reranker(self.open_reranker()?)),
            Err(error) => Err(error.into()),
        }
    }
}

impl OpenArguments {
    /// Whether a GPU is asked for.
    fn is_on_gpu(&self) -> bool {
        matches!(self.device, Device::Gpu(_) | Device::Gpus(_)) || !self.adapter.is_empty()
    }

    fn builder<M>(&self) -> Outcome<Builder<M>> {
        let mut builder = Builder::default().device(self.device()?).precision(self.precision);
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(CoreList(cores)) = &self.cores {
            builder = builder.cores(cores.iter().copied());
        }
        if let Some(tokens) = self.max_tokens {
            builder = builder.max_tokens(tokens);
        }
        if let Some(name) = &self.instruction_set {
            builder = builder.instruction_set(name);
        }
        if let Some(file) = &self.registry {
            builder = builder.registry(file);
        }
        Ok(builder)
    }

    fn device(&self) -> Outcome<Device> {
        if !self.adapter.is_empty() && matches!(self.device, Device::Cpu | Device::Reference) {
            return Err(Failure::Usage("--adapter names a GPU, so it needs --device gpu".to_owned()));
        }
        Ok(match &self.adapter[..] {
            [] => self.device.clone(),
            [adapter] => Device::Gpu(adapter.clone()),
            adapters => Device::Gpus(adapters.to_vec()),
        })
    }
}

/// Opens a folder, or the built-in model.
fn open_from(builder: &EmbedderBuilder, folder: Option<PathBuf>) -> Outcome<Embedder> {
    let embedder = match folder {
        Some(folder) => builder.open(folder)?,
        None => builder.builtin()?,
    };
    warn_of_keys(&embedder.notes());
    Ok(embedder)
}

/// Says which keys of the model's files are not known.
fn warn_of_keys(notes: &[ModelNote]) {
    for note in notes.iter().filter(|note| matches!(note, ModelNote::UnknownKey { .. })) {
        eprintln!("taskvec: warning: {note}");
    }
}
