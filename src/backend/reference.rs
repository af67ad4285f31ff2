//! The oracle: each step in plain scalar Rust, slow and obvious.
//!
//! Values between steps are f32; sums are taken in f64, so that what another backend differs from
//! this by is that backend's own rounding.

use super::reference_attention::attention;
use super::{Backend, Job, Results, Running};
use crate::batch::{Pool, RaggedBatch};
use crate::device::DeviceKind;
use crate::error::{ModelResult, Result};
use crate::model::{
    Activation, LinearSpec, NormKind, NormSpec, PositionSpec, RareActivation, RelativePositionsSpec, Tensor,
};
use crate::plan::{BufferId, Plan, RotaryTable, Rows, Step};
use crate::precision::Precision;
use crate::vector::{PoolingMode, Splade};
use std::ops::Range;
use std::sync::Arc;

pub(crate) struct Reference {
    plan: Arc<Plan>,
    precision: Precision,
    /// The weights of each step, read once.
    weights: Vec<StepWeights>,
}

/// Weights as plain f32 values.
#[derive(Default)]
struct StepWeights {
    main: Vec<f32>,
    main_bias: Option<Vec<f32>>,
    gate: Vec<f32>,
    gate_bias: Option<Vec<f32>>,
}

impl Reference {
    pub(crate) fn new(plan: Arc<Plan>, precision: Precision) -> ModelResult<Reference> {
        let weights =
            plan.steps.iter().map(|step| read_weights(step, precision)).collect::<ModelResult<_>>()?;
        Ok(Reference { plan, precision, weights })
    }

    fn run_batch(&self, batch: &RaggedBatch, outputs: &[usize]) -> Results {
        let rows = |rows| if rows == Rows::Tokens { batch.tokens() } else { batch.pools() };
        let mut buffers: Vec<Vec<f32>> =
            self.plan.buffers.iter().map(|buffer| vec![0.0; rows(buffer.rows) * buffer.width]).collect();
        for (place, step) in self.plan.steps_for(outputs) {
            self.run_step(step, &self.weights[place], batch, &mut buffers);
        }
        outputs.iter().map(|&output| buffers[self.plan.outputs[output].output.0].clone()).collect()
    }

