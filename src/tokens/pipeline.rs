//! From a text to ids: added tokens, normalizers and words are the tokenizer library's; the model that
//! spells the words is the library's too, but for WordPiece.

use super::file::TokenizerFile;
use super::wordpiece::WordPiece;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use tokenizers::Decoder;
use tokenizers::pipeline::{
    EncodeOptions, Override, PipelinePostProcessor, PipelineTokenizer, PreTokenizer, PreTokenizerScratch,
    Segment, SpecialSegmentIterator, normalize_all,
};

/// What the library does not do, or does only when it is told so.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct How {
    /// Special tokens in a text are text like any other.
    pub(super) splits_special: bool,
    /// What stands between added tokens gets a space in front, if it has none: `add_prefix_space` of words of bytes.
    pub(super) prefix_space: bool,
}

/// A tokenizer.json at work.
pub(super) struct Pipeline {
    library: PipelineTokenizer,
    /// The model, where it is not the library's.
    words: Option<WordPiece>,
    how: How,
}

impl Pipeline {
    /// Makes a tokenizer of a file in the library's own form.
    pub(super) fn new(file: &TokenizerFile<'_>, how: How) -> Result<Pipeline, String> {
        let words = WordPiece::read(file);
        let added = words.as_ref().and_then(|words| known_tokens(file, words));
        match (words, added) {
            (Some(words), Some(added)) => {
                let library = read(&file.text_with(&Value::Object(added)))?;
                Ok(Pipeline { library, words: Some(words), how })
            }
            _ => Pipeline::of_library(file, how),
        }
    }

    fn of_library(file: &TokenizerFile<'_>, how: How) -> Result<Pipeline, String> {
        Ok(Pipeline { library: read(&file.text())?, words: None, how })
    }

    /// Special tokens around one text and around two.
    pub(super) fn post_processor(&self) -> &PipelinePostProcessor {
        self.library.get_post_processor()
    }

    /// Ids of the special tokens that are found in a text.
    pub(super) fn special(&self) -> HashSet<u32> {
        let added = self.library.get_added_vocabulary().get_added_tokens_decoder();
        added.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect()
    }

    /// The ids of the added tokens.
    pub(super) fn added_ids(&self) -> HashMap<String, u32> {
        let added = self.library.get_added_vocabulary().get_added_tokens_decoder();
        added.into_iter().map(|(id, token)| (token.content, id)).collect()
    }

    pub(super) fn how(&self) -> How {
        self.how
    }

    /// A token as it stands in the vocabulary.
    pub(super) fn token(&self, id: u32) -> String {
        match &self.words {
            Some(words) => words.token(id).unwrap_or_default().to_owned(),
            None => self.library.decode_tokens(&[id], false).pop().unwrap_or_default(),
        }
    }

    /// The text of tokens, as near as the vocabulary keeps it.
    pub(super) fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, String> {
        let Some(words) = &self.words else {
            return self.library.decode(ids, skip_special).map_err(|e| e.to_string());
        };
        let special = if skip_special { self.special() } else { HashSet::new() };
        let tokens = ids.iter().filter(|id| !special.contains(id));
        let tokens: Vec<String> = tokens.filter_map(|&id| words.token(id).map(str::to_owned)).collect();
        match self.library.get_decoder() {
            Some(decoder) => decoder.decode(tokens).map_err(|e| e.to_string()),
            None => Ok(tokens.join(" ")),
        }
    }

