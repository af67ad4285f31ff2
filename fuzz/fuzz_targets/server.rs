//! Bodies of every route of the server: an answer in JSON, and none that is the server's fault. The first byte says which route.
#![no_main]

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};
use taskvec::{Device, Embedder};
use taskvec_server::{Loaded, ServedModel, Server, Settings};
use tokio::runtime::Runtime;
use tower::ServiceExt;

const PATHS: [&str; 26] = [
    "/v1/embeddings",
    "/openai/v1/embeddings",
    "/jina/v1/embeddings",
    "/voyage/v1/embeddings",
    "/mistral/v1/embeddings",
    "/openai/deployments/m/embeddings",
    "/v1/rerank",
    "/v2/embed",
    "/v1/embed",
    "/v2/rerank",
    "/v1/tokenize",
    "/v1/contextualizedembeddings",
    "/v1/models/m:embedContent",
    "/v1/models/m:batchEmbedContents",
    "/v1/models/m:countTokens",
    "/v1/projects/p/locations/l/publishers/google/models/m:predict",
    "/embed",
    "/embed_all",
    "/rerank",
    "/predict",
    "/similarity",
    "/vertex",
    "/v1/embedding/text",
    "/api/embed",
    "/api/show",
    "/explain",
];

static SERVED: LazyLock<(Runtime, Server)> = LazyLock::new(|| {
    let open = || {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/bert-e5");
        let opened = Embedder::builder().device(Device::Cpu).threads(1).open(folder);
        opened.map(Loaded::Embedder).map_err(|error| error.to_string())
    };
    let model = ServedModel { name: "m".to_owned(), aliases: Vec::new(), open: Arc::new(open) };
    let server = Server::new(vec![model], Settings::default()).unwrap();
    (tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(), server)
});

fuzz_target!(|data: &[u8]| {
    let Some((first, body)) = data.split_first() else { return };
    let path = PATHS[usize::from(*first) % PATHS.len()];
    let (runtime, server) = &*SERVED;
    runtime.block_on(async {
        let request = Request::post(path).body(Body::from(body.to_vec())).unwrap();
        let answer = server.router().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let answer = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(status < 500, "{path}: {status} {answer:?}");
        serde_json::from_slice::<serde_json::Value>(&answer).unwrap();
    });
});
