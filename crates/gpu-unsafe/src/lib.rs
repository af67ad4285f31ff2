//! The unsafe calls around GPUs that taskvec makes, apart from everything else so that the library and the command can
//! deny unsafe code: three of wgpu's, and one that keeps drivers from printing.

use std::borrow::Cow;

/// Lets a device have features that wgpu calls experimental: cooperative matrices.
pub fn experimental_features() -> wgpu::ExperimentalFeatures {
    // SAFETY: the caller must know that such features may have bugs that reach undefined behaviour. The
    // one in use is bound by the shader being the crate's own, and is checked when a device is opened by a
    // product whose result is known.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}

/// A shader without the run-time checks that wgpu adds for shaders of unknown origin: clamped indices, a
/// counter in each loop, guards of divisions.
///
/// In debug builds, which tests are, the checks stay.
pub fn own_shader(device: &wgpu::Device, descriptor: wgpu::ShaderModuleDescriptor<'_>) -> wgpu::ShaderModule {
    if cfg!(debug_assertions) {
        return device.create_shader_module(descriptor);
    }
    // SAFETY: the caller gives shaders of its own, which bound every index by the sizes that they are given
    // and whose loops end; its tests run them with all checks.
    unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}

/// A cache of compiled pipelines, with what [`wgpu::PipelineCache::get_data`] gave an earlier process on
/// this adapter and driver, or with nothing.
pub fn pipeline_cache(device: &wgpu::Device, data: Option<&[u8]>) -> wgpu::PipelineCache {
    let label = Some(Cow::Borrowed("taskvec"));
    let descriptor = wgpu::PipelineCacheDescriptor { label: label.as_deref(), data, fallback: true };
    // SAFETY: `data` is asked to be from `get_data`. The caller keeps it in a file of its own with a
    // checksum, and wgpu checks its header against adapter and driver.
    unsafe { device.create_pipeline_cache(&descriptor) }
}

/// Keeps Mesa's drivers from printing that `XDG_RUNTIME_DIR` is not set, which they do on standard error for every
/// device that is looked for on a machine without a desktop: names a folder there for this process.
///
/// Does nothing on other systems than Linux, and where the process has more than this thread: call it first in `main`.
pub fn quiet_drivers() {
    let threads = || std::fs::read_dir("/proc/self/task").map_or(usize::MAX, Iterator::count);
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() && threads() == 1 {
        // SAFETY: no other thread may read or write the environment meanwhile. The system says that
        // this thread is the only one, so no other can start one.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir()) };
    }
}
