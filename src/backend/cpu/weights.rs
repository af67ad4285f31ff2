//! The weights of each step in the layout that the kernels read, made once when a model is opened.

use super::pairs::PositionWeights;
use crate::error::ModelResult as Result;
use crate::model::{Activation, ElementType, LinearSpec, NormKind, NormSpec, Tensor};
use crate::plan::Step;
use rayon::prelude::*;
use std::ops::Range;
use taskvec_kernels::{
    Epilogue, Isa, Matrix, PackedWeights, Storage, WeightMemory, pack_panel, pack_panel_of_halves, packed_len,
};

/// What the kernels call values as a file has them.
pub(super) fn storage_of(element: ElementType) -> Storage {
    match element {
        ElementType::F32 => Storage::F32,
        ElementType::F16 => Storage::F16Weights,
        ElementType::Bf16 => Storage::Bf16Weights,
    }
}

/// The weights of one step.
pub(super) enum StepWeights {
    /// The step has none, or reads them from the file as it goes (embedding tables).
    None,
    Embed {
        /// `[types, hidden]`; empty: none.
        token_type: Vec<f32>,
    },
    Norm(NormWeights),
    Linear(LinearWeights),
    Experts(ExpertWeights),
    /// `[taps, hidden]`
    ShortConv(Vec<f32>),
    /// What attention multiplies with by distance.
    Positions(PositionWeights),
}

pub(super) struct NormWeights {
    pub(super) kind: NormKind,
    pub(super) weight: Vec<f32>,
    /// Empty: none.
    pub(super) bias: Vec<f32>,
    pub(super) eps: f32,
}

/// The matrices of all experts of one step.
pub(super) struct ExpertWeights {
    pub(super) experts: Vec<PackedWeights>,
    /// Empty: none.
    pub(super) bias: Vec<f32>,
    pub(super) activation: Activation,
}

pub(super) struct LinearWeights {
    pub(super) weights: PackedWeights,
    /// Empty: none.
    bias: Vec<f32>,
    gate: Option<(PackedWeights, Vec<f32>)>,
    activation: Activation,
}

impl StepWeights {
    pub(super) fn read(step: &Step, packer: &Packer) -> Result<StepWeights> {
        Ok(match step {
            Step::Embed { token_type, .. } => {
                let token_type = token_type.as_ref().map(Tensor::to_vec).transpose()?;
                StepWeights::Embed { token_type: token_type.unwrap_or_default() }
            }
            Step::ExpertUp { weight, experts, activation, .. } => StepWeights::Experts(ExpertWeights {
                experts: each_expert(weight, *experts, |rows| {
                    let part = LinearSpec { parts: vec![(weight.row_range(rows), None)] };
                    packer.pack(&part, packer.exact(weight))
                })?,
                bias: Vec::new(),
                activation: *activation,
            }),
            Step::ExpertDown { weight, bias, experts, .. } => StepWeights::Experts(ExpertWeights {
                experts: each_expert(weight, *experts, |rows| packer.pack_transposed(weight, rows))?,
                bias: bias.as_ref().map(Tensor::to_vec).transpose()?.unwrap_or_default(),
                activation: Activation::Identity,
            }),
            Step::Norm { norm, .. } | Step::HeadNorm { norm, .. } => {
                StepWeights::Norm(NormWeights::read(norm)?)
            }
            Step::Linear { linear, gate, activation, exact, .. } => {
                let storage = packer.of_layer(linear, gate.as_ref(), *exact);
                let read = |linear: &LinearSpec| -> Result<_> {
                    Ok((packer.pack(linear, storage)?, linear.bias()?.unwrap_or_default()))
                };
                let (weights, bias) = read(linear)?;
                let gate = gate.as_ref().map(read).transpose()?;
                StepWeights::Linear(LinearWeights { weights, bias, gate, activation: *activation })
            }
            Step::ShortConv { taps, .. } => StepWeights::ShortConv(transposed(taps)?),
            Step::Attention { head_dim, positions: Some(positions), .. } => {
                StepWeights::Positions(PositionWeights::read(packer.isa, positions, *head_dim)?)
            }
            Step::Rotary { .. }
            | Step::Attention { .. }
            | Step::Route { .. }
            | Step::Pool { .. }
            | Step::Normalize { .. } => StepWeights::None,
        })
    }

    /// Bytes of memory they take.
    pub(super) fn bytes(&self) -> usize {
        let values = |values: &Vec<f32>| size_of_val(values.as_slice());
        match self {
            StepWeights::None => 0,
            StepWeights::Embed { token_type } => values(token_type),
            StepWeights::Experts(experts) => {
                experts.experts.iter().map(PackedWeights::bytes).sum::<usize>() + values(&experts.bias)
            }
            StepWeights::ShortConv(taps) => values(taps),
            StepWeights::Positions(positions) => positions.bytes(),
            StepWeights::Norm(norm) => values(&norm.weight) + values(&norm.bias),
            StepWeights::Linear(linear) => {
                let gate = linear.gate.as_ref().map_or(0, |(gate, bias)| gate.bytes() + values(bias));
                linear.weights.bytes() + values(&linear.bias) + gate
            }
        }
    }
}

