//! The layer of BERT and its kin: LayerNorm after each addition, biases everywhere, full attention.

use super::{Bias, head_dim, layer_norm, linear};
use crate::error::ModelResult as Result;
use crate::model::relative::RelativeBiasSpec;
use crate::model::spec::*;
use crate::model::weights::Weights;
use crate::source::Json;

/// The sizes of a layer.
pub(in super::super) struct Shape {
    pub(in super::super) hidden: usize,
    pub(in super::super) heads: usize,
    pub(in super::super) intermediate: usize,
    pub(in super::super) eps: f32,
    pub(in super::super) activation: Activation,
}

/// What the tensors of a layer are called, after the layer's own prefix.
pub(in super::super) struct Names {
    pub(in super::super) query: &'static str,
    pub(in super::super) key: &'static str,
    pub(in super::super) value: &'static str,
    pub(in super::super) output: &'static str,
    pub(in super::super) attention_norm: &'static str,
    pub(in super::super) up: &'static str,
    pub(in super::super) down: &'static str,
    pub(in super::super) mlp_norm: &'static str,
}

/// The layer whose tensors start with `prefix`.
pub(in super::super) fn layer(
    config: &Json,
    weights: &Weights,
    prefix: &str,
    shape: &Shape,
    names: &Names,
    relative_bias: Option<RelativeBiasSpec>,
) -> Result<LayerSpec> {
    let Shape { hidden, heads, intermediate, eps, activation } = *shape;
    let head_dim = head_dim(config, hidden, heads)?;
    let square = |name: &str| {
        let because = "the hidden size in config.json";
        linear(weights, &format!("{prefix}.{name}"), hidden, hidden, Bias::Yes, because)
    };
    let dense = |name: &str, outputs: usize, inputs: usize| {
        let because = "intermediate_size (hidden_dim) and the hidden size in config.json";
        linear(weights, &format!("{prefix}.{name}"), outputs, inputs, Bias::Yes, because)
    };
    let norm =
        |name: &str| layer_norm(weights, &format!("{prefix}.{name}"), hidden, eps, Bias::Yes).map(Some);
    let query_key_value = LinearSpec::stack([square(names.query)?, square(names.key)?, square(names.value)?]);
    let attention = AttentionSpec {
        heads,
        kv_heads: heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        query_key_value,
        output: square(names.output)?,
        query_norm: None,
        key_norm: None,
        value_norm: None,
        rotary: None,
        relative_bias,
        relative_positions: None,
        window: AttentionWindow::ALL,
    };
    let mlp = DenseMlpSpec {
        up: dense(names.up, intermediate, hidden)?,
        gate: None,
        activation,
        down: dense(names.down, hidden, intermediate)?,
    };
    Ok(LayerSpec {
        attention_post_norm: norm(names.attention_norm)?,
        mlp_post_norm: norm(names.mlp_norm)?,
        ..LayerSpec::new(attention, mlp)
    })
}
