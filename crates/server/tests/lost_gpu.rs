//! A GPU that goes away while a model is served: those who asked are told, and the next ones are answered.

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use taskvec::{Device, Embedder, GpuSelector};
use taskvec_server::{Loaded, ServedModel, Server, Settings};
use tower::ServiceExt;

#[tokio::test]
async fn a_model_whose_gpu_is_gone_is_opened_again() {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = opened.clone();
    let open = move || {
        let embedder = Embedder::builder().device(Device::Gpu(GpuSelector::Best)).builtin();
        let embedder = embedder.map_err(|e| e.to_string())?;
        if count.fetch_add(1, Ordering::Relaxed) == 0 {
            embedder.lose_device().map_err(|e| e.to_string())?;
        }
        Ok(Loaded::Embedder(embedder))
    };
    let model = ServedModel { name: "m".into(), aliases: vec![], open: Arc::new(open) };
    let router = Server::new(vec![model], Settings::default()).unwrap().router();
    let ask = |path: &str, body: Value| {
        let request = Request::post(path).body(Body::from(body.to_string())).unwrap();
        let answer = router.clone().oneshot(request);
        async {
            let answer = answer.await.unwrap();
            let status = answer.status().as_u16();
            let retry = answer.headers().get("x-should-retry").cloned();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (status, retry, serde_json::from_slice::<Value>(&body).unwrap())
        }
    };
    let (status, retry, answer) = ask("/openai/v1/embeddings", json!({"input": ["a", "b"]})).await;
    assert_eq!((status, &answer["error"]["type"]), (500, &json!("server_error")), "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("lost"), "{answer}");
    assert_eq!(retry, None, "clients may try again");
    assert_eq!(opened.load(Ordering::Relaxed), 1);
    for (path, body) in [
        ("/openai/v1/embeddings", json!({"input": ["a", "b"]})),
        ("/v2/embed", json!({"texts": ["a"], "model": "m", "input_type": "search_query"})),
    ] {
        let (status, _, answer) = ask(path, body).await;
        assert_eq!(status, 200, "{answer}");
    }
    assert_eq!(opened.load(Ordering::Relaxed), 2);
}
