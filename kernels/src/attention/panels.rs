//! Keys and values in the layout that the tiles read.

use crate::aligned::{AlignedBuffer, reserved};
use crate::dispatch::dispatch;
use crate::gemm::{PanelTile, halves_mut, round_to_bf16};
use crate::isa::Isa;
use crate::kernel::Kernel;
use crate::matrix::Matrix;
use crate::storage::Storage;
use crate::vector::{MAX_LANES, MAX_SQUARE, Vector, map, zip};
use std::f32::consts::LOG2_E;
use std::ops::Range;

/// Values of a cache line.
const LINE: usize = 16;

/// The keys and values of one text and head, packed for one instruction set.
#[derive(Default)]
pub struct KeyValuePanels {
    keys: Option<AlignedBuffer>,   // [key panels, lanes of head_dim, key_tile.columns]
    values: Option<AlignedBuffer>, // [head_dim panels, lanes of keys, value_tile.columns]
    layout: Option<PanelLayout>,
}

/// What [`KeyValuePanels`] holds, and how.
#[derive(Clone, Copy)]
pub(super) struct PanelLayout {
    pub(super) storage: Storage,
    /// Multiplied into the keys: it makes scores powers of two.
    scale: f32,
    /// Number of keys.
    pub(super) count: usize,
    pub(super) head_dim: usize,
    pub(super) key_tile: PanelTile,
    pub(super) value_tile: PanelTile,
}

impl PanelLayout {
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
    /// `scale` multiplies the scores, mostly `1/√head_dim`. Both products of attention are computed in `storage`.
    ///
    /// # Panics
    /// If the two have different sizes, or if `storage` is [`Storage::Int8`].
    pub fn pack(&mut self, isa: Isa, storage: Storage, scale: f32, keys: Matrix<'_>, values: Matrix<'_>) {
        assert!(keys.rows() == values.rows() && keys.columns() == values.columns());
        assert!(storage != Storage::Int8, "attention is computed in f32 or bf16");
        let (count, head_dim) = (keys.rows(), keys.columns());
        let (key_tile, value_tile) = (isa.best_tile(storage, count), isa.best_tile(storage, head_dim));
        let layout = PanelLayout { storage, scale: scale * LOG2_E, count, head_dim, key_tile, value_tile };
        self.layout = Some(layout);
        pack(isa, &layout, keys, values, self);
    }

    /// What was packed last.
    ///
    /// # Panics
    /// If that is nothing.
    pub(super) fn layout(&self) -> PanelLayout {
        self.layout.expect("keys and values are packed before attention is computed")
    }

    /// A panel of keys: `[lanes of head_dim, key_tile.columns]`.
    pub(super) fn keys(&self, layout: &PanelLayout, panel: usize) -> &[f32] {
        let keys = self.keys.as_ref().map_or(&[][..], AlignedBuffer::as_slice);
        &keys[panel * layout.key_panel()..][..layout.key_panel()]
    }

    /// A panel of values: `[lanes of keys, value_tile.columns]`.
    pub(super) fn values(&self, layout: &PanelLayout, panel: usize) -> &[f32] {
        let values = self.values.as_ref().map_or(&[][..], AlignedBuffer::as_slice);
        &values[panel * layout.value_panel()..][..layout.value_panel()]
    }
}

dispatch! {
    /// See [`KeyValuePanels::pack`].
    pub fn pack(layout: &PanelLayout, keys: Matrix<'_>, values: Matrix<'_>, panels: &mut KeyValuePanels) = pack_body
}

#[inline(always)]
fn pack_body<K: Kernel>(
    layout: &PanelLayout,
    keys: Matrix<'_>,
    values: Matrix<'_>,
    panels: &mut KeyValuePanels,
) {
    pack_keys::<K>(layout, keys, panels);
    pack_values::<K>(layout, values, panels);
}

