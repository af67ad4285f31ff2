//! candle's BERT in f32: sorted by length, padded batches of 32, the mean over the tokens, unit length.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use std::path::Path;
use taskvec_peers::{Arguments, Batch, serve_batches};

fn main() -> Result<()> {
    let Arguments { model: folder, .. } = Arguments::read()?;
    let folder = Path::new(&folder);
    let read = |name: &str| std::fs::read(folder.join(name)).context(name.to_owned());
    let config: Config = serde_json::from_slice(&read("config.json")?)?;
    let weights =
        VarBuilder::from_buffered_safetensors(read("model.safetensors")?, DType::F32, &Device::Cpu)?;
    let model = BertModel::load(weights, &config)?;
    serve_batches(folder, |batch| embed(&model, batch))
}

fn embed(model: &BertModel, Batch { ids, mask, rows, columns }: Batch) -> Result<Vec<Vec<f32>>> {
    let ids = Tensor::from_vec(ids, (rows, columns), &Device::Cpu)?;
    let mask = Tensor::from_vec(mask, (rows, columns), &Device::Cpu)?;
    let hidden = model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
    let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
    let mean = hidden.broadcast_mul(&mask)?.sum(1)?.broadcast_div(&mask.sum(1)?)?;
    Ok(mean.broadcast_div(&mean.sqr()?.sum_keepdim(1)?.sqrt()?)?.to_vec2()?)
}
