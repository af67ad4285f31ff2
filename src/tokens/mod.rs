//! Text to token ids: prompt and text are tokenised jointly, cut to the limit, and packed into ragged
//! batches.

mod file;
mod lookup;
mod pipeline;
mod rules;
mod vocabulary;
mod wordpiece;

pub(crate) use rules::{Expansion, TokenizerRules};

use crate::batch::TokenizedText;
use crate::error::{ModelError, ModelResult, RequestError, RequestResult};
use crate::source::Json;
use file::TokenizerFile;
use lookup::{asked_for, check_model_type, check_vocabulary, id_of, named, register_marker};
use pipeline::Pipeline;
use std::collections::HashSet;
use std::path::PathBuf;
use tokenizers::pipeline::Template;

/// A model's tokenizer, without the truncation and padding that its file may carry.
pub(crate) struct TextTokenizer {
    path: PathBuf,
    pipeline: Pipeline,
    rules: TokenizerRules,
    /// Special tokens before and after a text.
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    /// What stands around and between two texts.
    pair: Template,
    /// Whether the model is told which of two texts a token belongs to.
    types: bool,
    /// Ids that are special tokens wherever they stand.
    special: HashSet<u32>,
    unknown: Option<u32>,
    mask: Option<u32>,
    /// See [`TextTokenizer::skipped`] and [`TextTokenizer::has_no_weight`].
    skipped: HashSet<u32>,
    weightless: HashSet<u32>,
    /// The median number of characters of a token, where that is needed.
    median_length: usize,
    /// Rows of the model's embedding table.
    vocabulary: usize,
}

/// What is to be tokenised.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    /// A text.
    Text(&'a str),
    /// The ids of a text by itself, without special tokens around it.
    Ids(&'a [u32]),
}

/// A prompt, tokenised once for all texts that have it.
#[derive(Clone, Debug)]
pub(crate) struct TokenizedPrompt {
    text: String,
    suffix: String,
    /// The ids of either by itself, without special ones.
    ids: [Vec<u32>; 2],
    /// The first position that pooling takes.
    pub(crate) pool_from: usize,
}

/// Where a text that is too long is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CutAt {
    Start,
    End,
}

impl TextTokenizer {
    /// Reads a tokenizer.json for a model with `vocabulary` rows in its embedding table. `path` is
    /// for messages; `settings` is tokenizer_config.json.
    pub(crate) fn new(
        path: PathBuf,
        bytes: &[u8],
        settings: Option<&Json>,
        rules: TokenizerRules,
        vocabulary: usize,
    ) -> ModelResult<TextTokenizer> {
        let config = |problem| ModelError::Config { path: path.clone(), problem };
        let text = std::str::from_utf8(bytes).map_err(|e| config(format!("not valid UTF-8: {e}")))?;
        let mut file = TokenizerFile::parse(text).map_err(|e| match e.is_data() {
            true => config(format!("expected a JSON object that describes a tokenizer: {e}")),
            false => ModelError::Json { path: path.clone(), source: e },
        })?;
        let invalid = |problem: String| ModelError::Tokenizer { path: path.clone(), problem };
        check_vocabulary(&file, vocabulary).map_err(invalid)?;
        rules.markers.iter().for_each(|marker| register_marker(&mut file, marker));
        file.canonicalize().map_err(invalid)?;
        check_model_type(&path, &file)?;
        let pipeline = Pipeline::new(&file).map_err(invalid)?;
        let processor = pipeline.post_processor();
        let pair = processor.pair.clone();
        let (mut prefix, mut suffix) = (ids(&processor.single.prefix), ids(&processor.single.suffix));
        if let Some(settings) = settings {
            // Some files ask for these here and leave them out of tokenizer.json's template.
            let [bos, eos] = ["bos_token", "eos_token"].map(|name| asked_for(settings, name, &file));
            prefix.splice(0..0, bos?.filter(|id| !prefix.contains(id)));
            suffix.extend(eos?.filter(|id| !suffix.contains(id)));
        }
        if !rules.special_tokens {
            (prefix, suffix) = (Vec::new(), Vec::new());
        }
        if let Some(id) = prefix.iter().chain(&suffix).find(|&&id| id as usize >= vocabulary) {
            return Err(invalid(format!(
                "it adds the token {id} to each text, but the model's vocabulary ends at {}",
                vocabulary - 1
            )));
        }
        let special = pipeline.special();
        let unknown = lookup::unknown_token(&file);
        let mask = match rules.expansion.as_ref().and_then(|expansion| expansion.token.as_deref()) {
            Some(token) => id_of(&file, token),
            None => settings.and_then(|settings| named(settings, "mask_token", &file)),
        };
        if rules.expansion.is_some() && mask.is_none_or(|id| id as usize >= vocabulary) {
            return Err(invalid(
                "the model fills queries up with a mask token, which it does not have".to_owned(),
            ));
        }
        let median_length = if rules.model2vec { lookup::median_length(&file) } else { 0 };
        let skipped = rules.skiplist.iter().filter_map(|word| id_of(&file, word)).collect();
        let names = ["cls_token", "eos_token", "sep_token", "bos_token", "pad_token", "unk_token"];
        let weightless =
            names.iter().filter_map(|name| named(settings?, name, &file)).chain(unknown).collect();
        Ok(TextTokenizer {
            path,
            pipeline,
            rules,
            prefix,
            suffix,
            pair,
            types: lookup::takes_types(settings),
            special,
            unknown,
            mask,
            skipped,
            weightless,
            median_length,
            vocabulary,
        })
    }

