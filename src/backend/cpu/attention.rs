//! The attention step on the CPU: heads of texts, one after the other or shared between threads.

use super::pairs::{HeadPairs, PairScratch, PositionWeights};
use super::workers::Workers;
use crate::batch::RaggedBatch;
use crate::plan::Step;
use std::ops::Range;
use taskvec_kernels::{
    Attention, AttentionScratch, Isa, KeyValuePanels, Matrix, MatrixMut, PairBias, QUERY_BLOCK, Storage,
    attention,
};

/// What one thread needs to compute heads.
#[derive(Default)]
pub(super) struct HeadScratch {
    panels: KeyValuePanels,
    attention: AttentionScratch,
    pairs: PairScratch,
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
    (step, positions): (&Step, Option<&PositionWeights>),
    batch: &RaggedBatch,
    input: Matrix<'_>,
    out: MatrixMut<'_>,
    (workers, scratches): (&Workers, &mut [HeadScratch]),
) {
    let mut rest = out;
    for (range, &keys) in batch.ranges().zip(&batch.keys) {
        let (out, others) = rest.split_rows(range.len());
        rest = others;
        let text = Text { kernel, step, positions, rows: input.row_range(range.start, range.len()), keys };
        let (heads, count) = (text.kv_heads(), scratches.len());
        if heads.is_multiple_of(count) || range.len() <= QUERY_BLOCK {
            let shares = text.whole_heads(heads.div_ceil(count), out).zip(&mut *scratches);
            workers.share(shares, |(queries, scratch)| text.run_heads(queries, scratch));
        } else {
            let shares = text.shares(count, out).into_iter().zip(&mut *scratches);
            workers.share(shares, |(share, scratch)| {
                share.into_iter().for_each(|queries| text.run_heads(queries, scratch));
            });
        }
    }
}

/// One text of a batch.
#[derive(Clone, Copy)]
struct Text<'a> {
    kernel: AttentionKernel,
    step: &'a Step,
    positions: Option<&'a PositionWeights>,
    /// Queries, keys and values: `[tokens, (heads + 2 · kv_heads) · head_dim]`
    rows: Matrix<'a>,
    /// As many of its tokens are seen.
    keys: usize,
}

/// Some queries of the heads that some key heads serve.
struct Queries<'a> {
    kv_heads: Range<usize>,
    /// The token that the first is.
    first: usize,
    /// `[queries, heads · head_dim]`
    out: MatrixMut<'a>,
}

