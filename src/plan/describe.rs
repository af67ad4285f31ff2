//! Steps as text, for `taskvec inspect`.

use super::network::Plan;
use super::step::{BufferId, Step};
use crate::model::{Activation, AttentionWindow, PositionSpec};
use std::fmt;

/// One line: what the step does, on which buffers, with which sizes.
pub(crate) struct Described<'a>(pub(crate) &'a Plan, pub(crate) &'a Step);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Described(plan, step) = self;
        let name = |id: &BufferId| plan.buffers[id.0].name;
        match step {
            Step::Embed { word, scale, position, token_type, output } => {
                write!(f, "embed      ids -> {}  word {:?}", name(output), word.shape())?;
                if *scale != 1.0 {
                    write!(f, " · {scale}")?;
                }
                if let Some(PositionSpec { table, first, uncounted }) = position {
                    write!(f, " + position {:?} from {first}", table.shape())?;
                    uncounted.map_or(Ok(()), |id| write!(f, " without token {id}"))?;
                }
                token_type.as_ref().map_or(Ok(()), |_| write!(f, " + token type"))
            }
            Step::Norm { norm, input, residual, scale, output } => {
                write!(
                    f,
                    "norm       {} -> {}  {:?} eps {:e}",
                    name(input),
                    name(output),
                    norm.kind,
                    norm.eps
                )?;
                residual.as_ref().map_or(Ok(()), |residual| write!(f, ", + {}", name(residual)))?;
                if *scale == 1.0 { Ok(()) } else { write!(f, ", · {scale}") }
            }
            Step::Linear { linear, gate, activation, input, factor, residual, output, .. } => {
                write!(
                    f,
                    "linear     {} -> {}  [{}, {}]",
                    name(input),
                    name(output),
                    linear.outputs(),
                    linear.inputs()
                )?;
                if linear.parts.iter().any(|(_, bias)| bias.is_some()) {
                    write!(f, " + bias")?;
                }
                if *activation != Activation::Identity {
                    write!(f, ", {activation:?}{}", if gate.is_some() { " gate" } else { "" })?;
                }
                if let Some((factor, column)) = factor {
                    write!(f, ", ⊙ {} from column {column}", name(factor))?;
                }
                residual.as_ref().map_or(Ok(()), |residual| write!(f, ", + {}", name(residual)))
            }
            Step::Route { top, input, output } => {
                write!(f, "route      {} -> {}  the best {top}", name(input), name(output))
            }
            Step::ExpertUp { weight, experts, activation, input, output, .. } => {
                let (from, to) = (name(input), name(output));
                write!(f, "experts    {from} -> {to}  {experts} in {:?}, {activation:?}", weight.shape())
            }
            Step::ExpertDown { weight, experts, input, residual, output, .. } => {
                let (from, to) = (name(input), name(output));
                write!(
                    f,
                    "experts    {from} -> {to}  {experts} in {:?}, + {}",
                    weight.shape(),
                    name(residual)
                )
            }
            Step::HeadNorm { norm, buffer, columns } => {
                write!(
                    f,
                    "head norm  {} columns {columns:?}  {:?} [{}] eps {:e}",
                    name(buffer),
                    norm.kind,
                    norm.size,
                    norm.eps
                )
            }
            Step::Rotary { table, buffer, columns } => {
                write!(f, "rotary     {} columns {columns:?}  heads of {}", name(buffer), table.head_dim)
            }
            Step::Attention { heads, kv_heads, head_dim, window, bias, positions, input, output, .. } => {
                write!(f, "attention  {} -> {}  {heads} heads of {head_dim}", name(input), name(output))?;
                if kv_heads != heads {
                    write!(f, ", {kv_heads} of keys and values")?;
                }
                match window {
                    AttentionWindow { before: None, after: None } => {}
                    AttentionWindow { before: None, after: Some(0) } => write!(f, ", causal")?,
                    AttentionWindow { before, after } => {
                        write!(f, ", keys from {before:?} before to {after:?} after")?
                    }
                }
                match (bias, positions) {
                    (Some(_), _) => write!(f, ", distance bias"),
                    (None, Some(_)) => write!(f, ", vectors by distance"),
                    (None, None) => Ok(()),
                }
            }
            Step::ShortConv { taps, before, input, output } => {
                let taps = taps.columns();
                write!(f, "short conv {} -> {}  {taps} taps, {before} before", name(input), name(output))
            }
            Step::Pool { modes, input, output } => {
                let modes: Vec<&str> = modes.iter().map(|mode| mode.name()).collect();
                write!(f, "pool       {} -> {}  {}", name(input), name(output), modes.join(" | "))
            }
            Step::Normalize { input, output } => write!(f, "normalize  {} -> {}", name(input), name(output)),
        }
    }
}
