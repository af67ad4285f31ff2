//! Clusters of vectors, by k-means on directions: rows and centres have unit length, and a row belongs to the centre that it
//! has the largest cosine with (Dhillon and Modha, "Concept decompositions for large sparse text data using clustering",
//! 2001). Centres are first spread out as k-means++ does (Arthur and Vassilvitskii, 2007).

use crate::vectors::{Numbers, Vectors};
use rayon::prelude::*;
use taskvec_kernels::{Isa, dots};

/// The most turns of a start, and starts. The best of them counts.
const TURNS: usize = 50;
const STARTS: u64 = 4;

/// Clusters of vectors, the largest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Clusters {
    /// The cluster of each row: `[rows]`
    pub of_rows: Vec<usize>,
    /// The row of each cluster that is nearest to its centre: `[clusters]`
    pub typical: Vec<usize>,
}

/// One start's result.
struct Found {
    of_rows: Vec<usize>,
    /// The cosine of each row with its centre.
    cosines: Vec<f32>,
}

impl Found {
    fn quality(&self) -> f64 {
        self.cosines.iter().map(|cosine| f64::from(*cosine)).sum()
    }
}

/// Puts vectors into at most `count` clusters: fewer if there are fewer different ones. The same vectors give the same
/// clusters.
pub fn clusters(vectors: &Vectors, count: usize) -> Clusters {
    if vectors.rows() == 0 || count == 0 {
        return Clusters { of_rows: vec![0; vectors.rows()], typical: Vec::new() };
    }
    let starts = (0..STARTS).map(|seed| from_start(vectors, count, seed));
    let best = starts.reduce(|best, other| if other.quality() > best.quality() { other } else { best });
    best.map_or_else(|| Clusters { of_rows: Vec::new(), typical: Vec::new() }, sorted)
}

fn from_start(vectors: &Vectors, count: usize, seed: u64) -> Found {
    let mut centres = spread_out(vectors, count, seed);
    let mut found = assign(vectors, &centres);
    for _ in 0..TURNS {
        centres = centres_of(vectors, &found.of_rows, centres.len());
        let next = assign(vectors, &centres);
        let same = next.of_rows == found.of_rows;
        found = next;
        if same {
            break;
        }
    }
    found
}

/// Rows that are far from each other, as first centres, `[count, width]`: each is taken with a chance that grows with its
/// distance from those taken.
fn spread_out(vectors: &Vectors, count: usize, seed: u64) -> Vec<f32> {
    let mut numbers = Numbers(seed);
    let first = (numbers.next() * vectors.rows() as f64) as usize;
    let mut centres = vectors.row(first).to_vec();
    let mut distances = vec![f64::INFINITY; vectors.rows()];
    for _ in 1..count {
        let last = &centres[centres.len() - vectors.width()..];
        let cosines = assign(vectors, last).cosines;
        for (distance, cosine) in distances.iter_mut().zip(cosines) {
            *distance = distance.min((1.0 - f64::from(cosine)).max(0.0));
        }
        // What is left of rounding is no distance.
        let weights = || distances.iter().map(|distance| if *distance > 1e-6 { *distance } else { 0.0 });
        let mut left = numbers.next() * weights().sum::<f64>();
        let chosen = weights().enumerate().filter(|(_, weight)| *weight > 0.0).find(|(_, weight)| {
            left -= weight;
            left <= 0.0
        });
        let Some((row, _)) = chosen else { break }; // all others equal one of these
        centres.extend(vectors.row(row));
    }
    centres
}

