//! From requests to tokens: where a prompt meets a text. All that embeds comes through here.

use crate::batch::TokenizedText;
use crate::engine::Engine;
use crate::error::{Error, RequestError, RequestResult, Result};
use crate::options::{EmbedOptions, Truncation};
use crate::prompt::{Prompt, PromptRequest};
use crate::task::Task;
use crate::tokens::{Content, CutAt, TokenizedPrompt};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// A text with its options. One call may mix tasks, prompts, titles and dimensions.
///
/// ```
/// use taskvec::{Request, Task};
///
/// let query = Request::new("How do transformers work?").options(Task::RetrievalQuery);
/// let document = Request::new("Attention relates tokens.").options(Task::RetrievalDocument).title("Attention");
/// let of_ids = Request::from_ids(vec![2129, 2079, 19081]); // of the model's own vocabulary
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Request<'a> {
    pub(crate) content: RequestContent<'a>,
    pub(crate) title: Option<Cow<'a, str>>,
    pub(crate) options: Arc<EmbedOptions>,
    /// Byte positions at which pieces end, for late chunking.
    pub(crate) pieces: Option<Cow<'a, [usize]>>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum RequestContent<'a> {
    Text(Cow<'a, str>),
    Ids(Cow<'a, [u32]>),
}

impl<'a> Request<'a> {
    /// A text, with no task: the model's default prompt if it has one.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Request<'a> {
        Request::of(RequestContent::Text(text.into()), Arc::default())
    }

    /// A text as its token ids in the model's vocabulary: the text alone, without special tokens or prompt. These are
    /// put around it as around any text; a prompt is tokenised by itself, so that no token spans prompt and text.
    pub fn from_ids(ids: impl Into<Cow<'a, [u32]>>) -> Request<'a> {
        Request::of(RequestContent::Ids(ids.into()), Arc::default())
    }

    /// What the vector is for, or other options. Requests may share an `Arc<EmbedOptions>`.
    pub fn options(mut self, options: impl IntoOptions) -> Request<'a> {
        self.options = options.into_options();
        self
    }

    /// The text's title, for models whose prompt has a place for one; before that of the options.
    pub fn title(mut self, title: impl Into<Cow<'a, str>>) -> Request<'a> {
        self.title = Some(title.into());
        self
    }

    /// Where the text's pieces end, as ascending byte positions, for [`Embedder::embed_pieces`](crate::Embedder::embed_pieces)
    /// and streams of [`Piece`](crate::Piece)s. What is left after the last one is a piece of its own.
    pub fn pieces(mut self, ends: impl Into<Cow<'a, [usize]>>) -> Request<'a> {
        self.pieces = Some(ends.into());
        self
    }

    pub(crate) fn of(content: RequestContent<'a>, options: Arc<EmbedOptions>) -> Request<'a> {
        Request { content, title: None, options, pieces: None }
    }

    /// Bytes that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        match &self.content {
            RequestContent::Text(text) => text.len(),
            RequestContent::Ids(ids) => size_of_val(&ids[..]),
        }
    }

    fn content(&self) -> Content<'_> {
        match &self.content {
            RequestContent::Text(text) => Content::Text(text),
            RequestContent::Ids(ids) => Content::Ids(ids),
        }
    }
}

impl<'a, T: Into<Cow<'a, str>>> From<T> for Request<'a> {
    fn from(text: T) -> Request<'a> {
        Request::new(text)
    }
}

/// What can be the options of a call or a request: a [`Task`], [`EmbedOptions`], or a shared
/// `Arc<EmbedOptions>`.
pub trait IntoOptions {
    /// The options.
    fn into_options(self) -> Arc<EmbedOptions>;
}

impl<T: Into<EmbedOptions>> IntoOptions for T {
    fn into_options(self) -> Arc<EmbedOptions> {
        Arc::new(self.into())
    }
}

impl IntoOptions for Arc<EmbedOptions> {
    fn into_options(self) -> Arc<EmbedOptions> {
        self
    }
}

/// The prompt that some options ask for, resolved and tokenised.
#[derive(Debug)]
pub(crate) struct ReadyPrompt {
    options: Arc<EmbedOptions>,
    title: Option<String>,
    pub(crate) prompt: Arc<Prompt>,
    pub(crate) tokens: TokenizedPrompt,
    /// The most tokens of a text with this prompt.
    limit: usize,
    /// Whether texts are queries: ColBERT models treat them in another way than documents.
    pub(crate) is_query: bool,
}

