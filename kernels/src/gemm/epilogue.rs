//! What happens to a tile of sums on the way to the result, a register at a time.

use super::packed::PackedWeights;
use super::tile::{MAX_COLUMNS, MAX_TILE, Tile};
use super::widen::widen;
use crate::activation::{Activation, relu, silu};
use crate::gelu::{gelu_erf, gelu_tanh, rough_gelu_erf};
use crate::kernel::Kernel;
use crate::math::tanh;
use crate::matrix::{Matrix, MatrixMut};
use crate::storage::Storage;
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
    /// Applied to the gate if there is one, else to the product. A rare one goes without gate, factor and residual.
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
    /// For int8, the scale and the zero of each row: `[rows, 2]`
    scale_and_zero: Matrix<'a>,
    values: &'a [f32],
    takes_rows_as_they_are: bool,
    multiply: Tile,
}

/// Values that start at a cache line, so that no register that is stored or loaded lies across two.
#[repr(align(64))]
struct Lines<const N: usize>([f32; N]);

impl<'a> PanelProduct<'a> {
    /// `widened` has room for the panel's weights as f32, if they are to be multiplied from there.
    #[inline(always)]
    pub(super) fn new<K: Kernel>(
        weights: &'a PackedWeights,
        bias: &[f32],
        panel: usize,
        scale_and_zero: Matrix<'a>,
        widened: Option<&'a mut [f32]>,
    ) -> Self {
        let start = panel * K::COLUMNS;
        let of_panel = &bias[start.min(bias.len())..(start + K::COLUMNS).min(bias.len())];
        let mut bias = Lines([0.0; MAX_COLUMNS]);
        bias.0[..of_panel.len()].copy_from_slice(of_panel);
        let (values, of_weights) = weights.panel(panel);
        let (values, storage) = match widened {
            None => (values, weights.storage()),
            Some(room) => (widen::<K>(weights, values, room), Storage::F32),
        };
        PanelProduct {
            tile: Lines([0.0; MAX_TILE]),
            bias,
            int8: (weights.storage() == Storage::Int8).then(|| of_weights.split_at(K::COLUMNS)),
            scale_and_zero,
            values,
            takes_rows_as_they_are: weights.storage().takes_rows_as_they_are(),
            multiply: weights.isa().tile(storage),
        }
    }

    /// Multiplies up to a tile of rows of x.
    ///
    /// # Safety
    /// The CPU must have the instruction set that the weights were packed for.
    #[inline(always)]
    pub(super) unsafe fn multiply(&mut self, x: Matrix<'_>) {
        // SAFETY: as the caller says.
        unsafe { (self.multiply.run)(x, self.values, &mut self.tile.0) }
    }

    #[inline(always)]
    fn float_rows<K: Kernel>(&self) -> FloatRows<'_, K> {
        FloatRows { tile: &self.tile.0, bias: K::Row::load(&self.bias.0) }
    }

    /// `rows` are the rows of x that were multiplied.
    ///
    /// # Panics
    /// If the product is not one of int8, or nothing says what the values of these rows mean.
    #[inline(always)]
    fn int8_rows<K: Kernel>(&self, rows: Range<usize>) -> Int8Rows<'_, K> {
        let (scales, weights) = self.int8.expect("weights and gate are stored alike");
        assert!(rows.end <= self.scale_and_zero.rows() && self.scale_and_zero.columns() == 2);
        Int8Rows {
            sums: &self.tile.0,
            scale_and_zero: self.scale_and_zero,
            first: rows.start,
            byte_offset: self.multiply.byte_offset,
            scales: K::Row::load(scales),
            weights: K::Row::load(weights),
            bias: K::Row::load(&self.bias.0),
        }
    }
}

/// An activation as a type, so that it becomes part of a loop in the loop's instruction set: closures and
/// functions as values are compiled by themselves, and called.
trait Apply {
    fn apply<V: Vector>(x: V) -> V;
}

macro_rules! apply {
    ($($name:ident: |$x:ident| $value:expr;)*) => {$(
        struct $name;

        impl Apply for $name {
            #[inline(always)]
            fn apply<V: Vector>($x: V) -> V {
                $value
            }
        }
    )*};
}

apply! {
    Identity: |x| x;
    GeluErf: |x| gelu_erf(x);
    RoughGeluErf: |x| rough_gelu_erf(x);
    GeluTanh: |x| gelu_tanh(x);
    Silu: |x| silu(x);
    Relu: |x| relu(x);
    Tanh: |x| tanh(x);
}

