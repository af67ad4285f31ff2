//! A request that has found its route: what every dialect gets.

use crate::answer::aside;
use crate::call::{Asked, Give};
use crate::caller::Caller;
use crate::fault::Fault;
use crate::models::Models;
use crate::numbers::Form;
use crate::settings::Settings;
use serde_json::{Map, Value};

/// Whose words a request is in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Dialect {
    /// A path that several vendors share, answered so that each client finds what it needs.
    Shared,
    OpenAi,
    Azure,
    Tei,
    Gemini,
    Vertex,
    Cohere,
    Jina,
    Voyage,
    Mistral,
    Nomic,
    Ollama,
}

/// The dialects that have a prefix of their own, where nothing else is understood.
pub(crate) const PREFIXES: &[(&str, Dialect)] = &[
    ("openai", Dialect::OpenAi),
    ("azure", Dialect::Azure),
    ("tei", Dialect::Tei),
    ("gemini", Dialect::Gemini),
    ("vertex", Dialect::Vertex),
    ("cohere", Dialect::Cohere),
    ("jina", Dialect::Jina),
    ("voyage", Dialect::Voyage),
    ("mistral", Dialect::Mistral),
    ("nomic", Dialect::Nomic),
    ("ollama", Dialect::Ollama),
];

/// What a route does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Operation {
    Embeddings,
    Models,
    Model,
    Rerank,
    CohereEmbed,
    CohereEmbedV1,
    CohereRerankV2,
    CohereTokenize,
    CohereDetokenize,
    VoyageContextualized,
    Gemini,
    Vertex,
    TeiEmbed,
    TeiEmbedAll,
    TeiEmbedSparse,
    TeiRerank,
    TeiPredict,
    TeiSimilarity,
    TeiTokenize,
    TeiDecode,
    TeiVertex,
    TeiAny,
    TeiInfo,
    NomicEmbed,
    NomicUser,
    OllamaEmbed,
    OllamaEmbedOld,
    OllamaTags,
    OllamaShow,
    OllamaPs,
    OllamaPull,
    OllamaVersion,
    Explain,
    Playground,
}

/// Bytes of a body that takes long to read.
const LONG_BODY: usize = 128 << 10;

/// A request that has found its route.
pub(crate) struct Call<'a> {
    pub(crate) models: &'a Models,
    pub(crate) settings: &'a Settings,
    pub(crate) caller: Caller,
    pub(crate) dialect: Dialect,
    /// The request's id, which answers repeat.
    pub(crate) id: &'a str,
    /// What the path's wildcard stands for.
    pub(crate) rest: &'a str,
    /// Whether Google's own client asks.
    pub(crate) is_google: bool,
    pub(crate) body: &'a [u8],
}

impl Call<'_> {
    /// The body's fields, and how many characters were replaced in it.
    pub(super) fn fields(&self) -> Result<(Map<String, Value>, usize), Fault> {
        aside(self.body.len() > LONG_BODY, || crate::json::parse_object(self.body))
    }

    /// What an answer calls the model: what the request did, or else the name of the first one.
    pub(super) fn model_name(&self, asked: Option<&str>) -> String {
        asked.or_else(|| self.models.names().next()).unwrap_or_default().to_owned()
    }
}

/// What is asked of all texts of a body.
pub(super) struct Read {
    pub(super) asked: Asked,
    pub(super) form: Form,
    pub(super) give: Give,
}
