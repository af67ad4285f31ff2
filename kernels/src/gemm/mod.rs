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
//! Rows of x are taken in blocks that stay in the L2 cache while all panels pass by. Where weights are
//! stored smaller than f32 (`encode.rs`), a block's rows are brought to the same form first: two or four
//! values to each 32-bit lane, so that the picture above holds with an instruction that multiplies and
//! adds that many at once.
//!
//! The finished tile is stored to a scratch of a few KiB and the epilogue (for int8 the way back to f32,
//! then bias, activation, gate, residual) is applied row by row on the way to the result, so that none of
//! those is a pass of its own over memory.
//!
//! Each result is one accumulator that takes its products in the order of the depth, whatever
//! the size of the tile it falls in: the same row gives the same bits in any batch.

mod encode;
mod epilogue;
#[cfg(target_arch = "aarch64")]
mod neon;
mod packed;
mod peak;
mod portable;
mod select;
mod tile;
mod widen;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use encode::encode_row;
pub(crate) use encode::{halves_mut, round_to_bf16};
pub use epilogue::Epilogue;
pub use packed::{PackedWeights, pack_panel, pack_panel_of_halves, packed_len};
pub use peak::{multiply_in_registers, read_memory};
pub(crate) use tile::{MAX_TILE, PanelTile};

use crate::aligned::{AlignedBuffer, reserved};
use crate::dispatch::dispatch;
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::matrix::{Matrix, MatrixMut};
use crate::storage::Storage;
use epilogue::{PanelEnd, PanelProduct};
use std::ops::Range;
use widen::Widening;

/// Rows of x whose products with all panels are computed before the next rows are touched: as many as the engine
/// gives at a time, so that weights, which mostly come from memory, are read once. (Against 96, six layers' products
/// in a row went from 88 to 91 % of the peak in f32, 83 to 85 % in bf16.)
const ROW_BLOCK: usize = 192;

/// Memory that [`gemm`] works in, kept from call to call.
#[derive(Default)]
pub struct GemmScratch {
    rows: Option<AlignedBuffer>,   // [ROW_BLOCK, stored lanes]
    panels: Option<AlignedBuffer>, // 2 of [inputs, panel columns], where they are widened
}

/// Computes the outputs of the panels `panels` of `epilogue(x · Wᵀ)`.
///
/// `x` is f32 whatever the weights are stored as. `out` has the rows of `x` and the columns of those
/// panels only: threads that share a product take a range of panels each and write to their own part
/// of its columns. `isa` must be the one that the weights were packed for.
///
/// # Panics
/// If sizes do not agree.
pub fn gemm(
    isa: Isa,
    x: Matrix<'_>,
    weights: &PackedWeights,
    panels: Range<usize>,
    epilogue: &Epilogue<'_>,
    out: MatrixMut<'_>,
    scratch: &mut GemmScratch,
) {
    assert!(x.columns() == weights.inputs());
    product(isa, Rows::Plain(x, scratch), weights, panels, epilogue, out);
}

/// [`gemm`] of rows that [`encode_row`] has brought to the weights' storage: `x` is `[rows, stored lanes]`.
///
/// # Panics
/// If sizes do not agree.
pub fn gemm_of_encoded(
    isa: Isa,
    x: Matrix<'_>,
    weights: &PackedWeights,
    panels: Range<usize>,
    epilogue: &Epilogue<'_>,
    out: MatrixMut<'_>,
) {
    assert!(x.columns() == weights.storage().of_rows().stored_lanes(weights.inputs()));
    product(isa, Rows::Encoded(x), weights, panels, epilogue, out);
}

/// The rows of x.
pub enum Rows<'a> {
    /// In f32, with memory to encode them in.
    Plain(Matrix<'a>, &'a mut GemmScratch),
    /// As the weights are stored.
    Encoded(Matrix<'a>),
}

dispatch! {
    /// The product of one kind of rows or the other.
    pub fn product(
        rows: Rows<'_>,
        weights: &PackedWeights,
        panels: Range<usize>,
        epilogue: &Epilogue<'_>,
        out: MatrixMut<'_>,
    ) = product_body
}

#[inline(always)]
fn product_body<K: Kernel>(
    mut rows: Rows<'_>,
    weights: &PackedWeights,
    panels: Range<usize>,
    epilogue: &Epilogue<'_>,
    mut out: MatrixMut<'_>,
) {
    let (Rows::Plain(x, _) | Rows::Encoded(x)) = rows;
    assert!(x.rows() == out.rows());
    check_gemm::<K>(weights, &panels, epilogue, &out);
    for (first, block) in row_blocks(x) {
        let (block, widened) = match &mut rows {
            Rows::Plain(_, GemmScratch { rows, panels }) => {
                let widening = Widening::for_rows(weights.storage(), block.rows());
                (encode_rows::<K>(weights.storage(), block, rows), widening.room(weights, panels))
            }
            Rows::Encoded(_) => (block, None),
        };
        multiply_block::<K>(block, first, weights, &panels, epilogue, &mut out, widened);
    }
}

