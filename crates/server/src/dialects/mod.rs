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
mod request;
mod rerank;
mod tei;
mod vertex;
mod voyage;

pub(crate) use request::{Call, Dialect, Operation, PREFIXES};

use crate::answer::Answer;
use crate::fault::Fault;
use serde_json::{Value, json};

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
        Operation::CohereDetokenize => cohere::detokenize(call).await,
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
        Operation::TeiDecode => tei::decode(call).await,
        Operation::TeiVertex => tei::vertex(call).await,
        Operation::TeiAny => tei::any(call).await,
        Operation::TeiInfo => tei::info(call).await,
        Operation::NomicEmbed => nomic::embed_text(call).await,
        Operation::NomicUser => Ok(Answer::json(&json!({"organizations": [], "name": "local"}))),
        Operation::OllamaEmbed => ollama::embed(call).await,
        Operation::OllamaEmbedOld => ollama::embed_old(call).await,
        Operation::OllamaTags => Ok(ollama::tags(call)),
        Operation::OllamaShow => ollama::show(call).await,
        Operation::OllamaPs => Ok(ollama::open(call)),
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
