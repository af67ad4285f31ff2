//! How alike vectors are.

use crate::names::named;

/// How alike two vectors are: larger is more alike. Names as in sentence-transformers'
/// `similarity_fn_name`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub enum Similarity {
    /// The cosine of the angle between them, -1 to 1.
    #[default]
    Cosine,
    /// The sum of products.
    Dot,
    /// Minus the length of the difference.
    Euclidean,
    /// Minus the sum of the absolute differences.
    Manhattan,
}

impl Similarity {
    /// How alike `a` and `b` are.
    ///
    /// # Panics
    /// If the vectors differ in length.
    pub fn of(self, a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len(), "vectors of different lengths cannot be compared");
        let differences = a.iter().zip(b).map(|(x, y)| f64::from(*x) - f64::from(*y));
        match self {
            Similarity::Cosine => cosine(a, b),
            Similarity::Dot => dot(a, b) as f32,
            Similarity::Euclidean => -differences.map(|d| d * d).sum::<f64>().sqrt() as f32,
            Similarity::Manhattan => -differences.map(f64::abs).sum::<f64>() as f32,
        }
    }
}

named!(Similarity, "similarity", {
    Cosine => "cosine",
    Dot => "dot",
    Euclidean => "euclidean",
    Manhattan => "manhattan",
});

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

/// The cosine of the angle between two vectors: 1 for the same direction, 0 where either is zero.
///
/// # Panics
/// If the vectors differ in length.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "vectors of different lengths cannot be compared");
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms == 0.0 { 0.0 } else { (dot(a, b) / norms) as f32 }
}

/// Late interaction (ColBERT): the sum over the query's vectors of the largest dot product with one
/// of the document's; 0 for a document without vectors. Both are rows of `dimensions` values.
///
/// # Panics
/// If `dimensions` is 0 or does not divide both lengths.
pub fn maxsim(query: &[f32], document: &[f32], dimensions: usize) -> f32 {
    assert!(query.len().is_multiple_of(dimensions) && document.len().is_multiple_of(dimensions));
    let best =
        |q: &[f32]| document.chunks_exact(dimensions).map(|d| dot(q, d)).fold(f64::NEG_INFINITY, f64::max);
    if document.is_empty() {
        return 0.0;
    }
    query.chunks_exact(dimensions).map(best).sum::<f64>() as f32
}

/// How many bits differ between two packed binary vectors.
///
/// # Panics
/// If they differ in length.
pub fn hamming(a: &[u8], b: &[u8]) -> u32 {
    assert_eq!(a.len(), b.len(), "vectors of different lengths cannot be compared");
    a.iter().zip(b).map(|(x, y)| (x ^ y).count_ones()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_similarity_by_hand() {
        let (a, b) = ([3.0, 4.0], [0.0, 8.0]);
        let expected = [0.8, 32.0, -5.0, -7.0];
        for (similarity, expected) in Similarity::ALL.iter().zip(expected) {
            assert!((similarity.of(&a, &b) - expected).abs() < 1e-6, "{similarity}");
            assert_eq!(similarity.name().parse::<Similarity>().unwrap(), *similarity);
        }
        assert!("l2".parse::<Similarity>().is_err());
        assert_eq!(cosine(&[0.0; 2], &a), 0.0);
    }

    #[test]
    fn maxsim_takes_the_best_of_the_document_for_each_of_the_query() {
        let query = [1.0, 0.0, 0.0, 1.0]; // two vectors
        let document = [0.5, 0.0, 0.0, 2.0, -1.0, -1.0];
        assert_eq!(maxsim(&query, &document, 2), 2.5);
        assert_eq!(maxsim(&query, &[], 2), 0.0);
    }

    #[test]
    fn hamming_counts_bits() {
        assert_eq!(hamming(&[0b1010, 0xff], &[0b0110, 0x00]), 10);
    }
}
