//! Which tile an instruction set multiplies with.

#[cfg(target_arch = "aarch64")]
use super::neon;
use super::portable;
use super::tile::{PanelTile, Tile};
#[cfg(target_arch = "x86_64")]
use super::x86;
use crate::isa::{Isa, Kind};
use crate::kernel::Kernel;
use crate::storage::Storage;

impl Isa {
    /// The tile whose panels pad a matrix of so many columns least: the one that weights are packed for, or
    /// a narrower one.
    pub(crate) fn best_tile(self, storage: Storage, columns: usize) -> PanelTile {
        let mut best = PanelTile::new(self.panel_columns(), self.tile(storage).run);
        let time = |tile: &PanelTile| columns.next_multiple_of(tile.columns) * tile.column_time;
        for tile in self.narrow_tiles(storage) {
            if time(tile) < time(&best) {
                best = *tile;
            }
        }
        best
    }

    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(unused_variables))]
    fn narrow_tiles(self, storage: Storage) -> &'static [PanelTile] {
        match self.kind() {
            Kind::Portable => &[],
            #[cfg(target_arch = "x86_64")]
            kind => x86::narrow_tiles(kind, storage),
            #[cfg(target_arch = "aarch64")]
            kind => neon::narrow_tiles(kind, storage),
        }
    }

    /// Whether it multiplies bf16 faster than f32.
    ///
    /// Zen 4 and 5 do 64 products a cycle with vdpbf16ps, against 32 in f32. Intel's cores start one each other cycle:
    /// 16 products a cycle, half of what they do in f32. (32 texts of 128 tokens took 442 ms with it, and 273 in f32.)
    pub fn has_fast_bf16(self) -> bool {
        match self.kind() {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Bf16 => crate::isa::is_amd_or_arm(),
            #[cfg(target_arch = "aarch64")]
            Kind::NeonI8mm => true,
            _ => false,
        }
    }

    /// How products of numbers rounded to bf16 are fastest: both have the same numbers, and sums that are rounded alike
    /// but for the order of two products.
    pub fn bf16_storage(self) -> Storage {
        if self.has_fast_bf16() { Storage::Bf16 } else { Storage::Bf16Widened }
    }

    /// Whether it widens weights on the way to the multipliers in an instruction or two a register, so that
    /// [`Storage::F16Weights`] and [`Storage::Bf16Weights`] cost little time or none.
    pub fn widens_weights(self) -> bool {
        self.kind() != Kind::Portable
    }

    /// Columns of a panel of packed weights.
    pub fn panel_columns(self) -> usize {
        match self.kind() {
            Kind::Portable => crate::kernel::portable::Portable::COLUMNS,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 | Kind::Avx2Vnni => crate::kernel::x86::Avx2::COLUMNS,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 | Kind::Avx512Vnni | Kind::Avx512Bf16 => crate::kernel::x86::Avx512::COLUMNS,
            #[cfg(target_arch = "aarch64")]
            Kind::Neon | Kind::NeonDotprod | Kind::NeonI8mm => crate::kernel::neon::Neon::COLUMNS,
        }
    }

    pub(super) fn tile(self, storage: Storage) -> Tile {
        match self.kind() {
            Kind::Portable => portable::tile(storage),
            #[cfg(target_arch = "x86_64")]
            kind => x86::tile(kind, storage),
            #[cfg(target_arch = "aarch64")]
            kind => neon::tile(kind, storage),
        }
    }

    /// How products of this storage are computed: the instruction that multiplies, for reports.
    pub fn product(self, storage: Storage) -> &'static str {
        match (self.kind(), storage) {
            (Kind::Portable, _) => "plain Rust",
            #[cfg(target_arch = "x86_64")]
            (kind, storage) => x86::product(kind, storage),
            #[cfg(target_arch = "aarch64")]
            (kind, storage) => neon::product(kind, storage),
        }
    }
}