    fn run_step(&self, step: &Step, weights: &StepWeights, batch: &RaggedBatch, buffers: &mut [Vec<f32>]) {
        let width = |id: &BufferId| self.plan.width(*id);
        match step {
            Step::Embed { word, scale, position, token_type, output } => {
                buffers[output.0] = embed(batch, word, *scale, position.as_ref(), token_type.as_ref());
            }
            Step::Norm { norm, input, residual, scale, output } => {
                let mut values = buffers[input.0].clone();
                for row in values.chunks_exact_mut(width(input)) {
                    normalize_row(norm, weights, row);
                }
                if let Some(residual) = residual {
                    values.iter_mut().zip(&buffers[residual.0]).for_each(|(v, r)| *v += r);
                }
                values.iter_mut().for_each(|v| *v *= scale);
                buffers[output.0] = values;
            }
            Step::Linear { linear, gate, activation, input, factor, residual, exact, output } => {
                let mut x = buffers[input.0].clone();
                if !exact {
                    round_activations(&mut x, width(input), self.precision);
                }
                let mut values = run_linear(linear, gate.is_some(), *activation, weights, &x);
                let size = width(output);
                if let Some((factor, column)) = factor {
                    let rows = buffers[factor.0].chunks_exact(width(factor));
                    for (row, factors) in values.chunks_exact_mut(size).zip(rows) {
                        row.iter_mut().zip(&factors[*column..]).for_each(|(v, f)| *v *= f);
                    }
                }
                if let Some(residual) = residual {
                    values.iter_mut().zip(&buffers[residual.0]).for_each(|(v, r)| *v += r);
                }
                buffers[output.0] = values;
            }
            Step::HeadNorm { norm, buffer, columns } => {
                let head_dim = norm.size;
                for row in buffers[buffer.0].chunks_exact_mut(width(buffer)) {
                    row[columns.clone()]
                        .chunks_exact_mut(head_dim)
                        .for_each(|head| normalize_row(norm, weights, head));
                }
            }
            Step::Rotary { table, buffer, columns } => {
                rotate(table, batch, &mut buffers[buffer.0], width(buffer), columns);
            }
            Step::Attention { input, output, .. } => {
                let input = (&*buffers[input.0], width(input));
                let vectors = [&*weights.main, &*weights.gate];
                buffers[output.0] = attention(step, batch, input, vectors, width(output));
            }
            Step::ShortConv { taps, before, input, output } => {
                let (parts, size, count) = (&buffers[input.0], width(output), taps.columns());
                let part = |token: usize, which: usize, d: usize| {
                    f64::from(parts[token * 3 * size + which * size + d])
                };
                let mut values = Vec::with_capacity(batch.tokens() * size);
                for text in batch.ranges() {
                    for (t, d) in text.clone().flat_map(|t| (0..size).map(move |d| (t, d))) {
                        let seen = (0..count).filter_map(|j| Some((j, (t + j).checked_sub(*before)?)));
                        let seen = seen.filter(|(_, other)| text.contains(other));
                        let sum: f64 = seen
                            .map(|(j, other)| {
                                f64::from(weights.main[d * count + j]) * part(other, 0, d) * part(other, 2, d)
                            })
                            .sum();
                        values.push((part(t, 1, d) * sum) as f32);
                    }
                }
                buffers[output.0] = values;
            }
            Step::Pool { modes, input, output } => {
                let (hidden, size) = (&buffers[input.0], width(input));
                let mut pooled = vec![0.0; batch.pools() * width(output)];
                for (part, out) in batch.pools.iter().zip(pooled.chunks_exact_mut(width(output))) {
                    for (mode, out) in modes.iter().zip(out.chunks_exact_mut(size)) {
                        for (d, out) in out.iter_mut().enumerate() {
                            let value = |token: usize| f64::from(hidden[token * size + d]);
                            *out = pool(*mode, part, value) as f32;
                        }
                    }
                }
                buffers[output.0] = pooled;
            }
            Step::Route { top, input, output } => {
                let rows = buffers[input.0].chunks_exact(width(input));
                buffers[output.0] = rows.flat_map(|row| route(row, *top)).collect();
            }
            Step::ExpertUp { weight, experts, activation, choices, input, output } => {
                let (size, chosen) = (width(input), width(choices));
                let rows = buffers[input.0].chunks_exact(size).zip(buffers[choices.0].chunks_exact(chosen));
                let inner = weight.rows() / experts;
                let mut values = Vec::with_capacity(buffers[output.0].len());
                for (x, choices) in rows {
                    for choice in choices.chunks_exact(2) {
                        let expert = &weights.main[choice[0] as usize * inner * size..][..inner * size];
                        let dot = |w: &[f32]| -> f64 {
                            x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()
                        };
                        values
                            .extend(expert.chunks_exact(size).map(|w| activate(*activation, dot(w)) as f32));
                    }
                }
                buffers[output.0] = values;
            }
            Step::ExpertDown { weight, experts, choices, input, residual, output, .. } => {
                let (inner, size) = (weight.rows() / experts, width(output));
                let mut values = buffers[residual.0].clone();
                let rows = buffers[input.0].chunks_exact(width(input));
                let rows = rows.zip(buffers[choices.0].chunks_exact(width(choices)));
                for (out, (x, choices)) in values.chunks_exact_mut(size).zip(rows) {
                    for (d, out) in out.iter_mut().enumerate() {
                        let mut sum = weights.main_bias.as_ref().map_or(0.0, |bias| f64::from(bias[d]));
                        for (x, choice) in x.chunks_exact(inner).zip(choices.chunks_exact(2)) {
                            let column = (0..inner).map(|j| {
                                let row = choice[0] as usize * inner + j;
                                f64::from(x[j]) * f64::from(weights.main[row * size + d])
                            });
                            sum += f64::from(choice[1]) * column.sum::<f64>();
                        }
                        *out += sum as f32;
                    }
                }
                buffers[output.0] = values;
            }
            Step::Normalize { input, output } => {
                let mut values = buffers[input.0].clone();
                values.chunks_exact_mut(width(input)).for_each(to_unit_length);
                buffers[output.0] = values;
            }
        }
    }
}

impl Backend for Reference {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Reference
    }

    fn name(&self) -> String {
        "reference (scalar)".to_owned()
    }

    fn batch_tokens(&self, _: usize) -> usize {
        512
    }

    fn weight_bytes(&self) -> usize {
        let values = |w: &StepWeights| w.main.len() + w.gate.len();
        self.weights.iter().map(values).sum::<usize>() * size_of::<f32>()
    }

    fn batch_bytes(&self, tokens: usize, texts: usize) -> usize {
        self.plan.buffer_bytes(tokens, texts)
    }

    fn run<'a>(&'a self, job: &'a Job<'a>) -> Running<'a> {
        Box::pin(async move { self.run_job(job) })
    }
}

