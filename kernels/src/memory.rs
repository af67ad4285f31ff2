//! Memory for packed weights: one mapping for all of a model's, in huge pages where the system has them.
//!
//! A product of few rows reads each weight once, from memory or the last cache, and with pages of 4 KiB looks
//! up a page for every 1,024 of them. On one virtual machine a query of 16 tokens took three quarters of
//! the time with huge pages. Their zeros come from the system when they are first written, by whichever thread
//! packs them.

use crate::aligned::AlignedBuffer;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// A cache line, in values.
const LINE: usize = 16;

/// The size and alignment of huge pages on x86-64 and, mostly, AArch64.
#[cfg(any(unix, windows))]
const HUGE_PAGE: usize = 2 << 20;

/// Memory for the weights of a model.
pub struct WeightMemory {
    capacity: usize,
    region: OnceLock<Option<Arc<Region>>>,
    used: AtomicUsize,
}

impl WeightMemory {
    /// Room for this many f32 values, which is taken from the system with the first of them. What is asked
    /// for beyond it is allocated by itself.
    pub fn with_capacity(values: usize) -> WeightMemory {
        WeightMemory { capacity: values, region: OnceLock::new(), used: AtomicUsize::new(0) }
    }

    /// The values that a buffer of this length takes of the capacity.
    pub fn padded(len: usize) -> usize {
        len.next_multiple_of(LINE)
    }

    /// A buffer of zeros.
    pub(crate) fn zeroed(&self, len: usize) -> WeightBuffer {
        let region = self.region.get_or_init(|| Region::new(self.capacity).map(Arc::new));
        let padded = WeightMemory::padded(len);
        if let Some(region) = region
            && let Ok(start) = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(padded).filter(|end| *end <= self.capacity)
            })
        {
            return WeightBuffer(Place::Shared { region: region.clone(), start, len });
        }
        WeightBuffer(Place::Own(AlignedBuffer::zeroed(len)))
    }
}

/// Values of one weight matrix.
pub(crate) struct WeightBuffer(Place);

enum Place {
    /// `len` values from `start`, which no other buffer has.
    Shared {
        region: Arc<Region>,
        start: usize,
        len: usize,
    },
    Own(AlignedBuffer),
}

impl WeightBuffer {
    pub(crate) fn as_slice(&self) -> &[f32] {
        match &self.0 {
            Place::Own(buffer) => buffer.as_slice(),
            // SAFETY: `zeroed` found the range within the region and gave it to this buffer alone, whose
            // borrow keeps writers away; the region lives as long as the buffer.
            Place::Shared { region, start, len } => unsafe {
                std::slice::from_raw_parts(region.data.add(*start).as_ptr(), *len)
            },
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        match &mut self.0 {
            Place::Own(buffer) => buffer.as_mut_slice(),
            // SAFETY: as in `as_slice`; the borrow is exclusive.
            Place::Shared { region, start, len } => unsafe {
                std::slice::from_raw_parts_mut(region.data.add(*start).as_ptr(), *len)
            },
        }
    }
}

/// Zeroed values from the system, aligned to huge pages.
struct Region {
    data: NonNull<f32>,
    #[cfg(any(unix, windows))]
    _mapping: memmap2::MmapMut,
}

// SAFETY: the region is memory without a thread of its own; buffers reach disjoint parts of it.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// `None` where nothing is asked for, or the system has no such memory, or none left.
    #[cfg(any(unix, windows))]
    fn new(values: usize) -> Option<Region> {
        if values == 0 {
            return None;
        }
        let bytes = values.checked_mul(size_of::<f32>())?.checked_add(HUGE_PAGE)?;
        let mut mapping = memmap2::MmapMut::map_anon(bytes).ok()?;
        // A wish: without it, pages are small. (Miri, which interprets the tests, does not know the call.)
        #[cfg(all(target_os = "linux", not(miri)))]
        mapping.advise(memmap2::Advice::HugePage).ok();
        let skipped = mapping.as_ptr().align_offset(HUGE_PAGE);
        let data = mapping.get_mut(skipped..)?.as_mut_ptr().cast();
        Some(Region { data: NonNull::new(data)?, _mapping: mapping })
    }

    #[cfg(not(any(unix, windows)))]
    fn new(_: usize) -> Option<Region> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zero_apart_and_aligned_within_the_capacity_and_beyond() {
        let memory = WeightMemory::with_capacity(WeightMemory::padded(100) + 32);
        let mut buffers: Vec<WeightBuffer> = [100, 32, 1, 0, 5000].map(|len| memory.zeroed(len)).into();
        drop(memory);
        for (i, buffer) in buffers.iter_mut().enumerate() {
            assert!(buffer.as_slice().iter().all(|value| *value == 0.0), "buffer {i}");
            assert!(buffer.as_slice().is_empty() || (buffer.as_slice().as_ptr() as usize).is_multiple_of(64));
            buffer.as_mut_slice().fill(i as f32 + 1.0);
        }
        for (i, buffer) in buffers.iter().enumerate() {
            assert!(buffer.as_slice().iter().all(|value| *value == i as f32 + 1.0), "buffer {i}");
        }
    }
}
