//! The shaders of `shaders/`, compiled when a step first needs them.

use std::collections::HashMap;

/// A shader by the name of its file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Shader {
    Embed,
    Norm,
    HeadNorm,
    Linear,
    Rotary,
    Attention,
    Pool,
    Normalize,
    Route,
    ExpertUp,
    ExpertDown,
}

impl Shader {
    fn source(self) -> &'static str {
        match self {
            Shader::Embed => include_str!("../../../shaders/embed.wgsl"),
            Shader::Norm => include_str!("../../../shaders/norm.wgsl"),
            Shader::HeadNorm => include_str!("../../../shaders/head_norm.wgsl"),
            Shader::Linear => concat!(
                include_str!("../../../shaders/linear.wgsl"),
                include_str!("../../../shaders/activation.wgsl")
            ),
            Shader::Rotary => include_str!("../../../shaders/rotary.wgsl"),
            Shader::Attention => include_str!("../../../shaders/attention.wgsl"),
            Shader::Pool => include_str!("../../../shaders/pool.wgsl"),
            Shader::Normalize => include_str!("../../../shaders/normalize.wgsl"),
            Shader::Route => include_str!("../../../shaders/route.wgsl"),
            Shader::ExpertUp => concat!(
                include_str!("../../../shaders/expert_up.wgsl"),
                include_str!("../../../shaders/activation.wgsl")
            ),
            Shader::ExpertDown => include_str!("../../../shaders/expert_down.wgsl"),
        }
    }
}

/// Compiled shaders.
#[derive(Default)]
pub(super) struct Pipelines(HashMap<Shader, wgpu::ComputePipeline>);

impl Pipelines {
    /// The pipeline of a shader, compiled if it is not yet.
    pub(super) fn get(&mut self, device: &wgpu::Device, shader: Shader) -> wgpu::ComputePipeline {
        let compile = || {
            let label = Some(format!("{shader:?}"));
            let source = wgpu::ShaderSource::Wgsl(shader.source().into());
            let module =
                device.create_shader_module(wgpu::ShaderModuleDescriptor { label: label.as_deref(), source });
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: label.as_deref(),
                layout: None,
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            })
        };
        self.0.entry(shader).or_insert_with(compile).clone()
    }
}
