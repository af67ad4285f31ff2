//! Rotary frequencies, plain or scaled for longer contexts.
//!
//! Formulas: transformers, `modeling_rope_utils.py`.

use crate::error::ModelResult as Result;
use crate::model::spec::{LongerSpec, RotarySpec};
use crate::source::Json;
use std::f64::consts::PI;

/// The frequencies that config.json asks for, for heads of `head_dim`.
///
/// Newer files say `rope_parameters`, older ones `rope_theta` and `rope_scaling`. Where both are there, `rope_scaling`
/// stands for all of `rope_parameters`: transformers' `convert_rope_params_to_dict`.
pub(in super::super) fn rotary(config: &Json, head_dim: usize, default_theta: f64) -> Result<RotarySpec> {
    let theta = config.number_or("rope_theta", default_theta)?;
    match rope_object(config)? {
        Some(rope) => scaled(config, &rope, head_dim, theta),
        None => plain(config, head_dim, theta),
    }
}

/// `rope_scaling` if it says something, else `rope_parameters`.
fn rope_object(config: &Json) -> Result<Option<Json>> {
    let says_something = |rope: &Json| rope.value.as_object().is_some_and(|rope| !rope.is_empty());
    let parameters = config.object("rope_parameters")?;
    Ok(config.object("rope_scaling")?.filter(says_something).or(parameters.filter(says_something)))
}

/// The frequencies for one of the layer types under `rope_parameters`, or those for the theta that an older file has
/// under `older_key`. An older file's `rope_scaling` is that of the layers that see all keys.
pub(in super::super) fn rotary_by_layer_type(
    config: &Json,
    layer_type: &str,
    older_key: &str,
    default_theta: f64,
    head_dim: usize,
) -> Result<RotarySpec> {
    let theta = config.number_or(older_key, default_theta)?;
    let nested = config.object("rope_parameters")?.map(|rope| rope.object(layer_type)).transpose()?.flatten();
    // Of both, the older one's keys count: ModernBERT's in all layers, Gemma's in those that see all keys.
    let older = config.object("rope_scaling")?;
    let older = older.filter(|_| {
        layer_type == "full_attention" || matches!(config.text("model_type"), Ok(Some("modernbert")))
    });
    match (nested, older) {
        (Some(rope), Some(older)) => scaled(config, &rope.with(&older), head_dim, theta),
        (Some(rope), None) | (None, Some(rope)) => scaled(config, &rope, head_dim, theta),
        (None, None) => plain(config, head_dim, theta),
    }
}

fn plain(config: &Json, head_dim: usize, theta: f64) -> Result<RotarySpec> {
    if theta > 0.0 {
        return Ok(RotarySpec::from_theta(theta, head_dim));
    }
    Err(config.error(format!("`rope_theta` is {theta}, expected a positive number")))
}

/// The kinds of scaling, for messages.
const KINDS: &str = "default, linear, dynamic, yarn, longrope, llama3, proportional, ntk";

/// The frequencies of a `rope_parameters` or `rope_scaling` object.
fn scaled(config: &Json, rope: &Json, head_dim: usize, theta: f64) -> Result<RotarySpec> {
    let theta = rope.number_or("rope_theta", theta)?;
    let kind = rope.text("rope_type")?.or(rope.text("type")?).unwrap_or("default");
    let part = rope.number_or("partial_rotary_factor", config.number_or("partial_rotary_factor", 1.0)?)?;
    let plain = plain(rope, head_dim, theta)?;
    if kind == "default" {
        return Ok(plain); // the families here rotate whole heads whatever the factor is
    }
    if part != 1.0 && kind != "proportional" {
        return Err(rope.unsupported("partial_rotary_factor", part.to_string(), "1.0"));
    }
    let factor = rope.number_or("factor", 1.0)?;
    if factor < 1.0 {
        return Err(rope.error(format!("the rope `factor` is {factor}, expected 1 or more")));
    }
    match kind {
        "linear" => Ok(plain.map(|frequency| frequency / factor as f32)),
        // It grows with texts longer than `max_position_embeddings`, and there are none.
        "dynamic" => Ok(plain),
        // "NTK-aware": a larger base, and all frequencies lower (Alibaba-NLP's `new` models).
        "ntk" => {
            let lower = factor.powf(2.0 / head_dim as f64) as f32;
            Ok(RotarySpec::from_theta(theta * factor, head_dim).map(|frequency| frequency / lower))
        }
        "llama3" => llama3(rope, trained(config, rope)?, plain, factor),
        "yarn" => yarn(config, rope, theta, plain),
        "longrope" => longrope(config, rope, theta, head_dim),
        "proportional" => {
            let angles = (part * head_dim as f64) as usize / 2;
            let mut spec = plain.map(|frequency| frequency / factor as f32);
            spec.inverse_frequencies.iter_mut().skip(angles).for_each(|frequency| *frequency = 0.0);
            Ok(spec)
        }
        _ => Err(rope.unsupported("rope type", kind, KINDS)),
    }
}

