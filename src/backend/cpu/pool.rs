//! Pooling on the CPU.

use crate::vector::{PoolingMode, Splade};

/// Pools one text: `hidden` is `[tokens, width]`, `out` is `[width]`. The first `skip` tokens
/// (those of a prompt that the model keeps out) are left out; at least one token must remain.
pub(super) fn pool(mode: PoolingMode, hidden: &[f32], width: usize, skip: usize, out: &mut [f32]) {
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
        PoolingMode::Splade(splade @ Splade { sum: false, .. }) => {
            // The weight grows with the logit, so the largest logit has the largest weight.
            pool(PoolingMode::Max, hidden, width, skip, out);
            out.iter_mut().for_each(|o| *o = splade_weight(splade, *o));
        }
        PoolingMode::Splade(splade) => {
            out.fill(0.0);
            for row in pooled.chunks_exact(width) {
                out.iter_mut().zip(row).for_each(|(o, v)| *o += splade_weight(splade, *v));
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

/// What a logit weighs.
fn splade_weight(splade: Splade, logit: f32) -> f32 {
    // Written so that NaN stays.
    let positive = if logit < 0.0 { 0.0 } else { f64::from(logit) };
    let once = positive.ln_1p();
    (if splade.twice { once.ln_1p() } else { once }) as f32
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
            (
                PoolingMode::Splade(Splade { sum: false, twice: false }),
                0,
                [7f64.ln() as f32, 11f64.ln() as f32],
            ),
            (
                PoolingMode::Splade(Splade { sum: false, twice: true }),
                1,
                [7f64.ln().ln_1p() as f32, 5f64.ln().ln_1p() as f32],
            ),
            (
                PoolingMode::Splade(Splade { sum: true, twice: false }),
                1,
                [3f64.ln() as f32 + 7f64.ln() as f32, 5f64.ln() as f32],
            ),
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
