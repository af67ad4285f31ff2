//! Attention on every instruction set of this CPU, against scalar f64 code: windows, biases, tokens behind the keys,
//! more keys than are met at once.

mod common;

use common::values;
use proptest::prelude::*;
use std::ops::Range;
use taskvec_kernels::*;

/// Sizes, smaller where each step takes long.
const fn most(size: usize) -> usize {
    if cfg!(miri) { size / 60 + 2 } else { size }
}

/// What a head is computed from.
#[derive(Debug)]
struct Head {
    tokens: usize,
    /// The first of them, which are seen.
    keys: usize,
    head_dim: usize,
    before: Option<usize>,
    after: Option<usize>,
    /// Distance from which on the bias stays the same.
    reach: Option<usize>,
    /// Whether each pair has a bias of its own.
    paired: bool,
    /// How far apart the scores are.
    sharpness: f32,
    seed: u64,
}

impl Head {
    fn scale(&self) -> f32 {
        self.sharpness / (self.head_dim as f32).sqrt()
    }

    fn bias(&self) -> Vec<f32> {
        values(self.seed ^ 1, self.reach.map_or(0, |reach| 2 * reach + 1))
    }

    /// `[tokens, keys]`
    fn pairs(&self) -> Vec<f32> {
        values(self.seed ^ 2, if self.paired { self.tokens * self.keys } else { 0 })
    }

    /// The keys that a token sees; none if it stands too far behind them.
    fn seen(&self, token: usize) -> Range<usize> {
        let first = self.before.map_or(0, |before| token.saturating_sub(before));
        let end = self.after.map_or(self.keys, |after| (token + after + 1).min(self.keys));
        first.min(end)..end
    }

