//! What happens to a tile of sums on the way to the result, a register at a time.

use super::{Kernel, MAX_COLUMNS, MAX_TILE, PackedWeights, Storage, Tile};
use crate::activation::{Activation, gelu_erf, gelu_tanh, relu, rough_gelu_erf, silu};
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
    tile: Lines<MAX_TILE>,
    /// Filled up with 0: `[COLUMNS]`
    bias: Lines<MAX_COLUMNS>,
    /// For int8, what a step is and the sum of the weights: `[COLUMNS]` each.
    int8: Option<(&'a [f32], &'a [f32])>,
    values: &'a [f32],
    lanes: usize,
    storage: Storage,
    multiply: Tile,
}

/// Values that start at a cache line, so that no register that is stored or loaded lies across two.
#[repr(align(64))]
struct Lines<const N: usize>([f32; N]);

impl<'a> PanelProduct<'a> {
    #[inline(always)]
    pub(super) fn new<K: Kernel>(weights: &'a PackedWeights, bias: &[f32], panel: usize) -> Self {
        let start = panel * K::COLUMNS;
        let of_panel = &bias[start.min(bias.len())..(start + K::COLUMNS).min(bias.len())];
        let mut bias = Lines([0.0; MAX_COLUMNS]);
        bias.0[..of_panel.len()].copy_from_slice(of_panel);
        let (values, meaning) = weights.panel(panel);
        PanelProduct {
            tile: Lines([0.0; MAX_TILE]),
            bias,
            int8: (weights.storage() == Storage::Int8).then(|| meaning.split_at(K::COLUMNS)),
            values,
            lanes: weights.storage().lanes(weights.inputs()),
            storage: weights.storage(),
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
        unsafe { (self.multiply.run)(rows.column_range(0, self.lanes), self.values, &mut self.tile.0) }
    }

    /// Panics if these rows do not say what their values mean, where they must.
    #[inline(always)]
    fn check_rows(&self, rows: Matrix<'_>) {
        assert!(self.int8.is_none() || rows.columns() == self.lanes + 2);
    }

    /// What all rows of the tile have in common.
    #[inline(always)]
    fn columns<V: Vector>(&self) -> Columns<'a, V> {
        let bias = V::load(&self.bias.0);
        let scales = V::load(self.int8.map_or(&self.bias.0, |(scales, _)| scales));
        Columns { bias, scales, sums: self.int8.map(|(_, sums)| sums) }
    }

    /// The results of a row of the tile, with their bias. `rows` are the rows that were multiplied.
    ///
    /// # Safety
    /// There must be that row, and it must have passed [`PanelProduct::check_rows`].
    #[inline(always)]
    unsafe fn value<K: Kernel>(&self, columns: &Columns<'_, K::Row>, rows: Matrix<'_>, row: usize) -> K::Row {
        // SAFETY: a tile has K's rows and columns.
        let sums = unsafe { self.tile.0.get_unchecked(row * K::COLUMNS..(row + 1) * K::COLUMNS) };
        match columns.sums {
            // Σ (q - zero) · w = Σ q · w - zero · Σ w
            Some(weights) => {
                // SAFETY: as the caller says.
                let meaning = unsafe { &rows.row_unchecked(row, self.lanes + 2)[self.lanes..] };
                let zero = meaning[1].to_bits().cast_signed() - self.multiply.byte_offset;
                let sums = K::Row::int8_sum(sums, zero, weights);
                // Not fused, so that every instruction set rounds alike.
                sums * (K::Row::splat(meaning[0]) * columns.scales) + columns.bias
            }
            None => K::Row::load(sums) + columns.bias,
        }
    }
}

/// What is the same for all rows of a tile, in registers.
struct Columns<'a, V> {
    bias: V,
    /// For int8, what a step is.
    scales: V,
    /// For int8, the sums of the weights.
    sums: Option<&'a [f32]>,
}

/// Where the results of a panel go, and what happens to them on the way.
pub(super) struct PanelEnd<'a> {
    activation: Activation,
    /// The panel's columns of these: `[rows, columns]`.
    factor: Option<Matrix<'a>>,
    residual: Option<Matrix<'a>>,
    out: MatrixMut<'a>,
}

