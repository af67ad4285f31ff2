//! From a model's vector to the one that is asked for: fewer dimensions, unit length.

/// `x / max(‖x‖, 1e-12)`, as sentence-transformers' Normalize does.
pub(crate) fn normalize(vector: &mut [f32]) {
    let norm = vector.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt().max(1e-12);
    vector.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
}

/// Keeps the first `dimensions` values (Matryoshka); a vector of unit length gets it back.
pub(crate) fn truncate(vector: &mut Vec<f32>, dimensions: usize, unit_length: bool) {
    vector.truncate(dimensions);
    if unit_length {
        normalize(vector);
    }
}

/// The cosine of the angle between two vectors: 1 for the same direction, 0 where either is zero.
///
/// # Panics
/// If the vectors differ in length.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "vectors of different lengths cannot be compared");
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms == 0.0 { 0.0 } else { (dot(a, b) / norms) as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncating_keeps_unit_length_where_there_was_one() {
        let mut vector = vec![0.6, 0.0, 0.8];
        truncate(&mut vector, 2, true);
        assert_eq!(vector, [1.0, 0.0]);
        let mut vector = vec![3.0, 4.0, 5.0];
        truncate(&mut vector, 2, false);
        assert_eq!(vector, [3.0, 4.0]);
    }

    #[test]
    fn zero_vectors_have_no_direction() {
        let mut zero = [0.0; 3];
        normalize(&mut zero);
        assert_eq!(zero, [0.0; 3]);
        assert_eq!(cosine(&zero, &[1.0, 2.0, 3.0]), 0.0);
        assert!((cosine(&[1.0, 1.0], &[2.0, 2.0]) - 1.0).abs() < 1e-6);
    }
}
