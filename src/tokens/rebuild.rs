//! What transformers' tokenizer classes make of a tokenizer.json: the vocabulary and merges of the file, and around
//! them the class's own normalizer, words and special tokens, by the options of tokenizer_config.json.
//!
//! Sources: the `tokenization_*.py` of each family in transformers 5.24.

use super::added::NamedTokens;
use super::class::Class;
use super::file::TokenizerFile;
use crate::error::{ModelError, ModelResult as Result};
use crate::source::Json;
use serde_json::{Value, json};
use std::path::Path;

/// Special tokens around one text and around two, by their texts.
pub(super) struct Surroundings {
    pub(super) before: Option<String>,
    pub(super) between: Vec<String>,
    pub(super) after: String,
    /// The second of two texts is of this type.
    pub(super) second_type: u8,
}

/// Puts the class's parts into the file, and says what it puts around texts; `None`: what the file says.
pub(super) fn rebuild(
    class: Class,
    path: &Path,
    settings: &Json,
    named: &NamedTokens,
    file: &mut TokenizerFile<'_>,
) -> Result<Option<Surroundings>> {
    if class == Class::General {
        return Ok(None);
    }
    let charsmap = charsmap(file);
    let unknown = named.get("unk_token").unwrap_or_default().to_owned();
    let prefix_space = |default: bool| settings.flag_or("add_prefix_space", default);
    let (model, normalizer, words) = match class {
        Class::General => return Ok(None),
        Class::Bert | Class::DistilBert | Class::MpNet => {
            let model = json!({"type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100});
            let normalizer = json!({"type": "BertNormalizer", "clean_text": true,
                "handle_chinese_chars": settings.flag_or("tokenize_chinese_chars", true)?,
                "strip_accents": settings.optional_flag("strip_accents")?,
                "lowercase": settings.flag_or("do_lower_case", true)?});
            (model, normalizer, json!({"type": "BertPreTokenizer"}))
        }
        Class::Roberta | Class::Gpt2 => {
            let words = json!({"type": "ByteLevel", "add_prefix_space": prefix_space(false)?, "trim_offsets": true,
                "use_regex": true});
            (bpe(None, false, false), Value::Null, words)
        }
        Class::Qwen2 => {
            let words = json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": QWEN2_WORDS}, "behavior": "Isolated", "invert": false},
                {"type": "ByteLevel", "add_prefix_space": prefix_space(false)?, "trim_offsets": true, "use_regex": false},
            ]});
            (bpe(None, false, false), json!({"type": "NFC"}), words)
        }
        Class::Gemma => {
            let words = json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious",
                "invert": false});
            let normalizer = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
            (bpe(Some(&unknown), true, true), normalizer, words)
        }
        Class::Llama => {
            let scheme = match (prefix_space(true)?, settings.flag_or("legacy", false)?) {
                (false, _) => "never",
                (true, true) => "always",
                (true, false) => "first",
            };
            let words =
                json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
            (bpe(None, true, true), Value::Null, words)
        }
        Class::XlmRoberta | Class::Camembert | Class::T5 | Class::Albert => {
            let unknown_id = match class {
                Class::XlmRoberta => 3,
                Class::T5 => 2,
                Class::Albert => 1,
                _ => file.vocabulary.id_of(&unknown).unwrap_or(0),
            };
            let model = json!({"type": "Unigram", "unk_id": unknown_id, "byte_fallback": false});
            let space = class == Class::T5 || prefix_space(true)?;
            let scheme = if space { "always" } else { "never" };
            // Without a sign in front of them, words are what stands between white space.
            let metaspace =
                json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
            let words = match space {
                true => {
                    json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]})
                }
                false => json!({"type": "WhitespaceSplit"}),
            };
            let mut steps = Vec::new();
            if class == Class::Albert {
                let replace =
                    |text: &str| json!({"type": "Replace", "pattern": {"String": text}, "content": "\""});
                steps.extend([replace("``"), replace("''")]);
                if !settings.flag_or("keep_accents", false)? {
                    steps.extend([json!({"type": "NFKD"}), json!({"type": "StripAccents"})]);
                }
                if settings.flag_or("do_lower_case", true)? {
                    steps.push(json!({"type": "Lowercase"}));
                }
            }
            steps.extend(charsmap.map(|map| json!({"type": "Precompiled", "precompiled_charsmap": map})));
            let normalizer = match steps.len() {
                0 => Value::Null,
                _ => json!({"type": "Sequence", "normalizers": steps}),
            };
            (model, normalizer, words)
        }
    };
    check_kind(class, path, &model, file)?;
    file.set_model(model);
    file.set("normalizer", normalizer);
    file.set("pre_tokenizer", words);
    Ok(surroundings(class, named))
}

