//! From a model's vector to the one that is asked for: fewer dimensions, unit length.

/// `x / max(‖x‖, 1e-12)`, as sentence-transformers' Normalize does.
pub(crate) fn normalize(vector: &mut [f32]) {
    let norm = vector.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt().max(1e-12);
    vector.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
}

/// How a model's vectors are cut to fewer dimensions (Matryoshka).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The first values as they are.
    Plain,
    /// The first values, at unit length.
    UnitLength,
    /// LayerNorm without weights over the whole vector, then the first values at unit length.
    LayerNorm,
}

/// Keeps the first `dimensions` values.
pub(crate) fn cut(vector: &mut Vec<f32>, dimensions: usize, how: Cut) {
    if how == Cut::LayerNorm {
        layer_norm(vector);
    }
    vector.truncate(dimensions);
    if how != Cut::Plain {
        normalize(vector);
    }
}

/// `(x - mean) / √(variance + 1e-5)`
fn layer_norm(vector: &mut [f32]) {
    let count = vector.len() as f64;
    let mean = vector.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let variance = vector.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    let deviation = (variance + 1e-5).sqrt();
    vector.iter_mut().for_each(|v| *v = ((f64::from(*v) - mean) / deviation) as f32);
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
    fn cutting_keeps_unit_length_where_there_was_one() {
        let mut vector = vec![0.6, 0.0, 0.8];
        cut(&mut vector, 2, Cut::UnitLength);
        assert_eq!(vector, [1.0, 0.0]);
        let mut vector = vec![3.0, 4.0, 5.0];
        cut(&mut vector, 2, Cut::Plain);
        assert_eq!(vector, [3.0, 4.0]);
        // Mean 2: what is left is -1, 0, 1 times a scale.
        let mut vector = vec![1.0, 2.0, 3.0];
        cut(&mut vector, 2, Cut::LayerNorm);
        assert_eq!(vector, [-1.0, 0.0]);
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
