//! rten on the pooled ONNX model, f32 or int8: sorted by length, padded batches of 32.

use anyhow::{Context, Result};
use rten::Model;
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, NdTensorView};
use std::path::Path;
use taskvec_peers::{Arguments, Batch, serve_batches};

fn main() -> Result<()> {
    let Arguments { model: folder, precision, threads } = Arguments::read()?;
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("RTEN_NUM_THREADS", threads.to_string()) };
    let folder = Path::new(&folder);
    let model = Model::load_file(folder.join(format!("onnx/pooled-{precision}.onnx")))?;
    serve_batches(folder, |batch| embed(&model, batch))
}

fn embed(model: &Model, Batch { ids, mask, rows, columns }: Batch) -> Result<Vec<Vec<f32>>> {
    let tensor = |values: Vec<u32>| {
        NdTensor::from_data([rows, columns], values.into_iter().map(u32::cast_signed).collect::<Vec<i32>>())
    };
    let types = tensor(vec![0; ids.len()]);
    let (ids, mask) = (tensor(ids), tensor(mask));
    let mut inputs = Vec::new();
    for (name, tensor) in [("input_ids", &ids), ("attention_mask", &mask), ("token_type_ids", &types)] {
        inputs.push((model.node_id(name)?, tensor.view().into()));
    }
    let mut outputs = model.run(inputs, &[model.node_id("sentence_embedding")?], None)?;
    let vectors = outputs.pop().context("no output")?;
    let vectors: NdTensorView<f32, 2> = (&vectors).try_into()?;
    Ok(vectors.iter().copied().collect::<Vec<f32>>().chunks(vectors.size(1)).map(<[f32]>::to_vec).collect())
}
