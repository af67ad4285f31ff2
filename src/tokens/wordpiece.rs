//! WordPiece with a vocabulary that is ready at once.
//!
//! The tokenizer library makes a double-array trie of the vocabulary. For BERT's 30,522 tokens that
//! takes longer than everything else that happens before a first vector. A hash table of the same
//! tokens is filled in a tenth of the time and gives the same ids: each word's pieces are looked up
//! from the longest to the shortest (M. Schuster, K. Nakajima: Japanese and Korean Voice Search, 2012;
//! BERT's `WordpieceTokenizer`).

use super::file::TokenizerFile;
use hashbrown::{DefaultHashBuilder, HashTable};
use serde_json::Value;
use std::hash::BuildHasher;

/// A WordPiece model.
pub(super) struct WordPiece {
    vocabulary: Tokens,
    /// Every token, as the start of a word.
    starts: Pieces,
    /// The tokens with the prefix of such, `##`, as the rest of a word.
    rests: Pieces,
    unknown: Option<u32>,
    /// A word of more characters is unknown.
    max_characters: usize,
}

/// The tokens of a vocabulary.
#[derive(Default)]
struct Tokens {
    /// Their texts, one after another.
    text: String,
    tokens: Vec<Token>,
}

#[derive(Clone, Copy)]
struct Token {
    start: u32,
    end: u32,
    id: u32,
}

/// Tokens by their text, less as many bytes as all of them start with.
#[derive(Default)]
struct Pieces {
    places: HashTable<u32>,
    hash: DefaultHashBuilder,
    skip: usize,
    /// Bytes of the longest.
    longest: usize,
}

impl Tokens {
    fn push(&mut self, text: &str, id: u32) -> Option<u32> {
        let start = u32::try_from(self.text.len()).ok()?;
        let end = u32::try_from(self.text.len() + text.len()).ok()?;
        self.text.push_str(text);
        self.tokens.push(Token { start, end, id });
        u32::try_from(self.tokens.len() - 1).ok()
    }

    fn text(&self, token: Token) -> &str {
        &self.text[token.start as usize..token.end as usize]
    }

    fn at(&self, place: u32) -> Token {
        self.tokens[place as usize]
    }
}

impl Pieces {
    fn with_capacity(tokens: usize, skip: usize) -> Pieces {
        Pieces { places: HashTable::with_capacity(tokens), skip, ..Pieces::default() }
    }

    /// Adds the token at `place`; of two with the same text, the later one counts.
    fn insert(&mut self, vocabulary: &Tokens, place: u32) {
        let (skip, hash) = (self.skip, &self.hash);
        let text = |place: u32| &vocabulary.text(vocabulary.at(place))[skip..];
        let own = text(place);
        if own.is_empty() {
            return; // no piece of a word is empty
        }
        self.longest = self.longest.max(own.len());
        let same = |&other: &u32| text(other) == own;
        let rehash = |&other: &u32| hash.hash_one(text(other));
        *self.places.entry(hash.hash_one(own), same, rehash).or_insert(place).get_mut() = place;
    }

    fn find(&self, vocabulary: &Tokens, piece: &str) -> Option<u32> {
        let same = |&place: &u32| &vocabulary.text(vocabulary.at(place))[self.skip..] == piece;
        Some(vocabulary.at(*self.places.find(self.hash.hash_one(piece), same)?).id)
    }

    /// The longest piece that `rest` starts with: its id and its bytes.
    fn longest_at(&self, vocabulary: &Tokens, rest: &str) -> Option<(u32, usize)> {
        (1..=rest.len().min(self.longest))
            .rev()
            .filter(|&end| rest.is_char_boundary(end))
            .find_map(|end| Some((self.find(vocabulary, &rest[..end])?, end)))
    }
}

impl WordPiece {
    /// The model of a file; `None` where there is another, or something is amiss with it that the
    /// library has words for.
    pub(super) fn read(file: &TokenizerFile<'_>) -> Option<WordPiece> {
        let model = file.get("model")?;
        if model.get("type").and_then(Value::as_str) != Some("WordPiece") {
            return None;
        }
        let text = |name: &str| model.get(name).and_then(Value::as_str);
        let (continuing, unknown) = (text("continuing_subword_prefix")?, text("unk_token")?);
        let max_characters = model.get("max_input_chars_per_word")?.as_u64()?;
        let mut vocabulary = Tokens::default();
        let mut sound = true;
        file.vocabulary.each(|token, id| {
            let id = id.and_then(|id| u32::try_from(id).ok());
            sound &= id.is_some_and(|id| vocabulary.push(token, id).is_some());
        });
        let count = vocabulary.tokens.len();
        let mut starts = Pieces::with_capacity(count, 0);
        let mut rests = Pieces::with_capacity(count / 4, continuing.len());
        for place in 0..u32::try_from(count).ok()? {
            starts.insert(&vocabulary, place);
            if vocabulary.text(vocabulary.at(place)).starts_with(continuing) {
                rests.insert(&vocabulary, place);
            }
        }
        let unknown = starts.find(&vocabulary, unknown);
        let max_characters = usize::try_from(max_characters).ok()?;
        (sound && starts.longest > 0).then_some(WordPiece {
            vocabulary,
            starts,
            rests,
            unknown,
            max_characters,
        })
    }

    /// The id of a token by its text.
    pub(super) fn id_of(&self, token: &str) -> Option<u32> {
        self.starts.find(&self.vocabulary, token)
    }

    /// Some token that has a text.
    pub(super) fn any(&self) -> Option<(&str, u32)> {
        let mut texts = self.vocabulary.tokens.iter().map(|&token| (self.vocabulary.text(token), token.id));
        texts.find(|(text, _)| !text.is_empty())
    }

    /// The text of a token by its id.
    pub(super) fn token(&self, id: u32) -> Option<&str> {
        let tokens = &self.vocabulary.tokens;
        // A token's id is its place in almost every file.
        let at_its_place = tokens.get(id as usize).filter(|token| token.id == id);
        let token = at_its_place.or_else(|| tokens.iter().find(|token| token.id == id))?;
        Some(self.vocabulary.text(*token))
    }

    /// Adds the ids of a word: the longest piece that it starts with, then the longest that the rest
    /// starts with. One piece without a token makes the whole word unknown.
    pub(super) fn add_word(&self, word: &str, ids: &mut Vec<u32>) -> Result<(), String> {
        let before = ids.len();
        let mut rest = word;
        // A character has at least a byte, so most words need not be counted.
        if word.len() > self.max_characters && word.chars().count() > self.max_characters {
            return self.add_unknown(ids);
        }
        while !rest.is_empty() {
            let pieces = if rest.len() == word.len() { &self.starts } else { &self.rests };
            let Some((id, bytes)) = pieces.longest_at(&self.vocabulary, rest) else {
                ids.truncate(before);
                return self.add_unknown(ids);
            };
            ids.push(id);
            rest = &rest[bytes..];
        }
        Ok(())
    }

    fn add_unknown(&self, ids: &mut Vec<u32>) -> Result<(), String> {
        let unknown = self.unknown.ok_or("it has a word that the vocabulary cannot spell, and the vocabulary has no token for unknown words (`unk_token` in tokenizer.json)")?;
        ids.push(unknown);
        Ok(())
    }
}
