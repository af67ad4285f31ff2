//! How vendors spell the same things. A dialect translates, and computes nothing: what its clients send to what
//! [`crate::call`] takes, and what comes of that to what they read.

mod cohere;
mod embeddings;
mod gemini;
mod jina;
mod mistral;
mod nomic;
mod ollama;
mod openai;
mod playground;
mod rerank;
mod tei;
mod vertex;
mod voyage;

use crate::answer::Answer;
use crate::call::Caller;
use crate::fault::{Fault, FaultKind};
use crate::models::Models;
use crate::settings::Settings;
use serde_json::{Map, Value, json};

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
    fn fields(&self) -> Result<(Map<String, Value>, usize), Fault> {
        crate::json::parse_object(self.body)
    }

    /// What an answer calls the model: what the request did, or else the name of the first one.
    fn model_name(&self, asked: Option<&str>) -> String {
        asked.or_else(|| self.models.names().next()).unwrap_or_default().to_owned()
    }
}

/// Does what a route does.
pub(crate) async fn answer(operation: Operation, call: &Call<'_>) -> Result<Answer, Fault> {
    match operation {
        Operation::Embeddings => embeddings::embeddings(call).await,
        Operation::Models => Ok(openai::models(call)),
        Operation::Model => openai::model(call),
        Operation::Rerank => rerank::rerank(call).await,
        Operation::CohereEmbed => cohere::embed(call).await,
        Operation::CohereEmbedV1 => cohere::embed_v1(call).await,
        Operation::CohereRerankV2 => cohere::rerank_v2(call).await,
        Operation::CohereTokenize => cohere::tokenize(call).await,
        Operation::VoyageContextualized => voyage::contextualized(call).await,
        Operation::Gemini => gemini::call(call).await,
        Operation::Vertex => vertex::call(call).await,
        Operation::TeiEmbed => tei::embed(call).await,
        Operation::TeiEmbedAll => tei::embed_all(call).await,
        Operation::TeiEmbedSparse => tei::embed_sparse(call).await,
        Operation::TeiRerank => tei::rerank(call).await,
        Operation::TeiPredict => tei::predict(call).await,
        Operation::TeiSimilarity => tei::similarity(call).await,
        Operation::TeiTokenize => tei::tokenize(call).await,
        Operation::TeiVertex => tei::vertex(call).await,
        Operation::TeiAny => tei::any(call).await,
        Operation::TeiInfo => tei::info(call).await,
        Operation::NomicEmbed => nomic::embed_text(call).await,
        Operation::NomicUser => Ok(Answer::json(&json!({"organizations": [], "name": "local"}))),
        Operation::OllamaEmbed => ollama::embed(call).await,
        Operation::OllamaEmbedOld => ollama::embed_old(call).await,
        Operation::OllamaTags => Ok(ollama::tags(call)),
        Operation::OllamaShow => ollama::show(call).await,
        Operation::OllamaPs => Ok(Answer::json(&json!({"models": []}))),
        Operation::OllamaPull => ollama::pull(call).await,
        Operation::Explain => playground::explain(call).await,
        Operation::Playground => Ok(playground::facts(call)),
        Operation::OllamaVersion => Ok(Answer::json(&json!({"version": env!("CARGO_PKG_VERSION")}))),
    }
}

/// What a fault is called in a dialect: the status and the body.
pub(crate) fn refusal(dialect: Dialect, fault: &Fault, id: &str) -> (u16, Value) {
    let status = fault.status();
    let message = &fault.message;
    match dialect {
        Dialect::Shared => (status, shared_refusal(fault, id)),
        Dialect::OpenAi | Dialect::Azure | Dialect::Mistral => (status, openai::refusal(fault)),
        Dialect::Tei => tei::refusal(fault),
        Dialect::Gemini | Dialect::Vertex => (status, gemini::refusal(fault)),
        Dialect::Cohere => (status, json!({"id": id, "message": message})),
        Dialect::Jina => (status, jina::refusal(fault, id)),
        Dialect::Voyage => (status, json!({"detail": message})),
        Dialect::Nomic => (status, json!({"detail": message})),
        Dialect::Ollama => (status, json!({"error": message})),
    }
}

/// For paths that several vendors share: each client finds its own.
fn shared_refusal(fault: &Fault, id: &str) -> Value {
    let mut body = openai::refusal(fault);
    for (key, value) in [("detail", &*fault.message), ("message", &*fault.message), ("request_id", id)] {
        body[key] = value.into();
    }
    body
}

/// `true`: a code that programs may look for.
fn code(fault: &Fault) -> Option<&'static str> {
    match fault.kind {
        FaultKind::TooLong => Some("context_length_exceeded"),
        FaultKind::Unauthorized => Some("invalid_api_key"),
        FaultKind::UnknownModel => Some("model_not_found"),
        FaultKind::Overloaded(_) => Some("rate_limit_exceeded"),
        _ => None,
    }
}
