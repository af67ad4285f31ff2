//! What a GPU does at best: timed on the device where it has timestamps, else on the host.

use super::context::GpuContext;
use super::dispatch::fold;
use super::pipelines::{compile, layout};
use super::shader::{Formats, Shader, ShaderVariant, Values, Weights};
use super::upload::upload;
use crate::error::Result;
use std::time::{Duration, Instant};
use wgpu::BufferUsages;

/// Passes are made longer until they take this much: the clock's steps and the start of a pass are then
/// little of it.
pub(super) const LONG_ENOUGH: Duration = Duration::from_millis(10);

/// What a device does at best: [`Embedder::measure_gpu`](crate::Embedder::measure_gpu).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GpuPeaks {
    /// Additions and multiplications in f32, by multiply-adds in registers, per second.
    pub f32_operations: f64,
    /// Those in f16 with sums in f32, by cooperative matrices in registers, per second; `None`: the device has
    /// none that taskvec uses.
    pub matrix_operations: Option<f64>,
    /// Bytes read and written by a large copy, per second.
    pub copied_bytes: f64,
}

impl GpuPeaks {
    pub(super) async fn measure(gpu: &GpuContext) -> Result<GpuPeaks> {
        Ok(GpuPeaks {
            f32_operations: fma_peak(gpu).await?,
            matrix_operations: match gpu.matrices {
                true => Some(matrix_peak(gpu).await?),
                false => None,
            },
            copied_bytes: copy_peak(gpu).await?,
        })
    }
}

/// The hardware adapter with the most multiply-adds in f32 per second; a software one if that is all.
pub(super) async fn fastest(adapters: Vec<wgpu::Adapter>) -> Option<wgpu::Adapter> {
    let hardware = |adapter: &wgpu::Adapter| adapter.get_info().device_type != wgpu::DeviceType::Cpu;
    if adapters.len() < 2 || !adapters.iter().any(hardware) {
        return adapters.into_iter().next();
    }
    let mut fastest = None;
    for adapter in adapters.into_iter().filter(hardware) {
        let speed = match GpuContext::open(&adapter).await {
            Ok(gpu) => fma_peak(&gpu).await.unwrap_or(0.0),
            Err(_) => 0.0,
        };
        if fastest.as_ref().is_none_or(|(most, _)| speed >= *most) {
            fastest = Some((speed, adapter));
        }
    }
    fastest.map(|(_, adapter)| adapter)
}

/// Seconds of a pass that `work` records, once it was run to warm up.
pub(super) async fn seconds_of(
    gpu: &GpuContext,
    mut work: impl FnMut(&mut wgpu::ComputePass<'_>),
) -> Result<f64> {
    let mut run = |queries: Option<&Timestamps>| -> Result<Duration> {
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let timestamp_writes = queries.map(|queries| wgpu::ComputePassTimestampWrites {
                query_set: &queries.set,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            });
            let mut pass =
                encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
            work(&mut pass);
        }
        if let Some(queries) = queries {
            encoder.resolve_query_set(&queries.set, 0..2, &queries.resolved, 0);
            encoder.copy_buffer_to_buffer(&queries.resolved, 0, &queries.readback, 0, 16);
        }
        let start = Instant::now();
        let submission = gpu.queue.submit([encoder.finish()]);
        gpu.wait(submission)?;
        Ok(start.elapsed())
    };
    run(None)?;
    let timestamps = Timestamps::new(gpu)?;
    let mut seconds = Vec::new();
    for _ in 0..3 {
        let on_host = run(timestamps.as_ref())?;
        seconds.push(match &timestamps {
            Some(queries) => queries.read(gpu).await?,
            None => on_host.as_secs_f64(),
        });
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[1])
}

/// Two points in time on the device.
struct Timestamps {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readback: wgpu::Buffer,
}