impl Reference {
    fn run_job(&self, job: &Job<'_>) -> Result<()> {
        job.batches.iter().enumerate().try_for_each(|(i, batch)| {
            job.cancel.check()?;
            (job.take)(i, self.run_batch(batch, job.outputs))
        })
    }
}

fn read_weights(step: &Step, precision: Precision) -> ModelResult<StepWeights> {
    let mut weights = StepWeights::default();
    match step {
        Step::Norm { norm, .. } | Step::HeadNorm { norm, .. } => {
            weights.main = norm.weights()?;
            weights.main_bias = norm.bias.as_ref().map(Tensor::to_vec).transpose()?;
        }
        Step::Linear { linear, gate, exact, .. } => {
            (weights.main, weights.main_bias) = read_linear(linear)?;
            if let Some(gate) = gate {
                (weights.gate, weights.gate_bias) = read_linear(gate)?;
            }
            if !exact {
                round_weights(&mut weights.main, linear.inputs(), precision);
                round_weights(&mut weights.gate, linear.inputs(), precision);
            }
        }
        Step::Attention { positions: Some(positions), .. } => {
            [weights.main, weights.gate] = vectors_by_distance(&positions.spec)?;
        }
        Step::ExpertUp { weight, .. } => weights.main = weight.to_vec()?,
        Step::ShortConv { taps, .. } => weights.main = taps.to_vec()?,
        Step::ExpertDown { weight, bias, .. } => {
            weights.main = weight.to_vec()?;
            weights.main_bias = bias.as_ref().map(Tensor::to_vec).transpose()?;
        }
        _ => {}
    }
    Ok(weights)
}

/// What queries are multiplied with by distance, and what keys are; empty: nothing.
fn vectors_by_distance(spec: &RelativePositionsSpec) -> ModelResult<[Vec<f32>; 2]> {
    let mut rows = spec.rows.to_vec()?;
    if let Some(norm) = &spec.norm {
        let bias = norm.bias.as_ref().map(Tensor::to_vec).transpose()?;
        let weights = StepWeights { main: norm.weights()?, main_bias: bias, ..StepWeights::default() };
        rows.chunks_exact_mut(norm.size).for_each(|row| normalize_row(norm, &weights, row));
    }
    let projected = |linear: &Option<LinearSpec>| -> ModelResult<_> {
        let Some(linear) = linear else { return Ok(Vec::new()) };
        let (main, main_bias) = read_linear(linear)?;
        let weights = StepWeights { main, main_bias, ..StepWeights::default() };
        Ok(run_linear(linear, false, Activation::Identity, &weights, &rows))
    };
    Ok([projected(&spec.keys)?, projected(&spec.queries)?])
}

/// Weights as a product of this precision takes them.
fn round_weights(weights: &mut [f32], inputs: usize, precision: Precision) {
    match precision {
        Precision::F32 | Precision::F16 | Precision::Auto => {}
        Precision::Bf16 => round_to_bf16(weights),
        Precision::Int8 => weights.chunks_exact_mut(inputs).for_each(|row| {
            let scale = row.iter().fold(0.0f32, |max, weight| max.max(weight.abs())) / 127.0;
            if scale > 0.0 {
                row.iter_mut().for_each(|weight| *weight = (*weight / scale).round_ties_even() * scale);
            }
        }),
    }
}

/// What is multiplied with weights, as a product of this precision takes it.
fn round_activations(values: &mut [f32], width: usize, precision: Precision) {
    match precision {
        Precision::F32 | Precision::F16 | Precision::Auto => {}
        Precision::Bf16 => round_to_bf16(values),
        Precision::Int8 => values.chunks_exact_mut(width).for_each(|row| {
            let low = row.iter().copied().fold(0.0, f32::min);
            let scale = (row.iter().copied().fold(0.0, f32::max) - low) / 255.0;
            if scale > 0.0 {
                let zero = (-low / scale).round_ties_even();
                let quantized = |value: f32| (value / scale + zero).round_ties_even().clamp(0.0, 255.0);
                row.iter_mut().for_each(|value| *value = (quantized(*value) - zero) * scale);
            }
        }),
    }
}

fn round_to_bf16(values: &mut [f32]) {
    values.iter_mut().for_each(|value| *value = half::bf16::from_f32(*value).to_f32());
}

