//! Pooling: the hidden states of a text's tokens to one vector.
//!
//! Formulas and names: sentence-transformers, `modules/pooling.py`.

/// How the hidden states of a text become one vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PoolingMode {
    /// The first pooled token's state.
    Cls,
    /// The largest value of each dimension.
    Max,
    /// The mean.
    Mean,
    /// The sum, divided by the square root of the number of tokens.
    MeanSqrtLen,
    /// The mean weighted by position: token i of the text (from 1) weighs i.
    WeightedMean,
    /// The last token's state.
    LastToken,
}

impl PoolingMode {
    /// All modes.
    pub(crate) const ALL: [PoolingMode; 6] = [
        PoolingMode::Cls,
        PoolingMode::Max,
        PoolingMode::Mean,
        PoolingMode::MeanSqrtLen,
        PoolingMode::WeightedMean,
        PoolingMode::LastToken,
    ];

    /// Its `pooling_mode` in a model's pooling configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            PoolingMode::Cls => "cls",
            PoolingMode::Max => "max",
            PoolingMode::Mean => "mean",
            PoolingMode::MeanSqrtLen => "mean_sqrt_len_tokens",
            PoolingMode::WeightedMean => "weightedmean",
            PoolingMode::LastToken => "lasttoken",
        }
    }

    /// The mode of that [`name`](PoolingMode::name).
    pub(crate) fn from_name(name: &str) -> Option<PoolingMode> {
        PoolingMode::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// Pools one text: `hidden` is `[tokens, width]`, `out` is `[width]`. The first `skip` tokens
/// (those of a prompt that the model keeps out) are left out; at least one token must remain.
pub(crate) fn pool(mode: PoolingMode, hidden: &[f32], width: usize, skip: usize, out: &mut [f32]) {
    let count = hidden.len() / width;
    let pooled = &hidden[skip * width..];
    match mode {
        PoolingMode::Cls => out.copy_from_slice(&pooled[..width]),
        PoolingMode::LastToken => out.copy_from_slice(&hidden[(count - 1) * width..]),
        PoolingMode::Max => {
            out.fill(f32::NEG_INFINITY);
            for row in pooled.chunks_exact(width) {
                // Written so that NaN wins.
                out.iter_mut().zip(row).for_each(|(o, &v)| *o = if v <= *o || o.is_nan() { *o } else { v });
            }
        }
        PoolingMode::Mean | PoolingMode::MeanSqrtLen => {
            out.fill(0.0);
            for row in pooled.chunks_exact(width) {
                out.iter_mut().zip(row).for_each(|(o, v)| *o += v);
            }
            let tokens = (count - skip) as f32;
            let divisor = if mode == PoolingMode::Mean { tokens } else { tokens.sqrt() };
            out.iter_mut().for_each(|o| *o /= divisor);
        }
        PoolingMode::WeightedMean => {
            out.fill(0.0);
            let mut total = 0.0;
            for (i, row) in pooled.chunks_exact(width).enumerate() {
                let weight = (skip + i + 1) as f32;
                out.iter_mut().zip(row).for_each(|(o, v)| *o += weight * v);
                total += weight;
            }
            out.iter_mut().for_each(|o| *o /= total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_by_hand_with_and_without_a_prompt() {
        let hidden = [1.0, 10.0, 2.0, -20.0, 6.0, 4.0]; // three tokens of two values
        let cases = [
            (PoolingMode::Cls, 0, [1.0, 10.0]),
            (PoolingMode::Cls, 1, [2.0, -20.0]),
            (PoolingMode::Max, 0, [6.0, 10.0]),
            (PoolingMode::Max, 1, [6.0, 4.0]),
            (PoolingMode::Mean, 0, [3.0, -2.0]),
            (PoolingMode::Mean, 1, [4.0, -8.0]),
            (PoolingMode::MeanSqrtLen, 1, [8.0 / 2f32.sqrt(), -16.0 / 2f32.sqrt()]),
            (PoolingMode::WeightedMean, 0, [23.0 / 6.0, -18.0 / 6.0]),
            (PoolingMode::WeightedMean, 1, [22.0 / 5.0, -28.0 / 5.0]),
            (PoolingMode::LastToken, 1, [6.0, 4.0]),
        ];
        for (mode, skip, expected) in cases {
            let mut out = [0.0; 2];
            pool(mode, &hidden, 2, skip, &mut out);
            assert_eq!(out, expected, "{mode:?} skipping {skip}");
        }
    }

    #[test]
    fn max_does_not_hide_nan() {
        let mut out = [0.0];
        pool(PoolingMode::Max, &[1.0, f32::NAN, 2.0], 1, 0, &mut out);
        assert!(out[0].is_nan());
    }
}
