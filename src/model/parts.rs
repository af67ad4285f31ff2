//! Linear layers and norms, as data: what the blocks of every family are made of.

use super::tensor::Tensor;
use crate::error::ModelResult as Result;

/// `y = x · Wᵀ + b`, where W and b may be stacked from several tensors.
#[derive(Clone, Debug)]
pub(crate) struct LinearSpec {
    /// Weights `[outputs_i, inputs]` and biases `[outputs_i]`; the rows of W in this order.
    pub(crate) parts: Vec<(Tensor, Option<Tensor>)>,
}

impl LinearSpec {
    /// Values per row of x.
    pub(crate) fn inputs(&self) -> usize {
        self.parts.first().map_or(0, |(weight, _)| weight.columns())
    }

    /// Values per row of y.
    pub(crate) fn outputs(&self) -> usize {
        self.parts.iter().map(|(weight, _)| weight.rows()).sum()
    }

    /// Some rows of a layer that is one tensor.
    pub(crate) fn rows(&self, rows: std::ops::Range<usize>) -> LinearSpec {
        let part = |(weight, bias): &(Tensor, Option<Tensor>)| {
            (weight.row_range(rows.clone()), bias.as_ref().map(|bias| bias.element_range(rows.clone())))
        };
        LinearSpec { parts: self.parts.iter().map(part).collect() }
    }

    /// One linear layer that computes several side by side.
    pub(crate) fn stack(layers: impl IntoIterator<Item = LinearSpec>) -> LinearSpec {
        LinearSpec { parts: layers.into_iter().flat_map(|layer| layer.parts).collect() }
    }

    /// All weights and biases.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.parts.iter().flat_map(|(weight, bias)| std::iter::once(weight).chain(bias))
    }

    /// All biases as one vector, zero for a part that has none; `None` if no part has any.
    pub(crate) fn bias(&self) -> Result<Option<Vec<f32>>> {
        if self.parts.iter().all(|(_, bias)| bias.is_none()) {
            return Ok(None);
        }
        let mut values = Vec::with_capacity(self.outputs());
        for (weight, bias) in &self.parts {
            match bias {
                Some(bias) => values.extend(bias.to_vec()?),
                None => values.resize(values.len() + weight.rows(), 0.0),
            }
        }
        Ok(Some(values))
    }
}

/// A normalisation over the last dimension.
#[derive(Clone, Debug)]
pub(crate) struct NormSpec {
    /// Which one.
    pub(crate) kind: NormKind,
    /// Values that are normalised together.
    pub(crate) size: usize,
    /// Multiplies the normalised values.
    pub(crate) weight: Option<Tensor>,
    /// Added to the weight first: 1 where a file stores the weight's distance from 1.
    pub(crate) weight_offset: f32,
    /// Added at the end (LayerNorm only).
    pub(crate) bias: Option<Tensor>,
    /// Keeps the division from exploding.
    pub(crate) eps: f32,
}

impl NormSpec {
    /// Weight and bias, those there are.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.weight.iter().chain(&self.bias)
    }

    /// What multiplies the normalised values.
    pub(crate) fn weights(&self) -> Result<Vec<f32>> {
        let Some(weight) = &self.weight else {
            return Ok(vec![1.0; self.size]);
        };
        let mut weights = weight.to_vec()?;
        weights.iter_mut().for_each(|weight| *weight += self.weight_offset);
        Ok(weights)
    }
}

/// Kinds of normalisation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NormKind {
    /// `(x - mean) / √(variance + eps) · weight + bias`
    LayerNorm,
    /// `x / √(mean(x²) + eps) · weight`
    RmsNorm,
}
