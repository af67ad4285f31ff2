//! Dispatches as data: which shader, with which buffers, over which grid.

use super::shader::{Formats, Shader, Values};
use crate::model::{Activation, RareActivation};
use crate::plan::{BufferId, Rows};
use crate::vector::{PoolingMode, Splade};
use std::sync::Arc;

/// One run of a shader.
pub(super) struct Dispatch {
    /// One, or for tiles of several sizes one each, largest first.
    pub(super) variants: Vec<Prepared>,
    pub(super) layout: wgpu::BindGroupLayout,
    /// What the shader's bindings are, from 2 on (0 is the batch, 1 the parameters).
    pub(super) bindings: Vec<Binding>,
    pub(super) params: wgpu::Buffer,
}

/// A variant of a shader, compiled.
pub(super) struct Prepared {
    pub(super) shader: Shader,
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) grid: Grid,
}

/// What a binding of a shader is.
#[derive(Clone)]
pub(super) enum Binding {
    /// Weights or a table.
    Constant(Arc<wgpu::Buffer>),
    /// A buffer of the plan.
    Plan(BufferId),
    /// Token ids: `[tokens]`
    Ids,
    /// Of each token: the start of its text, the end of the keys that are seen, its type, the row of its position:
    /// `[tokens]`
    Spans,
    /// Of each tile of queries: the first, the end of its text, its start, the end of the keys that are
    /// seen: `[tiles]`
    QueryTiles,
    /// Cosine and sine of each token's angles, where they depend on its text's length.
    Angles(usize),
    /// For each row that pooling makes, the start of its text and the tokens: `[rows]`
    Texts,
}

/// How many workgroups a dispatch has.
#[derive(Clone, Copy)]
pub(super) enum Grid {
    /// This many workgroups a row.
    PerRow(Rows, usize),
    /// This many threads a row, 64 a workgroup.
    Threads(Rows, usize),
    /// Tiles of this many rows and columns, over this many columns.
    Tiles { rows: Rows, columns: usize, tile: [usize; 2] },
    /// This many workgroups a tile of queries.
    PerQueryTile(usize),
}

/// What activations in rows of this kind are stored as.
pub(super) fn values_of(formats: Formats, rows: Rows) -> Values {
    if rows == Rows::Tokens { formats.values } else { Values::F32 }
}

/// The numbers in shaders/activation.wgsl.
pub(super) fn activation_code(activation: Activation) -> u32 {
    match activation {
        Activation::Identity => 0,
        Activation::GeluErf => 1,
        Activation::GeluTanh => 2,
        Activation::Silu => 3,
        Activation::Relu => 4,
        Activation::Tanh => 5,
        // 6 and on, in the order of the list.
        Activation::Rare(rare) => {
            6 + RareActivation::ALL.iter().position(|known| *known == rare).unwrap_or_default() as u32
        }
    }
}

/// The numbers in shaders/pool.wgsl.
pub(super) fn pooling_code(mode: PoolingMode) -> u32 {
    match mode {
        PoolingMode::Cls => 0,
        PoolingMode::Max => 1,
        PoolingMode::Mean => 2,
        PoolingMode::MeanSqrtLen => 3,
        PoolingMode::WeightedMean => 4,
        PoolingMode::LastToken => 5,
        PoolingMode::Splade(Splade { sum, twice }) => 6 + 2 * u32::from(sum) + u32::from(twice),
    }
}

/// `count` workgroups as two dimensions, neither above `most`.
pub(super) fn fold(count: usize, most: usize) -> (usize, usize) {
    let y = count.div_ceil(most).max(1);
    (count.div_ceil(y), y)
}