impl<'a> PanelEnd<'a> {
    /// `columns` are the panel's, of all outputs; `out` has just those.
    ///
    /// # Panics
    /// If the sizes do not agree.
    #[inline(always)]
    pub(super) fn new(epilogue: &Epilogue<'a>, columns: Range<usize>, out: MatrixMut<'a>) -> Self {
        let of_panel = |view: Matrix<'a>| {
            assert!(view.rows() == out.rows() && columns.len() == out.columns());
            view.column_range(columns.start, columns.len())
        };
        let (factor, residual) = (epilogue.factor.map(of_panel), epilogue.residual.map(of_panel));
        PanelEnd { activation: epilogue.activation, factor, residual, out }
    }

    /// Writes the results of a tile, of which `rows` were multiplied, to the rows from `first` on.
    #[inline(always)]
    pub(super) fn finish<K: Kernel>(
        &mut self,
        main: &PanelProduct<'_>,
        gate: Option<&PanelProduct<'_>>,
        rows: Matrix<'_>,
        first: usize,
    ) {
        match self.out.columns() == K::COLUMNS {
            true => self.finish_whole::<K>(main, gate, rows, first),
            false => self.finish_part::<K>(main, gate, rows, first),
        }
    }

    /// The tiles of a panel that is wider than what is left: by way of rows that have room for it.
    #[inline(always)]
    fn finish_part<K: Kernel>(
        &mut self,
        main: &PanelProduct<'_>,
        gate: Option<&PanelProduct<'_>>,
        rows: Matrix<'_>,
        first: usize,
    ) {
        let (count, width) = (rows.rows(), self.out.columns());
        let mut wide = [const { Lines([0.0; MAX_TILE]) }; 3];
        let [factors, residuals, results] = &mut wide;
        for (view, wide) in [(self.factor, &mut *factors), (self.residual, &mut *residuals)] {
            for r in 0..view.map_or(0, |_| count) {
                let row = view.map_or(&[][..], |view| view.row(first + r));
                wide.0[r * K::COLUMNS..][..width].copy_from_slice(row);
            }
        }
        let view = |wide| Matrix::new(wide, count, K::COLUMNS, K::COLUMNS);
        let mut end = PanelEnd {
            activation: self.activation,
            factor: self.factor.map(|_| view(&factors.0)),
            residual: self.residual.map(|_| view(&residuals.0)),
            out: MatrixMut::new(&mut results.0, count, K::COLUMNS, K::COLUMNS),
        };
        end.finish_whole::<K>(main, gate, rows, 0);
        for r in 0..count {
            self.out.row_mut(first + r).copy_from_slice(&results.0[r * K::COLUMNS..][..width]);
        }
    }

    /// The tiles of a panel of full width. The multipliers wait for this, so whatever is the same for all rows
    /// is settled before the first.
    #[inline(always)]
    fn finish_whole<K: Kernel>(
        &mut self,
        main: &PanelProduct<'_>,
        gate: Option<&PanelProduct<'_>>,
        rows: Matrix<'_>,
        first: usize,
    ) {
        let count = rows.rows();
        assert!(count <= K::ROWS && first + count <= self.out.rows() && self.out.columns() == K::COLUMNS);
        main.check_rows(rows);
        if let Some(gate) = gate {
            gate.check_rows(rows);
        }

        /// All columns of a row in step.
        macro_rules! finish {
            (|$x:ident| $activated:expr) => {{
                let columns = main.columns::<K::Row>();
                for r in 0..count {
                    // SAFETY: all of these have the rows `first..first + count` of K's width, as was found here
                    // and in `new`.
                    unsafe {
                        let main = main.value::<K>(&columns, rows, r);
                        let mut y = match gate {
                            None => {
                                let $x = main;
                                $activated
                            }
                            Some(gate) => {
                                let $x = gate.value::<K>(&gate.columns(), rows, r);
                                $activated * main
                            }
                        };
                        if let Some(factor) = &self.factor {
                            y = y * K::Row::load(factor.row_unchecked(first + r, K::COLUMNS));
                        }
                        if let Some(residual) = &self.residual {
                            y = y + K::Row::load(residual.row_unchecked(first + r, K::COLUMNS));
                        }
                        y.store(self.out.row_unchecked(first + r, K::COLUMNS));
                    }
                }
            }};
        }
        match self.activation {
            Activation::Identity => finish!(|x| x),
            Activation::GeluErf if main.storage == Storage::F32 => finish!(|x| gelu_erf(x)),
            Activation::GeluErf => finish!(|x| rough_gelu_erf(x)),
            Activation::GeluTanh => finish!(|x| gelu_tanh(x)),
            Activation::Silu => finish!(|x| silu(x)),
            Activation::Relu => finish!(|x| relu(x)),
            Activation::Tanh => finish!(|x| tanh(x)),
        }
    }
}
