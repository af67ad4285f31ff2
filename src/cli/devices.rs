//! `taskvec devices`

use super::Outcome;
use super::sink::Sink;

pub(crate) fn run() -> Outcome {
    let mut sink = Sink::open(None)?;
    sink.write(cpu().as_bytes())?;
    sink.write(gpus().as_bytes())?;
    sink.finish()
}

fn cpu() -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let sets = taskvec::instruction_sets();
    let best = sets.last().copied().unwrap_or_default();
    format!("cpu      {threads} threads, f32 kernels: {}; would run: {best}\n", sets.join(", "))
}

#[cfg(feature = "gpu")]
fn gpus() -> String {
    let adapters = taskvec::gpu_adapters();
    if adapters.is_empty() {
        return "gpu      none: no Vulkan, Metal or DX12 driver found one\n".to_owned();
    }
    let mut text = String::new();
    for gpu in adapters {
        let features = if gpu.features.is_empty() { "none".to_owned() } else { gpu.features.join(", ") };
        text += &format!(
            "gpu {:<4} {} ({}, {}, {})\n         features: {features}; bindings of up to {} MB; would run: f32 shaders\n",
            gpu.index,
            gpu.name,
            gpu.kind,
            gpu.backend,
            gpu.driver,
            gpu.max_binding_bytes / 1_000_000
        );
    }
    text
}

#[cfg(not(feature = "gpu"))]
fn gpus() -> String {
    "gpu      this build has no GPU backend (feature `gpu`)\n".to_owned()
}
