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
