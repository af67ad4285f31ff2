//! Whatever a body is, the answer is JSON in the dialect's form, and nothing is the server's fault: right bodies of every route, changed
//! at random.

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use taskvec::{Device, Embedder};
use taskvec_server::{Loaded, ServedModel, Server, Settings};
use tower::ServiceExt;

/// A right body of each route, of which some need another model.
fn bodies() -> Vec<(&'static str, Value)> {
    let gemini = json!({"content": {"parts": [{"text": "a"}, {"text": "b"}]}, "taskType": "RETRIEVAL_QUERY", "title": "t",
        "outputDimensionality": 4, "embedContentConfig": {"taskType": "CLUSTERING", "autoTruncate": false}});
    vec![
        (
            "/v1/embeddings",
            json!({"input": ["a", "b"], "model": "m", "dimensions": 4, "encoding_format": "base64", "user": "u"}),
        ),
        (
            "/v1/embeddings",
            json!({"input": [1, 2, 3], "output_type": "int8", "task": "query", "prompt_name": null}),
        ),
        (
            "/jina/v1/embeddings",
            json!({"input": [{"text": "a"}, "b"], "task": "retrieval.query", "late_chunking": true, "embedding_type": ["float"], "normalized": true, "truncate": false}),
        ),
        (
            "/voyage/v1/embeddings",
            json!({"input": "a", "input_type": "query", "truncation": true, "output_dtype": "binary", "output_dimension": 8, "encoding_format": null}),
        ),
        ("/mistral/v1/embeddings", json!({"input": "a", "metadata": {"a": 1}, "output_dtype": "uint8"})),
        ("/openai/deployments/m/embeddings", json!({"input": "a"})),
        (
            "/v1/rerank",
            json!({"query": "q", "documents": ["a", {"text": "b"}], "top_n": 1, "return_documents": true, "rank_fields": ["text"]}),
        ),
        (
            "/v2/embed",
            json!({"model": "m", "input_type": "search_query", "texts": ["a"], "embedding_types": ["float", "int8"], "truncate": "START", "output_dimension": 4}),
        ),
        (
            "/v2/embed",
            json!({"model": "m", "input_type": "clustering", "inputs": [{"content": [{"type": "text", "text": "a"}]}]}),
        ),
        ("/v1/embed", json!({"texts": ["a"], "embedding_types": ["base64"]})),
        ("/v2/rerank", json!({"model": "m", "query": "q", "documents": ["a"], "top_n": 1})),
        ("/v1/tokenize", json!({"text": "a b c", "model": "m"})),
        (
            "/v1/contextualizedembeddings",
            json!({"inputs": [["a", "b"], ["c"]], "model": "m", "input_type": "document"}),
        ),
        ("/v1beta/models/m:embedContent", gemini.clone()),
        ("/v1beta/models/m:batchEmbedContents", json!({"requests": [gemini, {"content": "b"}]})),
        ("/v1beta/models/m:countTokens", json!({"contents": [{"parts": [{"text": "a"}]}]})),
        (
            "/v1/projects/p/locations/l/publishers/google/models/m:predict",
            json!({"instances": [{"content": "a", "task_type": "RETRIEVAL_QUERY", "title": "t"}], "parameters": {"outputDimensionality": 4, "autoTruncate": false}}),
        ),
        (
            "/embed",
            json!({"inputs": ["a", [1, 2]], "truncate": true, "truncation_direction": "Left", "normalize": false, "dimensions": 4}),
        ),
        ("/embed_all", json!({"inputs": "a"})),
        ("/embed_sparse", json!({"inputs": "a"})),
        ("/rerank", json!({"query": "q", "texts": ["a"], "raw_scores": true, "return_text": true})),
        ("/predict", json!({"inputs": [["a", "b"]], "raw_scores": true})),
        (
            "/similarity",
            json!({"inputs": {"source_sentence": "a", "sentences": ["b", "c"]}, "parameters": {"truncate": true}}),
        ),
        ("/tokenize", json!({"inputs": ["a"], "prompt_name": "query"})),
        ("/vertex", json!({"instances": [{"inputs": "a"}, {"query": "q", "texts": ["a"]}]})),
        ("/", json!({"inputs": {"source_sentence": "a", "sentences": ["b"]}})),
        (
            "/v1/embedding/text",
            json!({"texts": ["a"], "task_type": "search_query", "dimensionality": 4, "long_text_mode": "mean"}),
        ),
        (
            "/api/embed",
            json!({"model": "m", "input": ["a"], "truncate": false, "dimensions": 4, "keep_alive": "5m"}),
        ),
        ("/api/embeddings", json!({"model": "m", "prompt": "a"})),
        ("/api/show", json!({"model": "m"})),
        ("/api/pull", json!({"model": "m", "stream": false})),
        ("/explain", json!({"text": "a", "task": "query", "instruction": null})),
    ]
}