/// Qwen2's words (`PRETOKENIZE_REGEX`).
const QWEN2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

fn bpe(unknown: Option<&str>, fuse_unknown: bool, byte_fallback: bool) -> Value {
    json!({"type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": fuse_unknown, "byte_fallback": byte_fallback, "ignore_merges": false})
}

/// A class takes the vocabulary of its own kind of model only.
fn check_kind(class: Class, path: &Path, model: &Value, file: &TokenizerFile<'_>) -> Result<()> {
    let kind = |model: &Value| model.get("type").and_then(Value::as_str).map(str::to_owned);
    let (wanted, found) = (kind(model).unwrap_or_default(), file.get("model").and_then(kind));
    match found {
        Some(found) if found != wanted => Err(ModelError::Tokenizer {
            path: path.to_owned(),
            problem: format!(
                "it holds a {found} model, but the tokenizer class that the files name ({class:?}) is made of a {wanted} model; name its class in tokenizer_config.json, or TokenizersBackend to take it as it stands"
            ),
        }),
        _ => Ok(()),
    }
}

/// SentencePiece's table of characters, wherever the normalizer has it.
fn charsmap(file: &TokenizerFile<'_>) -> Option<Value> {
    let normalizer = file.get("normalizer")?;
    let list = normalizer.get("normalizers").and_then(Value::as_array);
    let steps = list.map_or(std::slice::from_ref(normalizer), Vec::as_slice);
    let precompiled = |step: &&Value| step.get("type").and_then(Value::as_str) == Some("Precompiled");
    steps.iter().find(precompiled)?.get("precompiled_charsmap").cloned()
}

/// What the classes put around texts that do not leave it to the file.
fn surroundings(class: Class, named: &NamedTokens) -> Option<Surroundings> {
    let text = |role: &str| named.get(role).unwrap_or_default().to_owned();
    let around = |before: &str, after: &str| Surroundings {
        before: Some(text(before)),
        between: vec![text(after), text(after)],
        after: text(after),
        second_type: 0,
    };
    match class {
        Class::Bert | Class::DistilBert => {
            let after = text("sep_token");
            Some(Surroundings { between: vec![after], second_type: 1, ..around("cls_token", "sep_token") })
        }
        Class::MpNet | Class::Roberta => Some(around("cls_token", "sep_token")),
        Class::XlmRoberta | Class::Camembert => Some(around("bos_token", "eos_token")),
        Class::T5 => {
            let after = text("eos_token");
            Some(Surroundings { before: None, between: vec![after.clone()], after, second_type: 0 })
        }
        Class::General | Class::Albert | Class::Gemma | Class::Gpt2 | Class::Llama | Class::Qwen2 => None,
    }
}

/// sentence_bert_config.json's `do_lower_case`: texts are lower-cased before all else, but not the added tokens in
/// them. sentence-transformers, `Transformer.__init__`.
pub(super) fn lowercase_first(file: &mut TokenizerFile<'_>) {
    let is = |step: &Value, kind: &str| step.get("type").and_then(Value::as_str) == Some(kind);
    let normalizer = file.get("normalizer").cloned().unwrap_or(Value::Null);
    let steps = match &normalizer {
        Value::Null => Vec::new(),
        list if is(list, "Sequence") => {
            list.get("normalizers").and_then(Value::as_array).cloned().unwrap_or_default()
        }
        one => vec![one.clone()],
    };
    if steps.iter().any(|step| is(step, "Lowercase")) {
        return;
    }
    let steps: Vec<Value> = std::iter::once(json!({"type": "Lowercase"})).chain(steps).collect();
    file.set("normalizer", json!({"type": "Sequence", "normalizers": steps}));
}
