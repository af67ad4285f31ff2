//! Principal components, by subspace iteration: two directions are multiplied by the covariance again and again, and
//! made orthogonal each time (Golub and Van Loan, "Matrix Computations", 8.2).

use crate::vectors::{Numbers, Vectors};

/// The most turns. Each halves what is wrong at least where the third component is at most 0.7 of the second.
const TURNS: usize = 200;

/// A turn that moves the directions by less is the last.
const STILL: f64 = 1e-7;

/// The rows along the two directions in which they differ most.
pub(crate) struct Components {
    /// `[rows]`
    pub(crate) points: Vec<[f32; 2]>,
    /// The share of all variance that each direction has.
    pub(crate) shares: [f64; 2],
}

/// The first two principal components.
pub(crate) fn two_components(vectors: &Vectors) -> Components {
    let (rows, width) = (vectors.rows(), vectors.width());
    let count = rows.max(1) as f64;
    let mut mean = vectors.sum(width, |_, part, sum| {
        for row in part.chunks_exact(width) {
            sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
    });
    mean.iter_mut().for_each(|value| *value /= count);
    let total = vectors.sum(1, |_, part, sum| {
        for row in part.chunks_exact(width) {
            sum[0] += row.iter().zip(&mean).map(|(x, m)| (f64::from(*x) - m).powi(2)).sum::<f64>();
        }
    })[0];
    let mut numbers = Numbers(1);
    let mut directions: [Vec<f64>; 2] = [(); 2].map(|()| (0..width).map(|_| numbers.next() - 0.5).collect());
    orthonormalize(&mut directions);
    let mut variances = [0.0; 2];
    for _ in 0..TURNS {
        let product = vectors.sum(2 * width, |_, part, sum| {
            let (first, second) = sum.split_at_mut(width);
            for row in part.chunks_exact(width) {
                let [a, b] = along(row, &mean, &directions);
                for (i, (x, m)) in row.iter().zip(&mean).enumerate() {
                    let x = f64::from(*x) - m;
                    first[i] += a * x;
                    second[i] += b * x;
                }
            }
        });
        let before = directions.clone();
        directions = [product[..width].to_vec(), product[width..].to_vec()];
        variances = [0, 1].map(|i| dot(&before[i], &directions[i]));
        orthonormalize(&mut directions);
        let moved =
            |i: usize| before[i].iter().zip(&directions[i]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        if moved(0).max(moved(1)) < STILL {
            break;
        }
    }
    directions.iter_mut().for_each(|direction| point_up(direction));
    let points = vectors.values().chunks_exact(width);
    let points = points.map(|row| along(row, &mean, &directions).map(|place| place as f32)).collect();
    let share = |variance: f64| if total > 0.0 { variance / total } else { 0.0 };
    Components { points, shares: variances.map(share) }
}

/// Where a row stands along each direction.
fn along(row: &[f32], mean: &[f64], directions: &[Vec<f64>; 2]) -> [f64; 2] {
    let mut places = [0.0; 2];
    for (i, (x, m)) in row.iter().zip(mean).enumerate() {
        let x = f64::from(*x) - m;
        places[0] += x * directions[0][i];
        places[1] += x * directions[1][i];
    }
    places
}

/// Makes both of unit length and the second orthogonal to the first. What is left of nothing is nothing.
fn orthonormalize(directions: &mut [Vec<f64>; 2]) {
    let [first, second] = directions;
    to_unit_length(first);
    let shared = dot(first, second);
    let length = dot(second, second).sqrt();
    second.iter_mut().zip(&*first).for_each(|(s, f)| *s -= shared * f);
    if dot(second, second).sqrt() <= 1e-9 * length {
        second.fill(0.0); // rounding alone
    }
    to_unit_length(second);
}

fn to_unit_length(direction: &mut [f64]) {
    let length = dot(direction, direction).sqrt();
    if length > 0.0 {
        direction.iter_mut().for_each(|value| *value /= length);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Of the two signs that a direction may have, the one that makes its largest value positive.
fn point_up(direction: &mut [f64]) {
    let largest = direction
        .iter()
        .copied()
        .fold(0.0, |most: f64, value| if value.abs() > most.abs() { value } else { most });
    if largest < 0.0 {
        direction.iter_mut().for_each(|value| *value = -*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points of a plane in space come out as in the plane, turned and mirrored at most.
    #[test]
    fn a_plane_is_found() {
        let mut numbers = Numbers(7);
        let plane: Vec<[f64; 2]> =
            (0..700).map(|_| [3.0 * (numbers.next() - 0.5), numbers.next() - 0.5]).collect();
        // Rows of unit length: the third value makes them so, and hardly changes.
        let values: Vec<f32> = plane
            .iter()
            .flat_map(|[x, y]| {
                let (a, b) = (0.01 * (0.6 * x - 0.8 * y), 0.01 * (0.8 * x + 0.6 * y));
                [a as f32, b as f32, (1.0 - a * a - b * b).sqrt() as f32]
            })
            .collect();
        let found = two_components(&Vectors::new(values, 3).unwrap());
        assert!(
            (found.shares[0] - 0.9).abs() < 0.01 && (found.shares[1] - 0.1).abs() < 0.01,
            "{:?}",
            found.shares
        );
        let mean = plane.iter().fold([0.0; 2], |sum, p| [sum[0] + p[0] / 700.0, sum[1] + p[1] / 700.0]);
        let sign = |i: usize| (found.points[0][i] as f64 * (plane[0][i] - mean[i])).signum();
        for (point, place) in found.points.iter().zip(&plane) {
            for i in 0..2 {
                let wanted = sign(i) * 0.01 * (place[i] - mean[i]);
                assert!((f64::from(point[i]) - wanted).abs() < 5e-4, "{point:?} {place:?}");
            }
        }
    }

    #[test]
    fn few_rows_have_fewer_directions() {
        let of = |values: Vec<f32>| two_components(&Vectors::new(values, 3).unwrap());
        assert!(of(vec![]).points.is_empty());
        assert_eq!(of(vec![0.0, 1.0, 0.0]).points, [[0.0; 2]]);
        let two = of(vec![0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
        assert!((two.points[0][0] - two.points[1][0]).abs() > 1.4 && two.points[0][1].abs() < 1e-6);
        assert!((two.shares[0] - 1.0).abs() < 1e-6 && two.shares[1].abs() < 1e-6, "{:?}", two.shares);
    }
}