    /// Tokenises a prompt: what stands before and after a text. `include_prompt`: pooling takes the
    /// tokens before it too.
    ///
    /// Otherwise pooling starts where sentence-transformers starts it: after as many tokens as the
    /// prompt has by itself, special tokens included, less a special one at its end.
    pub(crate) fn prompt(
        &self,
        text: &str,
        suffix: &str,
        include_prompt: bool,
        limit: usize,
    ) -> RequestResult<TokenizedPrompt> {
        let prompt = |ids, pool_from| TokenizedPrompt {
            text: text.to_owned(),
            suffix: suffix.to_owned(),
            ids,
            pool_from,
        };
        let after = if suffix.is_empty() { Vec::new() } else { self.encode(suffix)? };
        if text.is_empty() && after.is_empty() {
            return Ok(prompt([Vec::new(), Vec::new()], 0));
        }
        let before = self.encode(text)?;
        let prompt_tokens = self.prefix.len() + before.len() + after.len() + self.suffix.len();
        if prompt_tokens >= limit {
            return Err(RequestError::PromptTooLong { prompt_tokens, limit });
        }
        let ends_special = match self.suffix.last() {
            Some(_) => true,
            None => before.last().is_some_and(|id| self.special.contains(id)),
        };
        let leave_out = !include_prompt && !text.is_empty();
        let pool_from = if leave_out { prompt_tokens - after.len() - usize::from(ends_special) } else { 0 };
        Ok(prompt([before, after], pool_from))
    }

    /// Tokens of prompt and text together, cut to `limit` tokens, special ones included. The prompt
    /// is never cut.
    pub(crate) fn tokenize(
        &self,
        prompt: &TokenizedPrompt,
        content: Content<'_>,
        limit: usize,
        cut: CutAt,
    ) -> RequestResult<TokenizedText> {
        let content = match content {
            Content::Text(text) if self.rules.model2vec => {
                let most = text.char_indices().nth(limit.saturating_mul(self.median_length));
                Content::Text(most.map_or(text, |(end, _)| &text[..end]))
            }
            content => content,
        };
        let mut tokens = self.joined(prompt, content)?;
        let special = self.prefix.len() + self.suffix.len();
        let untruncated = tokens.len() + special;
        let over = tokens.len().saturating_sub(limit.saturating_sub(special));
        let [before, after] = prompt.ids.each_ref().map(Vec::len);
        let first = match cut {
            CutAt::End => tokens.len().saturating_sub(after + over),
            CutAt::Start => before.min(tokens.len() - over),
        };
        tokens.drain(first..first + over);
        self.finished(prompt, &tokens, limit, untruncated)
    }