    /// The weights of the keys that a token sees, which add up to 1.
    fn weights(
        &self,
        token: usize,
        query: &[f64],
        keys: &[Vec<f64>],
        (bias, pairs): (&[f32], &[f32]),
    ) -> Vec<f64> {
        let scores: Vec<f64> = self
            .seen(token)
            .map(|key| {
                let dot: f64 = query.iter().zip(&keys[key]).map(|(q, k)| q * k).sum();
                let bias = self.reach.map_or(0.0, |reach| {
                    let distance = (key as i64 - token as i64).clamp(-(reach as i64), reach as i64);
                    f64::from(bias[(distance + reach as i64) as usize])
                });
                let own = pairs.get(token * self.keys + key).map_or(0.0, |pair| f64::from(*pair));
                dot * std::f64::consts::LN_2 + bias + own
            })
            .collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
        let total: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / total).collect()
    }

    /// Compares each value of each token.
    fn check(&self, isa: Isa, storage: Storage) -> Result<(), TestCaseError> {
        let Head { tokens, keys, head_dim, before, after, .. } = *self;
        let qkv = values(self.seed, tokens * 3 * head_dim);
        let all = Matrix::new(&qkv, tokens, 3 * head_dim, 3 * head_dim);
        let [q, k, v] = [0, 1, 2].map(|part| all.column_range(part * head_dim, head_dim));
        let (k, v) = (k.row_range(0, keys), v.row_range(0, keys));
        let bias = self.bias();
        let mut panels = KeyValuePanels::default();
        // Whatever a longer text left behind must not be seen.
        let junk = vec![f32::NAN; (keys + 60) * head_dim];
        let junk = Matrix::new(&junk, keys + 60, head_dim, head_dim);
        panels.pack(isa, storage, self.scale(), junk, junk);
        panels.pack(isa, storage, self.scale(), k, v);
        let mut out = vec![f32::INFINITY; tokens * head_dim];
        let view = MatrixMut::new(&mut out, tokens, head_dim, head_dim);
        let of_pairs = self.pairs();
        let pairs_of = |first: usize, count: usize| {
            let values = || Matrix::new(&of_pairs, tokens, keys, keys).row_range(first, count);
            self.paired.then(|| PairBias { first, values: values() })
        };
        let parameters = Attention { before, after, bias: &bias, pairs: pairs_of(0, tokens) };
        attention(isa, q, 0, &panels, &parameters, view, &mut AttentionScratch::default());

        // Some of the queries, with the memory that others left: the same bits.
        let mut scratch = AttentionScratch::default();
        for first in (0..tokens).step_by(2 * QUERY_BLOCK).rev() {
            let count = (2 * QUERY_BLOCK).min(tokens - first);
            let mut part = vec![f32::INFINITY; count * head_dim];
            let view = MatrixMut::new(&mut part, count, head_dim, head_dim);
            let parameters = Attention { pairs: pairs_of(first, count), ..parameters };
            attention(isa, q.row_range(first, count), first, &panels, &parameters, view, &mut scratch);
            prop_assert!(
                part == out[first * head_dim..][..part.len()],
                "{isa:?} {storage:?} from {first} on"
            );
        }

        // In bf16 the same rounded numbers are taken here, so that what is left is the rounding of weights.
        let bf16 = storage == Storage::Bf16;
        let stored = |x: f32| f64::from(if bf16 { half::bf16::from_f32(x).to_f32() } else { x });
        let in_powers = self.scale() * std::f32::consts::LOG2_E;
        let rows = |matrix: Matrix<'_>, scale: f32| -> Vec<Vec<f64>> {
            (0..matrix.rows()).map(|r| matrix.row(r).iter().map(|x| stored(x * scale)).collect()).collect()
        };
        let (q, k, v) = (rows(q, 1.0), rows(k, in_powers), rows(v, 1.0));
        let bound = if bf16 { 3e-3 } else { 3e-6 * f64::from(self.sharpness.max(1.0)) };
        for token in 0..tokens {
            let weights = self.weights(token, &q[token], &k, (&bias, &of_pairs));
            for d in 0..head_dim {
                let got = f64::from(out[token * head_dim + d]);
                if weights.is_empty() {
                    prop_assert!(got == 0.0, "{isa:?}: token {token} sees nothing, and got {got}");
                    continue;
                }
                let want: f64 = self.seen(token).zip(&weights).map(|(key, weight)| weight * v[key][d]).sum();
                let difference = (got - want).abs();
                prop_assert!(difference <= bound, "{isa:?} {storage:?} {token} {d}: {got}, not {want}");
            }
        }
        Ok(())
    }

    fn check_everywhere(&self) -> Result<(), TestCaseError> {
        for isa in Isa::available() {
            self.check(isa, Storage::F32)?;
            self.check(isa, Storage::Bf16)?;
        }
        Ok(())
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 3 } else { cases },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn attention_of_one_head(
        tokens in 1..most(240),
        head_dim in 1..=most(100),
        seed in any::<u64>(),
        before in prop::option::of(0usize..120),
        after in prop::option::of(0usize..120),
        reach in prop::option::of(1usize..40),
        paired in any::<bool>(),
        behind in prop::option::of(0usize..200),
    ) {
        let keys = tokens.saturating_sub(behind.unwrap_or(0)).max(1);
        Head { tokens, keys, head_dim, before, after, reach, paired, sharpness: 1.0, seed }.check_everywhere()?;
    }
}

proptest! {
    #![proptest_config(config(8))]

    /// The first keys that are met may all be hidden, and a later one may be the largest by far.
    #[test]
    fn attention_over_more_keys_than_are_met_at_once(
        tokens in most(400)..most(1500),
        head_dim in 1..=most(40),
        seed in any::<u64>(),
        before in prop::option::of(0usize..900),
        after in prop::option::of(0usize..900),
        reach in prop::option::of(1usize..40),
        paired in any::<bool>(),
        sharpness in prop::sample::select(vec![1f32, 30.0]),
    ) {
        Head { tokens, keys: tokens, head_dim, before, after, reach, paired, sharpness, seed }.check_everywhere()?;
    }
}
