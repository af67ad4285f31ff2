//! The innermost tile of the matrix product: one definition, in the registers of each instruction set.

use crate::matrix::Matrix;

/// Room for the largest tile of any instruction set.
pub(crate) const MAX_TILE: usize = 8 * 48;

/// No instruction set's panel has more columns.
pub(super) const MAX_COLUMNS: usize = 48;

/// `tile[r][c] = Σ_k x[r][k] · panel[k][c]` for the rows of `x`, at most [`Kernel::ROWS`], over the
/// values that each lane of x and panel holds.
///
/// `panel` is `[lanes, COLUMNS]` with as many lanes as `x` has columns (half as many, rounded up, of weights that
/// share the lanes that x does not); `tile` has room for
/// `[ROWS, COLUMNS]`: for [`Storage::Int8`] the bits of 32-bit integers, else f32.
///
/// # Safety
/// The CPU must have the instruction set.
pub(crate) type TileFunction = unsafe fn(x: Matrix<'_>, panel: &[f32], tile: &mut [f32]);

/// The innermost tile for one storage.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    pub(super) run: TileFunction,
    /// What it takes from each byte of x before it multiplies: 128 where instructions multiply signed
    /// bytes only.
    pub(super) byte_offset: i32,
}

impl From<TileFunction> for Tile {
    fn from(run: TileFunction) -> Tile {
        Tile { run, byte_offset: 0 }
    }
}

/// A tile, and the width of the panels that it reads.
#[derive(Clone, Copy)]
pub(crate) struct PanelTile {
    pub(crate) columns: usize,
    pub(crate) multiply: TileFunction,
    /// Time for a column of a panel, relative to other tiles.
    pub(super) column_time: usize,
}

impl PanelTile {
    pub(super) const fn new(columns: usize, multiply: TileFunction) -> PanelTile {
        PanelTile { columns, multiply, column_time: 4 }
    }
}

/// A loop that does nothing but multiply and add.
pub(super) struct PeakLoop {
    /// # Safety
    /// The CPU must have the instruction set.
    pub(super) run: unsafe fn(times: usize),
    /// Multiply-adds of one time.
    pub(super) products: usize,
}

/// Defines a [`TileFunction`] for the tiles of a [`Kernel`](crate::kernel::Kernel): `$rows`
/// rows by `$vectors` registers of `$lanes` lanes. `$load` fills a register of weights, of which `$to_a_lane`
/// stand where x has one value: 1, or 2 that it widens.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! tile {
    (
        $(#[$meta:meta])* $name:ident of $kernel:ident, $features:literal,
        $vectors:literal * $lanes:literal, rows [$($row:literal)*],
        $register:ty, $zero:ident, $load:ident of $to_a_lane:literal, $store:ident, $broadcast:ident,
        $multiply_add:ident, $prefetch:ident
    ) => {
        $(#[$meta])*
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn $name(x: Matrix<'_>, panel: &[f32], tile: &mut [f32]) {
            /// The tile of the first R rows, all of it in registers.
            #[inline]
            #[target_feature(enable = $features)]
            fn rows<const R: usize>(x: Matrix<'_>, panel: &[f32], tile: &mut [f32]) {
                let depth = x.columns();
                assert!(x.rows() == R);
                let x: [*const f32; R] = std::array::from_fn(|r| {
                    // SAFETY: it was found to have R rows.
                    unsafe { x.row_unchecked(r, depth) }.as_ptr()
                });
                let mut sums: [[$register; $vectors]; R] = [[$zero(); $vectors]; R];
                for k in 0..depth {
                    let place = |v| (k * $vectors + v) * $lanes / $to_a_lane;
                    let weights: [$register; $vectors] = std::array::from_fn(|v| {
                        // SAFETY: the panel was found to be `depth` rows of that many registers.
                        unsafe { $load(panel.as_ptr().add(place(v))) }
                    });
                    for v in 0..$vectors {
                        // The next panel, so that it is near when its turn comes.
                        $prefetch(panel.as_ptr().wrapping_add(panel.len() + place(v)));
                    }
                    for r in 0..R {
                        // SAFETY: each pointer is to a row of `depth` values.
                        let value = $broadcast(unsafe { *x[r].add(k) });
                        for v in 0..$vectors {
                            sums[r][v] = $multiply_add(value, weights[v], sums[r][v]);
                        }
                    }
                }
                let out = tile[..R * $vectors * $lanes].as_mut_ptr();
                for (r, sums) in sums.iter().enumerate() {
                    for (v, &sum) in sums.iter().enumerate() {
                        // SAFETY: the slice above holds R rows of that many registers.
                        unsafe { $store(out.add((r * $vectors + v) * $lanes), sum) };
                    }
                }
            }

            assert!(x.rows() <= $kernel::ROWS && panel.len() == x.columns().div_ceil($to_a_lane) * $vectors * $lanes);
            match x.rows() {
                $($row => rows::<$row>(x, panel, tile),)*
                _ => {}
            }
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use tile;

/// Defines a function that does nothing but multiply and add in `$sums` registers, as many times as it is
/// told: what a tile could reach if it needed no loads.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! peak {
    ($name:ident, $features:literal, $register:ty, $sums:literal, $broadcast:ident, $multiply_add:ident) => {
        #[target_feature(enable = $features)]
        unsafe fn $name(times: usize) {
            let x: $register = $broadcast(std::hint::black_box(0.5));
            let weights: $register = $broadcast(std::hint::black_box(0.25));
            let mut sums: [$register; $sums] = [x; $sums];
            for _ in 0..times {
                // Unknown each time, so that no part of the product is taken out of the loop.
                let x = std::hint::black_box(x);
                for sum in &mut sums {
                    *sum = $multiply_add(x, weights, *sum);
                }
            }
            std::hint::black_box(sums);
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use peak;
