//! The tokenizer model's own vocabulary, read from its text without keeping what is not asked for.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::fmt;

/// `{token: id}`, or `[[token, score]]` where a token's id is its place.
pub(super) struct Vocabulary<'a> {
    text: &'a str,
    /// One more than the largest id.
    end: u64,
    count: u64,
    /// Made when a token is first looked up: the added tokens mostly say it all.
    ids: OnceCell<HashMap<String, u64>>,
}

impl<'a> Vocabulary<'a> {
    /// `text` is JSON; `null` is an absent vocabulary.
    pub(super) fn new(text: &'a str) -> serde_json::Result<Vocabulary<'a>> {
        let (mut end, mut count) = (0, 0);
        each_token(text, |_, id| {
            end = end.max(id.map_or(0, |id| id.saturating_add(1)));
            count += 1;
        })?;
        Ok(Vocabulary { text, end, count, ids: OnceCell::new() })
    }

    pub(super) fn is_some(&self) -> bool {
        self.text != "null"
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// The largest id.
    pub(super) fn max_id(&self) -> Option<u64> {
        self.end.checked_sub(1)
    }

    /// Number of tokens.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn id_of(&self, token: &str) -> Option<u64> {
        let ids = self.ids.get_or_init(|| {
            let mut ids = HashMap::new();
            self.each(|token, id| {
                if let Some(id) = id {
                    ids.entry(token.to_owned()).or_insert(id);
                }
            });
            ids
        });
        ids.get(token).copied()
    }

    /// Characters of each token.
    pub(super) fn lengths(&self) -> Vec<usize> {
        let mut lengths = Vec::new();
        self.each(|token, _| lengths.push(token.chars().count()));
        lengths
    }

    /// Calls `visit` with each token and its id, where it has one.
    pub(super) fn each(&self, visit: impl FnMut(&str, Option<u64>)) {
        // `new` went through the same text, or there would be no vocabulary.
        let _ = each_token(self.text, visit);
    }
}

/// Calls `visit` with each token and its id; `None`: the file has something else in its place.
fn each_token(text: &str, visit: impl FnMut(&str, Option<u64>)) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_str(text);
    Tokens { visit }.deserialize(&mut json)?;
    json.end()
}

/// Goes through a vocabulary.
struct Tokens<F> {
    visit: F,
}

impl<'de, F: FnMut(&str, Option<u64>)> DeserializeSeed<'de> for Tokens<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, F: FnMut(&str, Option<u64>)> Visitor<'de> for Tokens<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a vocabulary")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut token = String::new();
        while map.next_key_seed(Text(&mut token))?.is_some() {
            let id: serde_json::Value = map.next_value()?;
            (self.visit)(&token, id.as_u64());
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut pieces: A) -> Result<(), A::Error> {
        let mut token = String::new();
        let mut id = 0;
        while pieces.next_element_seed(Piece(&mut token))?.is_some() {
            (self.visit)(&token, Some(id));
            id += 1;
        }
        Ok(())
    }
}

/// A string, read into one that is used again.
struct Text<'s>(&'s mut String);

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a token")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.clear();
        self.0.push_str(text);
        Ok(())
    }
}

/// `[token, score]`.
struct Piece<'s>(&'s mut String);

impl<'de> DeserializeSeed<'de> for Piece<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Piece<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a token and its score")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut piece: A) -> Result<(), A::Error> {
        self.0.clear();
        piece.next_element_seed(Text(self.0))?;
        while piece.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_in_both_forms() {
        for text in [r#"{"a": 0, "\"": 1, "é\u0301": 2}"#, r#"[["a", -1.5], ["\"", 0], ["é\u0301", 3]]"#] {
            let vocabulary = Vocabulary::new(text).expect(text);
            assert_eq!(vocabulary.max_id(), Some(2), "{text}");
            let ids = ["a", "\"", "é\u{301}", "b"].map(|token| vocabulary.id_of(token));
            assert_eq!(ids, [Some(0), Some(1), Some(2), None], "{text}");
            assert_eq!(vocabulary.lengths(), [1, 1, 2], "{text}");
        }
    }

    #[test]
    fn what_is_no_vocabulary_is_refused() {
        for text in ["3", "[3]", "[[1, 2]]", "\"a\""] {
            assert!(Vocabulary::new(text).is_err(), "{text}");
        }
        assert_eq!(Vocabulary::new("null").expect("none").max_id(), None);
        assert_eq!(Vocabulary::new("{}").expect("empty").max_id(), None);
        assert_eq!(Vocabulary::new(r#"{"a": "b"}"#).expect("the library's to refuse").max_id(), None);
    }
}
