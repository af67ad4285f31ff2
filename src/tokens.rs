//! Text to token ids: prompt and text are tokenised jointly, truncated, and packed into ragged
//! batches.

use crate::error::{Error, Result};
use crate::model::Json;
use serde_json::Value;
use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tokenizers::pipeline::{EncodeOptions, Override, PipelineTokenizer};

/// A model's tokenizer, without the truncation and padding that its file may carry.
pub(crate) struct TextTokenizer {
    path: PathBuf,
    pipeline: PipelineTokenizer,
    /// Special tokens before and after a text.
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    /// Ids that are special tokens wherever they stand.
    special: HashSet<u32>,
    /// Lower-case the text first (`do_lower_case` in sentence_bert_config.json).
    lowercase: bool,
    /// Rows of the model's embedding table.
    vocabulary: usize,
}

/// A text as the model sees it.
pub(crate) struct TokenizedText {
    /// Special tokens, prompt and text.
    pub(crate) ids: Vec<u32>,
    /// The first position that pooling takes.
    pub(crate) pool_from: usize,
    /// What `ids` would have had without truncation.
    pub(crate) untruncated: usize,
}

/// The prompt of a call, measured once for all its texts.
pub(crate) struct TokenizedPrompt<'a> {
    pub(crate) text: &'a str,
    /// The first position that pooling takes.
    pub(crate) pool_from: usize,
}

impl TextTokenizer {
    /// Reads a tokenizer.json for a model with `vocabulary` rows in its embedding table. `settings`
    /// is tokenizer_config.json.
    pub(crate) fn new(
        mut json: Json,
        settings: Option<&Json>,
        lowercase: bool,
        vocabulary: usize,
    ) -> Result<TextTokenizer> {
        let path = std::mem::take(&mut json.path);
        let invalid = |problem: String| Error::Tokenizer { path: path.clone(), problem };
        let mut value = json.value;
        let Some(root) = value.as_object_mut() else {
            return Err(invalid("expected a JSON object".to_owned()));
        };
        // Whoever saved the file chose these for one use of it; the engine does both itself.
        root.remove("truncation");
        root.remove("padding");
        check_vocabulary(&value, vocabulary).map_err(invalid)?;
        tokenizers::canonicalize_value(&mut value).map_err(|e| invalid(e.to_string()))?;
        check_model_type(&path, &value)?;
        let pipeline = tokenizers::from_json(&value.to_string()).map_err(|e| invalid(e.to_string()))?;
        let template = &pipeline.get_post_processor().single;
        let ids = |run: &[(tokenizers::pipeline::PipelineToken, u8)]| {
            run.iter().map(|&(id, _)| id.into()).collect()
        };
        let (mut prefix, mut suffix): (Vec<u32>, Vec<u32>) = (ids(&template.prefix), ids(&template.suffix));
        if let Some(settings) = settings {
            // Some files ask for these here and leave them out of tokenizer.json's template.
            let [bos, eos] = ["bos_token", "eos_token"].map(|name| asked_for(settings, name, &value));
            prefix.splice(0..0, bos?.filter(|id| !prefix.contains(id)));
            suffix.extend(eos?.filter(|id| !suffix.contains(id)));
        }
        let added = pipeline.get_added_vocabulary().get_added_tokens_decoder();
        let special = added.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        if let Some(id) = prefix.iter().chain(&suffix).find(|&&id| id as usize >= vocabulary) {
            return Err(invalid(format!(
                "it adds the token {id} to each text, but the model's vocabulary ends at {}",
                vocabulary - 1
            )));
        }
        Ok(TextTokenizer { path, pipeline, prefix, suffix, special, lowercase, vocabulary })
    }

    /// Measures a prompt. `include_prompt`: pooling takes its tokens too.
    ///
    /// Otherwise pooling starts where sentence-transformers starts it: after as many tokens as the
    /// prompt has by itself, special tokens included, less a special one at its end.
    pub(crate) fn prompt<'a>(
        &self,
        text: &'a str,
        include_prompt: bool,
        limit: usize,
    ) -> Result<TokenizedPrompt<'a>> {
        if text.is_empty() {
            return Ok(TokenizedPrompt { text, pool_from: 0 });
        }
        let tokens =
            self.encode(text).map_err(|problem| Error::Tokenizer { path: self.path.clone(), problem })?;
        let prompt_tokens = self.prefix.len() + tokens.len() + self.suffix.len();
        if prompt_tokens >= limit {
            return Err(Error::PromptTooLong { prompt_tokens, limit });
        }
        let ends_special = match self.suffix.last() {
            Some(_) => true,
            None => tokens.last().is_some_and(|id| self.special.contains(id)),
        };
        let pool_from = if include_prompt { 0 } else { prompt_tokens - usize::from(ends_special) };
        Ok(TokenizedPrompt { text, pool_from })
    }

    /// Tokens of prompt and text together, cut at the end to `limit` tokens, special ones included.
    /// `index` is the text's position in its batch, for messages.
    pub(crate) fn tokenize(
        &self,
        prompt: &TokenizedPrompt<'_>,
        text: &str,
        limit: usize,
        index: usize,
    ) -> Result<TokenizedText> {
        let joined;
        let text = if prompt.text.is_empty() {
            text
        } else {
            joined = format!("{}{text}", prompt.text);
            &joined
        };
        let tokens = self.encode(text).map_err(|problem| Error::Tokenize { index, problem })?;
        if let Some(id) = tokens.iter().find(|&&id| id as usize >= self.vocabulary) {
            let problem = format!(
                "{} gives the token {id}, but the model's vocabulary ends at {}",
                self.path.display(),
                self.vocabulary - 1
            );
            return Err(Error::Tokenize { index, problem });
        }
        let special = self.prefix.len() + self.suffix.len();
        let kept = tokens.len().min(limit.saturating_sub(special));
        let ids: Vec<u32> = self.prefix.iter().chain(&tokens[..kept]).chain(&self.suffix).copied().collect();
        if ids.is_empty() || ids.len() > limit {
            let problem = format!(
                "it has {} tokens, the limit is {limit}; the model adds {special} special tokens",
                ids.len()
            );
            return Err(Error::Tokenize { index, problem });
        }
        if prompt.pool_from >= ids.len() {
            let problem =
                "no token is left to pool: the model leaves out its prompt's, and there is no other";
            return Err(Error::Tokenize { index, problem: problem.to_owned() });
        }
        Ok(TokenizedText { ids, pool_from: prompt.pool_from, untruncated: tokens.len() + special })
    }

    /// Ids of a text without special tokens around it.
    fn encode(&self, text: &str) -> std::result::Result<Vec<u32>, String> {
        let options = EncodeOptions {
            truncation: Override::Off,
            padding: Override::Off,
            ..EncodeOptions::no_specials()
        };
        let lowered;
        let text = if self.lowercase {
            lowered = text.to_lowercase();
            &lowered
        } else {
            text
        };
        let mut tokens = Vec::new();
        self.pipeline.encode_into(text, &options, &mut tokens).map_err(|e| e.to_string())?;
        Ok(tokens.into_iter().map(u32::from).collect())
    }
}