/// The rows of a tile, and in registers what they have in common.
trait TileRows<V> {
    /// The activation of the values of a row with their bias; of a gate's, times the values that it gates.
    ///
    /// # Safety
    /// That row must have been multiplied.
    unsafe fn activated<A: Apply>(&self, row: usize) -> V;
}

/// Rows of f32 sums.
struct FloatRows<'a, K: Kernel> {
    tile: &'a [f32; MAX_TILE],
    bias: K::Row,
}

impl<K: Kernel> TileRows<K::Row> for FloatRows<'_, K> {
    #[inline(always)]
    unsafe fn activated<A: Apply>(&self, row: usize) -> K::Row {
        // SAFETY: a tile has K's rows and columns.
        let sums = unsafe { self.tile.get_unchecked(row * K::COLUMNS..(row + 1) * K::COLUMNS) };
        A::apply(K::Row::load(sums) + self.bias)
    }
}

/// Rows of integers.
struct Int8Rows<'a, K: Kernel> {
    sums: &'a [f32; MAX_TILE],
    /// The scale and the zero of each row of x, and which is the tile's first: `[rows, 2]`
    scale_and_zero: Matrix<'a>,
    first: usize,
    byte_offset: i32,
    scales: K::Row,
    /// The sums of the weights.
    weights: K::Row,
    bias: K::Row,
}

impl<K: Kernel> TileRows<K::Row> for Int8Rows<'_, K> {
    #[inline(always)]
    unsafe fn activated<A: Apply>(&self, row: usize) -> K::Row {
        // SAFETY: a tile has K's rows and columns; the row as the caller says, and `int8_rows` found two columns.
        let (sums, scale_and_zero) = unsafe {
            (
                self.sums.get_unchecked(row * K::COLUMNS..(row + 1) * K::COLUMNS),
                self.scale_and_zero.row_unchecked(self.first + row, 2),
            )
        };
        // Σ (q - zero) · w = Σ q · w - zero · Σ w
        let zero = scale_and_zero[1].to_bits().cast_signed() - self.byte_offset;
        let sums = K::Row::load(sums).int8_sum(zero, self.weights);
        // Not fused, so that every instruction set rounds alike.
        A::apply(sums * (K::Row::splat(scale_and_zero[0]) * self.scales) + self.bias)
    }
}

/// A product and its gate.
struct GatedRows<R> {
    main: R,
    gate: R,
}

