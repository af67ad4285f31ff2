//! Dot products of stored vectors with queries: an exact search.
//!
//! A search reads each vector once and does two operations a value with it, so that memory is the limit: a register of
//! f32 is used as often as there are queries. Values stored smaller are widened on the way, which the arithmetic has
//! time for. Queries are taken four at a time, so that a widened register serves four.
//!
//! Callers give rows that fit into the first cache together, since all queries meet them there.
//!
//! Each product has two sums of its own, for even and odd registers, whatever the number of queries: a query finds the
//! same scores alone and among others.

use crate::dispatch::dispatch;
use crate::kernel::Kernel;
use crate::storage::Storage;
use crate::vector::{MAX_LANES, Vector};

dispatch! {
    /// `out[row][query] = Σ rows[row][i] · queries[query][i]` for rows of f32.
    ///
    /// `rows` is `[rows, dimensions]`, `queries` `[queries, dimensions]` and `out` `[rows, queries]`.
    ///
    /// # Panics
    /// If `dimensions` is 0, or the slices are not of these sizes.
    pub fn dots(rows: &[f32], queries: &[f32], dimensions: usize, out: &mut [f32]) = dots_body
}

dispatch! {
    /// The same for rows of f32 that lie anywhere in memory, as their bytes, little-endian.
    ///
    /// # Panics
    /// As [`dots`].
    pub fn dots_of_unaligned(rows: &[[u8; 4]], queries: &[f32], dimensions: usize, out: &mut [f32]) = dots_of_unaligned_body
}

dispatch! {
    /// The same for rows of f16, as their bits.
    ///
    /// # Panics
    /// As [`dots`].
    pub fn dots_of_halves(rows: &[u16], queries: &[f32], dimensions: usize, out: &mut [f32]) = dots_of_halves_body
}

dispatch! {
    /// The same for rows of signed bytes.
    ///
    /// # Panics
    /// As [`dots`].
    pub fn dots_of_bytes(rows: &[i8], queries: &[f32], dimensions: usize, out: &mut [f32]) = dots_of_bytes_body
}

dispatch! {
    /// How many bits of each row differ from those of the query. `rows` is `[rows, query length]`, `out` `[rows]`.
    ///
    /// # Panics
    /// If the query is empty, or the slices are not of these sizes.
    pub fn hamming_distances(rows: &[u8], query: &[u8], out: &mut [u32]) = hamming_body
}

#[inline(always)]
fn dots_body<K: Kernel>(rows: &[f32], queries: &[f32], dimensions: usize, out: &mut [f32]) {
    each_row::<K::Vector, f32>(rows, queries, dimensions, out, K::Vector::load);
}

#[inline(always)]
fn dots_of_unaligned_body<K: Kernel>(rows: &[[u8; 4]], queries: &[f32], dimensions: usize, out: &mut [f32]) {
    each_row::<K::Vector, [u8; 4]>(rows, queries, dimensions, out, load_unaligned);
}

/// A register of f32 that lie anywhere: the compiler makes one load of it.
#[inline(always)]
fn load_unaligned<V: Vector>(bytes: &[[u8; 4]]) -> V {
    let mut lanes = [0.0; MAX_LANES];
    for (lane, bytes) in lanes[..V::LANES].iter_mut().zip(bytes) {
        *lane = f32::from_le_bytes(*bytes);
    }
    V::load(&lanes)
}

#[inline(always)]
fn dots_of_halves_body<K: Kernel>(rows: &[u16], queries: &[f32], dimensions: usize, out: &mut [f32]) {
    each_row::<K::Vector, u16>(rows, queries, dimensions, out, |values| {
        K::widened(Storage::F16Weights, values)
    });
}

#[inline(always)]
fn dots_of_bytes_body<K: Kernel>(rows: &[i8], queries: &[f32], dimensions: usize, out: &mut [f32]) {
    each_row::<K::Vector, i8>(rows, queries, dimensions, out, widen_bytes);
}

/// A register of bytes as f32.
#[inline(always)]
fn widen_bytes<V: Vector>(bytes: &[i8]) -> V {
    let mut lanes = [0.0; MAX_LANES];
    for (lane, byte) in lanes[..V::LANES].iter_mut().zip(bytes) {
        *lane = f32::from(*byte);
    }
    V::load(&lanes)
}

/// Queries whose products are computed together.
const TOGETHER: usize = 4;

#[inline(always)]
fn each_row<V: Vector, E: Copy + Default>(
    rows: &[E],
    queries: &[f32],
    dimensions: usize,
    out: &mut [f32],
    load: impl Fn(&[E]) -> V,
) {
    assert!(
        dimensions > 0 && rows.len().is_multiple_of(dimensions) && queries.len().is_multiple_of(dimensions)
    );
    let count = queries.len() / dimensions;
    assert!(out.len() == rows.len() / dimensions * count);
    if count == 0 {
        return;
    }
    // The rows stay in the first cache while all queries pass by, four at a time.
    for first in (0..count).step_by(TOGETHER) {
        let of_queries = &queries[first * dimensions..(first + TOGETHER).min(count) * dimensions];
        for (row, out) in rows.chunks_exact(dimensions).zip(out.chunks_exact_mut(count)) {
            match out[first..].first_chunk_mut() {
                Some(out) => *out = products::<V, E, TOGETHER>(row, of_queries, &load),
                None => {
                    for (query, out) in of_queries.chunks_exact(dimensions).zip(&mut out[first..]) {
                        [*out] = products::<V, E, 1>(row, query, &load);
                    }
                }
            }
        }
    }
}

