//! Short convolutions along a text: a few multiplications for each value, beside the products around them next to nothing.

use crate::batch::RaggedBatch;

/// `out[t] = C[t] ⊙ Σⱼ taps[j] ⊙ B[t'] ⊙ X[t']` with `t' = t - before + j` in t's text.
///
/// `taps`: `[taps, hidden]`; `parts`: B, C and X side by side, `[tokens, 3 · hidden]`; `out`: `[tokens, hidden]`. The sum
/// of a token goes from the first tap to the last, whatever stands beside its text in the batch.
pub(super) fn convolve(
    taps: &[f32],
    before: usize,
    batch: &RaggedBatch,
    parts: &[f32],
    out: &mut [f32],
    hidden: usize,
) {
    let row = |token: usize| &parts[token * 3 * hidden..][..3 * hidden];
    for text in batch.ranges() {
        for token in text.clone() {
            let out = &mut out[token * hidden..][..hidden];
            out.fill(0.0);
            for (j, taps) in taps.chunks_exact(hidden).enumerate() {
                let Some(other) = (token + j).checked_sub(before).filter(|other| text.contains(other)) else {
                    continue;
                };
                let (gates, values) = (&row(other)[..hidden], &row(other)[2 * hidden..]);
                for (((sum, tap), gate), value) in out.iter_mut().zip(taps).zip(gates).zip(values) {
                    *sum += tap * (gate * value);
                }
            }
            out.iter_mut().zip(&row(token)[hidden..]).for_each(|(sum, gate)| *sum *= gate);
        }
    }
}