    /// A long text as windows of at most `limit` tokens, each with the prompt, each sharing `overlap`
    /// tokens with the one before it.
    pub(crate) fn windows(
        &self,
        prompt: &TokenizedPrompt,
        content: Content<'_>,
        limit: usize,
        overlap: usize,
    ) -> RequestResult<Vec<TokenizedText>> {
        let tokens = self.joined(prompt, content)?;
        let special = self.prefix.len() + self.suffix.len();
        let untruncated = tokens.len() + special;
        if untruncated <= limit {
            return Ok(vec![self.finished(prompt, &tokens, limit, untruncated)?]);
        }
        let [before, after] = prompt.ids.each_ref().map(Vec::len);
        let own = before.min(tokens.len())..tokens.len().saturating_sub(after).max(before.min(tokens.len()));
        let size = limit.saturating_sub(special + before + after);
        if size <= overlap {
            let expected =
                format!("fewer than the {size} tokens that a window has room for beside the prompt");
            return Err(RequestError::InvalidOption {
                option: "the windows' overlap",
                found: overlap.to_string(),
                expected,
            });
        }
        let mut windows = Vec::new();
        let mut start = own.start;
        loop {
            let end = (start + size).min(own.end);
            let parts = [&tokens[..own.start], &tokens[start..end], &tokens[own.end..]];
            windows.push(self.finished(prompt, &parts.concat(), limit, untruncated)?);
            if end == own.end {
                return Ok(windows);
            }
            start = end - overlap;
        }
    }

    /// One text whose pieces are pooled separately: its parts up to each of `ends`, which are byte
    /// positions. It must fit the limit whole.
    pub(crate) fn pieces(
        &self,
        prompt: &TokenizedPrompt,
        text: &str,
        ends: &[usize],
        limit: usize,
    ) -> RequestResult<TokenizedText> {
        let mut whole = self.tokenize(prompt, Content::Text(text), limit, CutAt::End)?;
        if whole.untruncated > whole.ids.len() {
            return Err(RequestError::TooLong { tokens: whole.untruncated, limit });
        }
        let own_end = whole.ids.len() - self.suffix.len() - prompt.ids[1].len();
        let mut start = (self.prefix.len() + prompt.ids[0].len()).min(own_end);
        whole.pools.clear();
        for &end in ends {
            // How many tokens there are up to a border shows by tokenising what is before it.
            let end = if end == text.len() {
                own_end
            } else {
                let tokens = self.encode(&format!("{}{}", prompt.text, &text[..end]))?.len();
                (self.prefix.len() + tokens).clamp(start, own_end)
            };
            whole.pools.push(start..end);
            start = end;
        }
        Ok(whole)
    }

    /// Two texts as a cross-encoder sees them; the longer one is cut until both fit.
    pub(crate) fn pair(&self, first: &str, second: &str, limit: usize) -> RequestResult<TokenizedText> {
        let (mut a, mut b) = (self.encode(first)?, self.encode(second)?);
        self.check_ids(&a)?;
        self.check_ids(&b)?;
        let special = self.pair.n_special();
        let untruncated = a.len() + b.len() + special;
        let (of_a, of_b) = longest_first(a.len(), b.len(), limit.saturating_sub(special));
        a.truncate(of_a);
        b.truncate(of_b);
        let [before, between, after] =
            [&self.pair.prefix, &self.pair.infix, &self.pair.suffix].map(|run| ids(run));
        let ids = [before, a, between, b, after].concat();
        let mut text = TokenizedText::new(ids, 0, untruncated);
        if self.types && self.pair.b_type_id.is_some_and(|kind| kind != 0) {
            text.second = self.pair.prefix.len() + of_a + self.pair.infix.len();
        }
        if text.ids.is_empty() || text.ids.len() > limit {
            let problem =
                format!("the limit of {limit} tokens leaves no room beside the {special} special ones");
            return Err(RequestError::Tokenize { problem });
        }
        Ok(text)
    }

    /// Fills a query up to the tokens that the model's queries have.
    pub(crate) fn expand(&self, text: &mut TokenizedText) {
        if let (Some(expansion), Some(mask)) = (&self.rules.expansion, self.mask)
            && text.ids.len() < expansion.length
        {
            text.ids.resize(expansion.length, mask);
            text.keys = if expansion.attend { expansion.length } else { text.keys };
            text.second = expansion.length;
        }
    }

    /// Whether documents leave this token's vector out.
    pub(crate) fn skipped(&self, id: u32) -> bool {
        self.skipped.contains(&id)
    }

    /// Whether a token is special or unknown, so that it carries no lexical weight.
    pub(crate) fn has_no_weight(&self, id: u32) -> bool {
        self.weightless.contains(&id)
    }

