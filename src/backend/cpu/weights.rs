//! The weights of each step in the layout that the kernels read, made once when a model is opened.

use crate::error::Result;
use crate::model::{Activation, LinearSpec, NormKind, NormSpec, Tensor};
use crate::plan::Step;
use rayon::prelude::*;
use taskvec_kernels::{Epilogue, Isa, Matrix, PackedWeights, pack_panel};

/// The weights of one step.
pub(super) enum StepWeights {
    /// The step has none, or reads them from the file as it goes (embedding tables).
    None,
    Embed {
        token_type: Option<Vec<f32>>,
    },
    Norm(NormWeights),
    Linear(LinearWeights),
}

pub(super) struct NormWeights {
    pub(super) kind: NormKind,
    pub(super) weight: Vec<f32>,
    /// Empty: none.
    pub(super) bias: Vec<f32>,
    pub(super) eps: f32,
}

pub(super) struct LinearWeights {
    pub(super) weights: PackedWeights,
    /// Empty: none.
    bias: Vec<f32>,
    gate: Option<(PackedWeights, Vec<f32>)>,
    activation: Activation,
}

impl StepWeights {
    pub(super) fn read(step: &Step, isa: Isa) -> Result<StepWeights> {
        Ok(match step {
            Step::Embed { token_type, .. } => {
                StepWeights::Embed { token_type: token_type.as_ref().map(first_row).transpose()? }
            }
            Step::Norm { norm, .. } | Step::HeadNorm { norm, .. } => {
                StepWeights::Norm(NormWeights::read(norm)?)
            }
            Step::Linear { linear, gate, activation, .. } => StepWeights::Linear(LinearWeights {
                weights: pack(linear, isa)?,
                bias: linear.bias()?.unwrap_or_default(),
                gate: match gate {
                    Some(gate) => Some((pack(gate, isa)?, gate.bias()?.unwrap_or_default())),
                    None => None,
                },
                activation: *activation,
            }),
            Step::Rotary { .. } | Step::Attention { .. } | Step::Pool { .. } | Step::Normalize { .. } => {
                StepWeights::None
            }
        })
    }

    /// Bytes of memory they take.
    pub(super) fn bytes(&self) -> usize {
        let values = |values: &Vec<f32>| size_of_val(values.as_slice());
        match self {
            StepWeights::None => 0,
            StepWeights::Embed { token_type } => token_type.as_ref().map_or(0, values),
            StepWeights::Norm(norm) => values(&norm.weight) + values(&norm.bias),
            StepWeights::Linear(linear) => {
                let gate = linear.gate.as_ref().map_or(0, |(gate, bias)| gate.bytes() + values(bias));
                linear.weights.bytes() + values(&linear.bias) + gate
            }
        }
    }
}

impl NormWeights {
    fn read(norm: &NormSpec) -> Result<NormWeights> {
        let bias = norm.bias.as_ref().map(Tensor::to_vec).transpose()?.unwrap_or_default();
        Ok(NormWeights { kind: norm.kind, weight: norm.weights()?, bias, eps: norm.eps })
    }
}

impl LinearWeights {
    /// The epilogue of the layer, still without a residual.
    pub(super) fn epilogue(&self) -> Epilogue<'_> {
        let gate = self.gate.as_ref().map(|(weights, bias)| (weights, bias.as_slice()));
        Epilogue { bias: &self.bias, activation: self.activation, gate, factor: None, residual: None }
    }
}

fn first_row(tensor: &Tensor) -> Result<Vec<f32>> {
    let mut row = vec![0.0; tensor.columns()];
    tensor.read_finite_rows(0..1, &mut row)?;
    Ok(row)
}

/// Packs a linear layer's weights straight from the mapped file, panels in parallel.
fn pack(linear: &LinearSpec, isa: Isa) -> Result<PackedWeights> {
    let inputs = linear.inputs();
    let mut packed = PackedWeights::zeroed(isa, linear.outputs(), inputs);
    // Where each row of the stacked matrix comes from.
    let rows: Vec<(&Tensor, usize)> = linear
        .parts
        .iter()
        .flat_map(|(weight, _)| (0..weight.rows()).map(move |row| (weight, row)))
        .collect();
    let panels: Vec<_> = packed.panels_mut().collect();
    panels.into_par_iter().try_for_each(|(panel, outputs)| {
        let count = outputs.len();
        let mut values = vec![0.0; count * inputs];
        for ((tensor, row), values) in rows[outputs].iter().zip(values.chunks_exact_mut(inputs)) {
            tensor.read_finite_rows(*row..row + 1, values)?;
        }
        pack_panel(isa, Matrix::new(&values, count, inputs, inputs), panel);
        Ok(())
    })?;
    Ok(packed)
}
