//! A fixed-size f32 buffer that starts on a cache line.

/// One cache line, which is also the widest vector register.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// `len` f32 values, zero at first, 64-byte aligned.
#[derive(Clone)]
pub struct AlignedBuffer {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBuffer {
    /// A buffer of `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        AlignedBuffer { lines: vec![Line([0.0; 16]); len.div_ceil(16)], len }
    }

    /// The values.
    pub fn as_slice(&self) -> &[f32] {
        // SAFETY: `Line` is `repr(C)` around 16 f32, so the lines are `16 * lines.len() >= len`
        // consecutive initialised f32 values.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    /// The values.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as in `as_slice`; the borrow of `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }

    /// Makes the buffer at least `len` long; what it holds afterwards is unspecified.
    pub fn reserve(&mut self, len: usize) {
        if len > self.len {
            *self = AlignedBuffer::zeroed(len);
        }
    }
}
