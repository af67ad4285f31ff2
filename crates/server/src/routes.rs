//! Which path does what: the one list of routes.

use crate::dialects::Dialect::{
    self, Azure, Cohere, Gemini, Jina, Mistral, Nomic, Ollama, OpenAi, Shared, Tei, Vertex, Voyage,
};
use crate::dialects::{Operation, PREFIXES};
use std::borrow::Cow;

/// A route.
pub(crate) struct Route {
    pub(crate) method: Method,
    /// `{name}` is one segment, `{*name}` all that follow.
    pub(crate) path: &'static str,
    /// Whose words its faults are in, at the root.
    pub(crate) dialect: Dialect,
    /// The dialects under whose prefix it is found.
    pub(crate) under: &'static [Dialect],
    pub(crate) operation: Operation,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    Get,
    Post,
}

/// What a path leads to.
pub(crate) enum Found<'p> {
    Route {
        dialect: Dialect,
        operation: Operation,
        rest: Cow<'p, str>,
    },
    /// There is such a path for another method.
    WrongMethod(Dialect),
    Nothing(Dialect),
}

const SHARED: &[Dialect] = &[OpenAi, Jina, Voyage, Mistral, Tei];

const fn post(
    path: &'static str,
    dialect: Dialect,
    under: &'static [Dialect],
    operation: Operation,
) -> Route {
    Route { method: Method::Post, path, dialect, under, operation }
}

const fn get(path: &'static str, dialect: Dialect, under: &'static [Dialect], operation: Operation) -> Route {
    Route { method: Method::Get, path, dialect, under, operation }
}

/// All routes but those of the server itself.
pub(crate) const ROUTES: &[Route] = &[
    post("/v1/embeddings", Shared, SHARED, Operation::Embeddings),
    post("/embeddings", Shared, SHARED, Operation::Embeddings),
    post("/openai/deployments/{*model}/embeddings", Azure, &[Azure], Operation::Embeddings),
    get("/v1/models", Shared, &[OpenAi, Mistral, Cohere, Gemini], Operation::Models),
    get("/models", Shared, &[OpenAi, Mistral, Gemini], Operation::Models),
    get("/v1beta/models", Gemini, &[Gemini], Operation::Models),
    get("/v1/models/{*model}", Shared, &[OpenAi, Mistral, Cohere, Gemini], Operation::Model),
    get("/v1beta/models/{*model}", Gemini, &[Gemini], Operation::Model),
    post("/v1/rerank", Shared, &[Cohere, Jina, Voyage], Operation::Rerank),
    post("/v2/embed", Cohere, &[Cohere], Operation::CohereEmbed),
    post("/v2/rerank", Cohere, &[Cohere], Operation::CohereRerankV2),
    post("/v1/embed", Cohere, &[Cohere], Operation::CohereEmbedV1),
    post("/v1/tokenize", Cohere, &[Cohere], Operation::CohereTokenize),
    post("/v1/detokenize", Cohere, &[Cohere], Operation::CohereDetokenize),
    post("/v1/contextualizedembeddings", Voyage, &[Voyage], Operation::VoyageContextualized),
    post("/v1/models/{*rest}", Gemini, &[Gemini], Operation::Gemini),
    post("/v1beta/models/{*rest}", Gemini, &[Gemini], Operation::Gemini),
    post("/v1/tunedModels/{*rest}", Gemini, &[Gemini], Operation::Gemini),
    post("/v1beta/tunedModels/{*rest}", Gemini, &[Gemini], Operation::Gemini),
    post("/v1/projects/{*rest}", Vertex, &[Vertex], Operation::Vertex),
    post("/v1beta1/projects/{*rest}", Vertex, &[Vertex], Operation::Vertex),
    post("/v1beta1/publishers/{*rest}", Vertex, &[Vertex], Operation::Vertex),
    post("/v1/publishers/{*rest}", Vertex, &[Vertex], Operation::Vertex),
    post("/embed", Tei, &[Tei], Operation::TeiEmbed),
    post("/embed_all", Tei, &[Tei], Operation::TeiEmbedAll),
    post("/embed_sparse", Tei, &[Tei], Operation::TeiEmbedSparse),
    post("/rerank", Tei, &[Tei], Operation::TeiRerank),
    post("/predict", Tei, &[Tei], Operation::TeiPredict),
    post("/similarity", Tei, &[Tei], Operation::TeiSimilarity),
    post("/tokenize", Tei, &[Tei], Operation::TeiTokenize),
    post("/decode", Tei, &[Tei], Operation::TeiDecode),
    post("/vertex", Tei, &[Tei], Operation::TeiVertex),
    post("/", Tei, &[Tei], Operation::TeiAny),
    post("/v1", Tei, &[Tei], Operation::TeiAny),
    post("/invocations", Tei, &[Tei], Operation::TeiAny),
    get("/info", Tei, &[Tei], Operation::TeiInfo),
    post("/v1/embedding/text", Nomic, &[Nomic], Operation::NomicEmbed),
    get("/v1/user", Nomic, &[Nomic], Operation::NomicUser),
    post("/api/embed", Ollama, &[Ollama], Operation::OllamaEmbed),
    post("/api/embeddings", Ollama, &[Ollama], Operation::OllamaEmbedOld),
    get("/api/tags", Ollama, &[Ollama], Operation::OllamaTags),
    post("/api/show", Ollama, &[Ollama], Operation::OllamaShow),
    get("/api/ps", Ollama, &[Ollama], Operation::OllamaPs),
    post("/api/pull", Ollama, &[Ollama], Operation::OllamaPull),
    get("/api/version", Ollama, &[Ollama], Operation::OllamaVersion),
    post("/explain", Shared, &[], Operation::Explain),
    get("/playground.json", Shared, &[], Operation::Playground),
];

