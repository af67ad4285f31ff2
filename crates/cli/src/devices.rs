//! `taskvec devices`

use crate::outcome::Outcome;
use crate::sink::Sink;
use taskvec_kernels::{Isa, Storage};

pub(crate) fn run() -> Outcome {
    let mut sink = Sink::open(None)?;
    sink.write(cpu().as_bytes())?;
    sink.write(gpus().as_bytes())?;
    sink.finish()
}

fn cpu() -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let best = Isa::best();
    let mut text = format!(
        "cpu      {threads} threads, instruction sets: {}; would run: {}\n         products:",
        taskvec::instruction_sets().join(", "),
        best.name()
    );
    for (storage, name) in [(Storage::F32, "f32"), (best.bf16_storage(), "bf16"), (Storage::Int8, "int8")] {
        text += &format!("{} {name} with {}", if name == "f32" { "" } else { "," }, best.product(storage));
    }
    text + "\n"
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
            "gpu {:<4} {} ({}, {}, {})\n         features: {features}; bindings of up to {} MB\n         products: {}\n",
            gpu.index,
            gpu.name,
            gpu.kind,
            gpu.backend,
            gpu.driver,
            gpu.max_binding_bytes / 1_000_000,
            gpu.products.join(", ")
        );
    }
    text
}

#[cfg(not(feature = "gpu"))]
fn gpus() -> String {
    "gpu      this build has no GPU backend (feature `gpu`)\n".to_owned()
}
