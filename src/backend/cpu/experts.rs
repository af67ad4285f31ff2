//! Mixture of experts on the CPU: rows are gathered by expert, go through its matrix together, and are
//! put back. Each row's products are taken in the same order whatever it is gathered with.

use super::weights::ExpertWeights;
use taskvec_kernels::{Epilogue, GemmScratch, Isa, Matrix, MatrixMut, PackedWeights, gemm};

/// The largest of the softmax of `scores`: place and value, largest first, as many as `out` has room
/// for.
pub(super) fn route(scores: &[f32], out: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = scores.iter().map(|score| (score - max).exp()).sum();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a])); // stable: the first of equals
    for (choice, expert) in out.chunks_exact_mut(2).zip(order) {
        choice.copy_from_slice(&[expert as f32, (scores[expert] - max).exp() / total]);
    }
}

/// The choices of one expert, by their place in the list of all.
fn chosen(choices: &[f32], expert: usize) -> Vec<usize> {
    let choices = choices.chunks_exact(2).enumerate();
    choices.filter(|(_, choice)| choice[0] as usize == expert).map(|(place, _)| place).collect()
}

/// The expert's matrix on gathered rows.
fn product(
    isa: Isa,
    weights: &PackedWeights,
    rows: &[f32],
    epilogue: &Epilogue<'_>,
    scratch: &mut GemmScratch,
) -> Vec<f32> {
    let (inputs, outputs) = (weights.inputs(), weights.outputs());
    let count = rows.len() / inputs;
    let mut result = vec![0.0; count * outputs];
    let x = Matrix::new(rows, count, inputs, inputs);
    let out = MatrixMut::new(&mut result, count, outputs, outputs);
    gemm(isa, x, weights, 0..weights.panels(), epilogue, out, scratch);
    result
}

/// `out[choice] = activation(input[row] · Wᵀ)`, a row for each choice.
pub(super) fn up(
    isa: Isa,
    weights: &ExpertWeights,
    choices: &[f32],
    input: &[f32],
    out: &mut [f32],
    scratch: &mut GemmScratch,
) {
    let epilogue = Epilogue { activation: weights.activation, ..Epilogue::default() };
    for (expert, weights) in weights.experts.iter().enumerate() {
        let (size, width) = (weights.inputs(), weights.outputs());
        let top = choices.len() / 2 / (input.len() / size);
        let places = chosen(choices, expert);
        let rows: Vec<f32> =
            places.iter().flat_map(|place| &input[place / top * size..][..size]).copied().collect();
        let result = product(isa, weights, &rows, &epilogue, scratch);
        for (place, result) in places.iter().zip(result.chunks_exact(width)) {
            out[place * width..][..width].copy_from_slice(result);
        }
    }
}

/// `out[row] += Σ probability · (input[choice] · W) + b` over the row's choices, in the order of the
/// experts.
pub(super) fn down(
    isa: Isa,
    weights: &ExpertWeights,
    choices: &[f32],
    input: &[f32],
    out: &mut [f32],
    scratch: &mut GemmScratch,
) {
    for (expert, packed) in weights.experts.iter().enumerate() {
        let (size, width) = (packed.inputs(), packed.outputs());
        let top = choices.len() / 2 / (out.len() / width);
        let places = chosen(choices, expert);
        let rows: Vec<f32> =
            places.iter().flat_map(|place| &input[place * size..][..size]).copied().collect();
        let result = product(isa, packed, &rows, &Epilogue::default(), scratch);
        for (place, result) in places.iter().zip(result.chunks_exact(width)) {
            let out = &mut out[place / top * width..][..width];
            let probability = choices[2 * place + 1];
            out.iter_mut().zip(result).for_each(|(o, r)| *o += probability * r);
        }
    }
    if !weights.bias.is_empty() {
        for row in out.chunks_exact_mut(weights.bias.len()) {
            row.iter_mut().zip(&weights.bias).for_each(|(o, b)| *o += b);
        }
    }
}