impl Text<'_> {
    fn kv_heads(&self) -> usize {
        let Step::Attention { kv_heads, .. } = self.step else { unreachable!("called for attention steps") };
        *kv_heads
    }

    /// All queries of so many key heads at a time.
    fn whole_heads<'o>(&self, share: usize, out: MatrixMut<'o>) -> impl Iterator<Item = Queries<'o>> {
        let heads = self.kv_heads();
        let per_head = out.columns() / heads;
        let mut rest = Some(out);
        (0..heads).step_by(share).filter_map(move |first| {
            let kv_heads = first..(first + share).min(heads);
            let (out, others) = rest.take()?.split_columns(kv_heads.len() * per_head);
            rest = Some(others);
            Some(Queries { kv_heads, first: 0, out })
        })
    }

    /// Blocks of the queries of all heads in shares of about the same work, one for each worker. What sees more keys is
    /// more work. (Two workers at a head both pack its keys, which is little work where there are many queries.)
    fn shares<'o>(&self, workers: usize, out: MatrixMut<'o>) -> Vec<Vec<Queries<'o>>> {
        let tokens = self.rows.rows();
        let blocks: Vec<Range<usize>> =
            (0..tokens).step_by(QUERY_BLOCK).map(|first| first..tokens.min(first + QUERY_BLOCK)).collect();
        let work: Vec<usize> = blocks.iter().map(|rows| self.pairs(rows)).collect();
        let total = self.kv_heads() * work.iter().sum::<usize>();
        let mut shares: Vec<_> = (0..workers).map(|_| Vec::new()).collect();
        let mut done = 0;
        for Queries { kv_heads, out, .. } in self.whole_heads(1, out) {
            let mut rest = out;
            let mut start = 0;
            while start < blocks.len() {
                // The blocks of a head that one worker takes, together: whose share the middle of each is in.
                let worker = |done: usize, work: usize| (2 * done + work) * workers / (2 * total);
                let mine = worker(done, work[start]);
                let mut end = start;
                while end < blocks.len() && worker(done, work[end]) == mine {
                    done += work[end];
                    end += 1;
                }
                let rows = blocks[start].start..blocks[end - 1].end;
                let (out, others) = rest.split_rows(rows.len());
                rest = others;
                shares[mine.min(workers - 1)].push(Queries {
                    kv_heads: kv_heads.clone(),
                    first: rows.start,
                    out,
                });
                start = end;
            }
        }
        shares
    }

    /// Pairs of a query of these and a key that it sees.
    fn pairs(&self, rows: &Range<usize>) -> usize {
        let Step::Attention { window, .. } = self.step else { unreachable!("called for attention steps") };
        let seen = |row: usize| {
            let first = window.before.map_or(0, |before| row.saturating_sub(before));
            let end = window.after.map_or(self.keys, |after| self.keys.min(row.saturating_add(after + 1)));
            end.saturating_sub(first)
        };
        // The number of keys grows and falls by one with each row at most: the middle stands for all.
        rows.len() * (1 + seen(rows.start) + seen((rows.start + rows.end) / 2) + seen(rows.end - 1)) / 3
    }

    fn run_heads(&self, queries: Queries<'_>, scratch: &mut HeadScratch) {
        let Step::Attention { heads, kv_heads, head_dim, scale, window, bias, positions, .. } = self.step
        else {
            unreachable!("called for attention steps");
        };
        let AttentionKernel { isa, .. } = self.kernel;
        let group = heads / kv_heads;
        let (count, mut rest) = (queries.out.rows(), queries.out);
        for kv_head in queries.kv_heads {
            let of_keys =
                |column: usize| self.rows.column_range(column * head_dim, *head_dim).row_range(0, self.keys);
            let (keys, values) = (of_keys(heads + kv_head), of_keys(heads + kv_heads + kv_head));
            scratch.panels.pack(isa, self.kernel.storage_at(*scale), *scale, keys, values);
            for head in kv_head * group..(kv_head + 1) * group {
                let (out, others) = rest.split_columns(*head_dim);
                rest = others;
                let rows = self.rows.column_range(head * head_dim, *head_dim).row_range(queries.first, count);
                let bias = bias.as_ref().map_or(&[][..], |bias| bias.head(head));
                let parameters = Attention { before: window.before, after: window.after, bias, pairs: None };
                let Some((positions, weights)) = positions.as_ref().zip(self.positions) else {
                    let (panels, scratch) = (&scratch.panels, &mut scratch.attention);
                    attention(isa, rows, queries.first, panels, &parameters, out, scratch);
                    continue;
                };
                let HeadScratch { panels, attention: memory, pairs } = &mut *scratch;
                let tokens = self.rows.rows();
                let mut pairs =
                    HeadPairs::new((isa, weights, positions), (head, *scale), tokens, keys, pairs);
                let mut rest = out;
                for at in (0..count).step_by(QUERY_BLOCK) {
                    let rows = rows.row_range(at, QUERY_BLOCK.min(count - at));
                    let (out, others) = rest.split_rows(rows.rows());
                    rest = others;
                    let first = queries.first + at;
                    let pairs = Some(PairBias { first, values: pairs.of(first, rows) });
                    attention(isa, rows, first, panels, &Attention { pairs, ..parameters }, out, memory);
                }
            }
        }
    }
}