    /// Ids of a text without special tokens around it.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        match &self.words {
            Some(words) => self.encode_words(words, text),
            None if self.how.prefix_space => self.encode_with_spaces(text),
            None => {
                let mut ids = Vec::new();
                self.encode_by_library(text, self.how.splits_special, &mut ids)?;
                Ok(ids)
            }
        }
    }

    fn encode_by_library(&self, text: &str, splits_special: bool, ids: &mut Vec<u32>) -> Result<(), String> {
        let options = EncodeOptions {
            truncation: Override::Off,
            padding: Override::Off,
            encode_special_tokens: splits_special,
            ..EncodeOptions::no_specials()
        };
        let mut tokens = Vec::new();
        self.library.encode_into(text, &options, &mut tokens).map_err(|e| e.to_string())?;
        ids.extend(tokens.into_iter().map(u32::from));
        Ok(())
    }

    /// What stands between added tokens by itself, after a space.
    fn encode_with_spaces(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut ids = Vec::new();
        self.each_segment(
            text,
            |ids, between| {
                let spaced =
                    if between.starts_with(' ') { between.to_owned() } else { format!(" {between}") };
                self.encode_by_library(&spaced, true, ids)
            },
            &mut ids,
        )?;
        Ok(ids)
    }

    /// The library's own steps (`encode_sequence_into`), up to the model: added tokens are cut out of
    /// the text as it is, then out of its normalized form, and what is between them becomes words.
    fn encode_words(&self, words: &WordPiece, text: &str) -> Result<Vec<u32>, String> {
        let mut ids = Vec::with_capacity(text.len() / 4);
        let (mut scratch, mut spans) = (PreTokenizerScratch::default(), Vec::new());
        self.each_segment(
            text,
            |ids, text| {
                if u32::try_from(text.len()).is_err() {
                    return Err(format!("it has {} bytes; a text may have 4 GiB", text.len()));
                }
                spans.clear();
                let pre_tokenizer = self.library.get_pre_tokenizer();
                pre_tokenizer.pre_tokenize(text, &mut scratch, &mut spans).map_err(|e| e.to_string())?;
                spans.iter().try_for_each(|span| words.add_word(&text[span.range()], ids))
            },
            &mut ids,
        )?;
        Ok(ids)
    }

    /// Calls `between` with what stands, normalized, between the added tokens; the ids of those are put in their
    /// places.
    fn each_segment(
        &self,
        text: &str,
        mut between: impl FnMut(&mut Vec<u32>, &str) -> Result<(), String>,
        ids: &mut Vec<u32>,
    ) -> Result<(), String> {
        let added = self.library.get_added_vocabulary();
        for segment in SpecialSegmentIterator::new(text, added, false, self.how.splits_special) {
            let (text, offset) = match segment {
                Segment::SpecialToken(id) => {
                    ids.push(id);
                    continue;
                }
                Segment::Text { text, input_offset } => (text, input_offset),
            };
            let normalized =
                normalize_all(self.library.get_normalizers(), text, offset).map_err(|e| e.to_string())?;
            for segment in SpecialSegmentIterator::new(&normalized, added, true, self.how.splits_special) {
                let text = match segment {
                    Segment::SpecialToken(id) => {
                        ids.push(id);
                        continue;
                    }
                    Segment::Text { text, .. } => text,
                };
                between(ids, text)?;
            }
        }
        Ok(())
    }
}

fn read(text: &str) -> Result<PipelineTokenizer, String> {
    tokenizers::from_json(text).map_err(|e| e.to_string())
}

