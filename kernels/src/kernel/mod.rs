//! What an instruction set's registers bring, one type for each.

#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

use crate::storage::Storage;
use crate::vector::Vector;

/// What an instruction set's registers bring: the lanes that kernels compute with, and the size of the
/// innermost tile of the matrix product.
pub(crate) trait Kernel {
    /// A register.
    type Vector: Vector;
    /// The registers of a row of a tile, computed with in step.
    type Row: Vector;
    /// Rows of a tile.
    const ROWS: usize;
    /// Columns of a tile, the width of a panel.
    const COLUMNS: usize;

    /// A register of weights as f32; they are f16 for [`Storage::F16Weights`], else bf16.
    fn widened(storage: Storage, halves: &[u16]) -> Self::Vector;
}
