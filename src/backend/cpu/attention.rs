//! The attention step on the CPU: heads of texts, one after the other or shared between threads.

use super::workers::Workers;
use crate::batch::RaggedBatch;
use crate::plan::Step;
use std::ops::Range;
use taskvec_kernels::{
    Attention, AttentionScratch, Isa, KeyValuePanels, Matrix, MatrixMut, Storage, attention,
};

/// What one thread needs to compute heads.
#[derive(Default)]
pub(super) struct HeadScratch {
    panels: KeyValuePanels,
    attention: AttentionScratch,
}

/// How heads are computed.
#[derive(Clone, Copy)]
pub(super) struct AttentionKernel {
    isa: Isa,
    storage: Storage,
}

impl AttentionKernel {
    /// With weights stored as `weights`, queries, keys and values rounded to bf16 do little more; where
    /// products of bf16 are no faster than those of f32, f32 is taken.
    pub(super) fn new(isa: Isa, weights: Storage) -> AttentionKernel {
        let storage = match weights {
            Storage::Bf16 | Storage::Int8 if isa.has_fast_bf16() => Storage::Bf16,
            _ => Storage::F32,
        };
        AttentionKernel { isa, storage }
    }

    /// Scores that are not scaled down, as in T5, are so large that bf16 would shift their weights.
    fn storage_at(self, scale: f32) -> Storage {
        if scale < 1.0 { self.storage } else { Storage::F32 }
    }
}

/// Runs the step. There are as many scratches as workers.
pub(super) fn run(
    kernel: AttentionKernel,
    step: &Step,
    batch: &RaggedBatch,
    input: Matrix<'_>,
    out: MatrixMut<'_>,
    (workers, scratches): (&Workers, &mut [HeadScratch]),
) {
    let Step::Attention { kv_heads, .. } = step else {
        unreachable!("called for attention steps");
    };
    let mut rest = out;
    for (range, &keys) in batch.ranges().zip(&batch.keys) {
        let (text_out, others) = rest.split_rows(range.len());
        rest = others;
        let text = input.row_range(range.start, range.len());
        // Each worker takes some key heads, and the query heads they serve.
        let share = kv_heads.div_ceil(scratches.len());
        let columns_per_kv_head = text_out.columns() / kv_heads;
        let mut rest = Some(text_out);
        let parts = (0..*kv_heads).step_by(share).zip(&mut *scratches).map(|(first, scratch)| {
            let kv_range = first..(first + share).min(*kv_heads);
            let (part, others) = rest.take()?.split_columns(kv_range.len() * columns_per_kv_head);
            rest = Some(others);
            Some((kv_range, part, scratch))
        });
        workers.share(parts.flatten(), |(kv_range, part, scratch)| {
            run_heads(kernel, step, text, keys, kv_range, part, scratch);
        });
    }
}

/// The key heads `kv_range` of one text. Its first `visible_keys` tokens are seen. `out` holds the
/// columns of the query heads they serve.
fn run_heads(
    kernel: AttentionKernel,
    step: &Step,
    text: Matrix<'_>,
    visible_keys: usize,
    kv_range: Range<usize>,
    out: MatrixMut<'_>,
    scratch: &mut HeadScratch,
) {
    let Step::Attention { heads, kv_heads, head_dim, scale, window, bias, .. } = step else {
        unreachable!("called for attention steps");
    };
    let group = heads / kv_heads;
    let mut rest = out;
    for kv_head in kv_range {
        let keys = text.column_range((heads + kv_head) * head_dim, *head_dim);
        let values = text.column_range((heads + kv_heads + kv_head) * head_dim, *head_dim);
        let (keys, values) = (keys.row_range(0, visible_keys), values.row_range(0, visible_keys));
        scratch.panels.pack(kernel.isa, kernel.storage_at(*scale), *scale, keys, values);
        for head in kv_head * group..(kv_head + 1) * group {
            let (part, others) = rest.split_columns(*head_dim);
            rest = others;
            let queries = text.column_range(head * head_dim, *head_dim);
            let bias = bias.as_ref().map_or(&[][..], |bias| bias.head(head));
            let parameters = Attention { before: window.before, after: window.after, bias };
            attention(kernel.isa, queries, &scratch.panels, &parameters, part, &mut scratch.attention);
        }
    }
}