impl Timestamps {
    fn new(gpu: &GpuContext) -> Result<Option<Timestamps>> {
        if !gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Ok(None);
        }
        let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: 2 };
        Ok(Some(Timestamps {
            set: gpu.device.create_query_set(&descriptor),
            resolved: gpu.buffer("times", 16, BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC)?,
            readback: gpu.buffer("times", 16, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?,
        }))
    }

    async fn read(&self, gpu: &GpuContext) -> Result<f64> {
        let bytes = gpu.read(&self.readback).await?;
        let times: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
        let ticks = times[1].saturating_sub(times[0]) as f64;
        Ok(ticks * f64::from(gpu.queue.get_timestamp_period()) * 1e-9)
    }
}

/// Seconds and loops of a shader whose work grows with a number of loops.
async fn long_enough(
    gpu: &GpuContext,
    variant: &ShaderVariant,
    bound: &[&wgpu::Buffer],
    groups: u32,
) -> Result<(f64, u32)> {
    let layout = layout(gpu, bound.len() + 2);
    let pipeline = compile(gpu, &variant.name(), variant.source(), &layout)?;
    let mut loops = 16u32;
    loop {
        let params = upload(gpu, "parameters", bytemuck::cast_slice(&[loops; 4]), BufferUsages::UNIFORM)?;
        let mut all = vec![&params, &params];
        all.extend(bound);
        let group = gpu.bind(&layout, &all);
        let seconds = seconds_of(gpu, |pass| {
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(groups, 1, 1);
        })
        .await?;
        if seconds >= LONG_ENOUGH.as_secs_f64() || loops >= 1 << 24 {
            return Ok((seconds, loops));
        }
        loops *= 2;
    }
}

fn peak_variant(shader: Shader) -> ShaderVariant {
    let values = if shader == Shader::PeakMatrix { Values::F16 } else { Values::F32 };
    let formats = Formats { values, weights: Weights::F32 };
    ShaderVariant::new(shader, formats, Vec::new())
}

async fn fma_peak(gpu: &GpuContext) -> Result<f64> {
    const GROUPS: u32 = 2048;
    let out = gpu.buffer("peak", u64::from(GROUPS) * 64 * 4, BufferUsages::STORAGE)?;
    let (seconds, loops) = long_enough(gpu, &peak_variant(Shader::PeakFma), &[&out], GROUPS).await?;
    Ok(f64::from(loops) * f64::from(GROUPS) * 64.0 * 64.0 / seconds)
}

async fn matrix_peak(gpu: &GpuContext) -> Result<f64> {
    const GROUPS: u32 = 2048;
    let source = upload(gpu, "peak", &[0; 512], BufferUsages::STORAGE)?;
    let out = gpu.buffer("peak", u64::from(GROUPS) * 256 * 4, BufferUsages::STORAGE)?;
    let (seconds, loops) =
        long_enough(gpu, &peak_variant(Shader::PeakMatrix), &[&source, &out], GROUPS).await?;
    Ok(f64::from(loops) * f64::from(GROUPS) * 4.0 * 2.0 * 16.0 * 16.0 * 16.0 / seconds)
}

async fn copy_peak(gpu: &GpuContext) -> Result<f64> {
    let bytes = (128u64 << 20).min(gpu.max_buffer_bytes()) / 16 * 16;
    let source = gpu.buffer("peak", bytes, BufferUsages::STORAGE)?;
    let out = gpu.buffer("peak", bytes, BufferUsages::STORAGE)?;
    let fours = (bytes / 16) as u32;
    let params = upload(gpu, "parameters", bytemuck::cast_slice(&[fours; 4]), BufferUsages::UNIFORM)?;
    let variant = peak_variant(Shader::PeakCopy);
    let layout = layout(gpu, 4);
    let pipeline = compile(gpu, &variant.name(), variant.source(), &layout)?;
    let group = gpu.bind(&layout, &[&params, &params, &source, &out]);
    let (x, y) = fold(fours.div_ceil(64) as usize, gpu.most_groups());
    let seconds = seconds_of(gpu, |pass| {
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(x as u32, y as u32, 1);
    })
    .await?;
    Ok(2.0 * bytes as f64 / seconds)
}