impl ReadyPrompt {
    fn new(engine: &Engine, options: &Arc<EmbedOptions>, title: Option<&str>) -> RequestResult<ReadyPrompt> {
        let prompt = engine.model.prompts.resolve(&prompt_request(options, title))?;
        let is_query =
            options.task.is_some_and(Task::is_query) || options.prompt_name.as_deref() == Some("query");
        let limit = limit(engine, is_query);
        let tokens = engine.tokenizer.prompt(&prompt.text, &prompt.suffix, prompt.pooled, limit)?;
        let (options, title) = (options.clone(), title.map(str::to_owned));
        Ok(ReadyPrompt { options, title, prompt: Arc::new(prompt), tokens, limit, is_query })
    }

    fn is_for(&self, options: &Arc<EmbedOptions>, title: Option<&str>) -> bool {
        Arc::ptr_eq(&self.options, options) && self.title.as_deref() == title
    }
}

/// What options ask for in a prompt.
pub(crate) fn prompt_request<'o>(options: &'o EmbedOptions, title: Option<&'o str>) -> PromptRequest<'o> {
    PromptRequest {
        explicit: options.prompt.as_deref(),
        template: options.template.as_deref(),
        name: options.prompt_name.as_deref(),
        task: options.task,
        instruction: options.instruction.as_deref(),
        adapter: options.adapter.as_deref(),
        pooled: options.pool_prompt,
        title: title.or(options.title.as_deref()),
    }
}

/// The most tokens of a query or a document: those that ColBERT models have set for each, else the model's.
fn limit(engine: &Engine, is_query: bool) -> usize {
    let late = engine.model.late_interaction.as_ref();
    let own_limit = late.and_then(|late| match (is_query, &late.expansion) {
        (true, Some(expansion)) if !expansion.only_fewest => Some(expansion.length),
        (true, _) => late.query_length,
        (false, _) => late.document_length,
    });
    own_limit.map_or(engine.max_tokens, |own| own.min(engine.plan_tokens()))
}

/// Prompts that were made ready, each once however many texts have it.
#[derive(Default)]
pub(crate) struct ReadyPrompts {
    last: Option<Arc<ReadyPrompt>>,
    known: HashMap<(Arc<EmbedOptions>, Option<String>), Arc<ReadyPrompt>>,
}

impl ReadyPrompts {
    /// Titles may differ from text to text without an end.
    const MOST: usize = 1024;

    pub(crate) fn get(
        &mut self,
        engine: &Engine,
        options: &Arc<EmbedOptions>,
        title: Option<&str>,
    ) -> Result<Arc<ReadyPrompt>> {
        if let Some(last) = self.last.as_ref().filter(|last| last.is_for(options, title)) {
            return Ok(last.clone());
        }
        let key = (options.clone(), title.map(str::to_owned));
        let ready = match self.known.get(&key) {
            Some(known) => known.clone(),
            None => {
                if self.known.len() >= Self::MOST {
                    self.known.clear();
                }
                let ready = Arc::new(ReadyPrompt::new(engine, options, title)?);
                self.known.insert(key, ready.clone());
                ready
            }
        };
        Ok(self.last.insert(ready).clone())
    }
}

/// A request as the model sees it.
pub(crate) struct TokenizedRequest {
    pub(crate) prompt: Arc<ReadyPrompt>,
    pub(crate) options: Arc<EmbedOptions>,
    /// One, or the windows of a long text.
    pub(crate) parts: Vec<TokenizedText>,
    /// The tokens of a query that is looked up in a table; it has no parts then.
    pub(crate) looked_up: Option<TokenizedText>,
    /// Where its pieces end, ascending, the last at the end of the text; empty: it is not in pieces.
    pub(crate) pieces: Vec<usize>,
}

impl TokenizedRequest {
    /// Its parts, or what is looked up.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = &TokenizedText> {
        self.parts.iter().chain(&self.looked_up)
    }
}

/// What tokens are wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// One vector a text, which may be the mean of windows.
    Pooled,
    /// Something for each token or entry of the vocabulary.
    Whole,
    /// A vector for each piece.
    Pieces,
}