/// The tokens that the library must know to find them in a text, with their ids in the vocabulary.
/// `None` if one is absent: the library then numbers it by the tokens that it has read.
fn known_tokens(file: &TokenizerFile<'_>, words: &WordPiece) -> Option<Map<String, Value>> {
    let added = file.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
    let added = added.filter_map(|token| token.get("content").and_then(Value::as_str));
    let mut known = added
        .filter(|token| !token.is_empty())
        .map(|token| Some((token.to_owned(), Value::from(words.id_of(token)?))))
        .collect::<Option<Map<_, _>>>()?;
    if known.is_empty() {
        // The library takes no empty vocabulary.
        let (token, id) = words.any()?;
        known.insert(token.to_owned(), Value::from(id));
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// A tokenizer of one's own vocabulary, by the engine's model and by the library's.
    fn both(text: &str) -> (Pipeline, Pipeline) {
        let mut file = TokenizerFile::parse(text).expect("an object");
        file.canonicalize().expect("a tokenizer");
        (
            Pipeline::new(&file, How::default()).expect("a tokenizer"),
            Pipeline::of_library(&file, How::default()).expect("a tokenizer"),
        )
    }

    fn bert(vocabulary: &[String], added: &[&str], unknown: &str, most: usize) -> String {
        let ids: Map<String, Value> = vocabulary.iter().cloned().zip((0..).map(Value::from)).collect();
        let added = added.iter().enumerate().map(|(id, content)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": id % 2 == 1, "special": id % 2 == 0})
        });
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(),
            "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
                "max_input_chars_per_word": most, "vocab": ids}
        })
        .to_string()
    }

    proptest! {
        /// Over few characters, so that pieces overlap, words are unknown and tokens are in a text.
        #[test]
        fn wordpiece_gives_the_librarys_ids(
            tokens in prop::collection::hash_set("(##)?[abé漢#]{0,4}", 1..40),
            text in "[abcÉ漢# \\[\\]UNK.]{0,60}",
            most in 1..8usize,
            added in 0..3usize,
        ) {
            let mut vocabulary = vec!["[UNK]".to_owned(), "ab".to_owned()];
            vocabulary.extend(tokens.into_iter().filter(|token| token != "ab"));
            let (own, library) = both(&bert(&vocabulary, &["[UNK]", "ab"][..added], "[UNK]", most));
            prop_assert!(own.words.is_some());
            prop_assert_eq!(own.encode(&text), library.encode(&text));
            for id in 0..vocabulary.len() as u32 + 1 {
                prop_assert_eq!(own.token(id), library.token(id), "token {}", id);
            }
            prop_assert_eq!(own.special(), library.special());
        }
    }

    /// Real vocabularies, on text in many scripts and on what is no text.
    #[test]
    fn wordpiece_gives_the_librarys_ids_with_real_files() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let fixtures = folder.join("tests/fixtures").read_dir().expect("fixtures");
        let mut files: Vec<_> = fixtures.map(|entry| entry.expect("a folder").path()).collect();
        files.push(folder.join("crates/minilm/model"));
        let texts = [
            "How do transformers work?",
            "  Tabs\tand\r\nlines\u{a0}and \u{200b}nothing\u{0} ",
            "naïve Ångström ÀÉÎÕÜ İstanbul ß ﬁ e\u{301} Ω≈ç√",
            "東京は日本の首都です。 서울은 한국의 수도입니다 สวัสดี नमस्ते مرحبا שלום Ελλάδα Москва",
            "🤗👩‍👩‍👧‍👦 ¼ ① ‰ ©®™ [CLS] [SEP] [MASK] [UNK] [PAD] <s> </s> ##ing ## #",
            "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis xyzzyqwrtplkj",
            "don't stop-believing; it's 3.14159e-10 (or http://example.com/a?b=c&d=%20)...",
        ];
        let long = "a".repeat(300);
        let mut met = 0;
        for path in files.iter().map(|folder| folder.join("tokenizer.json")) {
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let (own, library) = both(&text);
            let Some(words) = &own.words else { continue };
            met += 1;
            for text in texts.into_iter().chain([long.as_str()]) {
                assert_eq!(own.encode(text), library.encode(text), "{}: {text}", path.display());
            }
            for id in 0..31_000 {
                // The library shows an added token as it is after normalization.
                let [own, library] = [&own, &library].map(|pipeline| pipeline.token(id).to_lowercase());
                assert_eq!(own, library, "{}", path.display());
                assert!(words.token(id).is_none_or(|token| words.id_of(token) == Some(id)));
            }
        }
        assert!(met >= 5, "{met} of the files have WordPiece");
    }

    /// What the engine's model does not cover is left to the library, with its numbers and its words.
    #[test]
    fn what_is_odd_is_left_to_the_library() {
        let vocabulary = ["[UNK]", "a"].map(String::from);
        let (own, library) = both(&bert(&vocabulary, &["[UNK]", "new"], "[UNK]", 100));
        assert!(own.words.is_none());
        assert_eq!(own.encode("a new a"), Ok(vec![1, 2, 1]));
        assert_eq!(own.encode("a new a"), library.encode("a new a"));
        for (vocabulary, problem) in [(json!({}), "no non-empty token"), (json!({"a": "b"}), "bad id")] {
            let text = bert(&[], &[], "[UNK]", 100);
            let mut text: Value = serde_json::from_str(&text).expect("JSON");
            text["model"]["vocab"] = vocabulary;
            let text = text.to_string();
            let mut file = TokenizerFile::parse(&text).expect("an object");
            file.canonicalize().expect("a tokenizer");
            let error = Pipeline::new(&file, How::default()).err().expect("a vocabulary that is none");
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn a_word_that_cannot_be_spelled_needs_the_unknown_token() {
        let (own, library) = both(&bert(&["a".to_owned()], &[], "[UNK]", 100));
        assert!(own.words.is_some());
        assert_eq!(own.encode("a a"), Ok(vec![0, 0]));
        assert!(own.encode("a b").is_err_and(|problem| problem.contains("unk_token")));
        assert!(library.encode("a b").is_err());
    }
}