/// The rows that meet all panels before the next do, and the first of each.
fn row_blocks(x: Matrix<'_>) -> impl Iterator<Item = (usize, Matrix<'_>)> {
    let starts = (0..x.rows()).step_by(ROW_BLOCK);
    starts.map(move |first| (first, x.row_range(first, ROW_BLOCK.min(x.rows() - first))))
}

/// The products of encoded rows with all panels; `first` is the row of the result that the first belongs to,
/// `widened` has room for a panel and its gate, if they are to be widened once for all rows.
#[inline(always)]
fn multiply_block<K: Kernel>(
    encoded: Matrix<'_>,
    first: usize,
    weights: &PackedWeights,
    panels: &Range<usize>,
    epilogue: &Epilogue<'_>,
    out: &mut MatrixMut<'_>,
    mut widened: Option<&mut [f32]>,
) {
    let lanes = weights.storage().of_rows().lanes(weights.inputs());
    let values = encoded.column_range(0, lanes);
    let scale_and_zero = encoded.column_range(lanes, encoded.columns() - lanes);
    for panel in panels.clone() {
        let start = panel * K::COLUMNS;
        let columns = start..(start + K::COLUMNS).min(weights.outputs());
        let (of_main, of_gate) = match widened.as_deref_mut() {
            None => (None, None),
            Some(room) => {
                let (main, gate) = room.split_at_mut(room.len() / 2);
                (Some(main), Some(gate))
            }
        };
        let mut main = PanelProduct::new::<K>(weights, epilogue.bias, panel, scale_and_zero, of_main);
        let mut gate = epilogue
            .gate
            .map(|(gate, bias)| PanelProduct::new::<K>(gate, bias, panel, scale_and_zero, of_gate));
        let out_column = start - panels.start * K::COLUMNS;
        let out = out.columns_mut(out_column..out_column + columns.len());
        let mut end = PanelEnd::new(epilogue, columns, out);
        for row in (0..values.rows()).step_by(K::ROWS) {
            let rows = row..(row + K::ROWS).min(values.rows());
            let x = values.row_range(row, rows.len());
            // SAFETY: this body is compiled for K's instruction set only where `dispatch!`
            // found it to be there, and the weights were packed for it.
            unsafe { main.multiply(x) };
            if let Some(gate) = &mut gate {
                // SAFETY: as above.
                unsafe { gate.multiply(x) };
            }
            end.finish::<K>(&main, gate.as_ref(), rows, first + row);
        }
    }
}

/// The rows as products with weights of this storage take them.
#[inline(always)]
fn encode_rows<'a, K: Kernel>(
    storage: Storage,
    rows: Matrix<'a>,
    scratch: &'a mut Option<AlignedBuffer>,
) -> Matrix<'a> {
    if storage.takes_rows_as_they_are() {
        return rows;
    }
    let lanes = storage.of_rows().stored_lanes(rows.columns());
    let encoded = reserved(scratch, rows.rows() * lanes);
    for (r, encoded) in encoded.chunks_exact_mut(lanes).enumerate() {
        encode::encode_row_body::<K>(storage, rows.row(r), encoded);
    }
    Matrix::new(encoded, rows.rows(), lanes, lanes)
}

#[inline(always)]
fn check_gemm<K: Kernel>(
    weights: &PackedWeights,
    panels: &Range<usize>,
    epilogue: &Epilogue<'_>,
    out: &MatrixMut<'_>,
) {
    let outputs = weights.outputs();
    let columns = (panels.end * K::COLUMNS).min(outputs) - panels.start * K::COLUMNS;
    assert!(weights.isa().panel_columns() == K::COLUMNS, "weights packed for {:?}", weights.isa());
    assert!(panels.end <= weights.panels(), "no such panels");
    assert!(out.columns() == columns);
    assert!(epilogue.bias.is_empty() || epilogue.bias.len() == outputs);
    if let Some((gate, bias)) = epilogue.gate {
        assert!(gate.isa() == weights.isa() && gate.storage() == weights.storage());
        assert!(gate.inputs() == weights.inputs() && gate.outputs() == outputs);
        assert!(bias.is_empty() || bias.len() == outputs);
    }
    for other in epilogue.factor.iter().chain(&epilogue.residual) {
        assert!(other.rows() == out.rows() && other.columns() == outputs);
    }
}
