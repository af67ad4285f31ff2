//! `/openapi.json`: the routes and what their bodies have, from the list of routes itself.

use crate::dialects::Operation;
use crate::routes::{Method, ROUTES};
use serde_json::{Map, Value, json};

/// What a route does, and the fields of its body with their JSON types; `[` stands before a list's.
fn about(operation: Operation) -> (&'static str, &'static [(&'static str, &'static str)]) {
    match operation {
        Operation::Embeddings => (
            "Vectors of texts: OpenAI's, Azure's, Jina's, Voyage's and Mistral's words",
            &[
                ("input", "any"),
                ("model", "string"),
                ("dimensions", "integer"),
                ("encoding_format", "string"),
                ("user", "string"),
                ("task", "string"),
                ("input_type", "string"),
                ("prompt_name", "string"),
                ("instruction", "string"),
                ("output_type", "string"),
                ("embedding_type", "any"),
                ("normalized", "boolean"),
                ("truncate", "boolean"),
                ("late_chunking", "boolean"),
                ("return_multivector", "boolean"),
                ("truncation", "boolean"),
                ("output_dtype", "string"),
                ("output_dimension", "integer"),
                ("metadata", "object"),
            ],
        ),
        Operation::Models => ("The models that are served", &[]),
        Operation::Model => ("One of them", &[]),
        Operation::Rerank => (
            "Documents by relevance: Cohere's (v1), Jina's and Voyage's words",
            &[
                ("query", "any"),
                ("documents", "[any"),
                ("model", "string"),
                ("top_n", "integer"),
                ("top_k", "integer"),
                ("return_documents", "boolean"),
                ("rank_fields", "[string"),
                ("truncation", "boolean"),
                ("truncate", "boolean"),
                ("max_doc_length", "integer"),
                ("instruction", "string"),
                ("prompt_name", "string"),
            ],
        ),
        Operation::CohereEmbed | Operation::CohereEmbedV1 => (
            "Vectors of texts: Cohere's words",
            &[
                ("model", "string"),
                ("input_type", "string"),
                ("texts", "[string"),
                ("inputs", "[object"),
                ("embedding_types", "[string"),
                ("truncate", "string"),
                ("output_dimension", "integer"),
            ],
        ),
        Operation::CohereRerankV2 => (
            "Documents by relevance: Cohere's words",
            &[("model", "string"), ("query", "string"), ("documents", "[string"), ("top_n", "integer")],
        ),
        Operation::CohereTokenize => ("Tokens of a text", &[("text", "string"), ("model", "string")]),
        Operation::CohereDetokenize => ("The text of tokens", &[("tokens", "[integer"), ("model", "string")]),
        Operation::VoyageContextualized => (
            "Vectors of pieces that know their document",
            &[
                ("inputs", "[array"),
                ("model", "string"),
                ("input_type", "string"),
                ("output_dimension", "integer"),
                ("output_dtype", "string"),
                ("encoding_format", "string"),
            ],
        ),
        Operation::Gemini => (
            "embedContent, batchEmbedContents and countTokens: Gemini's words",
            &[
                ("content", "any"),
                ("requests", "[object"),
                ("contents", "[object"),
                ("taskType", "string"),
                ("title", "string"),
                ("outputDimensionality", "integer"),
                ("embedContentConfig", "object"),
            ],
        ),
        Operation::Vertex => (
            "predict, embedContent, batchEmbedContents and countTokens: Vertex's words",
            &[
                ("instances", "[object"),
                ("parameters", "object"),
                ("content", "any"),
                ("requests", "[object"),
            ],
        ),
        Operation::TeiEmbed => ("Vectors of texts: text-embeddings-inference's words", TEI),
        Operation::TeiEmbedAll => ("Vectors of each text's tokens", TEI),
        Operation::TeiEmbedSparse => ("Sparse vectors of texts", TEI),
        Operation::TeiRerank => (
            "Documents by relevance",
            &[
                ("query", "string"),
                ("texts", "[string"),
                ("raw_scores", "boolean"),
                ("return_text", "boolean"),
            ],
        ),
        Operation::TeiPredict => {
            ("The score of pairs of texts", &[("inputs", "any"), ("raw_scores", "boolean")])
        }
        Operation::TeiSimilarity => {
            ("Cosines of a text with others", &[("inputs", "object"), ("parameters", "object")])
        }
        Operation::TeiTokenize => (
            "Tokens of texts",
            &[("inputs", "any"), ("prompt_name", "string"), ("add_special_tokens", "boolean")],
        ),
        Operation::TeiDecode => {
            ("Texts of tokens", &[("ids", "[any"), ("skip_special_tokens", "boolean"), ("model", "string")])
        }
        Operation::TeiVertex => ("Several of these requests", &[("instances", "[object")]),
        Operation::TeiAny => (
            "One of these requests, by its form",
            &[("inputs", "any"), ("query", "string"), ("texts", "[string"), ("parameters", "object")],
        ),
        Operation::TeiInfo => ("What is served", &[]),
        Operation::NomicEmbed => (
            "Vectors of texts: Nomic's words",
            &[
                ("texts", "[string"),
                ("model", "string"),
                ("task_type", "string"),
                ("dimensionality", "integer"),
                ("long_text_mode", "string"),
            ],
        ),
        Operation::NomicUser => ("Who asks", &[]),
        Operation::OllamaEmbed => (
            "Vectors of texts: Ollama's words",
            &[
                ("model", "string"),
                ("input", "any"),
                ("truncate", "boolean"),
                ("dimensions", "integer"),
                ("keep_alive", "any"),
                ("options", "object"),
            ],
        ),
        Operation::OllamaEmbedOld => ("The vector of a text", &[("model", "string"), ("prompt", "string")]),
        Operation::OllamaTags => ("The models that are served", &[]),
        Operation::OllamaShow => ("What a model is", &[("model", "string")]),
        Operation::OllamaPs => ("The models that are loaded", &[]),
        Operation::OllamaPull => ("Whether a model is here", &[("model", "string"), ("stream", "boolean")]),
        Operation::OllamaVersion => ("The version", &[]),
        Operation::Explain => (
            "What a model sees of a text: prompt, tokens, which of them are pooled",
            &[
                ("text", "string"),
                ("model", "string"),
                ("task", "string"),
                ("prompt_name", "string"),
                ("instruction", "string"),
            ],
        ),
        Operation::Playground => ("What the page needs to know", &[]),
    }
}

