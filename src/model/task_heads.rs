//! What stands on the hidden states in models for other outputs than embeddings: the language-model head
//! that SPLADE reads, and the classification head of a cross-encoder.
//!
//! Names and formulas: `transformers`, the `…ForMaskedLM` and `…ForSequenceClassification` classes.

use super::families::common::{Bias, activation, layer_norm, linear};
use crate::error::ModelResult as Result;
use crate::model::output_head::{HeadModule, OutputHead, OutputKind, Pooling};
use crate::model::spec::*;
use crate::model::weights::Weights;
use crate::source::Json;
use crate::vector::PoolingMode;

/// A head's transformation before its last layer: names, and the key of its activation.
struct Transform {
    dense: &'static str,
    norm: &'static str,
    activation: &'static str,
    bias: Bias,
}

/// The logits of a language model for each token: transformation, norm, and the word table (or a
/// matrix of its own) with a bias.
pub(crate) fn language_model_head(
    config: &Json,
    weights: &Weights,
    encoder: &EncoderSpec,
) -> Result<Vec<HeadModule>> {
    let hidden = encoder.hidden;
    let word = &encoder.embedding.word;
    let (transform, decoder, bias) = if weights.has("cls.predictions.transform.dense.weight") {
        let (dense, norm) = ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm");
        let transform = Transform { dense, norm, activation: "hidden_act", bias: Bias::Yes };
        (transform, "cls.predictions.decoder.weight", "cls.predictions.bias")
    } else if weights.has("vocab_transform.weight") {
        let (dense, norm) = ("vocab_transform", "vocab_layer_norm");
        let transform = Transform { dense, norm, activation: "activation", bias: Bias::Yes };
        (transform, "vocab_projector.weight", "vocab_projector.bias")
    } else if weights.has("lm_head.dense.weight") {
        let (dense, norm) = ("lm_head.dense", "lm_head.layer_norm");
        let transform = Transform { dense, norm, activation: "gelu", bias: Bias::Yes };
        (transform, "lm_head.decoder.weight", "lm_head.bias")
    } else if weights.has("head.dense.weight") {
        let bias = Bias::from(weights.has("head.dense.bias"));
        let transform =
            Transform { dense: "head.dense", norm: "head.norm", activation: "classifier_activation", bias };
        (transform, "decoder.weight", "decoder.bias")
    } else {
        let supported = "the heads of BertForMaskedLM, DistilBertForMaskedLM, (XLM)RobertaForMaskedLM, ModernBertForMaskedLM";
        return Err(config.unsupported("language-model head", "none that is known", supported));
    };
    let because = "vocab_size and the hidden size in config.json";
    let shape = [word.rows(), hidden];
    let decoder = if weights.has(decoder) { weights.tensor(decoder, &shape, because)? } else { word.clone() };
    let bias = if weights.has(bias) { Some(weights.tensor(bias, &[word.rows()], because)?) } else { None };
    let [dense, norm] = transformed(config, weights, hidden, &transform)?;
    let linear = LinearSpec { parts: vec![(decoder, bias)] };
    Ok(vec![dense, norm, HeadModule::Dense { linear, activation: Activation::Identity, residual: None }])
}

fn transformed(
    config: &Json,
    weights: &Weights,
    hidden: usize,
    transform: &Transform,
) -> Result<[HeadModule; 2]> {
    let Transform { dense, norm, activation: key, bias } = *transform;
    let linear = linear(weights, dense, hidden, hidden, bias, "the hidden size in config.json")?;
    // RoBERTa's head always takes the exact GELU.
    let activation = if key == "gelu" { Activation::GeluErf } else { activation(config, key, "gelu")? };
    let eps = ["layer_norm_eps", "norm_eps"].into_iter().find(|key| config.get(key).is_some());
    let eps = match eps {
        Some(key) => config.epsilon_or(key, 1e-12)?,
        None => {
            if norm == "head.norm" {
                1e-5
            } else {
                1e-12
            }
        }
    };
    let norm_bias = Bias::from(weights.has(&format!("{norm}.bias")) || weights.has(&format!("{norm}.beta")));
    Ok([
        HeadModule::Dense { linear, activation, residual: None },
        HeadModule::Norm(layer_norm(weights, norm, hidden, eps, norm_bias)?),
    ])
}

/// One score for each label: the classification head of a cross-encoder.
pub(crate) fn classification_head(
    config: &Json,
    weights: &Weights,
    encoder: &EncoderSpec,
) -> Result<OutputHead> {
    let hidden = encoder.hidden;
    let dense = |name: &str, activation: Activation| {
        let bias = Bias::from(weights.has(&format!("{name}.bias")));
        let linear = linear(weights, name, hidden, hidden, bias, "the hidden size in config.json")?;
        Ok::<_, crate::error::ModelError>(HeadModule::Dense { linear, activation, residual: None })
    };
    let mut mode = PoolingMode::Cls;
    let (mut heads, last) = if weights.has("classifier.out_proj.weight") {
        (vec![dense("classifier.dense", Activation::Tanh)?], "classifier.out_proj") // RoBERTa
    } else if weights.has("pre_classifier.weight") {
        (vec![dense("pre_classifier", Activation::Relu)?], "classifier") // DistilBERT
    } else if weights.has("head.dense.weight") && weights.has("classifier.weight") {
        mode = match config.text("classifier_pooling")?.unwrap_or("cls") {
            "cls" => PoolingMode::Cls,
            "mean" => PoolingMode::Mean,
            other => return Err(config.unsupported("classifier_pooling", other, "cls, mean")),
        };
        let (dense, norm) = ("head.dense", "head.norm"); // ModernBERT
        let bias = Bias::from(weights.has("head.dense.bias"));
        let transform = Transform { dense, norm, activation: "classifier_activation", bias };
        (transformed(config, weights, hidden, &transform)?.into(), "classifier")
    } else if weights.has("pooler.dense.weight") && weights.has("classifier.weight") {
        (vec![dense("pooler.dense", Activation::Tanh)?], "classifier") // BERT, gte
    } else {
        let supported = "the heads of BertForSequenceClassification, RobertaForSequenceClassification (XLM too), DistilBertForSequenceClassification, ModernBertForSequenceClassification, GteForSequenceClassification";
        return Err(config.unsupported("classification head", "none that is known", supported));
    };
    let labels =
        weights.shape(&format!("{last}.weight")).and_then(|shape| shape.first()).copied().unwrap_or(1);
    let linear =
        linear(weights, last, labels, hidden, Bias::Yes, "the number of labels and the hidden size")?;
    heads.push(HeadModule::Dense { linear, activation: Activation::Identity, residual: None });
    Ok(OutputHead::pooled(OutputKind::Labels, Pooling { modes: vec![mode], include_prompt: true }, heads))
}
