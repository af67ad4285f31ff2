//! Splitting long texts where sentences and paragraphs end.

use super::Embedder;
use super::request::{IntoOptions, ReadyPrompts};
use crate::error::{RequestError, RequestResult, Result};
use crate::tokens::TextTokenizer;
use std::ops::Range;
use text_splitter::{ChunkConfig, ChunkSizer, TextSplitter};

impl Embedder {
    /// Where to split a text into pieces of at most `tokens` tokens each: byte positions of their ends,
    /// for [`Embedder::embed_pieces`] with the same options. Pieces end with paragraphs, sentences or words, whichever
    /// fits. Each piece has a token of its own behind the prompt: characters without one go with what is beside them,
    /// and a text that has none gives no ends. A single character may have more tokens than `tokens`.
    ///
    /// The time grows with the length of the text. How much the model takes at once does not matter here; see
    /// [`Embedder::count_tokens`] and [`Embedder::max_tokens`].
    ///
    /// # Errors
    /// If `tokens` is 0, or the text cannot be tokenised, or see [`Embedder::embed_batch`] for the prompt.
    pub fn split(&self, text: &str, tokens: usize, how: impl IntoOptions) -> Result<Vec<usize>> {
        if tokens == 0 {
            return Err(RequestError::InvalidOption {
                option: "tokens of a piece",
                found: "0".to_owned(),
                expected: "1 or more".to_owned(),
            }
            .into());
        }
        let options = how.into_options();
        let ready = ReadyPrompts::default().get(&self.engine, &options, None)?;
        let tokenizer = &self.engine.tokenizer;
        let tokens_of = |ends: &[usize]| tokenizer.tokens_of_pieces(&ready.tokens, text, ends);
        let atoms = Atoms::new(tokenizer, text);
        let mut best: Option<Pieces> = None;
        // Inside the whole text a piece may have a token more than by itself.
        for room in (1..=tokens).rev().take(TRIES) {
            let found = Pieces::new(&tokens_of, atoms.split(room), tokens)?;
            let is_better = best.as_ref().is_none_or(|best| found.too_large < best.too_large);
            if is_better {
                best = Some(found);
            }
            if !is_better || best.as_ref().is_some_and(|best| best.too_large == 0) {
                break;
            }
        }
        let Some(best) = best else { return Ok(Vec::new()) };
        if best.too_large == 0 {
            return Ok(best.ends);
        }
        let finer = Pieces::new(&tokens_of, best.with_large_ones_cut(&tokens_of, text, tokens)?, tokens)?;
        Ok(if finer.too_large < best.too_large { finer.ends } else { best.ends })
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
    /// `tokens_of` says which tokens each piece has, by their ends; `most` how many it should have at most.
    fn new(tokens_of: &TokensOf<'_>, mut ends: Vec<usize>, most: usize) -> Result<Pieces> {
        // A piece that took another ends elsewhere, where it may have less.
        loop {
            let count = ends.len();
            let pieces = Pieces::joined(tokens_of, ends, most)?;
            if pieces.ends.len() == count {
                return Ok(pieces);
            }
            ends = pieces.ends;
        }
    }

    /// Ends, more of them where a piece is too large: where a word is spelled in another way than by itself, only the
    /// tokens of the whole text tell.
    fn with_large_ones_cut(&self, tokens_of: &TokensOf<'_>, text: &str, most: usize) -> Result<Vec<usize>> {
        let (mut places, mut start) = (Vec::new(), 0);
        for (&end, tokens) in self.ends.iter().zip(tokens_of(&self.ends)?) {
            if tokens.len() > most {
                let inside = text[start..end].char_indices().skip(1);
                let begins = inside.filter(|&(_, character)| !continues(character));
                places.extend(begins.map(|(at, _)| start + at));
            }
            places.push(end);
            start = end;
        }
        let mut of_pieces = self.ends.iter().peekable();
        let of_places = tokens_of(&places)?;
        // Behind the prompt's.
        let mut first = of_places.first().map_or(0, |tokens| tokens.start);
        let ends_of_tokens = of_places.into_iter().zip(places).filter_map(|(tokens, place)| {
            let is_end = of_pieces.next_if(|&&end| end == place).is_some();
            // Where no token ends, none begins.
            (place == text.len() || !tokens.is_empty()).then_some((place, tokens.end, is_end))
        });
        let ends_of_tokens: Vec<_> = ends_of_tokens.collect();
        let mut ends = Vec::new();
        for (i, &(place, tokens, is_end)) in ends_of_tokens.iter().enumerate() {
            // As far as the next place would be too far.
            let next = ends_of_tokens.get(i + 1).map_or(tokens, |next| next.1);
            if is_end || next - first > most {
                ends.push(place);
                first = tokens;
            }
        }
        Ok(ends)
    }

    /// Joins each piece without a token to the one before it, or else to the one behind it.
    fn joined(tokens_of: &TokensOf<'_>, ends: Vec<usize>, most: usize) -> Result<Pieces> {
        let tokens = tokens_of(&ends)?;
        let (mut pieces, mut too_large) = (Pieces { ends: Vec::new(), too_large: 0 }, 0);
        for (end, tokens) in ends.into_iter().zip(tokens) {
            match pieces.ends.last_mut() {
                Some(before) if tokens.is_empty() => *before = end,
                None if tokens.is_empty() => {}
                _ => {
                    pieces.ends.push(end);
                    too_large += usize::from(tokens.len() > most);
                }
            }
        }
        Ok(Pieces { too_large, ..pieces })
    }
}

/// Whether a character goes with the one before it: an accent, or a part of an emoji.
fn continues(character: char) -> bool {
    matches!(character, '\u{300}'..='\u{36f}' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}')
}

/// The tokens of pieces that end there.
type TokensOf<'a> = dyn Fn(&[usize]) -> RequestResult<Vec<Range<usize>>> + 'a;

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

/// Bytes that the splitter sees at once: more than ten pieces of usual text.
const WINDOW_PER_TOKEN: usize = 64;
const LEAST_WINDOW: usize = 2048;

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
    ///
    /// The splitter looks for the end of the sentence, the line and the paragraph at each piece anew, and these may be
    /// as long as the text. So it sees a window, of which the last piece, which the window may have cut short, is split
    /// again with the next one.
    fn split(&self, tokens: usize) -> Vec<usize> {
        let splitter = TextSplitter::new(ChunkConfig::new(tokens).with_sizer(self));
        let window = tokens.saturating_mul(WINDOW_PER_TOKEN).max(LEAST_WINDOW);
        let (mut ends, mut from) = (Vec::new(), 0);
        while from < self.text.len() {
            let mut to = from.saturating_add(window).min(self.text.len());
            while !self.text.is_char_boundary(to) {
                to -= 1;
            }
            // White space between two pieces belongs to the earlier one.
            let starts = splitter.chunk_indices(&self.text[from..to]).map(|(start, _)| from + start).skip(1);
            let before = ends.len();
            ends.extend(starts.filter(|&start| start > from));
            let is_last = to == self.text.len();
            if is_last || ends.len() == before {
                ends.push(to);
            }
            from = *ends.last().unwrap_or(&to);
        }
        ends
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