/// The products of a row with `Q` queries, `[Q, dimensions]`.
#[inline(always)]
fn products<V: Vector, E: Copy + Default, const Q: usize>(
    row: &[E],
    queries: &[f32],
    load: &impl Fn(&[E]) -> V,
) -> [f32; Q] {
    let dimensions = row.len();
    let mut sums = [[V::splat(0.0); 2]; Q];
    let mut start = 0;
    while start + 2 * V::LANES <= dimensions {
        let (even, odd) = (start, start + V::LANES);
        let values = [load(&row[even..odd]), load(&row[odd..odd + V::LANES])];
        for (q, [of_even, of_odd]) in sums.iter_mut().enumerate() {
            let query = &queries[q * dimensions + even..][..2 * V::LANES];
            *of_even = values[0].mul_add(V::load(query), *of_even);
            *of_odd = values[1].mul_add(V::load(&query[V::LANES..]), *of_odd);
        }
        start += 2 * V::LANES;
    }
    while start < dimensions {
        let count = (dimensions - start).min(V::LANES);
        let mut padded = [E::default(); MAX_LANES];
        padded[..count].copy_from_slice(&row[start..start + count]);
        let values = load(&padded[..V::LANES]);
        for (q, [of_even, _]) in sums.iter_mut().enumerate() {
            let query = V::load_part(&queries[q * dimensions + start..][..count], 0.0);
            *of_even = values.mul_add(query, *of_even);
        }
        start += count;
    }
    sums.map(|[of_even, of_odd]| (of_even + of_odd).sum())
}

#[inline(always)]
fn hamming_body<K: Kernel>(rows: &[u8], query: &[u8], out: &mut [u32]) {
    assert!(!query.is_empty() && rows.len() == out.len() * query.len());
    let (words, rest) = query.as_chunks::<8>();
    for (row, out) in rows.chunks_exact(query.len()).zip(out) {
        let (row_words, row_rest) = row.as_chunks::<8>();
        let of_words = row_words
            .iter()
            .zip(words)
            .map(|(a, b)| (u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b)).count_ones());
        let of_rest = row_rest.iter().zip(rest).map(|(a, b)| (a ^ b).count_ones());
        *out = of_words.sum::<u32>() + of_rest.sum::<u32>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    /// Deterministic values in -1..1.
    fn values(seed: u64, count: usize) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// Of all sizes around those of registers, for any number of queries, in f64.
    #[test]
    fn products_are_the_oracles_on_every_instruction_set() {
        for isa in Isa::available() {
            let sizes: &[usize] = &[1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 48, 100, 384, 385];
            for &dimensions in if cfg!(miri) { &sizes[4..9] } else { sizes } {
                for count in [1, 2, 4, 5, 9] {
                    let rows = values(7, 5 * dimensions);
                    let queries = values(11, count * dimensions);
                    let halves: Vec<u16> = rows.iter().map(|v| half::f16::from_f32(*v).to_bits()).collect();
                    let bytes: Vec<i8> = rows.iter().map(|v| (v * 128.0) as i8).collect();
                    let check = |of: &dyn Fn(usize) -> f64, found: &[f32], name: &str| {
                        for r in 0..5 {
                            for q in 0..count {
                                let terms = (0..dimensions)
                                    .map(|i| of(r * dimensions + i) * f64::from(queries[q * dimensions + i]));
                                let (want, size) =
                                    terms.fold((0.0, 0.0), |(sum, size), t| (sum + t, size + t.abs()));
                                let off = (want - f64::from(found[r * count + q])).abs();
                                assert!(
                                    off <= 3e-7 * size,
                                    "{name} {isa:?} {dimensions} {count}: {off} of {size}"
                                );
                            }
                        }
                    };
                    let mut out = vec![0.0; 5 * count];
                    dots(isa, &rows, &queries, dimensions, &mut out);
                    check(&|i| f64::from(rows[i]), &out, "f32");
                    let unaligned: Vec<[u8; 4]> = rows.iter().map(|value| value.to_le_bytes()).collect();
                    let aligned = out.clone();
                    dots_of_unaligned(isa, &unaligned, &queries, dimensions, &mut out);
                    assert_eq!(out, aligned);
                    dots_of_halves(isa, &halves, &queries, dimensions, &mut out);
                    check(&|i| half::f16::from_bits(halves[i]).to_f64(), &out, "f16");
                    dots_of_bytes(isa, &bytes, &queries, dimensions, &mut out);
                    check(&|i| f64::from(bytes[i]), &out, "int8");
                }
            }
        }
    }

    #[test]
    fn a_query_finds_the_same_alone_and_among_others() {
        for isa in Isa::available() {
            for dimensions in [5, 64, 100, 384] {
                let (rows, queries) = (values(3, 7 * dimensions), values(4, 6 * dimensions));
                let mut together = vec![0.0; 7 * 6];
                dots(isa, &rows, &queries, dimensions, &mut together);
                for (q, query) in queries.chunks_exact(dimensions).enumerate() {
                    let mut alone = vec![0.0; 7];
                    dots(isa, &rows, query, dimensions, &mut alone);
                    assert!((0..7).all(|r| alone[r].to_bits() == together[r * 6 + q].to_bits()), "{isa:?}");
                }
            }
        }
    }

    #[test]
    fn bits_that_differ_are_counted() {
        for isa in Isa::available() {
            for width in [1, 7, 8, 9, 48, 100] {
                let rows: Vec<u8> = values(5, 6 * width).iter().map(|v| (v * 127.0) as i8 as u8).collect();
                let query = rows[2 * width..3 * width].to_vec();
                let mut out = vec![9; 6];
                hamming_distances(isa, &rows, &query, &mut out);
                for (row, found) in rows.chunks_exact(width).zip(out) {
                    let want: u32 = row.iter().zip(&query).map(|(a, b)| (a ^ b).count_ones()).sum();
                    assert_eq!(found, want, "{isa:?} {width}");
                }
            }
        }
    }
}
