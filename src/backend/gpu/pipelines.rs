//! Shaders compiled for a device, when a step first needs them.

use super::adapter::Opened;
use super::shader::Form;
use crate::cache;
use crate::error::{Error, Result};
use std::collections::HashMap;
use wgpu::{BindingType, BufferBindingType, ShaderStages};

/// Compiled shaders.
#[derive(Default)]
pub(super) struct Pipelines {
    compiled: HashMap<Form, wgpu::ComputePipeline>,
    /// By the number of bindings: see [`layout`].
    layouts: HashMap<usize, wgpu::BindGroupLayout>,
}

impl Pipelines {
    /// The pipeline of a form, compiled if it is not yet, and the layout of its `bindings` bindings.
    pub(super) fn get(
        &mut self,
        gpu: &Opened,
        form: &Form,
        bindings: usize,
    ) -> Result<(wgpu::ComputePipeline, wgpu::BindGroupLayout)> {
        let layout = self.layouts.entry(bindings).or_insert_with(|| layout(gpu, bindings)).clone();
        if let Some(pipeline) = self.compiled.get(form) {
            return Ok((pipeline.clone(), layout));
        }
        let pipeline = compile(gpu, &form.name(), form.source(), &layout)?;
        self.compiled.insert(form.clone(), pipeline.clone());
        Ok((pipeline, layout))
    }
}

/// What a driver made of shaders, kept for the next process on this adapter and driver.
pub(super) struct PipelineCache {
    cache: wgpu::PipelineCache,
    /// The file's name in the cache folder.
    file: String,
    /// The checksum of what was read.
    read: Option<blake3::Hash>,
}

impl PipelineCache {
    /// The adapter's cache, with what an earlier process left; `None`: it keeps none.
    pub(super) fn open(adapter: &wgpu::Adapter, device: &wgpu::Device) -> Option<PipelineCache> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let file = format!("pipelines-{}", wgpu::util::pipeline_cache_key(&adapter.get_info())?);
        let stored = cache::read(&file);
        let data = stored.as_deref().and_then(checked);
        let read = data.map(blake3::hash);
        Some(PipelineCache { cache: taskvec_kernels::gpu::pipeline_cache(device, data), file, read })
    }

    /// Keeps what is new.
    pub(super) fn save(&self) {
        let Some(data) = self.cache.get_data() else { return };
        let sum = blake3::hash(&data);
        if Some(sum) != self.read {
            cache::write(&self.file, &[sum.as_bytes(), &data[..]].concat());
        }
    }
}

/// The data behind its checksum, if that is right.
fn checked(stored: &[u8]) -> Option<&[u8]> {
    let (sum, data) = stored.split_at_checked(blake3::OUT_LEN)?;
    (blake3::hash(data).as_bytes() == sum).then_some(data)
}

/// What every shader has: the batch and the parameters, buffers it reads, and last one that it writes.
pub(super) fn layout(gpu: &Opened, bindings: usize) -> wgpu::BindGroupLayout {
    let entries: Vec<_> = (0..bindings)
        .map(|binding| wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: ShaderStages::COMPUTE,
            ty: BindingType::Buffer {
                ty: match binding {
                    0 | 1 => BufferBindingType::Uniform,
                    _ => BufferBindingType::Storage { read_only: binding + 1 < bindings },
                },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        })
        .collect();
    gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
}

/// Compiles a shader. A driver that rejects it, or fails at it, is an error.
pub(super) fn compile(
    gpu: &Opened,
    name: &str,
    source: String,
    layout: &wgpu::BindGroupLayout,
) -> Result<wgpu::ComputePipeline> {
    let device = &gpu.device;
    // Errors go to the innermost scope of their kind.
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
    let source = wgpu::ShaderSource::Wgsl(source.into());
    let module = gpu.module(wgpu::ShaderModuleDescriptor { label: Some(name), source });
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(layout)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(name),
        layout: Some(&layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            // Each shader writes what it reads there.
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: gpu.cache.as_ref().map(|cache| &cache.cache),
    });
    let internal = pollster::block_on(internal.pop());
    let validation = pollster::block_on(validation.pop());
    match internal.or(validation) {
        Some(problem) => Err(Error::ShaderRejected {
            adapter: gpu.name.clone(),
            shader: name.to_owned(),
            problem: problem.to_string(),
        }),
        None => Ok(pipeline),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::gpu::adapter::select;

    /// A file that is cut or changed is not given to the driver.
    #[test]
    fn only_what_was_written_is_read() {
        let stored = [blake3::hash(b"compiled").as_bytes(), &b"compiled"[..]].concat();
        assert_eq!(checked(&stored), Some(&b"compiled"[..]));
        for damaged in [&stored[..stored.len() - 1], &stored[1..], &stored[..10], &[]] {
            assert_eq!(checked(damaged), None);
        }
    }

    /// A second process finds what the first left, whatever has happened to the file between.
    #[test]
    fn shaders_are_compiled_with_what_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        cache::in_folder(folder.path(), || {
            let adapter = select(&crate::GpuSelector::Best).expect("these tests need a Vulkan driver");
            for damage in [false, true, false] {
                let gpu = Opened::open(&adapter).expect("it opens");
                let Some(kept) = &gpu.cache else { return };
                let layout = layout(&gpu, 3);
                let source = "@compute @workgroup_size(1) fn main() {}".to_owned();
                compile(&gpu, "empty", source, &layout).expect("it compiles");
                kept.save();
                let file = folder.path().join(&kept.file);
                let stored = std::fs::read(&file).expect("it was kept");
                assert!(checked(&stored).is_some());
                if damage {
                    std::fs::write(&file, &stored[..stored.len() / 2]).expect("a file");
                }
            }
        });
    }
}