/// `panel[lane][key] = keys[key][lane]`, in squares of registers.
#[inline(always)]
fn pack_keys<K: Kernel>(layout: &PanelLayout, keys: Matrix<'_>, panels: &mut KeyValuePanels) {
    let (columns, lanes) = (layout.key_tile.columns, layout.storage.lanes(layout.head_dim));
    let side = K::Vector::LANES;
    let packed = reserved(&mut panels.keys, layout.count.div_ceil(columns) * layout.key_panel());
    let mut square = [0.0; MAX_SQUARE];
    for (panel, packed) in packed.chunks_exact_mut(columns * lanes).enumerate() {
        for column in (0..columns).step_by(side) {
            let first = panel * columns + column;
            for i in first..layout.count.min(first + side) {
                prefetch_next_head::<K::Vector>(keys.row(i), 0..layout.head_dim);
            }
            for lane in (0..lanes).step_by(side) {
                load_square::<K::Vector>(layout, keys, first, lane, &mut square);
                let end = lanes.min(lane + side);
                K::Vector::transpose(&square, &mut packed[lane * columns + column..end * columns], columns);
            }
        }
    }
}

/// `square[i][j] = scale · keys[first + i][lane + j]`, zeros behind the last key and lane.
#[inline(always)]
fn load_square<V: Vector>(
    layout: &PanelLayout,
    keys: Matrix<'_>,
    first: usize,
    lane: usize,
    square: &mut [f32],
) {
    let values = |lane: usize| (lane * layout.storage.values_of_a_lane()).min(layout.head_dim);
    let values = values(lane)..values(lane + V::LANES);
    let scale = V::splat(layout.scale);
    let mut scaled = [0.0; 2 * MAX_LANES];
    for i in 0..V::LANES {
        let row = &mut square[i * V::LANES..][..V::LANES];
        if first + i >= layout.count {
            V::splat(0.0).store(row);
            continue;
        }
        let key = &keys.row(first + i)[values.clone()];
        match layout.storage {
            Storage::F32 => (V::load_part(key, 0.0) * scale).store(row),
            _ => {
                let scaled = &mut scaled[..key.len()];
                zip!(V, scaled, key, |_old, key| key * scale);
                round_to_bf16::<V>(scaled, halves_mut(row));
            }
        }
    }
}

/// Asks for some columns of the next head, whose row mostly lies behind the one of this head: a head's rows are a
/// few cache lines each, further apart than the CPU looks ahead by itself.
#[inline(always)]
pub(super) fn prefetch_next_head<V: Vector>(row: &[f32], columns: Range<usize>) {
    for at in columns.step_by(LINE) {
        V::prefetch(row.as_ptr().wrapping_add(row.len() + at));
    }
}

/// `panel[lane][c] = values[lane][first + c]`, where in bf16 a lane is a pair of keys.
#[inline(always)]
fn pack_values<K: Kernel>(layout: &PanelLayout, values: Matrix<'_>, panels: &mut KeyValuePanels) {
    let columns = layout.value_tile.columns;
    let packed = reserved(&mut panels.values, layout.head_dim.div_ceil(columns) * layout.value_panel());
    for (panel, packed) in packed.chunks_exact_mut(layout.value_panel()).enumerate() {
        let first = panel * columns;
        let width = columns.min(layout.head_dim - first);
        for (lane, row) in packed.chunks_exact_mut(columns).enumerate() {
            let (row, padding) = row.split_at_mut(width);
            padding.fill(0.0);
            let columns = first..first + width;
            let key = lane * layout.storage.values_of_a_lane();
            prefetch_next_head::<K::Vector>(values.row(key), columns.clone());
            zip!(K::Vector, row, values.row(key)[columns.clone()], |_old, value| value);
            if layout.storage == Storage::F32 {
                continue;
            }
            if key + 1 < layout.count {
                prefetch_next_head::<K::Vector>(values.row(key + 1), columns.clone());
                zip!(K::Vector, row, values.row(key + 1)[columns], |even, odd| even.bf16_pairs(odd));
            } else {
                map!(K::Vector, row, |last| last.bf16_pairs(K::Vector::splat(0.0)));
            }
        }
    }
}
