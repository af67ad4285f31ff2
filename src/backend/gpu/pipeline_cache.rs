//! Compiled shaders, kept for the next process.

use super::cache;

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
        Some(PipelineCache { cache: taskvec_gpu_unsafe::pipeline_cache(device, data), file, read })
    }

    /// What a pipeline is compiled with.
    pub(super) fn handle(&self) -> &wgpu::PipelineCache {
        &self.cache
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::gpu::context::GpuContext;
    use crate::backend::gpu::pipelines::{compile, layout};
    use crate::backend::gpu::select::select;
    use crate::wait::block_on;

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
            let adapter =
                block_on(select(&crate::GpuSelector::Best)).expect("these tests need a Vulkan driver");
            for damage in [false, true, false] {
                let gpu = block_on(GpuContext::open(&adapter)).expect("it opens");
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