/// The centre of each row: the one that it has the largest cosine with.
fn assign(vectors: &Vectors, centres: &[f32]) -> Found {
    let (isa, width) = (Isa::best(), vectors.width());
    let count = centres.len() / width;
    let of_part = |(_, part): (usize, &[f32])| {
        let mut scores = vec![0.0; part.len() / width * count];
        dots(isa, part, centres, width, &mut scores);
        let best = |scores: &[f32]| {
            let better =
                |best: (usize, f32), other: (usize, f32)| if other.1 > best.1 { other } else { best };
            scores.iter().copied().enumerate().fold((0, f32::NEG_INFINITY), better)
        };
        scores.chunks_exact(count).map(best).collect::<Vec<_>>()
    };
    let all: Vec<Vec<(usize, f32)>> = vectors.parts().map(of_part).collect();
    let (of_rows, cosines) = all.into_iter().flatten().unzip();
    Found { of_rows, cosines }
}

/// The mean directions of clusters, `[clusters, width]`, without those that have no rows.
fn centres_of(vectors: &Vectors, of_rows: &[usize], count: usize) -> Vec<f32> {
    let width = vectors.width();
    let sums = vectors.sum(count * width, |first, part, sum| {
        for (row, cluster) in part.chunks_exact(width).zip(&of_rows[first..]) {
            let sum = &mut sum[cluster * width..][..width];
            sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
    });
    let mut centres = Vec::with_capacity(sums.len());
    for (cluster, sum) in sums.chunks_exact(width).enumerate() {
        if !of_rows.contains(&cluster) {
            continue;
        }
        let length = sum.iter().map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        centres.extend(sum.iter().map(|value| (value / length) as f32));
    }
    centres
}

/// The clusters that have rows, the largest first, with their most typical rows.
fn sorted(found: Found) -> Clusters {
    let count = found.of_rows.iter().max().map_or(0, |most| most + 1);
    let (mut sizes, mut typical) = (vec![0usize; count], vec![None::<usize>; count]);
    for (row, (&cluster, cosine)) in found.of_rows.iter().zip(&found.cosines).enumerate() {
        sizes[cluster] += 1;
        if typical[cluster].is_none_or(|best| *cosine > found.cosines[best]) {
            typical[cluster] = Some(row);
        }
    }
    let mut order: Vec<usize> = (0..count).filter(|cluster| sizes[*cluster] > 0).collect();
    order.sort_by_key(|cluster| (std::cmp::Reverse(sizes[*cluster]), typical[*cluster]));
    let mut places = vec![0; count];
    order.iter().enumerate().for_each(|(place, cluster)| places[*cluster] = place);
    Clusters {
        of_rows: found.of_rows.into_iter().map(|cluster| places[cluster]).collect(),
        typical: order.into_iter().filter_map(|cluster| typical[cluster]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_are_found_and_named_by_their_middle() {
        let mut numbers = Numbers(5);
        let bundle = |row: usize| if row % 7 < 4 { 0 } else { row % 3 + 1 };
        let mut values = Vec::new();
        for row in 0..420 {
            // The first of each bundle stands right in its middle.
            let size = if row < 12 { 0.0 } else { 0.3 };
            values.extend((0..8).map(|i| f32::from(i == bundle(row)) + size * (numbers.next() as f32 - 0.5)));
        }
        let vectors = Vectors::new(values, 8).unwrap();
        let found = clusters(&vectors, 4);
        assert_eq!(found, clusters(&vectors, 4));
        assert_eq!(found.typical.len(), 4);
        assert_eq!(bundle(found.typical[0]), 0, "the largest is the first");
        for (row, cluster) in found.of_rows.iter().enumerate() {
            assert_eq!(bundle(row), bundle(found.typical[*cluster]), "{row}");
        }
    }

    #[test]
    fn there_are_no_more_clusters_than_different_vectors() {
        let vectors = Vectors::new([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]].concat(), 2).unwrap();
        let found = clusters(&vectors, 5);
        assert_eq!(found, Clusters { of_rows: vec![0, 1, 0], typical: vec![0, 1] });
        let empty = Vectors::new(Vec::new(), 2).unwrap();
        assert_eq!(clusters(&empty, 3), Clusters { of_rows: vec![], typical: vec![] });
    }
}
