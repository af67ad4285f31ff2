//! ColBERT: how queries and documents are made ready for models that give a vector for each token.
//!
//! Three layouts say the same: sentence-transformers' MultiVectorEncoder (sentence_bert_config.json and
//! a MultiVectorMask module), PyLate up to 3 (config_sentence_transformers.json), and Stanford's
//! (artifact.metadata, and the projection beside the transformer's weights). Each key means what
//! sentence-transformers' `multi_vector_encoder/model.py` reads from it.

use super::modules::words;
use crate::error::ModelResult as Result;
use crate::source::{Json, ModelFiles};
use crate::tokens::Expansion;

/// How texts become token vectors.
#[derive(Clone, Debug, Default)]
pub(crate) struct LateInteraction {
    /// Markers in front of a query and a document, each one token; part of the prompt.
    pub(crate) markers: Option<(String, String)>,
    /// The most tokens of a query.
    pub(crate) query_length: Option<usize>,
    /// The most tokens of a document.
    pub(crate) document_length: Option<usize>,
    /// Queries are filled up with mask tokens.
    pub(crate) expansion: Option<Expansion>,
    /// Whether the first token's vector is left out.
    pub(crate) skip_first: bool,
    /// Words whose vectors documents leave out.
    pub(crate) skiplist: Vec<String>,
}

impl LateInteraction {
    /// Reads whichever layout the files have.
    pub(crate) fn read(
        files: &ModelFiles,
        settings: Option<&Json>,
        sentence: &Json,
        skiplist: Option<Vec<String>>,
    ) -> Result<LateInteraction> {
        if let Some(metadata) = files.optional_json("artifact.metadata")? {
            return LateInteraction::stanford(&metadata);
        }
        if PYLATE_KEYS.iter().any(|key| sentence.get(key).is_some()) {
            return LateInteraction::pylate(sentence, skiplist);
        }
        // Without the module that says which tokens count, those that are filled in do where they are attended to.
        let counts_filling = skiplist.is_some();
        let mut late =
            LateInteraction { skiplist: skiplist.unwrap_or_default(), ..LateInteraction::default() };
        if let Some(settings) = settings {
            late.query_length = optional_size(settings, "query_length")?;
            late.document_length = optional_size(settings, "document_length")?;
            late.expansion = match settings.object("query_expansion")? {
                Some(expansion) => Some(read_expansion(&expansion)?),
                None => None,
            };
        }
        if let Some(unused) = late.expansion.take_if(|expansion| !expansion.attend && !counts_filling) {
            late.query_length = late.query_length.or((!unused.only_fewest).then_some(unused.length));
        }
        Ok(late)
    }

    fn pylate(config: &Json, skiplist: Option<Vec<String>>) -> Result<LateInteraction> {
        let length = config.size_or("query_length", 32)?;
        let attend =
            config.flag_or("attend_to_expansion_tokens", config.flag_or("attend_to_mask_tokens", false)?)?;
        let expands = config.flag_or("do_query_expansion", true)?;
        let skiplist = match (config.get("skiplist_words"), skiplist) {
            (Some(_), _) => words(config, "skiplist_words")?,
            (None, Some(skiplist)) => skiplist,
            (None, None) => punctuation(),
        };
        let marker =
            |key: &str| Ok::<_, crate::error::ModelError>(config.text(key)?.unwrap_or_default().to_owned());
        Ok(LateInteraction {
            markers: Some((marker("query_prefix")?, marker("document_prefix")?)),
            query_length: optional_size(config, "query_length")?.filter(|_| !expands),
            document_length: optional_size(config, "document_length")?,
            expansion: expands.then_some(Expansion { length, only_fewest: false, attend, token: None }),
            skip_first: false,
            skiplist,
        })
    }

    fn stanford(metadata: &Json) -> Result<LateInteraction> {
        let marker = |key: &str, default: &str| {
            Ok::<_, crate::error::ModelError>(format!("{} ", metadata.text(key)?.unwrap_or(default)))
        };
        let attend = metadata.flag_or("attend_to_mask_tokens", false)?;
        let masks = metadata.flag_or("mask_punctuation", true)?;
        Ok(LateInteraction {
            markers: Some((marker("query_token_id", "[unused0]")?, marker("doc_token_id", "[unused1]")?)),
            query_length: None,
            document_length: optional_size(metadata, "doc_maxlen")?,
            expansion: Some(Expansion {
                length: metadata.size_or("query_maxlen", 32)?,
                only_fewest: false,
                attend,
                token: None,
            }),
            skip_first: false,
            skiplist: if masks { punctuation() } else { Vec::new() },
        })
    }
}

/// Keys that only PyLate's files have.
const PYLATE_KEYS: [&str; 6] = [
    "do_query_expansion",
    "attend_to_expansion_tokens",
    "attend_to_mask_tokens",
    "query_prefix",
    "document_prefix",
    "skiplist_words",
];

/// Python's `string.punctuation`.
fn punctuation() -> Vec<String> {
    (b'!'..=b'~').filter(u8::is_ascii_punctuation).map(|sign| char::from(sign).to_string()).collect()
}

fn optional_size(json: &Json, key: &str) -> Result<Option<usize>> {
    if json.get(key).is_some() { json.size(key).map(Some) } else { Ok(None) }
}

fn read_expansion(json: &Json) -> Result<Expansion> {
    let only_fewest = match json.text("strategy")? {
        Some("fixed") => false,
        Some("min") => true,
        other => {
            return Err(json.unsupported("query_expansion strategy", other.unwrap_or("none"), "fixed, min"));
        }
    };
    Ok(Expansion {
        length: json.size("length")?,
        only_fewest,
        attend: json.flag_or("attend", false)?,
        token: json.text("token")?.map(str::to_owned),
    })
}
