//! Tokenised texts, and ragged batches of them: texts of different lengths side by side.

use std::ops::Range;

/// A text as the model sees it.
#[derive(Clone, Debug)]
pub(crate) struct TokenizedText {
    /// Special tokens, prompt and text.
    pub(crate) ids: Vec<u32>,
    /// The positions that pooling takes, once for each row that it makes.
    pub(crate) pools: Vec<Range<usize>>,
    /// How many leading tokens are seen by others; all, but for what a query is filled up with.
    pub(crate) keys: usize,
    /// The first position of token type 1: the second text of a pair.
    pub(crate) second: usize,
    /// What `ids` would have had without a limit.
    pub(crate) untruncated: usize,
}

impl TokenizedText {
    pub(crate) fn new(ids: Vec<u32>, pool_from: usize, untruncated: usize) -> TokenizedText {
        let count = ids.len();
        let pools = std::iter::once(pool_from..count).collect();
        TokenizedText { ids, pools, keys: count, second: count, untruncated }
    }
}

/// Texts of different lengths side by side, without padding: one list of tokens and where each
/// text starts in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RaggedBatch {
    /// `[tokens]`
    pub(crate) ids: Vec<u32>,
    /// Where each text starts, and the end: `[texts + 1]`
    pub(crate) offsets: Vec<usize>,
    /// How many leading tokens of each text others see: `[texts]`
    pub(crate) keys: Vec<usize>,
    /// Where the tokens of type 1 start in each text: `[texts]`
    pub(crate) second: Vec<usize>,
    /// What pooling makes rows of, text after text; most texts have one.
    pub(crate) pools: Vec<Pool>,
}

/// Some tokens of a text that are pooled to one row. Positions are those in the batch.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// The first token of the text: what the weights of weighted pooling count from.
    pub(crate) start: usize,
    /// The tokens.
    pub(crate) tokens: Range<usize>,
}

impl RaggedBatch {
    /// A batch of these texts.
    pub(crate) fn new<'a>(texts: impl IntoIterator<Item = &'a TokenizedText>) -> RaggedBatch {
        let mut batch = RaggedBatch { offsets: vec![0], ..RaggedBatch::default() };
        for text in texts {
            let start = batch.ids.len();
            batch.ids.extend_from_slice(&text.ids);
            batch.offsets.push(batch.ids.len());
            batch.keys.push(text.keys);
            batch.second.push(text.second);
            let pool =
                |tokens: &Range<usize>| Pool { start, tokens: start + tokens.start..start + tokens.end };
            batch.pools.extend(text.pools.iter().map(pool));
        }
        batch
    }

    /// Two batches with half of the texts each; `None`: there are fewer than two.
    #[cfg(feature = "gpu")]
    pub(crate) fn halves(&self) -> Option<[RaggedBatch; 2]> {
        let texts = self.keys.len();
        let middle = texts / 2;
        if middle == 0 {
            return None;
        }
        let part = |texts: Range<usize>| {
            let tokens = self.offsets[texts.start]..self.offsets[texts.end];
            let shift = |range: &Range<usize>| range.start - tokens.start..range.end - tokens.start;
            let pools = self.pools.iter().filter(|pool| tokens.contains(&pool.start));
            RaggedBatch {
                ids: self.ids[tokens.clone()].to_vec(),
                offsets: self.offsets[texts.start..=texts.end].iter().map(|at| at - tokens.start).collect(),
                keys: self.keys[texts.clone()].to_vec(),
                second: self.second[texts].to_vec(),
                pools: pools
                    .map(|pool| Pool { start: pool.start - tokens.start, tokens: shift(&pool.tokens) })
                    .collect(),
            }
        };
        Some([part(0..middle), part(middle..texts)])
    }

    /// Number of rows that pooling makes.
    pub(crate) fn pools(&self) -> usize {
        self.pools.len()
    }

    /// Number of tokens of all texts.
    pub(crate) fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// For each token, where it stands in its text, and its type.
    pub(crate) fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        let texts = self.ranges().zip(&self.second);
        texts.flat_map(|(range, &second)| (0..range.len()).map(move |i| (i, usize::from(i >= second))))
    }

    /// For each token, its row in a table of positions: tokens are counted from `first` in each text, but for
    /// those of the id `uncounted`, which have the row before it.
    ///
    /// transformers' `create_position_ids_from_input_ids`.
    pub(crate) fn position_rows(&self, first: usize, uncounted: Option<u32>) -> impl Iterator<Item = usize> {
        self.ranges().flat_map(move |range| {
            let mut next = first;
            self.ids[range].iter().map(move |&id| {
                if Some(id) == uncounted {
                    return first.saturating_sub(1);
                }
                next += 1;
                next - 1
            })
        })
    }

    /// The tokens of each text.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.offsets.windows(2).map(|pair| pair[0]..pair[1])
    }
}

/// Splits texts into batches of at most `budget` tokens (a longer text is a batch by itself).
/// Returns positions in `lengths`. Longest first, so that no long one is left for the end.
pub(crate) fn pack(lengths: &[usize], budget: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(lengths[i]));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for i in order {
        match batches.last_mut() {
            Some(batch) if lengths[i] <= room => {
                batch.push(i);
                room -= lengths[i];
            }
            _ => {
                batches.push(vec![i]);
                room = budget.saturating_sub(lengths[i]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_packed_once_within_the_budget() {
        let lengths: Vec<usize> = (0..200).map(|i| 1 + (i * 37) % 90).collect();
        let batches = pack(&lengths, 128);
        let mut seen: Vec<usize> = batches.concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
        for batch in &batches {
            assert!(batch.iter().map(|&i| lengths[i]).sum::<usize>() <= 128);
        }
        let total: usize = lengths.iter().sum();
        assert!(batches.len() <= total / 64, "batches are filled: {} for {total} tokens", batches.len());
    }

    #[cfg(feature = "gpu")]
    #[test]
    fn halves_are_the_batches_of_half_the_texts() {
        let text = |n: usize| TokenizedText {
            ids: (0..n as u32).collect(),
            pools: vec![1..n, 0..1],
            keys: n - 1,
            second: n / 2,
            untruncated: n,
        };
        let texts: Vec<TokenizedText> = [3, 7, 2, 5, 4].map(text).into();
        let halves = RaggedBatch::new(&texts).halves().expect("several texts");
        let expected = [RaggedBatch::new(&texts[..2]), RaggedBatch::new(&texts[2..])];
        assert_eq!(format!("{halves:?}"), format!("{expected:?}"));
        assert!(RaggedBatch::new(&texts[..1]).halves().is_none());
    }

    #[test]
    fn uncounted_tokens_have_the_row_before_the_first() {
        let text = |ids: &[u32]| TokenizedText::new(ids.to_vec(), 0, ids.len());
        let batch = RaggedBatch::new(&[text(&[0, 1, 7, 1, 8]), text(&[1, 9])]);
        assert_eq!(batch.position_rows(2, Some(1)).collect::<Vec<_>>(), [2, 1, 3, 1, 4, 1, 2]);
        assert_eq!(batch.position_rows(0, None).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 0, 1]);
    }

    #[test]
    fn a_text_over_the_budget_is_a_batch_by_itself() {
        assert_eq!(pack(&[5, 300, 6], 128), [vec![1], vec![2, 0]]);
        assert_eq!(pack(&[], 128), Vec::<Vec<usize>>::new());
    }
}
