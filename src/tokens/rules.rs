//! What a model wants of its tokenizer beyond tokenizer.json.

use super::chat::ChatSpec;

/// What a model wants of its tokenizer beyond its file.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenizerRules {
    /// Texts are lower-cased first, but for added tokens (`do_lower_case` in sentence_bert_config.json).
    pub(crate) lowercase: bool,
    /// Special tokens are put around a text.
    pub(crate) special_tokens: bool,
    /// Texts that are too long are cut.
    pub(crate) cuts: bool,
    /// model2vec's ways: tokens for what the vocabulary does not have are left out, and a text is
    /// first cut to as many characters as its most tokens, of the vocabulary's median length, have.
    pub(crate) model2vec: bool,
    /// Texts go through a chat template.
    pub(crate) chat: Option<ChatSpec>,
    /// A token that counts for none at the end of a pair: the last one before it is pooled.
    pub(crate) padding: Option<u32>,
    /// Texts that are one token each, whatever the tokenizer makes of them.
    pub(crate) markers: Vec<String>,
    /// Words whose ids are asked for: [`TextTokenizer::skipped`].
    pub(crate) skiplist: Vec<String>,
    /// Queries are filled up like this.
    pub(crate) expansion: Option<Expansion>,
}

/// Queries are filled up to `length` tokens; the vectors of what is filled in count.
#[derive(Clone, Debug)]
pub(crate) struct Expansion {
    /// Tokens of every query.
    pub(crate) length: usize,
    /// Whether a query may have more than that.
    pub(crate) only_fewest: bool,
    /// Whether the text's own tokens see what is filled in.
    pub(crate) attend: bool,
    /// What is filled in; without it, the tokenizer's mask token, or the one that ends texts.
    pub(crate) token: Option<String>,
}

/// Where a text that is too long is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CutAt {
    /// Behind its prompt.
    Start,
    End,
    /// Nowhere: such a text is an error.
    Never,
    /// At the start of prompt and text together, as transformers cuts where a model's files say `left`.
    PromptToo,
}