/// W `[outputs, inputs]` and b `[outputs]`.
fn read_linear(linear: &LinearSpec) -> ModelResult<(Vec<f32>, Option<Vec<f32>>)> {
    let mut weights = Vec::with_capacity(linear.outputs() * linear.inputs());
    for (weight, _) in &linear.parts {
        weights.extend(weight.to_vec()?);
    }
    Ok((weights, linear.bias()?))
}

fn embed(
    batch: &RaggedBatch,
    word: &Tensor,
    scale: f32,
    position: Option<&PositionSpec>,
    token_type: Option<&Tensor>,
) -> Vec<f32> {
    let hidden = word.columns();
    let mut output = vec![0.0; batch.tokens() * hidden];
    let mut row = vec![0.0; hidden];
    let tokens = batch.ids.iter().zip(batch.places()).enumerate();
    for (out, (t, (id, (place, kind)))) in output.chunks_exact_mut(hidden).zip(tokens) {
        let id = *id as usize;
        word.read_rows(id..id + 1, out);
        out.iter_mut().for_each(|o| *o *= scale);
        if let Some(PositionSpec { table, first, uncounted }) = position {
            let text = &batch.ids[t - place..t]; // before this token
            let p = match *uncounted {
                Some(left_out) if left_out == id as u32 => first - 1,
                left_out => first + text.iter().filter(|&&other| Some(other) != left_out).count(),
            };
            table.read_rows(p..p + 1, &mut row);
            out.iter_mut().zip(&row).for_each(|(o, v)| *o += v);
        }
        if let Some(table) = token_type {
            let kind = kind.min(table.rows() - 1);
            table.read_rows(kind..kind + 1, &mut row);
            out.iter_mut().zip(&row).for_each(|(o, v)| *o += v);
        }
    }
    output
}

/// The `top` largest of a row's softmax, largest first: place and value.
fn route(scores: &[f32], top: usize) -> Vec<f32> {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = scores.iter().map(|s| f64::from(s - max).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a])); // stable: the first of equals
    order.into_iter().take(top).flat_map(|e| [e as f32, (weights[e] / total) as f32]).collect()
}

fn normalize_row(norm: &NormSpec, weights: &StepWeights, row: &mut [f32]) {
    let count = row.len() as f64;
    let mean = match norm.kind {
        NormKind::LayerNorm => row.iter().map(|v| f64::from(*v)).sum::<f64>() / count,
        NormKind::RmsNorm => 0.0,
    };
    let variance = row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    let deviation = (variance + f64::from(norm.eps)).sqrt();
    for (i, value) in row.iter_mut().enumerate() {
        let bias = weights.main_bias.as_ref().map_or(0.0, |bias| f64::from(bias[i]));
        *value = ((f64::from(*value) - mean) / deviation * f64::from(weights.main[i]) + bias) as f32;
    }
}

fn run_linear(
    linear: &LinearSpec,
    gated: bool,
    activation: Activation,
    weights: &StepWeights,
    input: &[f32],
) -> Vec<f32> {
    let (inputs, outputs) = (linear.inputs(), linear.outputs());
    let product = |x: &[f32], weights: &[f32], bias: &Option<Vec<f32>>, o: usize| {
        let row = &weights[o * inputs..][..inputs];
        let dot: f64 = x.iter().zip(row).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
        dot + bias.as_ref().map_or(0.0, |bias| f64::from(bias[o]))
    };
    let mut result = Vec::with_capacity(input.len() / inputs * outputs);
    for x in input.chunks_exact(inputs) {
        for o in 0..outputs {
            let y = product(x, &weights.main, &weights.main_bias, o);
            let y = if gated {
                y * activate(activation, product(x, &weights.gate, &weights.gate_bias, o))
            } else {
                activate(activation, y)
            };
            result.push(y as f32);
        }
    }
    result
}

/// The formulas are in the kernels' `Activation`.
fn activate(activation: Activation, x: f64) -> f64 {
    use std::f64::consts::{FRAC_1_SQRT_2, PI};
    match activation {
        Activation::Identity => x,
        Activation::GeluErf => 0.5 * x * (1.0 + libm::erf(x * FRAC_1_SQRT_2)),
        Activation::GeluTanh => 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x * x * x)).tanh()),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Activation::Tanh => x.tanh(),
        Activation::Rare(rare) => rarely_activate(rare, x),
    }
}

/// Not 1/√2: transformers has six digits of it.
#[allow(clippy::approx_constant)]
const LAPLACE_MEAN: f64 = 0.707107;

