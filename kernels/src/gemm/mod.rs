//! `y = x · Wᵀ` with packed weights and a fused epilogue.
//!
//! The product is computed in tiles of `ROWS × COLUMNS` results that stay in registers while the
//! whole depth (the length of a row of x) passes by. For each step of the depth a tile loads one
//! row of a weight *panel* (COLUMNS values, consecutive in memory) and one value of each of its
//! rows of x, and multiplies all with all:
//!
//! ```text
//!              panel row k: [w0 w1 … w47]
//!   x[0][k] ─►  acc[0]     += x[0][k] · panel row
//!   …
//!   x[7][k] ─►  acc[7]     += x[7][k] · panel row
//! ```
//!
//! 8 × 48 on AVX-512 is 24 accumulators, 3 registers of weights and 1 broadcast, 28 of 32: each
//! weight is used 8 times and each x 48 times per load, so that 24 fused multiply-adds need 11
//! loads and the multipliers are the limit. 6 × 16 is the same reasoning for AVX2's 16 registers, and
//! 8 × 12 for NEON's 32.
//!
//! That needs the weights as panels: `[panel][depth][COLUMNS]`, outputs beyond the last padded
//! with zeros. [`PackedWeights`] holds them; packing happens once, when a model is loaded.
//!
//! Rows of x are taken in blocks that stay in the L2 cache while all panels pass by.
//!
//! The finished tile is stored to a scratch of a few KiB and the epilogue (bias, activation, gate,
//! residual) is applied row by row on the way to the result, so that none of those is a pass of
//! its own over memory.
//!
//! Each result is one accumulator that takes its products in the order of the depth, whatever
//! the size of the tile it falls in: the same row gives the same bits in any batch.

#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tile;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

use crate::activation::{Activation, activate_body};
use crate::aligned::AlignedBuffer;
use crate::isa::{Isa, Kind, dispatch};
use crate::matrix::{Matrix, MatrixMut};
use std::ops::Range;

/// Rows of x whose products with all panels are computed before the next rows are touched.
const ROW_BLOCK: usize = 96;

/// Room for the largest tile of any instruction set.
pub(crate) const MAX_TILE: usize = 8 * 48;

/// What an instruction set brings: a fused multiply-add for the compiler to vectorise, and the
/// innermost tile of the matrix product.
pub(crate) trait Kernel {
    /// Rows of a tile.
    const ROWS: usize;
    /// Columns of a tile, the width of a panel.
    const COLUMNS: usize;

    /// `a · b + c`, rounded once where the instruction set can.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;

    /// `tile[r][c] = Σ_k x[r][k] · panel[k][c]` for the rows of `x`, at most [`Self::ROWS`].
    ///
    /// `panel` is `[depth, COLUMNS]` with `depth = x.columns()`; `tile` is `[ROWS, COLUMNS]`.
    ///
    /// # Safety
    /// The CPU must have the instruction set.
    unsafe fn tile(x: Matrix<'_>, panel: &[f32], tile: &mut [f32; MAX_TILE]);

    /// [`Kernel::tile`] for bf16: each value of `x` and `panel` is the bits of two, one after the other
    /// in the depth, the first in the lower half; sums are f32.
    ///
    /// # Safety
    /// The CPU must have the instruction set.
    unsafe fn tile_bf16(x: Matrix<'_>, panel: &[f32], tile: &mut [f32; MAX_TILE]);
}

/// How weights, and the rows they are multiplied with, are stored. Sums are f32 in any case.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Storage {
    /// Single precision.
    #[default]
    F32,
    /// The upper half of a single-precision number, two to a lane.
    Bf16,
}

impl Storage {
    /// Lanes of 32 bits that a row of `inputs` values takes.
    pub fn lanes(self, inputs: usize) -> usize {
        match self {
            Storage::F32 => inputs,
            Storage::Bf16 => inputs.div_ceil(2),
        }
    }
}

/// Rounds a row to bf16, to nearest, ties to even; NaN stays NaN. `out` has half as many lanes, rounded
/// up; the last one is filled up with 0.
///
/// # Panics
/// If `out` has another size.
pub fn round_to_bf16(row: &[f32], out: &mut [f32]) {
    assert_eq!(out.len(), row.len().div_ceil(2));
    let (pairs, rest) = row.as_chunks::<2>();
    for (lane, &[low, high]) in out.iter_mut().zip(pairs) {
        *lane = f32::from_bits(bf16_bits(low) | (bf16_bits(high) << 16));
    }
    if let ([last], Some(lane)) = (rest, out.last_mut()) {
        *lane = f32::from_bits(bf16_bits(*last));
    }
}

#[inline(always)]
fn bf16_bits(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    if value.is_nan() { (bits >> 16) | 0x40 } else { rounded }
}

/// The checks that every [`Kernel::tile`] makes before it uses pointers.
#[inline(always)]
pub(crate) fn check_tile<K: Kernel>(x: Matrix<'_>, panel: &[f32]) {
    assert!(x.rows() <= K::ROWS && panel.len() == x.columns() * K::COLUMNS);
}

impl Isa {
    /// Columns of a panel of packed weights.
    pub fn panel_columns(self) -> usize {
        match self.kind() {
            Kind::Portable => portable::Portable::COLUMNS,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => x86::Avx2::COLUMNS,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => x86::Avx512::COLUMNS,
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => neon::Neon::COLUMNS,
        }
    }
}

/// A weight matrix `[outputs, inputs]` in the panel layout of one instruction set.
pub struct PackedWeights {
    panels: AlignedBuffer, // [panels, inputs, panel_columns]
    outputs: usize,
    inputs: usize,
    isa: Isa,
    storage: Storage,
}

impl PackedWeights {
    /// Packed weights that are all zero, to be filled by [`PackedWeights::panels_mut`].
    ///
    /// # Panics
    /// If the packed size overflows.
    pub fn zeroed(isa: Isa, storage: Storage, outputs: usize, inputs: usize) -> Self {
        let columns = isa.panel_columns();
        let len = outputs.next_multiple_of(columns).checked_mul(storage.lanes(inputs));
        let panels = AlignedBuffer::zeroed(len.expect("packed weights exceed the address space"));
        PackedWeights { panels, outputs, inputs, isa, storage }
    }