/// The tokens of a request with its prompt.
pub(crate) fn tokenize(
    engine: &Engine,
    request: &Request<'_>,
    ready: Arc<ReadyPrompt>,
    shape: Shape,
) -> Result<TokenizedRequest> {
    let tokenizer = &engine.tokenizer;
    let (prompt, limit, content) = (&ready.tokens, ready.limit, request.content());
    if let Some(looked_up) = looked_up(engine, request, &ready)? {
        let (options, looked_up) = (request.options.clone(), Some(looked_up));
        return Ok(TokenizedRequest {
            prompt: ready,
            options,
            parts: Vec::new(),
            looked_up,
            pieces: Vec::new(),
        });
    }
    let mut pieces = Vec::new();
    let parts = match (shape, request.options.truncation) {
        (Shape::Pieces, _) => {
            let Content::Text(text) = content else {
                return Err(invalid("a request in pieces", "token ids", "a text").into());
            };
            pieces = checked_ends(text, request.pieces.as_deref().unwrap_or_default())?;
            let whole = tokenizer.pieces(prompt, text, &pieces, limit)?;
            if let Some(piece) = whole.pools.iter().position(|piece| piece.is_empty()) {
                return Err(RequestError::EmptyPiece { piece }.into());
            }
            vec![whole]
        }
        (Shape::Pooled, Truncation::Windows { overlap }) => {
            tokenizer.windows(prompt, content, limit, overlap)?
        }
        (Shape::Whole, Truncation::Windows { .. }) => return Err(no_windows()),
        (_, truncation) => {
            let cut = match truncation {
                Truncation::Start => CutAt::Start,
                Truncation::End => CutAt::End,
                _ => tokenizer.cut(),
            };
            let mut text = tokenizer.tokenize(prompt, content, limit, cut)?;
            if truncation == Truncation::Error && text.untruncated > text.ids.len() {
                return Err(RequestError::TooLong { tokens: text.untruncated, limit }.into());
            }
            if ready.is_query {
                tokenizer.expand(&mut text);
            }
            vec![text]
        }
    };
    Ok(TokenizedRequest { prompt: ready, options: request.options.clone(), parts, looked_up: None, pieces })
}

/// The tokens of a query that does not go through the network, of models whose queries are looked up.
fn looked_up(engine: &Engine, request: &Request<'_>, ready: &ReadyPrompt) -> Result<Option<TokenizedText>> {
    let (Some(queries), Some(tokenizer)) = (&engine.model.static_queries, &engine.query_tokenizer) else {
        return Ok(None);
    };
    let says_nothing = request.options.task.is_none() && request.options.prompt_name.is_none();
    let is_query = ready.is_query || (says_nothing && queries.by_default);
    if !is_query {
        return Ok(None);
    }
    let cut = match request.options.truncation {
        Truncation::Error => CutAt::Never,
        Truncation::Start => CutAt::Start,
        Truncation::End => CutAt::End,
        Truncation::Windows { .. } => return Err(no_windows()),
        _ => tokenizer.cut(),
    };
    let prompt = &ready.prompt;
    let prompt = tokenizer.prompt(&prompt.text, &prompt.suffix, true, queries.max_tokens)?;
    Ok(Some(tokenizer.tokenize(&prompt, request.content(), queries.max_tokens, cut)?))
}

fn no_windows() -> Error {
    let expected = "truncation or an error: only dense vectors have a mean over windows";
    invalid("truncation", "windows", expected).into()
}

fn invalid(option: &'static str, found: &str, expected: &str) -> RequestError {
    RequestError::InvalidOption { option, found: found.to_owned(), expected: expected.to_owned() }
}

/// Ascending positions between characters, with the end of the text.
fn checked_ends(text: &str, ends: &[usize]) -> Result<Vec<usize>, Error> {
    let mut checked: Vec<usize> = Vec::with_capacity(ends.len() + 1);
    for &end in ends {
        if !text.is_char_boundary(end) || checked.last().is_some_and(|&before| end <= before) || end == 0 {
            let expected = "ascending byte positions inside the text, between characters";
            return Err(invalid("the ends of pieces", &end.to_string(), expected).into());
        }
        checked.push(end);
    }
    if checked.last() != Some(&text.len()) {
        checked.push(text.len());
    }
    Ok(checked)
}
