//! Shaders compiled for a device, when a step first needs them.

use super::context::GpuContext;
use super::pipeline_cache::PipelineCache;
use super::shader::ShaderVariant;
use crate::error::{DeviceError, Result};
use std::collections::HashMap;
use wgpu::{BindingType, BufferBindingType, ShaderStages};

/// Compiled shaders.
#[derive(Default)]
pub(super) struct Pipelines {
    compiled: HashMap<ShaderVariant, wgpu::ComputePipeline>,
    /// By the number of bindings: see [`layout`].
    layouts: HashMap<usize, wgpu::BindGroupLayout>,
}

impl Pipelines {
    /// The pipeline of a variant, compiled if it is not yet, and the layout of its `bindings` bindings.
    pub(super) fn get(
        &mut self,
        gpu: &GpuContext,
        variant: &ShaderVariant,
        bindings: usize,
    ) -> Result<(wgpu::ComputePipeline, wgpu::BindGroupLayout)> {
        let layout = self.layouts.entry(bindings).or_insert_with(|| layout(gpu, bindings)).clone();
        if let Some(pipeline) = self.compiled.get(variant) {
            return Ok((pipeline.clone(), layout));
        }
        let pipeline = compile(gpu, &variant.name(), variant.source(), &layout)?;
        self.compiled.insert(variant.clone(), pipeline.clone());
        Ok((pipeline, layout))
    }
}

/// What every shader has: the batch and the parameters, buffers it reads, and last one that it writes.
pub(super) fn layout(gpu: &GpuContext, bindings: usize) -> wgpu::BindGroupLayout {
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
    gpu: &GpuContext,
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
        cache: gpu.cache.as_ref().map(PipelineCache::handle),
    });
    let (adapter, shader) = (gpu.name.clone(), name.to_owned());
    let rejected = move |problem| DeviceError::ShaderRejected { adapter, shader, problem };
    // Both scopes end, whichever has an error.
    let (internal, validation) =
        (gpu.end_scope(internal, rejected.clone()), gpu.end_scope(validation, rejected));
    internal.and(validation)?;
    Ok(pipeline)
}
