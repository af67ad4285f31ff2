//! Where each vector stands in the picture.

use crate::neighbours::nearest;
use crate::pca::two_components;
use crate::vectors::{Numbers, Vectors};
use bhtsne::{Neighbor, tSNE};
use rayon::ThreadPoolBuilder;

/// How many vectors count as near another, about: what is usual for t-SNE. Three times as many are looked at.
const PERPLEXITY: f32 = 30.0;

/// Fewer rows have no neighbourhoods to speak of: they stand by their principal components.
const FEW: usize = 12;

/// How coarse far groups are seen, and how often points are moved: the values of van der Maaten's paper on Barnes-Hut
/// t-SNE (JMLR 15, 2014).
const THETA: f32 = 0.5;
const EPOCHS: usize = 1000;

/// How vectors are brought to two dimensions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// The two directions in which vectors differ most. Distances keep their meaning; much is not seen.
    Pca,
    /// t-distributed stochastic neighbour embedding: what is near stays near; what is far, and how far, says nothing.
    Tsne,
}

/// Where each vector stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Placement {
    /// `[rows]`, at most 1 from the middle in each direction.
    pub points: Vec<[f32; 2]>,
    /// What the two directions are.
    pub axes: [String; 2],
    /// How they were found, in a few words.
    pub method: String,
}

impl Placement {
    /// Places vectors. t-SNE starts from the principal components and nothing random, so that it gives the same
    /// every time; of less than a dozen vectors the principal components are all there is.
    pub fn of(vectors: &Vectors, method: Method) -> Placement {
        let components = two_components(vectors);
        if method == Method::Tsne && vectors.rows() >= FEW {
            let points = scaled(tsne(vectors, &components.points));
            let axes = [String::new(), String::new()];
            let method = "t-SNE: what is near is alike; distances between groups say nothing".to_owned();
            return Placement { points, axes, method };
        }
        let name = |i: usize, name: &str| {
            format!("{name} component, {:.0} % of variance", 100.0 * components.shares[i])
        };
        Placement {
            points: scaled(components.points),
            axes: [name(0, "1st"), name(1, "2nd")],
            method: "principal components".to_owned(),
        }
    }
}

fn tsne(vectors: &Vectors, start: &[[f32; 2]]) -> Vec<[f32; 2]> {
    let rows = vectors.rows();
    let perplexity = PERPLEXITY.min((rows - 1) as f32 / 3.0);
    let near = nearest(vectors, (3.0 * perplexity) as usize);
    let near: Vec<Vec<Neighbor<f32>>> = near
        .into_iter()
        .map(|near| {
            near.into_iter()
                .map(|near| Neighbor { index: near.row as usize, distance: near.distance })
                .collect()
        })
        .collect();
    // Small, so that the first moves count: openTSNE's and scikit-learn's 0.0001.
    let deviation = (start.iter().map(|point| f64::from(point[0]).powi(2)).sum::<f64>() / rows as f64).sqrt();
    let scale = if deviation > 0.0 { 1e-4 / deviation } else { 0.0 };
    // Equal vectors begin a little apart, or nothing would ever part them.
    let mut numbers = Numbers(2);
    let start = start.iter().flatten().map(|place| f64::from(*place) * scale + 1e-6 * (numbers.next() - 0.5));
    let start: Vec<f32> = start.map(|place| place as f32).collect();
    let move_points = || {
        let data = vec![(); rows];
        let mut tsne = tSNE::<f32, (), 2>::new(&data);
        tsne.perplexity(perplexity).epochs(EPOCHS).initial_embedding(start);
        tsne.barnes_hut_with_neighbors(THETA, &near);
        tsne.embedding()
    };
    // Several threads would add up forces in an order that differs from time to time.
    let points = match ThreadPoolBuilder::new().num_threads(1).build() {
        Ok(alone) => alone.install(move_points),
        Err(_) => move_points(), // without a thread of its own: the picture, all the same
    };
    points.chunks_exact(2).map(|point| [point[0], point[1]]).collect()
}

/// The points with the middle of the picture at zero and the outermost at one.
fn scaled(mut points: Vec<[f32; 2]>) -> Vec<[f32; 2]> {
    let range = |i: usize| {
        let places = || points.iter().map(|point| point[i]);
        (places().fold(f32::INFINITY, f32::min), places().fold(f32::NEG_INFINITY, f32::max))
    };
    let ranges = [range(0), range(1)];
    let most = ranges.iter().map(|(low, high)| high - low).fold(0.0, f32::max) / 2.0;
    for point in &mut points {
        for (place, (low, high)) in point.iter_mut().zip(ranges) {
            *place = if most > 0.0 { (*place - (low + high) / 2.0) / most } else { 0.0 };
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows around some directions, in turns.
    pub(crate) fn bundles(rows: usize, count: usize, width: usize) -> Vectors {
        let mut numbers = Numbers(11);
        let mut noise = |size: f64| (numbers.next() - 0.5) * size;
        let values = (0..rows).flat_map(|row| {
            (0..width).map(move |i| if i == row % count { 1.0 } else { 0.0 }).collect::<Vec<f64>>()
        });
        let values: Vec<f64> = values.collect();
        Vectors::new(values.into_iter().map(|value| (value + noise(0.4)) as f32).collect(), width).unwrap()
    }

    #[test]
    fn what_is_alike_is_near_and_the_same_every_time() {
        let vectors = bundles(300, 3, 16);
        let placement = Placement::of(&vectors, Method::Tsne);
        assert!(placement == Placement::of(&vectors, Method::Tsne));
        let square = |a: [f32; 2], b: [f32; 2]| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
        for (row, point) in placement.points.iter().enumerate() {
            let near = |other: &usize| square(*point, placement.points[*other]);
            let others = (0..300).filter(|other| *other != row);
            let nearest = others.min_by(|a, b| near(a).total_cmp(&near(b))).unwrap();
            assert_eq!(nearest % 3, row % 3, "{row} stands beside {nearest}");
            assert!(point.iter().all(|place| place.abs() <= 1.0001));
        }
    }

    #[test]
    fn any_number_of_rows_has_its_place() {
        for rows in [0, 1, 2, 11, 12, 13, 40] {
            for method in [Method::Pca, Method::Tsne] {
                let placement = Placement::of(&bundles(rows, 2, 4), method);
                assert_eq!(placement.points.len(), rows);
                assert!(
                    placement.points.iter().flatten().all(|place| place.is_finite()),
                    "{rows} {method:?}"
                );
            }
        }
        // Equal ones too, all of them or some among others.
        let twice = |vectors: &Vectors| Vectors::new(vectors.values().repeat(20), vectors.width()).unwrap();
        for equal in [Vectors::new([0.6, 0.8].repeat(50), 2).unwrap(), twice(&bundles(9, 3, 4))] {
            for method in [Method::Pca, Method::Tsne] {
                assert!(Placement::of(&equal, method).points.iter().flatten().all(|place| place.is_finite()));
            }
        }
    }
}
