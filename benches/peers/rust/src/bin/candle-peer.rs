//! candle's BERT in f32: sorted by length, padded batches of 32, the mean over the tokens, unit length.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use taskvec_peers::{Arguments, serve};
use tokenizers::{PaddingParams, Tokenizer, TruncationParams};

fn main() -> Result<()> {
    let Arguments { model: folder, .. } = Arguments::read()?;
    let read = |name: &str| std::fs::read(format!("{folder}/{name}")).context(name.to_owned());
    let config: Config = serde_json::from_slice(&read("config.json")?)?;
    let mut tokenizer = Tokenizer::from_bytes(read("tokenizer.json")?).map_err(anyhow::Error::msg)?;
    tokenizer.with_padding(Some(PaddingParams::default()));
    tokenizer
        .with_truncation(Some(TruncationParams { max_length: 256, ..TruncationParams::default() }))
        .map_err(anyhow::Error::msg)?;
    let weights = VarBuilder::from_buffered_safetensors(read("model.safetensors")?, DType::F32, &Device::Cpu)?;
    let model = BertModel::load(weights, &config)?;
    serve(|texts| {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&i| texts[i].len());
        let mut vectors = vec![Vec::new(); texts.len()];
        for chunk in order.chunks(32) {
            let batch: Vec<&str> = chunk.iter().map(|&i| texts[i].as_str()).collect();
            for (&i, vector) in chunk.iter().zip(embed(&model, &tokenizer, batch)?) {
                vectors[i] = vector;
            }
        }
        Ok(vectors)
    })
}

fn embed(model: &BertModel, tokenizer: &Tokenizer, texts: Vec<&str>) -> Result<Vec<Vec<f32>>> {
    let encodings = tokenizer.encode_batch(texts, true).map_err(anyhow::Error::msg)?;
    let (rows, columns) = (encodings.len(), encodings[0].len());
    let ids: Vec<u32> = encodings.iter().flat_map(|encoding| encoding.get_ids()).copied().collect();
    let mask: Vec<u32> = encodings.iter().flat_map(|encoding| encoding.get_attention_mask()).copied().collect();
    let ids = Tensor::from_vec(ids, (rows, columns), &Device::Cpu)?;
    let mask = Tensor::from_vec(mask, (rows, columns), &Device::Cpu)?;
    let hidden = model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
    let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
    let mean = hidden.broadcast_mul(&mask)?.sum(1)?.broadcast_div(&mask.sum(1)?)?;
    Ok(mean.broadcast_div(&mean.sqr()?.sum_keepdim(1)?.sqrt()?)?.to_vec2()?)
}