/// PyTorch's formulas, as its documentation has them.
fn rarely_activate(activation: RareActivation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let softplus = |x: f64| if x > 20.0 { x } else { x.exp().ln_1p() };
    let clamp = |x: f64, low: f64, high: f64| {
        if x < low {
            low
        } else if x > high {
            high
        } else {
            x
        }
    };
    match activation {
        RareActivation::ClippedGelu => clamp(activate(Activation::GeluErf, x), -10.0, 10.0),
        RareActivation::Elu => {
            if x > 0.0 {
                x
            } else {
                x.exp() - 1.0
            }
        }
        RareActivation::HardSigmoid => clamp(x / 6.0 + 0.5, 0.0, 1.0),
        RareActivation::HardSwish => x * clamp(x / 6.0 + 0.5, 0.0, 1.0),
        RareActivation::HardTanh => clamp(x, -1.0, 1.0),
        RareActivation::Laplace => {
            0.5 * (1.0 + libm::erf((x - LAPLACE_MEAN) / (0.282095 * std::f64::consts::SQRT_2)))
        }
        RareActivation::LeakyRelu => {
            if x < 0.0 {
                0.01 * x
            } else {
                x
            }
        }
        RareActivation::LogSigmoid => -softplus(-x),
        RareActivation::Mish => x * softplus(x).tanh(),
        RareActivation::QuickGelu => x * sigmoid(1.702 * x),
        RareActivation::Relu6 => clamp(x, 0.0, 6.0),
        RareActivation::ReluSquared => {
            if x < 0.0 {
                0.0
            } else {
                x * x
            }
        }
        RareActivation::Selu => {
            let (scale, alpha) = (1.050_700_987_355_480_5, 1.673_263_242_354_377_2);
            scale * if x > 0.0 { x } else { alpha * (x.exp() - 1.0) }
        }
        RareActivation::Sigmoid => sigmoid(x),
        RareActivation::Softplus => softplus(x),
        RareActivation::Softsign => x / (1.0 + x.abs()),
        RareActivation::TanhShrink => x - x.tanh(),
    }
}

fn rotate(
    table: &RotaryTable,
    batch: &RaggedBatch,
    values: &mut [f32],
    width: usize,
    columns: &Range<usize>,
) {
    let half = table.head_dim / 2;
    let of_tokens = table.is_dynamic().then(|| table.of_tokens(batch));
    for range in batch.ranges() {
        for t in range.clone() {
            let (table, place) = match &of_tokens {
                Some(of_tokens) => (of_tokens, t),
                None => (table, t - range.start),
            };
            let angles = place * half;
            let row = &mut values[t * width..][..width][columns.clone()];
            for head in row.chunks_exact_mut(table.head_dim) {
                for i in 0..half {
                    let (cos, sin) = (table.cos[angles + i], table.sin[angles + i]);
                    let (a, b) = (head[i], head[i + half]);
                    head[i] = a * cos - b * sin;
                    head[i + half] = b * cos + a * sin;
                }
            }
        }
    }
}

/// One value of a pooled row: `value` gives that of each token of the batch.
fn pool(mode: PoolingMode, part: &Pool, value: impl Fn(usize) -> f64) -> f64 {
    let tokens = part.tokens.clone();
    let count = tokens.len() as f64;
    let sum = || tokens.clone().map(&value).sum::<f64>();
    // Unlike `f64::max`, NaN stays.
    let larger = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
    match mode {
        PoolingMode::Cls => value(tokens.start),
        PoolingMode::LastToken => value(tokens.end - 1),
        PoolingMode::Max => tokens.clone().map(&value).fold(f64::NEG_INFINITY, larger),
        PoolingMode::Mean => sum() / count,
        PoolingMode::MeanSqrtLen => sum() / count.sqrt(),
        PoolingMode::WeightedMean => {
            // The i-th token of the text weighs i, counted from 1, pooled or not.
            let weight = |token: usize| (token - part.start + 1) as f64;
            let total: f64 = tokens.clone().map(weight).sum();
            tokens.clone().map(|token| weight(token) * value(token)).sum::<f64>() / total
        }
        PoolingMode::Splade(Splade { sum, twice }) => {
            let weight = |token: usize| {
                let once = larger(0.0, value(token)).ln_1p();
                if twice { once.ln_1p() } else { once }
            };
            match sum {
                true => tokens.clone().map(weight).sum(),
                false => tokens.clone().map(weight).fold(0.0, larger),
            }
        }
    }
}

/// `x / max(‖x‖, 1e-12)`
fn to_unit_length(row: &mut [f32]) {
    let squares: f64 = row.iter().map(|value| f64::from(*value).powi(2)).sum();
    let length = squares.sqrt().max(1e-12);
    row.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
}