/// The most tokens before the scaling: at the top of config.json, or in the object, or the model's.
fn trained(config: &Json, rope: &Json) -> Result<usize> {
    let key = "original_max_position_embeddings";
    let top = config.optional_size(key)?;
    Ok(match top.or(rope.optional_size(key)?) {
        Some(size) => size,
        None => config.size("max_position_embeddings")?,
    })
}

/// Long wavelengths are scaled, short ones kept, those between blended.
fn llama3(rope: &Json, trained: usize, plain: RotarySpec, factor: f64) -> Result<RotarySpec> {
    let low = rope.number_or("low_freq_factor", 1.0)?;
    let high = rope.number_or("high_freq_factor", 4.0)?;
    let old = trained as f64;
    if !(low > 0.0 && high > low) {
        let problem =
            format!("`low_freq_factor` {low} and `high_freq_factor` {high}: expected 0 < low < high");
        return Err(rope.error(problem));
    }
    Ok(plain.map(|frequency| {
        let f = f64::from(frequency);
        let wavelength = 2.0 * PI / f;
        if wavelength < old / high {
            frequency
        } else if wavelength > old / low {
            (f / factor) as f32
        } else {
            let t = (old / wavelength - low) / (high - low);
            ((1.0 - t) * f / factor + t * f) as f32
        }
    }))
}

/// Frequencies that turn often in a text are kept, those that hardly turn are scaled, those between blended; and
/// cosine and sine are larger.
///
/// B. Peng and others: YaRN (2023); transformers' `_compute_yarn_parameters`.
fn yarn(config: &Json, rope: &Json, theta: f64, plain: RotarySpec) -> Result<RotarySpec> {
    let trained = trained(config, rope)? as f64;
    let factor = match rope.get("factor") {
        Some(_) => rope.number_or("factor", 1.0)?,
        None => config.size("max_position_embeddings")? as f64 / trained,
    };
    let mscale = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
    let (of_one, of_all) = (rope.number_or("mscale", 0.0)?, rope.number_or("mscale_all_dim", 0.0)?);
    let inferred = if of_one != 0.0 && of_all != 0.0 { mscale(of_one) / mscale(of_all) } else { mscale(1.0) };
    let attention_factor = rope.number_or("attention_factor", inferred)?;
    let or = |key: &str, default: f64| rope.number_or(key, 0.0).map(|x| if x == 0.0 { default } else { x });
    let (fast, slow) = (or("beta_fast", 32.0)?, or("beta_slow", 1.0)?);
    let count = plain.inverse_frequencies.len();
    let dimensions = 2 * count;
    if !(fast > 0.0 && slow > 0.0) {
        return Err(
            rope.error(format!("`beta_fast` is {fast}, `beta_slow` {slow}: expected positive numbers"))
        );
    }
    // The dimension that turns so often in a text of the trained length.
    let dimension = |turns: f64| dimensions as f64 * (trained / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln());
    let (mut low, mut high) = (dimension(fast), dimension(slow));
    if rope.flag_or("truncate", true)? {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, mut high) = (low.max(0.0), high.min(dimensions as f64 - 1.0));
    if low == high {
        high += 0.001;
    }
    let frequencies = plain.inverse_frequencies.iter().enumerate().map(|(i, &frequency)| {
        let kept = 1.0 - ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
        frequency / factor as f32 * (1.0 - kept) + frequency * kept
    });
    Ok(RotarySpec {
        inverse_frequencies: frequencies.collect(),
        attention_factor: attention_factor as f32,
        ..plain.clone()
    })
}