    /// Packs `weights`, `[outputs, inputs]`.
    pub fn pack(isa: Isa, storage: Storage, weights: Matrix<'_>) -> Self {
        let mut packed = PackedWeights::zeroed(isa, storage, weights.rows(), weights.columns());
        for (panel, outputs) in packed.panels_mut() {
            let count = outputs.len();
            pack_panel(isa, storage, weights.row_range(outputs.start, count), panel);
        }
        packed
    }

    /// Each panel and the outputs (rows of the weight matrix) it holds; see [`pack_panel`].
    pub fn panels_mut(&mut self) -> impl Iterator<Item = (&mut [f32], Range<usize>)> {
        let (columns, outputs) = (self.isa.panel_columns(), self.outputs);
        let len = (self.storage.lanes(self.inputs) * columns).max(1);
        self.panels
            .as_mut_slice()
            .chunks_exact_mut(len)
            .enumerate()
            .map(move |(i, panel)| (panel, i * columns..((i + 1) * columns).min(outputs)))
    }

    /// Number of panels.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(self.isa.panel_columns())
    }

    /// Results per row: the rows of the weight matrix.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Values per row of x: the columns of the weight matrix.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// How its values are stored.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// Bytes of memory that the panels take.
    pub fn bytes(&self) -> usize {
        size_of_val(self.panels.as_slice())
    }

    fn panel(&self, index: usize) -> &[f32] {
        let len = self.storage.lanes(self.inputs) * self.isa.panel_columns();
        &self.panels.as_slice()[index * len..][..len]
    }
}

/// Packs up to one panel of rows of a weight matrix: `panel[k][c] = rows[c][k]`, zero beyond the
/// last row. `panel` is `[lanes, isa.panel_columns()]`, with as many lanes as `storage` has for a row.
///
/// # Panics
/// If `panel` has another size or `rows` has more rows than a panel has columns.
pub fn pack_panel(isa: Isa, storage: Storage, rows: Matrix<'_>, panel: &mut [f32]) {
    let columns = isa.panel_columns();
    let lanes = storage.lanes(rows.columns());
    assert!(rows.rows() <= columns && panel.len() == columns * lanes);
    if rows.rows() < columns {
        panel.fill(0.0);
    }
    let mut rounded = vec![0.0; if storage == Storage::Bf16 { lanes } else { 0 }];
    for c in 0..rows.rows() {
        let row = match storage {
            Storage::F32 => rows.row(c),
            Storage::Bf16 => {
                round_to_bf16(rows.row(c), &mut rounded);
                &rounded
            }
        };
        for (k, &value) in row.iter().enumerate() {
            panel[k * columns + c] = value;
        }
    }
}

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

dispatch! {
    /// Computes the outputs of the panels `panels` of `epilogue(x · Wᵀ)`.
    ///
    /// `out` has the rows of `x` and the columns of those panels only: threads that share a
    /// product take a range of panels each and write to their own part of its columns. `isa`
    /// must be the one that the weights were packed for; for bf16 weights, the rows of `x` are what
    /// [`round_to_bf16`] makes of them.
    ///
    /// # Panics
    /// If sizes do not agree.
    pub fn gemm(
        x: Matrix<'_>,
        weights: &PackedWeights,
        panels: Range<usize>,
        epilogue: &Epilogue<'_>,
        out: MatrixMut<'_>,
    ) = gemm_body
}