const TEI: &[(&str, &str)] = &[
    ("inputs", "any"),
    ("truncate", "boolean"),
    ("truncation_direction", "string"),
    ("prompt_name", "string"),
    ("normalize", "boolean"),
    ("dimensions", "integer"),
    ("task", "string"),
    ("instruction", "string"),
    ("encoding_format", "string"),
    ("model", "string"),
];

/// The document.
pub(crate) fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let (summary, fields) = about(route.operation);
        let path = route.path.replace("{*", "{");
        let method = if route.method == Method::Get { "get" } else { "post" };
        let mut operation = json!({
            "summary": summary, "tags": [format!("{:?}", route.dialect).to_lowercase()],
            "responses": {"200": {"description": "Done"}, "default": {"description": "What is wrong, in the dialect's form"}},
        });
        if let Some((_, rest)) = path.split_once('{') {
            let name = rest.split('}').next().unwrap_or_default();
            operation["parameters"] =
                json!([{"name": name, "in": "path", "required": true, "schema": {"type": "string"}}]);
        }
        if route.method == Method::Post {
            let properties: Map<String, Value> =
                fields.iter().map(|(name, kind)| ((*name).to_owned(), schema(kind))).collect();
            operation["requestBody"] = json!({
                "required": true,
                "content": {"application/json": {"schema": {"type": "object", "properties": properties}}},
            });
        }
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        entry[method] = operation;
    }
    for (path, summary) in [
        ("/health", "Whether it can serve"),
        ("/health/live", "Whether it lives"),
        ("/metrics", "Prometheus's metrics"),
    ] {
        let answer = json!({"summary": summary, "responses": {"200": {"description": "Done"}}});
        paths.insert(path.to_owned(), json!({"get": answer}));
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "taskvec", "version": env!("CARGO_PKG_VERSION"), "description": "Task-aware text embeddings, in the words of every vendor's client"},
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}],
    })
}

fn schema(kind: &str) -> Value {
    match kind.strip_prefix('[') {
        Some(element) => json!({"type": ["array", "null"], "items": schema(element)}),
        None if kind == "any" => json!({}),
        None => json!({"type": [kind, "null"]}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_every_route() {
        let document = document();
        for route in ROUTES {
            let path = route.path.replace("{*", "{");
            let method = if route.method == Method::Get { "get" } else { "post" };
            let operation = &document["paths"][&path][method];
            assert!(operation["summary"].is_string(), "{method} {path}");
            assert_eq!(operation["parameters"].is_array(), path.contains('{'), "{path}");
        }
    }
}
