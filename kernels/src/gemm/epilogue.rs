//! What happens to a tile of sums on the way to the result, a register at a time.

use super::{Kernel, MAX_COLUMNS, MAX_TILE, PackedWeights, Storage, Tile};
use crate::activation::{Activation, gelu_erf, gelu_tanh, relu, silu};
use crate::math::tanh;
use crate::matrix::{Matrix, MatrixMut};
use crate::vector::Vector;
use std::ops::Range;

/// What happens to `y = x · Wᵀ` before it is written.
///
/// Without a gate: `activation(y + bias) ⊙ factor + residual`. With one:
/// `activation(x · Gᵀ + gate_bias) ⊙ (y + bias) ⊙ factor + residual`.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// `[outputs]`, or empty.
    pub bias: &'a [f32],
    /// Applied to the gate where there is one, to the product where there is none.
    pub activation: Activation,
    /// A second weight matrix of the same size, and its bias (`[outputs]`, or empty).
    pub gate: Option<(&'a PackedWeights, &'a [f32])>,
    /// `[rows, outputs]`
    pub factor: Option<Matrix<'a>>,
    /// `[rows, outputs]`
    pub residual: Option<Matrix<'a>>,
}

/// The product of some rows with a panel, still without its bias.
pub(super) struct PanelProduct<'a> {
    /// `[ROWS, COLUMNS]`
    tile: [f32; MAX_TILE],
    /// Filled up with 0: `[COLUMNS]`
    bias: [f32; MAX_COLUMNS],
    /// For int8, what a step is and the sum of the weights: `[COLUMNS]` each.
    int8: Option<(&'a [f32], &'a [f32])>,
    values: &'a [f32],
    lanes: usize,
    multiply: Tile,
}

/// What the bytes of a row of x mean: see [`Storage::Int8`].
#[derive(Clone, Copy)]
struct RowMeaning {
    scale: f32,
    zero: i32,
}

impl<'a> PanelProduct<'a> {
    #[inline(always)]
    pub(super) fn new<K: Kernel>(weights: &'a PackedWeights, bias: &[f32], panel: usize) -> Self {
        let start = panel * K::COLUMNS;
        let of_panel = &bias[start.min(bias.len())..(start + K::COLUMNS).min(bias.len())];
        let mut bias = [0.0; MAX_COLUMNS];
        bias[..of_panel.len()].copy_from_slice(of_panel);
        let (values, meaning) = weights.panel(panel);
        PanelProduct {
            tile: [0.0; MAX_TILE],
            bias,
            int8: (weights.storage() == Storage::Int8).then(|| meaning.split_at(K::COLUMNS)),
            values,
            lanes: weights.storage().lanes(weights.inputs()),
            multiply: weights.isa().tile(weights.storage()),
        }
    }

    /// Multiplies up to a tile of rows.
    ///
    /// # Safety
    /// The CPU must have the instruction set that the weights were packed for.
    #[inline(always)]
    pub(super) unsafe fn multiply(&mut self, rows: Matrix<'_>) {
        // SAFETY: as the caller says.
        unsafe { (self.multiply.run)(rows.column_range(0, self.lanes), self.values, &mut self.tile) }
    }

    /// What the encoded row says of itself.
    #[inline(always)]
    fn meaning(&self, row: &[f32]) -> RowMeaning {
        match (self.int8, &row[self.lanes..]) {
            (Some(_), &[scale, zero]) => {
                RowMeaning { scale, zero: zero.to_bits().cast_signed() - self.multiply.byte_offset }
            }
            _ => RowMeaning { scale: 1.0, zero: 0 },
        }
    }

    /// The results of a row of the tile, with their bias.
    #[inline(always)]
    fn value<V: Vector>(&self, row: &[f32], meaning: RowMeaning) -> V {
        let bias = V::load(&self.bias);
        match self.int8 {
            // Σ (q - zero) · w = Σ q · w - zero · Σ w
            Some((scales, sums)) => {
                let sum = V::int8_sum(row, meaning.zero, sums);
                sum * (V::splat(meaning.scale) * V::load(scales)) + bias
            }
            None => V::load(row) + bias,
        }
    }
}

/// Where a tile's results belong.
pub(super) struct TilePlace {
    /// The first row.
    pub(super) row: usize,
    /// The columns, of all outputs.
    pub(super) columns: Range<usize>,
    /// The first column, of those that are written.
    pub(super) out_column: usize,
}

/// Writes the results of a tile, of which `rows` were multiplied.
#[inline(always)]
pub(super) fn finish_tile<K: Kernel>(
    epilogue: &Epilogue<'_>,
    main: &PanelProduct<'_>,
    gate: Option<&PanelProduct<'_>>,
    rows: Matrix<'_>,
    place: TilePlace,
    out: &mut MatrixMut<'_>,
) {
    let TilePlace { row: first, columns, out_column } = place;
    for r in 0..rows.rows() {
        let out = &mut out.row_mut(first + r)[out_column..][..columns.len()];
        let factor = epilogue.factor.map(|factor| &factor.row(first + r)[columns.clone()]);
        let residual = epilogue.residual.map(|residual| &residual.row(first + r)[columns.clone()]);
        let meaning = main.meaning(rows.row(r));
        let sums = &main.tile[r * K::COLUMNS..][..K::COLUMNS];
        let gates = gate.map(|gate| (gate, &gate.tile[r * K::COLUMNS..][..K::COLUMNS]));

        /// All columns in step, and a choice of the activation outside of it.
        macro_rules! finish {
            (|$x:ident| $activated:expr) => {{
                let main = main.value::<K::Row>(sums, meaning);
                let mut y = match gates {
                    None => {
                        let $x = main;
                        $activated
                    }
                    Some((gate, gates)) => {
                        let $x = gate.value::<K::Row>(gates, meaning);
                        $activated * main
                    }
                };
                if let Some(factor) = factor {
                    y = y * K::Row::load_part(factor, 0.0);
                }
                if let Some(residual) = residual {
                    y = y + K::Row::load_part(residual, 0.0);
                }
                y.store_part(out);
            }};
        }
        match epilogue.activation {
            Activation::Identity => finish!(|x| x),
            Activation::GeluErf => finish!(|x| gelu_erf(x)),
            Activation::GeluTanh => finish!(|x| gelu_tanh(x)),
            Activation::Silu => finish!(|x| silu(x)),
            Activation::Relu => finish!(|x| relu(x)),
            Activation::Tanh => finish!(|x| tanh(x)),
        }
    }
}
