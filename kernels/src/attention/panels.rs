//! Keys and values in the layout that the tiles read.

use crate::Storage;
use crate::aligned::{AlignedBuffer, reserved};
use crate::gemm::{Kernel, PanelTile, halves, round_to_bf16};
use crate::isa::{Isa, dispatch};
use crate::matrix::Matrix;
use crate::vector::{MAX_LANES, Vector, zip};

/// The keys and values of one text and head, packed for one instruction set.
#[derive(Default)]
pub struct KeyValuePanels {
    keys: Option<AlignedBuffer>,   // [key panels, lanes of head_dim, key_tile.columns]
    values: Option<AlignedBuffer>, // [head_dim panels, lanes of keys, value_tile.columns]
    /// A row of keys on its way to a panel.
    row: Option<AlignedBuffer>,
    layout: Option<Layout>,
}

/// What [`KeyValuePanels`] holds, and how.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) storage: Storage,
    /// Number of keys.
    pub(super) count: usize,
    pub(super) head_dim: usize,
    pub(super) key_tile: PanelTile,
    pub(super) value_tile: PanelTile,
}

impl Layout {
    fn key_panel(&self) -> usize {
        self.storage.lanes(self.head_dim) * self.key_tile.columns
    }

    fn value_panel(&self) -> usize {
        self.storage.lanes(self.count) * self.value_tile.columns
    }
}

impl KeyValuePanels {
    /// Packs `keys` and `values`, both `[tokens, head_dim]`, reusing the memory of the last text.
    ///
    /// Both products of attention are computed in `storage`.
    ///
    /// # Panics
    /// If the two have different sizes, or if `storage` is [`Storage::Int8`].
    pub fn pack(&mut self, isa: Isa, storage: Storage, keys: Matrix<'_>, values: Matrix<'_>) {
        assert!(keys.rows() == values.rows() && keys.columns() == values.columns());
        assert!(storage != Storage::Int8, "attention is computed in f32 or bf16");
        let (count, head_dim) = (keys.rows(), keys.columns());
        let (key_tile, value_tile) = (isa.best_tile(storage, count), isa.best_tile(storage, head_dim));
        let layout = Layout { storage, count, head_dim, key_tile, value_tile };
        self.layout = Some(layout);
        pack(isa, &layout, keys, values, self);
    }

    /// What was packed last.
    ///
    /// # Panics
    /// If that is nothing.
    pub(super) fn layout(&self) -> Layout {
        self.layout.expect("keys and values are packed before attention is computed")
    }

    /// A panel of keys: `[lanes of head_dim, key_tile.columns]`.
    pub(super) fn keys(&self, layout: &Layout, panel: usize) -> &[f32] {
        let keys = self.keys.as_ref().map_or(&[][..], AlignedBuffer::as_slice);
        &keys[panel * layout.key_panel()..][..layout.key_panel()]
    }

    /// A panel of values: `[lanes of keys, value_tile.columns]`.
    pub(super) fn values(&self, layout: &Layout, panel: usize) -> &[f32] {
        let values = self.values.as_ref().map_or(&[][..], AlignedBuffer::as_slice);
        &values[panel * layout.value_panel()..][..layout.value_panel()]
    }
}

dispatch! {
    /// See [`KeyValuePanels::pack`].
    pub fn pack(layout: &Layout, keys: Matrix<'_>, values: Matrix<'_>, panels: &mut KeyValuePanels) = pack_body
}

#[inline(always)]
fn pack_body<K: Kernel>(layout: &Layout, keys: Matrix<'_>, values: Matrix<'_>, panels: &mut KeyValuePanels) {
    pack_keys::<K>(layout, keys, panels);
    pack_values::<K>(layout, values, panels);
}

/// `panel[lane][key] = keys[key][lane]`
#[inline(always)]
fn pack_keys<K: Kernel>(layout: &Layout, keys: Matrix<'_>, panels: &mut KeyValuePanels) {
    let (columns, lanes) = (layout.key_tile.columns, layout.storage.lanes(layout.head_dim));
    let packed = reserved(&mut panels.keys, layout.count.div_ceil(columns) * layout.key_panel());
    let encoded = reserved(&mut panels.row, lanes);
    for (first, packed) in (0..layout.count).step_by(columns).zip(packed.chunks_exact_mut(columns * lanes)) {
        let width = columns.min(layout.count - first);
        if width < columns {
            packed.fill(0.0);
        }
        for c in 0..width {
            let row = match layout.storage {
                Storage::F32 => keys.row(first + c),
                _ => {
                    round_to_bf16::<K::Vector>(keys.row(first + c), halves(encoded));
                    &*encoded
                }
            };
            packed[c..].iter_mut().step_by(columns).zip(row).for_each(|(place, &value)| *place = value);
        }
    }
}

/// `panel[lane][c] = values[lane][first + c]`, where in bf16 a lane is a pair of keys.
#[inline(always)]
fn pack_values<K: Kernel>(layout: &Layout, values: Matrix<'_>, panels: &mut KeyValuePanels) {
    let columns = layout.value_tile.columns;
    let packed = reserved(&mut panels.values, layout.head_dim.div_ceil(columns) * layout.value_panel());
    for (first, packed) in
        (0..layout.head_dim).step_by(columns).zip(packed.chunks_exact_mut(layout.value_panel()))
    {
        let width = columns.min(layout.head_dim - first);
        for (lane, row) in packed.chunks_exact_mut(columns).enumerate() {
            let (row, padding) = row.split_at_mut(width);
            padding.fill(0.0);
            if layout.storage == Storage::F32 {
                zip!(K::Vector, row, values.row(lane)[first..], |_old, value| value);
                continue;
            }
            let (mut even, mut odd) = ([0; MAX_LANES], [0; MAX_LANES]);
            round_to_bf16::<K::Vector>(&values.row(2 * lane)[first..][..width], &mut even);
            if 2 * lane + 1 < layout.count {
                round_to_bf16::<K::Vector>(&values.row(2 * lane + 1)[first..][..width], &mut odd);
            }
            for (place, (&even, &odd)) in row.iter_mut().zip(even.iter().zip(&odd)) {
                *place = f32::from_bits(u32::from(even) | u32::from(odd) << 16);
            }
        }
    }
}
