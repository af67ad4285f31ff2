//! Rotary frequencies, plain or scaled for longer contexts.
//!
//! Formulas: transformers, `modeling_rope_utils.py`.

use crate::error::ModelResult as Result;
use crate::model::spec::RotarySpec;
use crate::source::Json;
use std::f64::consts::PI;

/// The frequencies that config.json asks for, for heads of `head_dim`.
///
/// Newer files say `rope_parameters`, older ones `rope_theta` and `rope_scaling`.
pub(in super::super) fn rotary(config: &Json, head_dim: usize, default_theta: f64) -> Result<RotarySpec> {
    if config.number_or("partial_rotary_factor", 1.0)? != 1.0 {
        return Err(
            config.error("`partial_rotary_factor` is not 1: rotating a part of each head is not supported")
        );
    }
    let theta = config.number_or("rope_theta", default_theta)?;
    match config.object("rope_parameters")?.or(config.object("rope_scaling")?) {
        Some(rope) => scaled(&rope, head_dim, theta),
        None => plain(config, head_dim, theta),
    }
}

/// The frequencies for one of the layer types under `rope_parameters`, or the plain ones for the
/// theta that an older file has under `older_key`.
pub(in super::super) fn rotary_by_layer_type(
    config: &Json,
    layer_type: &str,
    older_key: &str,
    default_theta: f64,
    head_dim: usize,
) -> Result<RotarySpec> {
    let nested = config.object("rope_parameters")?.map(|rope| rope.object(layer_type)).transpose()?.flatten();
    match nested {
        Some(rope) => scaled(&rope, head_dim, default_theta),
        None => match config.get("rope_scaling") {
            None => plain(config, head_dim, config.number_or(older_key, default_theta)?),
            Some(scaling) => Err(config.unsupported("rope_scaling", scaling.to_string(), "null")),
        },
    }
}

fn plain(config: &Json, head_dim: usize, theta: f64) -> Result<RotarySpec> {
    if theta > 0.0 {
        return Ok(RotarySpec::from_theta(theta, head_dim));
    }
    Err(config.error(format!("`rope_theta` is {theta}, expected a positive number")))
}

/// The frequencies of a `rope_parameters` or `rope_scaling` object.
fn scaled(rope: &Json, head_dim: usize, theta: f64) -> Result<RotarySpec> {
    let theta = rope.number_or("rope_theta", theta)?;
    let kind = rope.text("rope_type")?.or(rope.text("type")?).unwrap_or("default");
    if kind == "default" {
        return plain(rope, head_dim, theta);
    }
    let factor = rope.number_or("factor", 1.0)?;
    if factor < 1.0 {
        return Err(rope.error(format!("the rope `factor` is {factor}, expected 1 or more")));
    }
    match kind {
        "linear" => Ok(plain(rope, head_dim, theta)?.map(|frequency| frequency / factor as f32)),
        // "NTK-aware": a larger base, and all frequencies lower (Alibaba-NLP's `new` models).
        "ntk" => {
            let lower = factor.powf(2.0 / head_dim as f64) as f32;
            Ok(plain(rope, head_dim, theta * factor)?.map(|frequency| frequency / lower))
        }
        "llama3" => llama3(rope, plain(rope, head_dim, theta)?, factor),
        _ => Err(rope.unsupported("rope type", kind, "default, linear, ntk, llama3")),
    }
}

/// Long wavelengths are scaled, short ones kept, those between blended.
fn llama3(rope: &Json, plain: RotarySpec, factor: f64) -> Result<RotarySpec> {
    let low = rope.number_or("low_freq_factor", 1.0)?;
    let high = rope.number_or("high_freq_factor", 4.0)?;
    let old = rope.size("original_max_position_embeddings")? as f64;
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rotary_of(value: serde_json::Value, head_dim: usize) -> Result<RotarySpec> {
        rotary(&Json { path: "config.json".into(), value }, head_dim, 10_000.0)
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
        let error = rotary_of(json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}), 8).unwrap_err();
        assert!(error.to_string().contains("yarn"), "{error}");
        assert!(rotary_of(json!({"rope_theta": -1.0}), 8).is_err());
    }
}