/// A factor for each frequency: one list for texts up to the trained length, one for longer ones.
///
/// Y. Ding and others: LongRoPE (2024); transformers' `_compute_longrope_parameters`.
fn longrope(config: &Json, rope: &Json, theta: f64, head_dim: usize) -> Result<RotarySpec> {
    let trained = trained(config, rope)?;
    let plain = RotarySpec::from_theta(theta, head_dim);
    let frequencies = |key: &str| -> Result<Vec<f32>> {
        let factors: Option<Vec<f64>> =
            rope.list(key)?.unwrap_or_default().iter().map(serde_json::Value::as_f64).collect();
        let factors = factors.filter(|list| list.len() == head_dim / 2 && list.iter().all(|x| *x > 0.0));
        let expected = || rope.error(format!("`{key}` is not a list of {} positive numbers", head_dim / 2));
        let factors = factors.ok_or_else(expected)?;
        Ok(plain.inverse_frequencies.iter().zip(factors).map(|(f, factor)| f / factor as f32).collect())
    };
    let factor = match rope.get("factor") {
        Some(_) => rope.number_or("factor", 1.0)?,
        None => config.size("max_position_embeddings")? as f64 / trained as f64,
    };
    let inferred = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (trained as f64).ln()).sqrt() };
    Ok(RotarySpec {
        inverse_frequencies: frequencies("short_factor")?,
        longer: Some(LongerSpec::Frequencies { of_long: frequencies("long_factor")?, trained }),
        attention_factor: rope.number_or("attention_factor", inferred)? as f32,
        query_growth: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rotary_of(value: serde_json::Value, head_dim: usize) -> Result<RotarySpec> {
        rotary(&Json::new("config.json".into(), value), head_dim, 10_000.0)
    }

    /// Alibaba-NLP/gte-multilingual-base: theta 20000, NTK factor 8; its first frequency is not 1.
    #[test]
    fn ntk_scaling_has_the_published_frequencies() {
        let config = json!({"rope_theta": 20000, "rope_scaling": {"type": "ntk", "factor": 8.0}});
        let frequencies = rotary_of(config, 64).unwrap().inverse_frequencies;
        for (got, want) in frequencies.iter().zip([0.937084, 0.644391, 0.443120]) {
            assert!((got - want).abs() < 2e-6, "{got} not {want}");
        }
    }

    #[test]
    fn llama3_keeps_short_wavelengths_and_scales_long_ones() {
        let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
        let scaled = rotary_of(json!({"rope_theta": 500000.0, "rope_scaling": scaling}), 128).unwrap();
        let plain = RotarySpec::from_theta(500000.0, 128);
        let ratio = |i: usize| scaled.inverse_frequencies[i] / plain.inverse_frequencies[i];
        assert_eq!(ratio(0), 1.0);
        assert_eq!(ratio(63), 0.125);
        assert!((0..63).all(|i| ratio(i) >= ratio(i + 1)), "falls from one to the other");
    }

    #[test]
    fn both_spellings_are_read_and_unknown_kinds_refused() {
        let new = rotary_of(
            json!({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1000.0}}),
            8,
        );
        let old =
            rotary_of(json!({"rope_theta": 1000.0, "rope_scaling": {"type": "linear", "factor": 2.0}}), 8);
        assert_eq!(new.unwrap(), old.unwrap());
        let error =
            rotary_of(json!({"rope_scaling": {"rope_type": "spiral", "factor": 4.0}}), 8).unwrap_err();
        assert!(error.to_string().contains("spiral"), "{error}");
        assert!(rotary_of(json!({"rope_theta": -1.0}), 8).is_err());
    }
}