    /// Tokens of a text by itself, without special ones.
    #[cfg(feature = "split")]
    pub(crate) fn count(&self, text: &str) -> usize {
        self.encode(text).map_or(usize::MAX, |tokens| tokens.len())
    }

    /// A token as it stands in the vocabulary.
    pub(crate) fn token(&self, id: u32) -> String {
        self.pipeline.token(id)
    }

    /// The ids of prompt and content, which are one string where the content is a text.
    fn joined(&self, prompt: &TokenizedPrompt, content: Content<'_>) -> RequestResult<Vec<u32>> {
        let tokens = match content {
            Content::Text(text) if prompt.text.is_empty() && prompt.suffix.is_empty() => self.encode(text)?,
            Content::Text(text) => self.encode(&format!("{}{text}{}", prompt.text, prompt.suffix))?,
            Content::Ids(ids) => [&prompt.ids[0], ids, &prompt.ids[1]].concat(),
        };
        self.check_ids(&tokens)?;
        Ok(tokens)
    }

    fn check_ids(&self, tokens: &[u32]) -> RequestResult<()> {
        match tokens.iter().find(|&&id| id as usize >= self.vocabulary) {
            None => Ok(()),
            Some(id) => {
                let (path, last) = (self.path.display(), self.vocabulary - 1);
                let problem =
                    format!("{path} gives the token {id}, but the model's vocabulary ends at {last}");
                Err(RequestError::Tokenize { problem })
            }
        }
    }

    /// Special tokens around `tokens`.
    fn finished(
        &self,
        prompt: &TokenizedPrompt,
        tokens: &[u32],
        limit: usize,
        untruncated: usize,
    ) -> RequestResult<TokenizedText> {
        let left_out = self.unknown.filter(|_| self.rules.model2vec);
        let tokens = tokens.iter().filter(|id| Some(**id) != left_out);
        let ids: Vec<u32> = self.prefix.iter().chain(tokens).chain(&self.suffix).copied().collect();
        if (ids.is_empty() && self.rules.special_tokens) || ids.len() > limit {
            let special = self.prefix.len() + self.suffix.len();
            let problem = format!(
                "it has {} tokens, the limit is {limit}; the model adds {special} special tokens",
                ids.len()
            );
            return Err(RequestError::Tokenize { problem });
        }
        if prompt.pool_from >= ids.len() && self.rules.special_tokens {
            let problem =
                "no token is left to pool: the model leaves out its prompt's, and there is no other";
            return Err(RequestError::Tokenize { problem: problem.to_owned() });
        }
        Ok(TokenizedText::new(ids, prompt.pool_from, untruncated))
    }

    /// Ids of a text without special tokens around it.
    fn encode(&self, text: &str) -> RequestResult<Vec<u32>> {
        let ids = if self.rules.lowercase {
            self.pipeline.encode(&text.to_lowercase())
        } else {
            self.pipeline.encode(text)
        };
        ids.map_err(|problem| RequestError::Tokenize { problem })
    }
}

/// The ids of a template's part.
fn ids(run: &[(tokenizers::pipeline::PipelineToken, u8)]) -> Vec<u32> {
    run.iter().map(|&(id, _)| id.into()).collect()
}

/// How many tokens of two texts are kept within `limit`: those of the longer one go first.
///
/// tokenizers' `truncate_encodings`, strategy `LongestFirst`.
fn longest_first(a: usize, b: usize, limit: usize) -> (usize, usize) {
    if a + b <= limit {
        return (a, b);
    }
    let shorter = a.min(b);
    let longer = if shorter > limit { shorter } else { shorter.max(limit - shorter) };
    let (shorter, longer) =
        if shorter + longer > limit { (limit / 2, limit / 2 + limit % 2) } else { (shorter, longer) };
    if a > b { (longer, shorter) } else { (shorter, longer) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of tokenizers' own test.
    #[test]
    fn the_longer_text_is_cut_first() {
        let cases = [
            (0, 20, 0, 7),
            (2, 4, 2, 4),
            (2, 20, 2, 5),
            (4, 4, 3, 4),
            (4, 20, 3, 4),
            (20, 2, 5, 2),
            (20, 4, 4, 3),
            (20, 20, 3, 4),
        ];
        for (a, b, of_a, of_b) in cases {
            assert_eq!(longest_first(a, b, 7), (of_a, of_b), "{a} and {b}");
        }
    }
}