impl<V: Vector, R: TileRows<V>> TileRows<V> for GatedRows<R> {
    #[inline(always)]
    unsafe fn activated<A: Apply>(&self, row: usize) -> V {
        // SAFETY: as the caller says.
        unsafe { self.gate.activated::<A>(row) * self.main.activated::<Identity>(row) }
    }
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
    /// If the sizes do not agree, or a rare activation does not go alone.
    #[inline(always)]
    pub(super) fn new(epilogue: &Epilogue<'a>, columns: Range<usize>, out: MatrixMut<'a>) -> Self {
        let of_panel = |view: Matrix<'a>| {
            assert!(view.rows() == out.rows() && columns.len() == out.columns());
            view.column_range(columns.start, columns.len())
        };
        let (factor, residual) = (epilogue.factor.map(of_panel), epilogue.residual.map(of_panel));
        let alone = epilogue.gate.is_none() && factor.is_none() && residual.is_none();
        assert!(alone || !matches!(epilogue.activation, Activation::Rare(_)), "a rare activation goes alone");
        PanelEnd { activation: epilogue.activation, factor, residual, out }
    }

    /// Writes the `rows` computed rows of a tile to the rows from `first` on. Those of a panel
    /// that is wider than what is left go by way of rows that have room for them.
    #[inline(always)]
    pub(super) fn finish<K: Kernel>(
        &mut self,
        main: &PanelProduct<'_>,
        gate: Option<&PanelProduct<'_>>,
        rows: Range<usize>,
        first: usize,
    ) {
        let (count, width) = (rows.len(), self.out.columns());
        let mut wide = None;
        let (mut end, first_of_end) = if width == K::COLUMNS {
            (self.reborrow(), first)
        } else {
            let wide = wide.insert([const { Lines([0.0; MAX_TILE]) }; 3]);
            (self.widened::<K>(wide, first, count), 0)
        };
        end.finish_whole::<K>(main, gate, rows, first_of_end);
        if let Some([_, _, results]) = wide {
            for (r, result) in results.0.chunks_exact(K::COLUMNS).take(count).enumerate() {
                self.out.row_mut(first + r).copy_from_slice(&result[..width]);
            }
        }
    }

    #[inline(always)]
    fn reborrow(&mut self) -> PanelEnd<'_> {
        let PanelEnd { activation, factor, residual, ref mut out } = *self;
        PanelEnd { activation, factor, residual, out: out.reborrow() }
    }

    /// The same for the rows from `first` on, full of zeros behind what is there.
    fn widened<'b, K: Kernel>(
        &self,
        [factors, residuals, results]: &'b mut [Lines<MAX_TILE>; 3],
        first: usize,
        count: usize,
    ) -> PanelEnd<'b> {
        let widened = |view: Option<Matrix<'_>>, wide: &'b mut Lines<MAX_TILE>| {
            let view = view?;
            for (r, wide) in wide.0.chunks_exact_mut(K::COLUMNS).take(count).enumerate() {
                wide[..view.columns()].copy_from_slice(view.row(first + r));
            }
            Some(Matrix::new(&wide.0, count, K::COLUMNS, K::COLUMNS))
        };
        PanelEnd {
            activation: self.activation,
            factor: widened(self.factor, factors),
            residual: widened(self.residual, residuals),
            out: MatrixMut::new(&mut results.0, count, K::COLUMNS, K::COLUMNS),
        }
    }

    /// The tiles of a panel of full width. The multipliers wait for this: what is the same for all rows is settled
    /// before the first, in code of its own for each case.
    #[inline(always)]
    fn finish_whole<K: Kernel>(
        &mut self,
        main: &PanelProduct<'_>,
        gate: Option<&PanelProduct<'_>>,
        rows: Range<usize>,
        first: usize,
    ) {
        let to = first..first + rows.len();
        assert!(to.len() <= K::ROWS && to.end <= self.out.rows() && self.out.columns() == K::COLUMNS);
        let tile = (main, gate, rows);
        match self.activation {
            Activation::Identity => self.write::<K, Identity>(tile, to),
            Activation::GeluErf if main.takes_rows_as_they_are => self.write::<K, GeluErf>(tile, to),
            Activation::GeluErf => self.write::<K, RoughGeluErf>(tile, to),
            Activation::GeluTanh => self.write::<K, GeluTanh>(tile, to),
            Activation::Silu => self.write::<K, Silu>(tile, to),
            Activation::Relu => self.write::<K, Relu>(tile, to),
            Activation::Tanh => self.write::<K, Tanh>(tile, to),
            Activation::Rare(rare) => {
                self.write::<K, Identity>(tile, to.clone());
                to.for_each(|row| self.out.row_mut(row).iter_mut().for_each(|y| *y = rare.of(*y)));
            }
        }
    }

    #[inline(always)]
    fn write<K: Kernel, A: Apply>(
        &mut self,
        (main, gate, rows): (&PanelProduct<'_>, Option<&PanelProduct<'_>>, Range<usize>),
        to: Range<usize>,
    ) {
        match (main.int8, gate) {
            (None, None) => self.write_rows::<K, A>(main.float_rows::<K>(), to),
            (None, Some(gate)) => {
                let rows = GatedRows { main: main.float_rows::<K>(), gate: gate.float_rows::<K>() };
                self.write_rows::<K, A>(rows, to);
            }
            (Some(_), None) => self.write_rows::<K, A>(main.int8_rows::<K>(rows), to),
            (Some(_), Some(gate)) => {
                let rows =
                    GatedRows { main: main.int8_rows::<K>(rows.clone()), gate: gate.int8_rows::<K>(rows) };
                self.write_rows::<K, A>(rows, to);
            }
        }
    }

    /// All columns of a row in step.
    #[inline(always)]
    fn write_rows<K: Kernel, A: Apply>(&mut self, rows: impl TileRows<K::Row>, to: Range<usize>) {
        for (r, to) in to.enumerate() {
            // SAFETY: all of these have the rows `to` of K's width, as `finish_whole` and `new` found, and so many
            // were multiplied.
            unsafe {
                let mut y = rows.activated::<A>(r);
                if let Some(factor) = &self.factor {
                    y = y * K::Row::load(factor.row_unchecked(to, K::COLUMNS));
                }
                if let Some(residual) = &self.residual {
                    y = y + K::Row::load(residual.row_unchecked(to, K::COLUMNS));
                }
                y.store(self.out.row_unchecked(to, K::COLUMNS));
            }
        }
    }
}
