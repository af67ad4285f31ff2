//! What stands on the hidden states in models for other outputs than embeddings: the language-model head
//! that SPLADE reads, and the classification head of a cross-encoder.
//!
//! Names and formulas: `transformers`, the `…ForMaskedLM` and `…ForSequenceClassification` classes.

use super::families::common::{Bias, activation, layer_norm, linear};
use crate::error::ModelResult as Result;
use crate::model::derived::RowMap;
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
        let norms = ["lm_head.layer_norm", "lm_head.norm"]; // RoBERTa's, gte's
        let norm = norms.into_iter().find(|norm| weights.has(&format!("{norm}.weight"))).unwrap_or(norms[0]);
        let dense = "lm_head.dense";
        let transform = Transform { dense, norm, activation: "gelu", bias: Bias::Yes };
        let bias = ["lm_head.bias", "lm_head.decoder.bias"].into_iter().find(|bias| weights.has(bias));
        (transform, "lm_head.decoder.weight", bias.unwrap_or("lm_head.bias"))
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

/// A causal language model's score: the last token's state times a row of the vocabulary's matrix, or the difference of
/// two. The rest of the vocabulary is not computed.
///
/// sentence-transformers' `cross_encoder/modules/logit_score.py`.
pub(crate) fn logit_head(
    config: &Json,
    weights: &Weights,
    encoder: &EncoderSpec,
    yes: usize,
    no: Option<usize>,
) -> Result<OutputHead> {
    let word = &encoder.embedding.word;
    let because = "vocab_size and the hidden size in config.json";
    let matrix = match weights.has("lm_head.weight") {
        true => weights.tensor("lm_head.weight", &[word.rows(), encoder.width()], because)?,
        false => word.clone(),
    };
    if let Some(id) = [Some(yes), no].into_iter().flatten().find(|id| *id >= matrix.rows()) {
        let problem =
            format!("the score is read from token {id}, but the vocabulary ends at {}", matrix.rows() - 1);
        return Err(config.error(problem));
    }
    let row = match no {
        Some(no) => matrix.difference(yes, no),
        None => matrix.mapped(RowMap { rows: vec![yes as u32], scale: Vec::new() }),
    };
    let linear = LinearSpec { parts: vec![(row, None)] };
    let head = HeadModule::Dense { linear, activation: Activation::Identity, residual: None };
    let pooling = Pooling { modes: vec![PoolingMode::LastToken], include_prompt: true };
    Ok(OutputHead::pooled(OutputKind::Labels, pooling, vec![head]))
}

/// How `pooling` in a configuration of NVIDIA's calls what is pooled.
pub(crate) fn pooling_of_config(config: &Json) -> Result<PoolingMode> {
    match config.text("pooling")?.unwrap_or("avg") {
        "avg" => Ok(PoolingMode::Mean),
        "cls" => Ok(PoolingMode::Cls),
        "last" => Ok(PoolingMode::LastToken),
        other => Err(config.unsupported("pooling", other, "avg, cls, last")),
    }
}

/// One score for each label: the classification head of a cross-encoder.
pub(crate) fn classification_head(
    config: &Json,
    weights: &Weights,
    encoder: &EncoderSpec,
) -> Result<OutputHead> {
    let hidden = encoder.hidden;
    let model_type = config.text("model_type")?.unwrap_or_default();
    let dense = |name: &str, activation: Activation| {
        let bias = Bias::from(weights.has(&format!("{name}.bias")));
        let linear = linear(weights, name, hidden, hidden, bias, "the hidden size in config.json")?;
        Ok::<_, crate::error::ModelError>(HeadModule::Dense { linear, activation, residual: None })
    };
    let (mut mode, mut of_tokens) = (PoolingMode::Cls, Vec::new());
    let (mut heads, last) = if weights.has("score.weight") {
        mode = match model_type {
            "llama_bidirec" => pooling_of_config(config)?,
            _ => PoolingMode::LastToken,
        };
        if config.number_or("temperature", 1.0)? != 1.0 {
            return Err(config.unsupported(
                "temperature",
                config.number_or("temperature", 1.0)?.to_string(),
                "1",
            ));
        }
        (Vec::new(), "score") // decoders
    } else if model_type == "eurobert" && weights.has("dense.weight") && weights.has("classifier.weight") {
        let dense = dense("dense", Activation::GeluErf)?;
        match config.text("classifier_pooling")?.unwrap_or("late") {
            "bos" => (vec![dense], "classifier"),
            "mean" => {
                mode = PoolingMode::Mean;
                (vec![dense], "classifier")
            }
            "late" => {
                // Of each token's score the mean; the last layer is linear, so that it may come after the mean.
                mode = PoolingMode::Mean;
                of_tokens = vec![dense];
                (Vec::new(), "classifier")
            }
            other => return Err(config.unsupported("classifier_pooling", other, "bos, late, mean")),
        }
    } else if weights.has("classifier.out_proj.weight") {
        // RoBERTa's and ELECTRA's have the same names.
        let between = if model_type == "electra" { Activation::GeluErf } else { Activation::Tanh };
        (vec![dense("classifier.dense", between)?], "classifier.out_proj")
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
    } else if model_type == "deberta-v2" && weights.has("pooler.dense.weight") {
        (vec![dense("pooler.dense", activation(config, "pooler_hidden_act", "gelu")?)?], "classifier")
    } else if weights.has("pooler.dense.weight") && weights.has("classifier.weight") {
        (vec![dense("pooler.dense", Activation::Tanh)?], "classifier") // BERT, gte, nomic
    } else if model_type == "albert" && weights.has("pooler.weight") && weights.has("classifier.weight") {
        (vec![dense("pooler", Activation::Tanh)?], "classifier")
    } else {
        let supported = "the heads of …ForSequenceClassification of BERT, RoBERTa (XLM and CamemBERT too), DistilBERT, ModernBERT, gte, ELECTRA, DeBERTa, ALBERT, nomic, EuroBERT, and of decoders (score)";
        return Err(config.unsupported("classification head", "none that is known", supported));
    };
    let labels =
        weights.shape(&format!("{last}.weight")).and_then(|shape| shape.first()).copied().unwrap_or(1);
    let bias = Bias::from(last != "score" || weights.has("score.bias"));
    let linear = linear(weights, last, labels, hidden, bias, "the number of labels and the hidden size")?;
    heads.push(HeadModule::Dense { linear, activation: Activation::Identity, residual: None });
    let pooling = Pooling { modes: vec![mode], include_prompt: true };
    Ok(OutputHead::new(OutputKind::Labels, of_tokens, Some(pooling), heads))
}