/// `[columns, rows]` of a small matrix.
fn transposed(matrix: &Tensor) -> Result<Vec<f32>> {
    let (values, columns) = (matrix.to_vec()?, matrix.columns());
    Ok((0..columns).flat_map(|c| values.iter().skip(c).step_by(columns).copied()).collect())
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

fn each_expert(
    weight: &Tensor,
    experts: usize,
    pack: impl Fn(Range<usize>) -> Result<PackedWeights>,
) -> Result<Vec<PackedWeights>> {
    let size = weight.rows() / experts;
    (0..experts).map(|expert| pack(expert * size..(expert + 1) * size)).collect()
}

/// Brings matrices into the kernels' layout.
pub(super) struct Packer {
    isa: Isa,
    storage: Storage,
    memory: WeightMemory,
}

impl Packer {
    /// With memory for all weights of these steps.
    pub(super) fn new(isa: Isa, storage: Storage, steps: &[Step]) -> Packer {
        let mut packer = Packer { isa, storage, memory: WeightMemory::with_capacity(0) };
        packer.memory = WeightMemory::with_capacity(steps.iter().map(|step| packer.len(step)).sum());
        packer
    }

    /// The f32 values that the packed matrices of a step take.
    fn len(&self, step: &Step) -> usize {
        match step {
            Step::Linear { linear, gate, exact, .. } => {
                let storage = self.of_layer(linear, gate.as_ref(), *exact);
                let len =
                    |linear: &LinearSpec| packed_len(self.isa, storage, (linear.outputs(), linear.inputs()));
                len(linear) + gate.as_ref().map_or(0, len)
            }
            Step::ExpertUp { weight, experts, .. } => {
                let size = (weight.rows() / experts, weight.columns());
                experts * packed_len(self.isa, self.exact(weight), size)
            }
            Step::ExpertDown { weight, experts, .. } => {
                let size = (weight.columns(), weight.rows() / experts);
                experts * packed_len(self.isa, self.exact(weight), size)
            }
            _ => 0,
        }
    }

    /// How the weights of a layer and its gate are kept.
    fn of_layer(&self, linear: &LinearSpec, gate: Option<&LinearSpec>, exact: bool) -> Storage {
        match self.storage {
            // Rows longer than any model has would overflow the sums of int8.
            Storage::Int8 if !exact && linear.inputs() <= Storage::INT8_INPUTS => Storage::Int8,
            Storage::Bf16 | Storage::Bf16Widened if !exact => self.storage,
            _ => {
                let parts = linear.parts.iter().chain(gate.iter().flat_map(|gate| &gate.parts));
                let mut kept = parts.map(|(weight, _)| self.exact(weight));
                let first = kept.next().unwrap_or(Storage::F32);
                if kept.all(|other| other == first) { first } else { Storage::F32 }
            }
        }
    }

    /// How a matrix is kept that is not to be rounded: in the 16 bits that the file has for each value, where the
    /// CPU can widen them as it multiplies. That is half the memory to fill and to read, and the same products.
    fn exact(&self, weight: &Tensor) -> Storage {
        match weight.half_type().filter(|_| self.isa.widens_weights()) {
            Some(element) => storage_of(element),
            None => Storage::F32,
        }
    }

    /// Packs some rows of a matrix whose columns are the outputs.
    fn pack_transposed(&self, weight: &Tensor, rows: Range<usize>) -> Result<PackedWeights> {
        let (inputs, outputs) = (rows.len(), weight.columns());
        let mut stored = vec![0.0; inputs * outputs];
        weight.read_finite_rows(rows, &mut stored)?;
        let storage = self.exact(weight);
        let mut packed = PackedWeights::zeroed(self.isa, storage, (outputs, inputs), &self.memory);
        for (panel, columns) in packed.panels_mut() {
            let values: Vec<f32> = columns
                .clone()
                .flat_map(|o| (0..inputs).map(move |i| (i, o)))
                .map(|(i, o)| stored[i * outputs + o])
                .collect();
            let rows = Matrix::new(&values, columns.len(), inputs, inputs);
            pack_panel(self.isa, storage, rows, panel);
        }
        Ok(packed)
    }

    /// Packs a linear layer's weights straight from the mapped file, panels in parallel.
    fn pack(&self, linear: &LinearSpec, storage: Storage) -> Result<PackedWeights> {
        let inputs = linear.inputs();
        let size = (linear.outputs(), inputs);
        let mut packed = PackedWeights::zeroed(self.isa, storage, size, &self.memory);
        // Where each row of the stacked matrix comes from.
        let rows: Vec<(&Tensor, usize)> = linear
            .parts
            .iter()
            .flat_map(|(weight, _)| (0..weight.rows()).map(move |row| (weight, row)))
            .collect();
        let panels: Vec<_> = packed.panels_mut().collect();
        panels.into_par_iter().try_for_each(|(panel, outputs)| {
            // Numbers that are such already are packed as they are.
            let kept = |(tensor, _): &(&Tensor, usize)| match storage {
                Storage::F16Weights => tensor.half_type() == Some(ElementType::F16),
                Storage::Bf16Weights | Storage::Bf16Widened => tensor.half_type() == Some(ElementType::Bf16),
                _ => false,
            };
            if rows[outputs.clone()].iter().all(kept) {
                let rows: Vec<_> = rows[outputs]
                    .iter()
                    .map(|(tensor, row)| tensor.finite_halves(*row))
                    .collect::<Result<_>>()?;
                pack_panel_of_halves(self.isa, rows.into_iter(), panel);
                return Ok(());
            }
            let count = outputs.len();
            let mut values = vec![0.0; count * inputs];
            for ((tensor, row), values) in rows[outputs].iter().zip(values.chunks_exact_mut(inputs)) {
                tensor.read_finite_rows(*row..row + 1, values)?;
            }
            pack_panel(self.isa, storage, Matrix::new(&values, count, inputs, inputs), panel);
            Ok(())
        })?;
        Ok(packed)
    }
}