#[inline(always)]
fn gemm_body<K: Kernel>(
    x: Matrix<'_>,
    weights: &PackedWeights,
    panels: Range<usize>,
    epilogue: &Epilogue<'_>,
    mut out: MatrixMut<'_>,
) {
    check_gemm::<K>(x, weights, &panels, epilogue, &out);
    let first_column = panels.start * K::COLUMNS;
    let mut tile = [0.0; MAX_TILE];
    let mut gate_tile = [0.0; MAX_TILE];
    for block in (0..x.rows()).step_by(ROW_BLOCK) {
        let block_end = (block + ROW_BLOCK).min(x.rows());
        for panel in panels.clone() {
            let start = panel * K::COLUMNS;
            let columns = start..(start + K::COLUMNS).min(weights.outputs);
            for first in (block..block_end).step_by(K::ROWS) {
                let rows = x.row_range(first, K::ROWS.min(block_end - first));
                // SAFETY: this body is compiled for K's instruction set only where `dispatch!`
                // found it to be there.
                unsafe { product::<K>(rows, weights, panel, &mut tile) };
                if let Some((gate, _)) = epilogue.gate {
                    // SAFETY: as above.
                    unsafe { product::<K>(rows, gate, panel, &mut gate_tile) };
                }
                for r in 0..rows.rows() {
                    let sums = &mut tile[r * K::COLUMNS..][..columns.len()];
                    let gates = &mut gate_tile[r * K::COLUMNS..][..columns.len()];
                    finish_row::<K>(epilogue, first + r, columns.clone(), sums, gates);
                    out.row_mut(first + r)[start - first_column..][..columns.len()].copy_from_slice(sums);
                }
            }
        }
    }
}

/// The tile of some rows and a panel, by how they are stored.
///
/// # Safety
/// As [`Kernel::tile`].
#[inline(always)]
unsafe fn product<K: Kernel>(
    rows: Matrix<'_>,
    weights: &PackedWeights,
    panel: usize,
    tile: &mut [f32; MAX_TILE],
) {
    match weights.storage {
        // SAFETY: as the caller says.
        Storage::F32 => unsafe { K::tile(rows, weights.panel(panel), tile) },
        // SAFETY: as the caller says.
        Storage::Bf16 => unsafe { K::tile_bf16(rows, weights.panel(panel), tile) },
    }
}

#[inline(always)]
fn check_gemm<K: Kernel>(
    x: Matrix<'_>,
    weights: &PackedWeights,
    panels: &Range<usize>,
    epilogue: &Epilogue<'_>,
    out: &MatrixMut<'_>,
) {
    let outputs = weights.outputs;
    let columns = (panels.end * K::COLUMNS).min(outputs) - panels.start * K::COLUMNS;
    assert!(weights.isa.panel_columns() == K::COLUMNS, "weights packed for {:?}", weights.isa);
    assert!(panels.end <= weights.panels(), "no such panels");
    assert!(
        x.columns() == weights.storage.lanes(weights.inputs)
            && out.rows() == x.rows()
            && out.columns() == columns
    );
    assert!(epilogue.bias.is_empty() || epilogue.bias.len() == outputs);
    if let Some((gate, bias)) = epilogue.gate {
        assert!(gate.isa == weights.isa && gate.inputs == weights.inputs && gate.storage == weights.storage);
        assert!(gate.outputs == outputs && (bias.is_empty() || bias.len() == outputs));
    }
    for other in epilogue.factor.iter().chain(&epilogue.residual) {
        assert!(other.rows() == x.rows() && other.columns() == outputs);
    }
}

/// Applies the epilogue to the sums of row `row`, columns `columns`, in place.
#[inline(always)]
fn finish_row<K: Kernel>(
    epilogue: &Epilogue<'_>,
    row: usize,
    columns: Range<usize>,
    sums: &mut [f32],
    gates: &mut [f32],
) {
    if !epilogue.bias.is_empty() {
        add(sums, &epilogue.bias[columns.clone()]);
    }
    match epilogue.gate {
        None => activate_body::<K>(epilogue.activation, sums),
        Some((_, gate_bias)) => {
            if !gate_bias.is_empty() {
                add(gates, &gate_bias[columns.clone()]);
            }
            activate_body::<K>(epilogue.activation, gates);
            sums.iter_mut().zip(gates).for_each(|(sum, gate)| *sum *= *gate);
        }
    }
    if let Some(factor) = epilogue.factor {
        let factor = &factor.row(row)[columns.clone()];
        sums.iter_mut().zip(factor).for_each(|(sum, factor)| *sum *= factor);
    }
    if let Some(residual) = epilogue.residual {
        add(sums, &residual.row(row)[columns]);
    }
}

#[inline(always)]
fn add(values: &mut [f32], addends: &[f32]) {
    values.iter_mut().zip(addends).for_each(|(value, addend)| *value += addend);
}
