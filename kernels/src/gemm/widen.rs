//! Weights of 16 bits on the way to the multipliers.
//!
//! A tile can widen them each time it loads them. On Zen 5 that is free, as other units than the multipliers do it,
//! and such tiles are even 1 to 2 % faster than those of f32 weights, since they read half as much. Intel's cores
//! multiply on ports 0, 1 and 5 and widen there too (vcvtph2ps takes one of 0 and 1, and 5: uops.info), three times
//! for 24 products. There a panel that many tiles read is widened once for all of them, which takes 5 % on Zen 5.
//! (To time a tile of each kind when a product first asks was tried instead: one time in six the machine's noise
//! chose the slower.)

use super::encode::halves;
use super::packed::PackedWeights;
use crate::aligned::{AlignedBuffer, reserved};
use crate::isa::is_amd_or_arm;
use crate::kernel::Kernel;
use crate::storage::Storage;
use crate::vector::Vector;

/// Rows from which on a panel may be widened for all of them: some eight tiles.
const MANY_ROWS: usize = 64;

/// Where weights are widened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Widening {
    /// By each tile, as it loads them; or not at all.
    InTiles,
    /// Once for all rows of a block.
    Once,
}

impl Widening {
    /// The way for a product of so many rows.
    pub(super) fn for_rows(storage: Storage, rows: usize) -> Widening {
        if !storage.widens() || rows < MANY_ROWS || is_amd_or_arm() {
            Widening::InTiles
        } else {
            Widening::Once
        }
    }

    /// Memory for a panel of these weights and one of their gate, if they are to be widened there.
    pub(super) fn room<'a>(
        self,
        weights: &PackedWeights,
        panels: &'a mut Option<AlignedBuffer>,
    ) -> Option<&'a mut [f32]> {
        let halves = 2 * weights.storage().lanes(weights.inputs()) * weights.isa().panel_columns();
        (self == Widening::Once).then(|| reserved(panels, 2 * halves))
    }
}

/// The values of a panel of these weights as f32, in the room for them: `[inputs, panel columns]`.
///
/// # Panics
/// If there is less room.
#[inline(always)]
pub(super) fn widen<'a, K: Kernel>(weights: &PackedWeights, panel: &[f32], room: &'a mut [f32]) -> &'a [f32] {
    let len = weights.inputs() * K::COLUMNS;
    let (halves, out) = (&halves(panel)[..len], &mut room[..len]);
    let lanes = K::Vector::LANES; // of which a row of a panel is some
    for (halves, out) in halves.chunks_exact(lanes).zip(out.chunks_exact_mut(lanes)) {
        K::widened(weights.storage(), halves).store(out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Epilogue, GemmScratch, Matrix, MatrixMut, gemm, multiply_block};
    use super::*;
    use crate::dispatch::dispatch;
    use crate::isa::Isa;

    dispatch! {
        pub fn widened_once(x: Matrix<'_>, weights: &PackedWeights, epilogue: &Epilogue<'_>, out: MatrixMut<'_>)
            = widened_once_body
    }

    #[inline(always)]
    fn widened_once_body<K: Kernel>(
        x: Matrix<'_>,
        weights: &PackedWeights,
        epilogue: &Epilogue<'_>,
        mut out: MatrixMut<'_>,
    ) {
        let mut panels = None;
        let room = Widening::Once.room(weights, &mut panels);
        multiply_block::<K>(x, 0, weights, &(0..weights.panels()), epilogue, &mut out, room);
    }

    #[test]
    fn products_are_the_same_wherever_weights_are_widened() {
        let values = |count: usize, seed: usize| -> Vec<f32> {
            (0..count).map(|i| ((i * 37 + seed * 101) % 197) as f32 / 98.5 - 1.0).collect()
        };
        for isa in Isa::available() {
            let sizes = if cfg!(miri) { [(1, 1, 1), (5, 9, 3)] } else { [(70, 50, 33), (9, 97, 16)] };
            for (rows, outputs, inputs) in sizes {
                let (x, w, g) =
                    (values(rows * inputs, 1), values(outputs * inputs, 2), values(outputs * inputs, 3));
                let x = Matrix::new(&x, rows, inputs, inputs);
                for storage in [Storage::F16Weights, Storage::Bf16Weights] {
                    let pack = |w: &[f32]| {
                        PackedWeights::pack(isa, storage, Matrix::new(w, outputs, inputs, inputs))
                    };
                    let (weights, gate) = (pack(&w), pack(&g));
                    for gate in [None, Some((&gate, &[][..]))] {
                        let epilogue = Epilogue { gate, ..Epilogue::default() };
                        let (mut once, mut plain) =
                            (vec![f32::NAN; rows * outputs], vec![f32::NAN; rows * outputs]);
                        widened_once(
                            isa,
                            x,
                            &weights,
                            &epilogue,
                            MatrixMut::new(&mut once, rows, outputs, outputs),
                        );
                        let view = MatrixMut::new(&mut plain, rows, outputs, outputs);
                        gemm(
                            isa,
                            x,
                            &weights,
                            0..weights.panels(),
                            &epilogue,
                            view,
                            &mut GemmScratch::default(),
                        );
                        assert_eq!(once, plain, "{isa:?} {storage:?}");
                    }
                }
            }
        }
    }
}
