//! BERT as text-embeddings-inference's candle backend computes it on a CPU: candle with MKL, query, key and
//! value in one product, the layer norm in separate operations. That backend is on no registry; this program
//! does the same operations of the same crate (backends/candle/src/{models/bert.rs, layers} of its repository).
//! Sorted by length, padded batches of 32.
//!
//! With MKL_AS_ON_INTEL in its environment it answers MKL as that project's image does.

use anyhow::{Context, Result};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_nn::ops::softmax_last_dim;
use candle_transformers::models::bert::Config;
use std::path::Path;
use taskvec_peers::{Arguments, Batch, serve_batches};

/// What MKL asks before it takes its kernels for Intel's processors: in place of its own answer. The image
/// always says 1; what `cargo install -F mkl` builds says 0 on AMD's, where this program does too unless told.
#[unsafe(no_mangle)]
pub extern "C" fn mkl_serv_intel_cpu_true() -> i32 {
    std::env::var_os("MKL_AS_ON_INTEL").is_some() as i32
}

fn main() -> Result<()> {
    let Arguments { model: folder, .. } = Arguments::read()?;
    let folder = Path::new(&folder);
    let read = |name: &str| std::fs::read(folder.join(name)).context(name.to_owned());
    let config: Config = serde_json::from_slice(&read("config.json")?)?;
    let weights =
        VarBuilder::from_buffered_safetensors(read("model.safetensors")?, DType::F32, &Device::Cpu)?;
    let model = Bert::load(&weights, &config)?;
    serve_batches(folder, |batch| model.embed(batch))
}

struct Linear {
    weight: Tensor, // [out, in]
    bias: Tensor,
}

impl Linear {
    fn load(weights: VarBuilder, outputs: usize, inputs: usize) -> Result<Linear> {
        Ok(Linear { weight: weights.get((outputs, inputs), "weight")?, bias: weights.get(outputs, "bias")? })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = self.weight.broadcast_left(x.dim(0)?)?.t()?;
        Ok(x.matmul(&weight)?.broadcast_add(&self.bias)?)
    }
}

struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl LayerNorm {
    fn load(weights: VarBuilder, config: &Config) -> Result<LayerNorm> {
        let size = config.hidden_size;
        Ok(LayerNorm {
            weight: weights.get(size, "weight")?,
            bias: weights.get(size, "bias")?,
            epsilon: config.layer_norm_eps,
        })
    }

    fn forward(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let x = x.add(residual)?;
        let size = x.dim(D::Minus1)? as f64;
        let x = x.broadcast_sub(&(x.sum_keepdim(D::Minus1)? / size)?)?;
        let variance = (x.sqr()?.sum_keepdim(D::Minus1)? / size)?;
        let x = x.broadcast_div(&(variance + self.epsilon)?.sqrt()?)?;
        Ok(x.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)?)
    }
}

struct Layer {
    qkv: Linear,
    heads: usize,
    attention_out: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    norm: LayerNorm,
}

impl Layer {
    fn load(weights: VarBuilder, config: &Config) -> Result<Layer> {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let attention = weights.pp("attention");
        let parts = ["query", "key", "value"]
            .map(|name| Linear::load(attention.pp("self").pp(name), hidden, hidden))
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        let qkv = Linear {
            weight: Tensor::cat(&parts.iter().map(|part| &part.weight).collect::<Vec<_>>(), 0)?,
            bias: Tensor::cat(&parts.iter().map(|part| &part.bias).collect::<Vec<_>>(), 0)?,
        };
        Ok(Layer {
            qkv,
            heads: config.num_attention_heads,
            attention_out: Linear::load(attention.pp("output.dense"), hidden, hidden)?,
            attention_norm: LayerNorm::load(attention.pp("output.LayerNorm"), config)?,
            up: Linear::load(weights.pp("intermediate.dense"), intermediate, hidden)?,
            down: Linear::load(weights.pp("output.dense"), hidden, intermediate)?,
            norm: LayerNorm::load(weights.pp("output.LayerNorm"), config)?,
        })
    }

    fn forward(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (rows, columns, hidden) = x.dims3()?;
        let size = hidden / self.heads;
        let qkv = self.qkv.forward(x)?.reshape((rows, columns, 3 * self.heads, size))?.transpose(1, 2)?;
        let qkv = qkv.chunk(3, 1)?;
        let scores = qkv[0].contiguous()?.matmul(&qkv[1].contiguous()?.t()?)?;
        let mut scores = (scores * (1.0 / (size as f64).sqrt()))?;
        if let Some(bias) = bias {
            scores = scores.add(bias)?;
        }
        let context = softmax_last_dim(&scores)?.matmul(&qkv[2].contiguous()?)?;
        let context = context.transpose(1, 2)?.flatten_from(D::Minus2)?;
        let x = self.attention_norm.forward(&self.attention_out.forward(&context)?, x)?;
        let intermediate = self.up.forward(&x)?.gelu()?;
        self.norm.forward(&self.down.forward(&intermediate)?, &x)
    }
}

struct Bert {
    words: Tensor,
    types: Tensor,
    positions: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl Bert {
    fn load(weights: &VarBuilder, config: &Config) -> Result<Bert> {
        let embeddings = weights.pp("embeddings");
        let table = |name: &str, rows: usize| embeddings.pp(name).get((rows, config.hidden_size), "weight");
        Ok(Bert {
            words: table("word_embeddings", config.vocab_size)?,
            types: table("token_type_embeddings", config.type_vocab_size)?,
            positions: table("position_embeddings", config.max_position_embeddings)?,
            norm: LayerNorm::load(embeddings.pp("LayerNorm"), config)?,
            layers: (0..config.num_hidden_layers)
                .map(|layer| Layer::load(weights.pp(format!("encoder.layer.{layer}")), config))
                .collect::<Result<_>>()?,
        })
    }

    fn embed(&self, Batch { ids, mask, rows, columns }: Batch) -> Result<Vec<Vec<f32>>> {
        let look_up = |table: &Tensor, ids: Vec<u32>| -> Result<Tensor> {
            let ids = Tensor::from_vec(ids, rows * columns, &Device::Cpu)?;
            Ok(table.index_select(&ids, 0)?.reshape((rows, columns, table.dim(1)?))?)
        };
        let positions = (0..rows).flat_map(|_| 0..columns as u32).collect();
        let words = look_up(&self.words, ids)?.add(&look_up(&self.types, vec![0; rows * columns])?)?;
        let mut x = self.norm.forward(&words, &look_up(&self.positions, positions)?)?;
        let heads = self.layers[0].heads;
        let bias = if mask.contains(&0) {
            let bias = mask.iter().map(|&mask| if mask == 1 { 0.0 } else { f32::NEG_INFINITY }).collect();
            let bias = Tensor::from_vec(bias, (rows, 1, 1, columns), &Device::Cpu)?;
            Some(bias.broadcast_as((rows, heads, columns, columns))?.contiguous()?)
        } else {
            None
        };
        for layer in &self.layers {
            x = layer.forward(&x, bias.as_ref())?;
        }
        let mask = Tensor::from_vec(mask, (rows, columns, 1), &Device::Cpu)?.to_dtype(DType::F32)?;
        let mean = x.broadcast_mul(&mask)?.sum(1)?.broadcast_div(&mask.sum(1)?)?;
        Ok(mean.broadcast_div(&mean.sqr()?.sum_keepdim(1)?.sqrt()?)?.to_vec2()?)
    }
}
