//! Text to token ids: prompt and text are tokenised jointly, cut to the limit, and packed into ragged
//! batches.

mod added;
mod build;
mod chat;
mod class;
mod file;
mod file_keys;
mod lookup;
mod pieces;
mod pipeline;
mod rebuild;
mod rules;
mod surroundings;
mod vocabulary;
mod wordpiece;

pub(crate) use build::Beside;
pub(crate) use chat::{ChatSpec, MessageFormat, in_settings as chat_template_in};
pub(crate) use rules::{CutAt, Expansion, TokenizerRules};

use crate::batch::TokenizedText;
use crate::error::{ModelError, ModelResult, RequestError, RequestResult};
use build::{Built, build};
use chat::{Chat, Said};
use file::TokenizerFile;
use lookup::{check_model_type, check_vocabulary, correct_ids, id_of, register_marker};
use pipeline::{How, Pipeline};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use surroundings::Surroundings;

/// A model's tokenizer, without the truncation and padding that its file may carry.
pub(crate) struct TextTokenizer {
    path: PathBuf,
    pipeline: Pipeline,
    rules: TokenizerRules,
    around: Surroundings,
    /// Texts go through it, where there is one.
    chat: Option<Chat>,
    /// Whether the model is told which of two texts a token belongs to.
    types: bool,
    /// See [`TextTokenizer::cut`].
    cut: CutAt,
    /// Of the tokenizer as it was built.
    fingerprint: String,
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
    unknown_keys: Vec<String>,
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

impl TextTokenizer {
    /// Reads a tokenizer.json for a model with `vocabulary` rows in its embedding table. `path` is
    /// for messages; `beside` is what stands beside it, for models that transformers opens.
    pub(crate) fn new(
        path: PathBuf,
        bytes: &[u8],
        beside: Option<&Beside<'_>>,
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
        let unknown_keys = file.unknown_keys();
        let direction = file.truncation_direction();
        let mut prefix_space = file.take_prefix_space();
        file.canonicalize().map_err(invalid)?;
        let built = beside.map(|beside| build(&path, beside, direction.as_deref(), &mut file)).transpose()?;
        rules.markers.iter().for_each(|marker| register_marker(&mut file, marker));
        if rules.lowercase {
            rebuild::lowercase_first(&mut file);
        }
        prefix_space |= file.take_prefix_space();
        file.canonicalize().map_err(invalid)?;
        check_model_type(&path, &file)?;
        let how =
            How { splits_special: built.as_ref().is_some_and(|built| built.splits_special), prefix_space };
        let pipeline = Pipeline::new(&file, how).map_err(invalid)?;
        correct_ids(&mut file, &pipeline.added_ids());
        let mut around = Surroundings::of_file(pipeline.post_processor());
        if let Some(Built { settings, named, texts, arguments, .. }) = &built {
            match texts {
                Some(texts) => around = Surroundings::of_class(texts, &file).map_err(invalid)?,
                None => around.add_asked_for(settings, arguments, named, &file)?,
            }
        }
        let chat = match (&rules.chat, &built) {
            (Some(spec), Some(built)) => Some(Chat::new(spec, built.named.roles())?),
            _ => None,
        };
        if !rules.special_tokens || chat.is_some() {
            around = Surroundings::default(); // a template writes its own
        }
        if let Some(&id) = around.prefix.iter().chain(&around.suffix).find(|&&id| id as usize >= vocabulary) {
            return Err(invalid(format!(
                "it, or tokenizer_config.json beside it, adds the token `{}` ({id}) to each text, but the model's vocabulary ends at {}",
                pipeline.token(id),
                vocabulary - 1
            )));
        }
        let special = pipeline.special();
        let unknown = lookup::unknown_token(&file);
        let role = |name: &str| built.as_ref().and_then(|built| id_of(&file, built.named.get(name)?));
        let mask = match rules.expansion.as_ref().and_then(|expansion| expansion.token.as_deref()) {
            Some(token) => id_of(&file, token),
            None => role("mask_token").or_else(|| role("eos_token")),
        };
        if rules.expansion.is_some() && mask.is_none_or(|id| id as usize >= vocabulary) {
            return Err(invalid(
                "the model fills queries up with a mask token or an end of text, which it does not have"
                    .to_owned(),
            ));
        }
        let median_length = if rules.model2vec { lookup::median_length(&file) } else { 0 };
        let skipped = rules.skiplist.iter().filter_map(|word| id_of(&file, word)).collect();
        let names = ["cls_token", "eos_token", "sep_token", "bos_token", "pad_token", "unk_token"];
        let weightless = names.into_iter().filter_map(role).chain(unknown).collect();
        Ok(TextTokenizer {
            path,
            types: built.as_ref().is_none_or(|built| built.gives_types),
            cut: match &built {
                _ if !rules.cuts => CutAt::Never,
                Some(built) => built.cut,
                None => CutAt::End,
            },
            fingerprint: file.fingerprint(),
            pipeline,
            rules,
            around,
            chat,
            special,
            unknown,
            mask,
            skipped,
            weightless,
            median_length,
            vocabulary,
            unknown_keys,
        })
    }