/// What a path leads to: at the root, or under a dialect's prefix, where nothing else is understood.
pub(crate) fn find(method: Option<Method>, path: &str) -> Found<'_> {
    let (mut best, mut wrong) = (None, None);
    for route in ROUTES {
        if let Some(rest) = matches(route.path, path) {
            if method == Some(route.method) {
                best = Some((route.dialect, route.operation, rest));
                break;
            }
            wrong = Some(route.dialect);
        }
    }
    let trimmed = path.trim_start_matches('/');
    let (first, under) = trimmed.split_once('/').unwrap_or((trimmed, ""));
    let prefix = PREFIXES.iter().find(|(prefix, _)| *prefix == first).map(|(_, dialect)| *dialect);
    if let (None, Some(dialect)) = (&best, prefix) {
        let under = &path[path.len() - under.len() - usize::from(!under.is_empty())..];
        let under = if under.is_empty() { "/" } else { under };
        for route in ROUTES.iter().filter(|route| route.under.contains(&dialect)) {
            if let Some(rest) = matches(route.path, under) {
                if method == Some(route.method) {
                    return Found::Route { dialect, operation: route.operation, rest };
                }
                wrong = Some(dialect);
            }
        }
    }
    match (best, wrong) {
        (Some((dialect, operation, rest)), _) => Found::Route { dialect, operation, rest },
        (None, Some(dialect)) => Found::WrongMethod(dialect),
        (None, None) => Found::Nothing(prefix.unwrap_or(Shared)),
    }
}

/// What the wildcard of a pattern stands for, if the path is one of it.
fn matches<'p>(pattern: &str, path: &'p str) -> Option<Cow<'p, str>> {
    let path = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
    match pattern.split_once("{*") {
        None => (pattern == path).then_some(Cow::Borrowed("")),
        Some((before, after)) => {
            let after = after.split_once('}').map_or("", |(_, after)| after);
            let rest = path.strip_prefix(before)?.strip_suffix(after)?;
            (!rest.is_empty()).then(|| percent_encoding::percent_decode_str(rest).decode_utf8_lossy())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str) -> String {
        match find(Some(method), path) {
            Found::Route { dialect, operation, rest } => format!("{dialect:?} {operation:?} {rest}"),
            Found::WrongMethod(dialect) => format!("{dialect:?} wrong method"),
            Found::Nothing(dialect) => format!("{dialect:?} nothing"),
        }
    }

    #[test]
    fn paths_lead_where_their_clients_expect() {
        use Method::{Get, Post};
        for (method, path, want) in [
            (Post, "/v1/embeddings", "Shared Embeddings "),
            (Post, "/v1/embeddings/", "Shared Embeddings "),
            (Get, "/v1/embeddings", "Shared wrong method"),
            (Post, "/openai/v1/embeddings", "OpenAi Embeddings "),
            (Post, "/openai/embeddings", "OpenAi Embeddings "),
            (Post, "/voyage/v1/embeddings", "Voyage Embeddings "),
            (Post, "/openai/deployments/org/name/embeddings", "Azure Embeddings org/name"),
            (Post, "/azure/openai/deployments/m/embeddings", "Azure Embeddings m"),
            (Post, "/v1beta/models/BAAI%2Fbge:m%3AembedContent", "Gemini Gemini BAAI/bge:m:embedContent"),
            (Get, "/v1beta/models", "Gemini Models "),
            (Get, "/v1/models/a/b", "Shared Model a/b"),
            (
                Post,
                "/v1/projects/p/locations/l/publishers/google/models/m:predict",
                "Vertex Vertex p/locations/l/publishers/google/models/m:predict",
            ),
            (Post, "/", "Tei TeiAny "),
            (Post, "/tei", "Tei TeiAny "),
            (Post, "/tei/", "Tei TeiAny "),
            (Post, "/tei/embed", "Tei TeiEmbed "),
            (Post, "/tei/v2/embed", "Tei nothing"),
            (Post, "/cohere/v2/embed", "Cohere CohereEmbed "),
            (Post, "/nowhere", "Shared nothing"),
            (Post, "/cohere", "Cohere nothing"),
            (Get, "/", "Tei wrong method"),
        ] {
            assert_eq!(found(method, path), want, "{method:?} {path}");
        }
    }
}
