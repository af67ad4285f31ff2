//! Which tokens the pieces of a text have.

use super::{Content, CutAt, TextTokenizer, TokenizedPrompt};
use crate::batch::TokenizedText;
use crate::error::{RequestError, RequestResult};
use std::ops::Range;

/// Ends of pieces times bytes of their text up to which each border is found by all that stands before it.
const EXACT_BORDERS: usize = 1 << 24;

/// Bytes before a border that are tokenised for it in longer texts, about.
const BORDER_CONTEXT: usize = 256;

impl TextTokenizer {
    /// One text whose pieces are pooled separately: its parts up to each of `ends`, which are byte
    /// positions. It must fit the limit whole.
    pub(crate) fn pieces(
        &self,
        prompt: &TokenizedPrompt,
        text: &str,
        ends: &[usize],
        limit: usize,
    ) -> RequestResult<TokenizedText> {
        self.check_no_chat("pieces")?;
        let mut whole = self.tokenize(prompt, Content::Text(text), limit, CutAt::End)?;
        if whole.untruncated > whole.ids.len() {
            return Err(RequestError::TooLong { tokens: whole.untruncated, limit });
        }
        let first = self.around.prefix.len();
        let joined = &whole.ids[first..whole.ids.len() - self.around.suffix.len()];
        let pieces = self.piece_tokens(prompt, text, ends, joined)?;
        whole.pools = pieces.into_iter().map(|piece| first + piece.start..first + piece.end).collect();
        Ok(whole)
    }

    /// The tokens of each piece of a text, behind its prompt and without special tokens. A piece may have none.
    #[cfg(feature = "split")]
    pub(crate) fn tokens_of_pieces(
        &self,
        prompt: &TokenizedPrompt,
        text: &str,
        ends: &[usize],
    ) -> RequestResult<Vec<Range<usize>>> {
        let joined = self.encode(&format!("{}{text}{}", prompt.text, prompt.suffix))?;
        self.piece_tokens(prompt, text, ends, &joined)
    }

    /// The tokens of each piece among those of prompt and text.
    fn piece_tokens(
        &self,
        prompt: &TokenizedPrompt,
        text: &str,
        ends: &[usize],
        joined: &[u32],
    ) -> RequestResult<Vec<Range<usize>>> {
        let own_end = joined.len() - prompt.ids[1].len().min(joined.len());
        // The mark of a word that follows the prompt is the text's.
        let mut start = common_start(&prompt.ids[0], joined).min(own_end);
        let mut pieces = Vec::with_capacity(ends.len());
        for (&end, border) in ends.iter().zip(self.borders(&prompt.text, text, ends, joined)?) {
            let end = if end == text.len() { own_end } else { border.clamp(start, own_end) };
            pieces.push(start..end);
            start = end;
        }
        Ok(pieces)
    }

    /// How many of the tokens of a prompt and a text together stand before each of `ends`, ascending byte positions of
    /// the text.
    ///
    /// Those of what stands before a position, as far as the whole text begins with the same: a word that the position
    /// is inside of, or the mark of a word that follows, belongs to what is behind it.
    fn borders(&self, prompt: &str, text: &str, ends: &[usize], joined: &[u32]) -> RequestResult<Vec<usize>> {
        let mut borders = Vec::with_capacity(ends.len());
        let is_short = ends.len().saturating_mul(text.len()) <= EXACT_BORDERS;
        // In a long text only what is near a position is tokenised again, from an earlier one on.
        let (mut from, mut last) = (0, (0, 0));
        for &end in ends {
            let border = if end == text.len() {
                joined.len()
            } else if is_short {
                common_start(&self.encode(&format!("{prompt}{}", &text[..end]))?, joined)
            } else {
                if last.0 - from > BORDER_CONTEXT {
                    from = ends[..borders.len()]
                        .iter()
                        .rev()
                        .copied()
                        .find(|&end| last.0 - end >= BORDER_CONTEXT / 2)
                        .unwrap_or(from);
                }
                let count = |end: usize| self.encode(text[from..end].trim_end()).map(|ids| ids.len());
                let before = if last.0 == 0 { self.encode(prompt)?.len() } else { last.1 };
                before + count(end)?.saturating_sub(count(last.0)?)
            };
            let border = border.clamp(last.1, joined.len());
            last = (end, border);
            borders.push(border);
        }
        Ok(borders)
    }
}

/// How many ids two texts have in common at their beginnings.
fn common_start(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