    /// The end at which the model's files say that a text that is too long is cut.
    pub(crate) fn cut(&self) -> CutAt {
        self.cut
    }

    /// Keys of its file that nobody knows, each with the place where it stands.
    pub(crate) fn unknown_keys(&self) -> (&Path, &[String]) {
        (&self.path, &self.unknown_keys)
    }

    /// All that decides which ids a text has, beside the vocabulary and the merges in tokenizer.json.
    pub(crate) fn description(&self) -> String {
        let TextTokenizer { fingerprint, rules, around, types, cut, .. } = self;
        let chat = self.chat.as_ref().map(Chat::description);
        format!("{fingerprint} {rules:?} {around:?} {types} {cut:?} {chat:?} {:?}", self.pipeline.how())
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
        if self.chat.is_some() {
            return Ok(prompt([Vec::new(), Vec::new()], 0)); // a message of its own
        }
        let after = if suffix.is_empty() { Vec::new() } else { self.encode(suffix)? };
        if text.is_empty() && after.is_empty() {
            return Ok(prompt([Vec::new(), Vec::new()], 0));
        }
        let before = self.encode(text)?;
        let prompt_tokens = self.around.prefix.len() + before.len() + after.len() + self.around.suffix.len();
        if prompt_tokens >= limit {
            return Err(RequestError::PromptTooLong { prompt_tokens, limit });
        }
        let ends_special = match self.around.suffix.last() {
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
        let special = self.around.prefix.len() + self.around.suffix.len();
        let untruncated = tokens.len() + special;
        if let Some(chat) = &self.chat {
            self.cut_chat(chat, &prompt.text, Said::Text(""), &mut tokens, limit, cut)?;
            return self.finished(prompt, &tokens, limit, untruncated);
        }
        if cut == CutAt::Never && untruncated > limit {
            return Err(RequestError::TooLong { tokens: untruncated, limit });
        }
        let over = tokens.len().saturating_sub(limit.saturating_sub(special));
        let [before, after] = prompt.ids.each_ref().map(Vec::len);
        let first = match cut {
            CutAt::End => tokens.len().saturating_sub(after + over),
            CutAt::Start => before.min(tokens.len() - over),
            CutAt::PromptToo => 0,
            CutAt::Never => tokens.len(),
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
        self.check_no_chat("windows")?;
        let tokens = self.joined(prompt, content)?;
        let special = self.around.prefix.len() + self.around.suffix.len();
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

    /// Two texts as a cross-encoder sees them, with what stands around the first; the longer one is cut until both fit.
    pub(crate) fn pair(
        &self,
        prompt: [&str; 2],
        first: &str,
        second: &str,
        limit: usize,
    ) -> RequestResult<TokenizedText> {
        if let Some(chat) = &self.chat {
            let said = Said::Pair(first, second);
            let prompt = prompt.concat();
            let mut ids = self.encode(&chat.render(&prompt, said)?)?;
            let untruncated = ids.len();
            self.cut_chat(chat, &prompt, said, &mut ids, limit, self.cut)?;
            self.check_ids(&ids)?;
            return self.of_pair(ids, untruncated, limit);
        }
        let first = &format!("{}{first}{}", prompt[0], prompt[1]);
        let (mut a, mut b) = (self.encode(first)?, self.encode(second)?);
        let special = self.around.pair_special();
        let untruncated = a.len() + b.len() + special;
        let (of_a, of_b) = longest_first(a.len(), b.len(), limit.saturating_sub(special));
        for (ids, kept) in [(&mut a, of_a), (&mut b, of_b)] {
            match self.cut {
                CutAt::End | CutAt::Never => ids.truncate(kept),
                CutAt::Start | CutAt::PromptToo => drop(ids.drain(..ids.len() - kept)),
            }
        }
        self.check_ids(&a)?;
        self.check_ids(&b)?;
        let Surroundings { before, between, after, second_type, .. } = &self.around;
        let ids = [before, &a[..], between, &b[..], after].concat();
        let mut text = self.of_pair(ids, untruncated, limit)?;
        if self.types && *second_type != 0 {
            text.second = before.len() + of_a + between.len();
        }
        Ok(text)
    }

    fn of_pair(&self, ids: Vec<u32>, untruncated: usize, limit: usize) -> RequestResult<TokenizedText> {
        if ids.is_empty() || ids.len() > limit {
            let special = self.around.pair_special();
            let problem =
                format!("the limit of {limit} tokens leaves no room beside the {special} special ones");
            return Err(RequestError::Tokenize { problem });
        }
        let padding = |id: &&u32| Some(**id) == self.rules.padding;
        let pooled = ids.len() - ids.iter().rev().take_while(padding).count();
        let mut text = TokenizedText::new(ids, 0, untruncated);
        text.pools = std::iter::once(0..pooled.max(1)).collect();
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

    /// The text of tokens, as near as the vocabulary keeps it.
    pub(crate) fn decode(&self, ids: &[u32], skip_special: bool) -> RequestResult<String> {
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= self.vocabulary) {
            return Err(RequestError::InvalidOption {
                option: "a token id",
                found: id.to_string(),
                expected: format!("less than {}, the size of the vocabulary", self.vocabulary),
            });
        }
        self.pipeline.decode(ids, skip_special).map_err(|problem| RequestError::Tokenize { problem })
    }

    /// Whether a token is a special one, such as those around a text.
    pub(crate) fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id) || self.around.prefix.contains(&id) || self.around.suffix.contains(&id)
    }

    /// The ids of prompt and content, which are one string where the content is a text.
    fn joined(&self, prompt: &TokenizedPrompt, content: Content<'_>) -> RequestResult<Vec<u32>> {
        let tokens = match content {
            Content::Ids(_) if self.chat.is_some() => {
                self.check_no_chat("token ids")?;
                Vec::new()
            }
            Content::Text(text) if self.chat.is_some() => {
                let text = format!("{text}{}", prompt.suffix);
                let rendered = self.chat.as_ref().map(|chat| chat.render(&prompt.text, Said::Text(&text)));
                self.encode(&rendered.transpose()?.unwrap_or_default())?
            }
            Content::Text(text) if prompt.text.is_empty() && prompt.suffix.is_empty() => self.encode(text)?,
            Content::Text(text) => self.encode(&format!("{}{text}{}", prompt.text, prompt.suffix))?,
            Content::Ids(ids) => [&prompt.ids[0], ids, &prompt.ids[1]].concat(),
        };
        Ok(tokens)
    }

    /// A conversation is one text: it has no parts that are texts by themselves.
    fn check_no_chat(&self, what: &str) -> RequestResult<()> {
        match &self.chat {
            None => Ok(()),
            Some(_) => Err(RequestError::Tokenize {
                problem: format!(
                    "the model's texts go through a chat template, which takes no {what}; give whole texts"
                ),
            }),
        }
    }

    /// Cuts a conversation, and puts back at its end what the template has behind a text.
    ///
    /// sentence-transformers' `_restore_chat_template_suffix`: what two short texts have in common at their ends.
    fn cut_chat(
        &self,
        chat: &Chat,
        prompt: &str,
        said: Said<'_>,
        tokens: &mut Vec<u32>,
        limit: usize,
        cut: CutAt,
    ) -> RequestResult<()> {
        if tokens.len() <= limit {
            return Ok(());
        }
        match cut {
            CutAt::End | CutAt::Never => tokens.truncate(limit),
            CutAt::Start | CutAt::PromptToo => drop(tokens.drain(..tokens.len() - limit)),
        }
        if chat.restores_suffix {
            let [first, second] =
                ["0", "1 2 3 4"].map(|filler| self.encode(&chat.render(prompt, said.filled(filler))?));
            let (first, second) = (first?, second?);
            let same = first.iter().rev().zip(second.iter().rev()).take_while(|(a, b)| a == b).count();
            if same < first.len().min(second.len()) {
                let kept = same.min(limit);
                tokens.truncate(limit - kept);
                tokens.extend(&first[first.len() - kept..]);
            }
        }
        Ok(())
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
        self.check_ids(tokens)?;
        let left_out = self.unknown.filter(|_| self.rules.model2vec);
        let tokens = tokens.iter().filter(|id| Some(**id) != left_out);
        let ids: Vec<u32> =
            self.around.prefix.iter().chain(tokens).chain(&self.around.suffix).copied().collect();
        if (ids.is_empty() && self.rules.special_tokens) || ids.len() > limit {
            let special = self.around.prefix.len() + self.around.suffix.len();
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
        self.pipeline.encode(text).map_err(|problem| RequestError::Tokenize { problem })
    }
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
