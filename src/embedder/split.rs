//! Splitting long texts where sentences and paragraphs end.

use super::Embedder;
use crate::error::{RequestError, Result};
use crate::tokens::TextTokenizer;
use text_splitter::{ChunkConfig, ChunkSizer, TextSplitter};

impl Embedder {
    /// Where to split a text into pieces of at most `tokens` tokens each: byte positions of their ends,
    /// for [`Embedder::embed_pieces`]. Pieces end with paragraphs, sentences or words, whichever fits. Each piece has a
    /// token of its own: characters without one go with what is beside them, and a text that has none gives no ends. A
    /// single character may have more tokens than `tokens`.
    ///
    /// The time grows with the length of the text. How much the model takes at once does not matter here; see
    /// [`Embedder::count_tokens`] and [`Embedder::max_tokens`].
    ///
    /// # Errors
    /// If `tokens` is 0, or the text cannot be tokenised.
    pub fn split(&self, text: &str, tokens: usize) -> Result<Vec<usize>> {
        if tokens == 0 {
            return Err(RequestError::InvalidOption {
                option: "tokens of a piece",
                found: "0".to_owned(),
                expected: "1 or more".to_owned(),
            }
            .into());
        }
        let tokenizer = &self.engine.tokenizer;
        let atoms = Atoms::new(tokenizer, text);
        let mut best: Option<Pieces> = None;
        // Inside the whole text a piece may have a token more than by itself.
        for room in (1..=tokens).rev().take(TRIES) {
            let found = Pieces::new(tokenizer, text, atoms.split(room), tokens)?;
            let is_better = best.as_ref().is_none_or(|best| found.too_large < best.too_large);
            if is_better {
                best = Some(found);
            }
            if !is_better || best.as_ref().is_some_and(|best| best.too_large == 0) {
                break;
            }
        }
        Ok(best.map(|best| best.ends).unwrap_or_default())
    }
}

/// How often a text is split with room for a token less.
const TRIES: usize = 4;

/// Where pieces end that each have a token.
struct Pieces {
    ends: Vec<usize>,
    /// Pieces with more tokens than they should have.
    too_large: usize,
}

impl Pieces {
    fn new(tokenizer: &TextTokenizer, text: &str, mut ends: Vec<usize>, most: usize) -> Result<Pieces> {
        // A piece that took another ends elsewhere, where it may have less.
        loop {
            let count = ends.len();
            let pieces = Pieces::joined(tokenizer, text, ends, most)?;
            if pieces.ends.len() == count {
                return Ok(pieces);
            }
            ends = pieces.ends;
        }
    }

    /// Joins each piece without a token to the one beside it.
    fn joined(tokenizer: &TextTokenizer, text: &str, ends: Vec<usize>, most: usize) -> Result<Pieces> {
        let borders = tokenizer.borders("", text, &ends)?;
        let (mut pieces, mut too_large) = (Pieces { ends: Vec::new(), too_large: 0 }, 0);
        let mut start = 0;
        for (end, border) in ends.into_iter().zip(borders) {
            if border == start {
                // Nothing of its own: the piece before it takes it, or else the one behind it.
                if let Some(before) = pieces.ends.last_mut() {
                    *before = end;
                }
                continue;
            }
            pieces.ends.push(end);
            too_large += usize::from(border - start > most);
            start = border;
        }
        Ok(Pieces { too_large, ..pieces })
    }
}

/// A text cut into short parts whose tokens are known, so that those of any stretch of it are a sum: without it, each
/// question of the splitter would tokenise up to the whole text.
struct Atoms<'a> {
    tokenizer: &'a TextTokenizer,
    text: &'a str,
    /// Where each starts, and the end of the text.
    starts: Vec<usize>,
    /// Tokens before each.
    before: Vec<usize>,
}

/// Bytes of an atom at most, about. White space ends one earlier.
const ATOM: usize = 64;

impl<'a> Atoms<'a> {
    fn new(tokenizer: &'a TextTokenizer, text: &'a str) -> Atoms<'a> {
        let mut starts = vec![0];
        let (mut start, mut was_space) = (0, true);
        for (place, character) in text.char_indices() {
            // A word goes with the space before it, as tokenizers that mark beginnings have it.
            let begins = character.is_whitespace() && !was_space;
            if place > start && (begins || place - start >= ATOM) {
                starts.push(place);
                start = place;
            }
            was_space = character.is_whitespace();
        }
        starts.push(text.len());
        let mut before = Vec::with_capacity(starts.len());
        let mut sum = 0usize;
        before.push(0);
        for part in starts.windows(2) {
            sum = sum.saturating_add(tokenizer.count(&text[part[0]..part[1]]));
            before.push(sum);
        }
        Atoms { tokenizer, text, starts, before }
    }

    /// Ends of pieces of at most so many tokens.
    fn split(&self, tokens: usize) -> Vec<usize> {
        let splitter = TextSplitter::new(ChunkConfig::new(tokens).with_sizer(self));
        // White space between two pieces belongs to the earlier one.
        let starts = splitter.chunk_indices(self.text).map(|(start, _)| start).skip(1);
        let end = (!self.text.is_empty()).then_some(self.text.len());
        starts.filter(|&start| start > 0).chain(end).collect()
    }
}

impl ChunkSizer for &Atoms<'_> {
    /// Tokens of a part of the text, or a few more.
    fn size(&self, part: &str) -> usize {
        let start = (part.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        let end = start.saturating_add(part.len());
        if self.text.get(start..end).is_none_or(|own| own != part) {
            return self.tokenizer.count(part); // not of this text
        }
        // The atoms that lie in it as a whole, and what is left at both ends.
        let first = self.starts.partition_point(|&place| place < start);
        let last = self.starts.partition_point(|&place| place <= end) - 1;
        if first >= last {
            return self.tokenizer.count(part);
        }
        let (inner_start, inner_end) = (self.starts[first], self.starts[last]);
        let outer = [&self.text[start..inner_start], &self.text[inner_end..end]];
        let of_outer = outer.into_iter().filter(|part| !part.is_empty());
        of_outer
            .map(|part| self.tokenizer.count(part))
            .fold(self.before[last] - self.before[first], usize::saturating_add)
    }
}
