//! Rows that follow from stored ones: a matrix with a low-rank adapter, a table whose rows are
//! looked up and scaled. They are worked out as rows are read, so no backend knows of them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// How rows follow from the stored ones.
#[derive(Clone)]
pub(super) enum Derived {
    /// `stored + scale · L · R`
    LowRank(Arc<LowRank>),
    /// Row i is `scale[i] · stored[rows[i]]`.
    Mapped(Arc<RowMap>),
    /// One row: a stored one less another.
    Difference([usize; 2]),
}

/// The factors of a low-rank update (LoRA).
pub(super) struct LowRank {
    /// Columns of `left`, rows of `right`.
    pub(super) rank: usize,
    /// `[rows, rank]`
    pub(super) left: Vec<f32>,
    /// `[rank, columns]`
    pub(super) right: Vec<f32>,
    /// Multiplies the product.
    pub(super) scale: f32,
}

/// What it does, with its numbers as a hash: for descriptions that are compared.
impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = |parts: [&[u8]; 2]| {
            let mut hasher = blake3::Hasher::new();
            for part in parts {
                hasher.update(part);
            }
            hasher.finalize()
        };
        match self {
            Derived::LowRank(low_rank) => {
                let LowRank { rank, left, right, scale } = &**low_rank;
                let hash = hash([bytemuck::cast_slice(left), bytemuck::cast_slice(right)]);
                write!(f, "plus {scale} times rank {rank} {hash}")
            }
            Derived::Difference([row, other]) => write!(f, "row {row} less row {other}"),
            Derived::Mapped(map) => {
                let RowMap { rows, scale } = &**map;
                let hash = hash([bytemuck::cast_slice(rows), bytemuck::cast_slice(scale)]);
                write!(f, "rows {hash}")
            }
        }
    }
}

impl LowRank {
    /// Adds the update's rows `rows` to `out`, `[rows, columns]`.
    pub(super) fn add(&self, rows: Range<usize>, columns: usize, out: &mut [f32]) {
        let left = &self.left[rows.start * self.rank..rows.end * self.rank];
        for (factors, out) in left.chunks_exact(self.rank).zip(out.chunks_exact_mut(columns)) {
            for (factor, right) in factors.iter().zip(self.right.chunks_exact(columns)) {
                let factor = factor * self.scale;
                out.iter_mut().zip(right).for_each(|(o, r)| *o += factor * r);
            }
        }
    }
}

/// Where each row is stored, and what it is multiplied with.
pub(crate) struct RowMap {
    /// `[rows]`
    pub(crate) rows: Vec<u32>,
    /// `[rows]`; empty: all 1.
    pub(crate) scale: Vec<f32>,
}

impl RowMap {
    /// Multiplies a stored row with what belongs to row `row`.
    pub(super) fn scale_row(&self, row: usize, values: &mut [f32]) {
        if let Some(scale) = self.scale.get(row) {
            values.iter_mut().for_each(|value| *value *= scale);
        }
    }
}