/// The id of the token `name` (`bos_token` or `eos_token`) if tokenizer_config.json asks for it with
/// `add_bos_token` or `add_eos_token`.
fn asked_for(settings: &Json, name: &str, tokenizer: &Value) -> Result<Option<u32>> {
    if !settings.flag_or(&format!("add_{name}"), false)? {
        return Ok(None);
    }
    let token = settings.get(name);
    let text = token.and_then(|token| token.as_str().or_else(|| token.get("content")?.as_str()));
    let Some(text) = text else {
        return Err(settings.error(format!("`add_{name}` is true, but there is no `{name}`")));
    };
    let added = tokenizer.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
    let added = added.filter(|token| token.get("content").and_then(Value::as_str) == Some(text));
    let own = tokenizer.get("model").and_then(|model| model.get("vocab")?.get(text));
    let id = added.filter_map(|token| token.get("id")).chain(own).find_map(Value::as_u64);
    let id = id.and_then(|id| u32::try_from(id).ok());
    id.map(Some)
        .ok_or_else(|| settings.error(format!("`{name}` is `{text}`, which tokenizer.json does not have")))
}

/// Checks the kind of tokenizer, which the library's own message does not name.
fn check_model_type(path: &Path, tokenizer: &Value) -> Result<()> {
    const KNOWN: [&str; 4] = ["BPE", "Unigram", "WordPiece", "WordLevel"];
    let kind = tokenizer.get("model").and_then(|model| model.get("type")).and_then(Value::as_str);
    match kind {
        Some(kind) if !KNOWN.contains(&kind) => Err(Error::Unsupported {
            path: path.to_owned(),
            what: "tokenizer model",
            found: kind.to_owned(),
            supported: KNOWN.join(", "),
        }),
        _ => Ok(()),
    }
}

/// Checks that no token of the file's own vocabulary lies beyond the model's embedding table: a
/// tokenizer of another model. (Added tokens may; they are refused where a text has them.)
fn check_vocabulary(tokenizer: &Value, vocabulary: usize) -> std::result::Result<(), String> {
    let vocab = tokenizer.get("model").and_then(|model| model.get("vocab"));
    let largest = match vocab {
        Some(Value::Object(ids)) => ids.values().filter_map(Value::as_u64).max(),
        Some(Value::Array(pieces)) => (pieces.len() as u64).checked_sub(1),
        _ => None,
    };
    match largest {
        Some(largest) if largest >= vocabulary as u64 => Err(format!(
            "its vocabulary reaches to the id {largest}, but the model's embedding table has {vocabulary} rows; it belongs to another model"
        )),
        _ => Ok(()),
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
    /// How many leading tokens of each text pooling leaves out: `[texts]`
    pub(crate) pool_from: Vec<usize>,
}

impl RaggedBatch {
    /// A batch of these texts.
    pub(crate) fn new<'a>(texts: impl IntoIterator<Item = &'a TokenizedText>) -> RaggedBatch {
        let mut batch = RaggedBatch { offsets: vec![0], ..RaggedBatch::default() };
        for text in texts {
            batch.ids.extend_from_slice(&text.ids);
            batch.offsets.push(batch.ids.len());
            batch.pool_from.push(text.pool_from);
        }
        batch
    }

    /// Number of texts.
    pub(crate) fn texts(&self) -> usize {
        self.pool_from.len()
    }

    /// Number of tokens of all texts.
    pub(crate) fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The tokens of text `text`.
    pub(crate) fn range(&self, text: usize) -> Range<usize> {
        self.offsets[text]..self.offsets[text + 1]
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

    #[test]
    fn a_text_over_the_budget_is_a_batch_by_itself() {
        assert_eq!(pack(&[5, 300, 6], 128), [vec![1], vec![2, 0]]);
        assert_eq!(pack(&[], 128), Vec::<Vec<usize>>::new());
    }
}
