//! The vectors by distance that DeBERTa's attention multiplies with, worked out once when a model is opened.

use crate::error::ModelResult as Result;
use crate::model::{LinearSpec, RelativePositionsSpec, Tensor};
use rayon::prelude::*;
use taskvec_kernels::{
    Epilogue, GemmScratch, Isa, Matrix, MatrixMut, PackedWeights, Storage, gemm, layer_norm,
};

/// Rows that a thread takes at a time.
const ROWS: usize = 64;

/// What queries are multiplied with, and what keys are: `[rows, heads · head_dim]` each, where there is one.
pub(super) fn vectors(isa: Isa, spec: &RelativePositionsSpec) -> Result<[Option<Vec<f32>>; 2]> {
    let mut rows = spec.rows.to_vec()?;
    if let Some(norm) = &spec.norm {
        let bias = norm.bias.as_ref().map(Tensor::to_vec).transpose()?.unwrap_or_default();
        let mut normed = vec![0.0; rows.len()];
        let (count, size) = (spec.rows.rows(), spec.rows.columns());
        let out = MatrixMut::new(&mut normed, count, size, size);
        layer_norm(isa, Matrix::new(&rows, count, size, size), &norm.weights()?, &bias, norm.eps, out);
        rows = normed;
    }
    let projected =
        |linear: &Option<LinearSpec>| linear.as_ref().map(|it| project(isa, it, &rows)).transpose();
    Ok([projected(&spec.keys)?, projected(&spec.queries)?])
}

/// The linear layer on each row.
fn project(isa: Isa, linear: &LinearSpec, rows: &[f32]) -> Result<Vec<f32>> {
    let (inputs, outputs) = (linear.inputs(), linear.outputs());
    let mut weights = Vec::with_capacity(outputs * inputs);
    for (weight, _) in &linear.parts {
        weights.extend(weight.to_vec()?);
    }
    let packed = PackedWeights::pack(isa, Storage::F32, Matrix::new(&weights, outputs, inputs, inputs));
    let bias = linear.bias()?.unwrap_or_default();
    let epilogue = Epilogue { bias: &bias, ..Epilogue::default() };
    let mut result = vec![0.0; rows.len() / inputs * outputs];
    let shares = rows.par_chunks(ROWS * inputs).zip(result.par_chunks_mut(ROWS * outputs));
    shares.for_each_init(GemmScratch::default, |scratch, (rows, out)| {
        let count = rows.len() / inputs;
        let x = Matrix::new(rows, count, inputs, inputs);
        let out = MatrixMut::new(out, count, outputs, outputs);
        gemm(isa, x, &packed, 0..packed.panels(), &epilogue, out, scratch);
    });
    Ok(result)
}
