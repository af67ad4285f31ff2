//! A fixed-size f32 buffer that starts on a cache line.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// A cache line, which is also the widest vector register.
const ALIGNMENT: usize = 64;

/// f32 values, zero at first, 64-byte aligned.
pub struct AlignedBuffer {
    data: NonNull<f32>,
    len: usize,
}

// SAFETY: the buffer owns its memory, as a `Vec<f32>` does.
unsafe impl Send for AlignedBuffer {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// A buffer of `len` zeros.
    ///
    /// # Panics
    /// If the size overflows.
    pub fn zeroed(len: usize) -> Self {
        let Some(layout) = layout(len) else {
            return AlignedBuffer { data: NonNull::dangling(), len: 0 };
        };
        // SAFETY: the layout's size is not zero.
        let data = unsafe { alloc_zeroed(layout) };
        match NonNull::new(data.cast()) {
            Some(data) => AlignedBuffer { data, len },
            None => handle_alloc_error(layout),
        }
    }

    /// The values.
    pub fn as_slice(&self) -> &[f32] {
        // SAFETY: `data` is dangling with `len` 0, or points to `len` values that were zeroed when
        // they were allocated; the borrow of `self` keeps writers away.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }

    /// The values.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as in `as_slice`; the borrow of `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }

    /// Makes the buffer at least `len` long; what it holds afterwards is unspecified.
    pub fn reserve(&mut self, len: usize) {
        if len > self.len {
            *self = AlignedBuffer::zeroed(len);
        }
    }
}

/// The first `len` values of a buffer, made or enlarged as needed; what they hold is unspecified.
pub(crate) fn reserved(buffer: &mut Option<AlignedBuffer>, len: usize) -> &mut [f32] {
    let buffer = buffer.get_or_insert_with(|| AlignedBuffer::zeroed(len));
    buffer.reserve(len);
    &mut buffer.as_mut_slice()[..len]
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        if let Some(layout) = layout(self.len) {
            // SAFETY: a buffer of more than 0 values was allocated with this layout.
            unsafe { dealloc(self.data.as_ptr().cast(), layout) };
        }
    }
}

/// The layout of `len` values, `None` for 0.
fn layout(len: usize) -> Option<Layout> {
    let bytes = len.checked_mul(size_of::<f32>());
    let layout = bytes.and_then(|bytes| Layout::from_size_align(bytes, ALIGNMENT).ok());
    let layout = layout.expect("a buffer exceeds the address space");
    (len > 0).then_some(layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zero_aligned_and_writable_at_any_size() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let mut buffer = AlignedBuffer::zeroed(len);
            assert_eq!(buffer.as_slice(), vec![0.0; len]);
            assert!(len == 0 || (buffer.as_slice().as_ptr() as usize).is_multiple_of(ALIGNMENT));
            buffer.as_mut_slice().fill(1.0);
            assert_eq!(buffer.as_slice(), vec![1.0; len]);
            buffer.reserve(len + 3);
            assert_eq!(buffer.as_slice().len(), len + 3);
        }
    }
}