/// Bodies that are tried.
const TURNS: usize = 40_000;

/// Numbers at random, the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// A value that is mostly wrong.
fn odd(random: &mut Random) -> Value {
    let long = "word ".repeat(300);
    match random.below(14) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(1e300),
        4 => json!(u64::MAX),
        5 => json!(0.5),
        6 => json!(""),
        7 => json!("\u{0}\u{fffd}\u{202e}é"),
        8 => json!(long),
        9 => json!([]),
        10 => json!({}),
        11 => json!([[["a"]], null, 7]),
        12 => json!({"text": {"text": []}, "parts": 5, "content": null}),
        _ => json!(["a", "b"]),
    }
}

/// The body with a value somewhere in it changed, left out or doubled.
fn changed(value: &mut Value, random: &mut Random) {
    match value {
        Value::Object(fields) if !fields.is_empty() && random.below(5) > 0 => {
            let name = fields.keys().nth(random.below(fields.len())).unwrap().clone();
            match random.below(4) {
                0 => drop(fields.remove(&name)),
                1 => drop(fields.insert(name, odd(random))),
                _ => changed(fields.get_mut(&name).unwrap(), random),
            }
        }
        Value::Array(list) if !list.is_empty() && random.below(5) > 0 => {
            let place = random.below(list.len());
            match random.below(3) {
                0 => list.push(odd(random)),
                _ => changed(&mut list[place], random),
            }
        }
        other => *other = odd(random),
    }
}

#[test]
fn whatever_a_body_is_the_answer_is_in_form() {
    let open = || {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/bert-e5");
        let opened = Embedder::builder().device(Device::Cpu).threads(1).open(folder);
        opened.map(Loaded::Embedder).map_err(|error| error.to_string())
    };
    let model = ServedModel { name: "m".to_owned(), aliases: Vec::new(), open: Arc::new(open) };
    let server = Server::new(vec![model], Settings::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ask = |path: &str, body: Vec<u8>| {
        runtime.block_on(async {
            let request = Request::post(path).body(Body::from(body)).unwrap();
            let answer = server.router().oneshot(request).await.unwrap();
            let status = answer.status().as_u16();
            (status, answer.into_body().collect().await.unwrap().to_bytes())
        })
    };
    let described = runtime.block_on(async {
        let request = Request::get("/openapi.json").body(Body::empty()).unwrap();
        let answer = server.router().oneshot(request).await.unwrap();
        serde_json::from_slice::<Value>(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
    });
    let mut random = Random(7);
    let bodies = bodies();
    for (path, body) in &bodies {
        let content = &described["paths"][path]["post"]["requestBody"]["content"];
        let fields = &content["application/json"]["schema"]["properties"];
        for name in body.as_object().unwrap().keys().filter(|_| fields.is_object()) {
            assert!(fields[name].is_object(), "{name} of {path} is not described");
        }
    }
    let right =
        bodies.iter().filter(|(path, body)| ask(path, body.to_string().into_bytes()).0 == 200).count();
    assert!(right >= 20, "{right} are answered as they are");
    let mut answered = 0;
    for turn in 0..TURNS {
        let (path, body) = &bodies[turn % bodies.len()];
        let mut body = body.clone();
        for _ in 0..=random.below(3) {
            changed(&mut body, &mut random);
        }
        let mut bytes = body.to_string().into_bytes();
        for _ in 0..random.below(8).saturating_sub(4) {
            let place = random.below(bytes.len());
            match random.below(3) {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, random.below(256) as u8),
                _ => bytes[place] = random.below(256) as u8,
            }
            if bytes.is_empty() {
                break;
            }
        }
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let (status, answer) = ask(path, bytes);
        assert!(matches!(status, 200 | 400 | 404 | 422 | 424), "{path} {shown}: {status} {answer:?}");
        answered += usize::from(status == 200);
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_else(|e| panic!("{path} {shown}: {e}"));
        assert!(status != 200 || !answer.to_string().contains("null,null"), "{path} {shown}");
    }
    assert!((TURNS / 20..TURNS).contains(&answered), "{answered} of {TURNS} are answered");
}
