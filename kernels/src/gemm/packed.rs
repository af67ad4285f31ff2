//! Weights in the panel layout that the tiles read.

use super::encode::{encode_weights, halves_mut};
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::memory::{WeightBuffer, WeightMemory};
use crate::storage::Storage;
use std::ops::Range;

/// A weight matrix `[outputs, inputs]` in the panel layout of one instruction set.
pub struct PackedWeights {
    panels: WeightBuffer, // [panels, stored lanes, panel_columns]
    outputs: usize,
    inputs: usize,
    isa: Isa,
    storage: Storage,
}

impl PackedWeights {
    /// Packed weights that are all zero, to be filled by [`PackedWeights::panels_mut`].
    ///
    /// # Panics
    /// If the packed size overflows, or rows are longer than `storage` takes.
    pub fn zeroed(
        isa: Isa,
        storage: Storage,
        (outputs, inputs): (usize, usize),
        memory: &WeightMemory,
    ) -> Self {
        assert!(storage != Storage::Int8 || inputs <= Storage::INT8_INPUTS, "sums of int8 would overflow");
        let panels = memory.zeroed(panels_len(isa, storage, (outputs, inputs)));
        PackedWeights { panels, outputs, inputs, isa, storage }
    }

    /// Packs `weights`, `[outputs, inputs]`, in memory of its own.
    pub fn pack(isa: Isa, storage: Storage, weights: Matrix<'_>) -> Self {
        let size = (weights.rows(), weights.columns());
        let mut packed = PackedWeights::zeroed(isa, storage, size, &WeightMemory::with_capacity(0));
        for (panel, outputs) in packed.panels_mut() {
            let count = outputs.len();
            pack_panel(isa, storage, weights.row_range(outputs.start, count), panel);
        }
        packed
    }

    /// Each panel and the outputs (rows of the weight matrix) it holds; see [`pack_panel`].
    pub fn panels_mut(&mut self) -> impl Iterator<Item = (&mut [f32], Range<usize>)> {
        let (columns, outputs) = (self.isa.panel_columns(), self.outputs);
        let len = self.panel_len().max(1);
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

    /// The instruction set it was packed for.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Bytes of memory that the panels take.
    pub fn bytes(&self) -> usize {
        size_of_val(self.panels.as_slice())
    }

    /// The values of a panel, `[lanes, panel_columns]`, and what is stored behind them.
    pub(super) fn panel(&self, index: usize) -> (&[f32], &[f32]) {
        let len = self.panel_len();
        let values = self.storage.lanes(self.inputs) * self.isa.panel_columns();
        self.panels.as_slice()[index * len..][..len].split_at(values)
    }

    fn panel_len(&self) -> usize {
        self.storage.stored_lanes(self.inputs) * self.isa.panel_columns()
    }
}

/// The f32 values that the packed form of a matrix `[outputs, inputs]` takes of a [`WeightMemory`].
///
/// # Panics
/// If their number overflows.
pub fn packed_len(isa: Isa, storage: Storage, size: (usize, usize)) -> usize {
    WeightMemory::padded(panels_len(isa, storage, size))
}

fn panels_len(isa: Isa, storage: Storage, (outputs, inputs): (usize, usize)) -> usize {
    let padded = outputs.next_multiple_of(isa.panel_columns());
    padded.checked_mul(storage.stored_lanes(inputs)).expect("packed weights exceed the address space")
}

/// Packs up to one panel of rows of a weight matrix: `panel[k][c] = rows[c][k]`, zero beyond the
/// last row. `panel` is `[stored lanes, isa.panel_columns()]`.
///
/// # Panics
/// If `panel` has another size or `rows` has more rows than a panel has columns.
pub fn pack_panel(isa: Isa, storage: Storage, rows: Matrix<'_>, panel: &mut [f32]) {
    let columns = isa.panel_columns();
    let lanes = storage.stored_lanes(rows.columns());
    assert!(rows.rows() <= columns && panel.len() == columns * lanes);
    if rows.rows() < columns {
        panel.fill(0.0);
    }
    let mut encoded = vec![0.0; if storage == Storage::F32 { 0 } else { lanes }];
    for c in 0..rows.rows() {
        if storage != Storage::F32 {
            encode_weights(isa, storage, rows.row(c), &mut encoded);
        }
        match storage {
            Storage::F32 => place(rows.row(c).iter().copied(), c, columns, panel),
            Storage::Bf16 | Storage::Int8 => place(encoded.iter().copied(), c, columns, panel),
            Storage::F16Weights | Storage::Bf16Weights | Storage::Bf16Widened => {
                place(halves_mut(&mut encoded).iter().copied(), c, columns, halves_mut(panel));
            }
        }
    }
}

/// The same for [`Storage::F16Weights`], [`Storage::Bf16Weights`] or [`Storage::Bf16Widened`], of rows that are such numbers already, in
/// little-endian bytes, all of one length.
///
/// # Panics
/// If `panel` has another size or there are more rows than a panel has columns.
pub fn pack_panel_of_halves<'a>(
    isa: Isa,
    rows: impl ExactSizeIterator<Item = &'a [[u8; 2]]>,
    panel: &mut [f32],
) {
    let columns = isa.panel_columns();
    assert!(rows.len() <= columns);
    if rows.len() < columns {
        panel.fill(0.0);
    }
    let panel = halves_mut(panel);
    // Of an odd number of inputs the last row of the panel stays 0.
    if let Some(last) = panel.chunks_exact_mut(columns).next_back() {
        last.fill(0);
    }
    for (c, row) in rows.enumerate() {
        assert!(row.len().next_multiple_of(2) * columns == panel.len());
        place(row.iter().map(|bytes| u16::from_le_bytes(*bytes)), c, columns, panel);
    }
}

/// Writes a row of a weight matrix to the column `c` of a panel.
fn place<T>(row: impl Iterator<Item = T>, c: usize, columns: usize, panel: &mut [T]) {
    for (to, value) in panel.chunks_exact_mut(columns).zip(row) {
        to[c] = value;
    }
}
