//! The nearest vectors of each, exactly.

use crate::vectors::Vectors;
use rayon::prelude::*;
use taskvec_kernels::{Isa, dots};

/// Rows that meet all others together.
const TOGETHER: usize = 16;

/// A vector near another.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Near {
    pub(crate) row: u32,
    /// Of vectors at unit length: `sqrt(2 - 2 cos)`.
    pub(crate) distance: f32,
}

/// For each row the `count` nearest others, the nearest first: `[rows][count]`. There must be more rows than `count`.
pub(crate) fn nearest(vectors: &Vectors, count: usize) -> Vec<Vec<Near>> {
    let (isa, rows, width) = (Isa::best(), vectors.rows(), vectors.width());
    let of_rows = |(block, queries): (usize, &[f32])| -> Vec<Vec<Near>> {
        let asked = queries.len() / width;
        let mut scores = vec![0.0; rows * asked]; // [rows, asked]
        dots(isa, vectors.values(), queries, width, &mut scores);
        (0..asked).map(|query| best(&scores, (query, asked), block * TOGETHER + query, count)).collect()
    };
    vectors.values().par_chunks(TOGETHER * width).enumerate().flat_map_iter(of_rows).collect()
}

/// The best of one query's scores, without itself.
fn best(scores: &[f32], (query, asked): (usize, usize), itself: usize, count: usize) -> Vec<Near> {
    let of_query = scores.iter().skip(query).step_by(asked).enumerate().filter(|(row, _)| *row != itself);
    let mut all: Vec<(f32, u32)> = of_query.map(|(row, score)| (*score, row as u32)).collect();
    let by_score = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if count < all.len() {
        all.select_nth_unstable_by(count, by_score);
        all.truncate(count);
    }
    all.sort_unstable_by(by_score);
    let near = |(score, row): (f32, u32)| Near { row, distance: (2.0 - 2.0 * score).max(0.0).sqrt() };
    all.into_iter().map(near).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::Numbers;

    #[test]
    fn the_nearest_are_those_of_all_pairs() {
        let mut numbers = Numbers(3);
        let values = (0..70 * 24).map(|_| numbers.next() as f32 - 0.5).collect();
        let vectors = Vectors::new(values, 24).unwrap();
        let distance = |a: usize, b: usize| {
            let squares = vectors.row(a).iter().zip(vectors.row(b)).map(|(a, b)| f64::from(a - b).powi(2));
            squares.sum::<f64>().sqrt()
        };
        for (row, near) in nearest(&vectors, 9).into_iter().enumerate() {
            let mut others: Vec<usize> = (0..70).filter(|other| *other != row).collect();
            others.sort_by(|a, b| distance(row, *a).total_cmp(&distance(row, *b)));
            assert_eq!(near.iter().map(|near| near.row as usize).collect::<Vec<_>>(), others[..9]);
            for near in near {
                assert!((f64::from(near.distance) - distance(row, near.row as usize)).abs() < 1e-5);
            }
        }
    }
}
