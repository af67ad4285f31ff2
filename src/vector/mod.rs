//! From a model's vector to the one that is asked for: fewer dimensions, unit length, other types.

mod pooling;
mod quantize;
mod similarity;

pub(crate) use pooling::{PoolingMode, Splade};
pub use quantize::{OutputType, Quantized, Ranges, quantize};
pub use similarity::{Similarity, cosine, hamming, maxsim};

/// `x / max(‖x‖, 1e-12)`, as sentence-transformers' Normalize does.
pub(crate) fn normalize(vector: &mut [f32]) {
    let norm = vector.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt().max(1e-12);
    vector.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
}

/// What is done to a model's vector at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Finish {
    /// The first values that are kept (Matryoshka).
    pub(crate) dimensions: usize,
    /// To whole numbers from -127 to 127, after it is cut.
    pub(crate) whole: bool,
    /// LayerNorm without weights over the whole vector, before it is cut.
    pub(crate) layer_norm: bool,
    /// To unit length.
    pub(crate) unit_length: bool,
    /// The first values that are kept after all that (`truncate_dim` of a model's files), where they are fewer.
    pub(crate) cut_last: Option<usize>,
}

impl Finish {
    pub(crate) fn apply(self, vector: &mut Vec<f32>) {
        if self.layer_norm && self.dimensions < vector.len() {
            layer_norm(vector);
        }
        vector.truncate(self.dimensions);
        if self.whole {
            vector.iter_mut().for_each(|v| *v = (127.0 * f64::from(*v).tanh()).round_ties_even() as f32);
        }
        if self.unit_length {
            normalize(vector);
        }
        vector.truncate(self.cut_last.unwrap_or(usize::MAX));
    }

    /// Values of the result.
    pub(crate) fn size(self) -> usize {
        self.dimensions.min(self.cut_last.unwrap_or(usize::MAX))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_cut_and_brought_to_unit_length() {
        let finish = |dimensions, layer_norm, unit_length, mut vector: Vec<f32>| {
            Finish { dimensions, whole: false, layer_norm, unit_length, cut_last: None }.apply(&mut vector);
            vector
        };
        assert_eq!(finish(2, false, true, vec![0.6, 0.0, 0.8]), [1.0, 0.0]);
        assert_eq!(finish(2, false, false, vec![3.0, 4.0, 5.0]), [3.0, 4.0]);
        // Mean 2: what is left is -1, 0, 1 times a scale.
        assert_eq!(finish(2, true, true, vec![1.0, 2.0, 3.0]), [-1.0, 0.0]);
        // A whole vector is not cut, so nothing goes before that.
        assert_eq!(finish(2, true, false, vec![3.0, 4.0]), [3.0, 4.0]);
        let zero = finish(3, false, true, vec![0.0; 3]);
        assert_eq!(zero, [0.0; 3], "zero has no direction");
    }
}
