//! What operators set: which models are open, who may have how much, what is kept, how connections are encrypted, where traces go.

use crate::binary::{fails, taskvec};
use crate::served::{Served, answer, request, vectors};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use taskvec_testing::fixture;
use tempfile::TempDir;

const SERVED: [&str; 3] = ["bert-e5", "bert-bge", "reranker-bert"];

fn models() -> Vec<String> {
    SERVED.iter().flat_map(|name| ["--model".to_owned(), fixture(name).display().to_string()]).collect()
}

fn open(served: &Served) -> Vec<String> {
    let (status, _, answer) = request(&mut served.connect(), "GET", "/api/ps", &[], b"");
    assert_eq!(status, 200, "{answer}");
    let models = answer["models"].as_array().unwrap();
    assert!(models.iter().all(|model| model["size"].as_u64().unwrap() > 0), "{answer}");
    models
        .iter()
        .map(|model| model["name"].as_str().unwrap().trim_end_matches(":latest").to_owned())
        .collect()
}

/// The vectors of a model, or the scores of a reranker.
fn ask(served: &Served, model: &str) -> Value {
    let (status, _, answer) = match model.starts_with("reranker") {
        true => served.post("/v1/rerank", &json!({"query": "a", "documents": ["b", "c"], "model": model})),
        false => served.post("/v1/embeddings", &json!({"input": ["a cat", "b"], "model": model})),
    };
    assert_eq!(status, 200, "{answer}");
    answer["data"].clone()
}

#[test]
fn models_are_opened_when_they_are_asked_for() {
    let models = models();
    let models: Vec<&str> = models.iter().map(String::as_str).collect();
    let served = Served::start(&[&models[..], &["--lazy"]].concat());
    assert_eq!(request(&mut served.connect(), "GET", "/ready", &[], b"").0, 200);
    assert_eq!(open(&served), [""; 0]);
    // Who asks at once waits for the same.
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| ask(&served, "bert-bge"))).collect();
        let answers: Vec<Value> = asking.into_iter().map(|one| one.join().unwrap()).collect();
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    });
    assert_eq!(open(&served), ["bert-bge"]);
    assert_eq!(served.post("/v1/embeddings", &json!({"input": "a", "model": "reranker-bert"})).0, 400);
    assert_eq!(open(&served), ["bert-bge", "reranker-bert"], "what it is must be known");
    // A model that cannot be opened is a fault of its requests alone, and is tried again.
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("later");
    let served = Served::start(&[
        "--lazy",
        "--model",
        fixture("bert-e5").to_str().unwrap(),
        "--model",
        missing.to_str().unwrap(),
    ]);
    let body = json!({"input": "a", "model": missing.to_str().unwrap()});
    let (status, _, answer) = served.post("/openai/v1/embeddings", &body);
    assert_eq!(status, 500, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("later"), "{answer}");
    ask(&served, "bert-e5");
}

#[test]
fn memory_is_kept_by_closing_what_was_asked_for_longest_ago() {
    let models = models();
    let models: Vec<&str> = models.iter().map(String::as_str).collect();
    let served = Served::start(&models);
    assert_eq!(open(&served), SERVED);
    let want: Vec<Value> = SERVED.iter().map(|model| ask(&served, model)).collect();
    drop(served);
    let served = Served::start(&[&models[..], &["--max-memory", "1"]].concat());
    assert_eq!(open(&served), ["reranker-bert"], "all were opened once, the last one stays");
    assert_eq!(request(&mut served.connect(), "GET", "/ready", &[], b"").0, 200);
    for round in 0..2 {
        for (model, want) in SERVED.iter().zip(&want) {
            assert_eq!(&ask(&served, model), want, "{round} {model}");
            assert_eq!(open(&served), [*model]);
        }
    }
    // Many at once, for all of them: each is answered, whatever is closed meanwhile.
    std::thread::scope(|scope| {
        for i in 0..24 {
            let (served, want) = (&served, &want);
            scope.spawn(move || assert_eq!(&ask(served, SERVED[i % 3]), &want[i % 3]));
        }
    });
}

#[test]
fn a_query_that_comes_again_is_kept() {
    let served = Served::start(&["--cache", "2"]);
    let ask = |text: &str, task: &str| {
        let body = json!({"input": text, "task": task}).to_string();
        let (status, head, answer) =
            request(&mut served.connect(), "POST", "/v1/embeddings", &[], body.as_bytes());
        assert_eq!(status, 200, "{answer}");
        (head.contains("x-inference-time: 0.000"), vectors(&answer), answer["usage"].clone())
    };
    let first = ask("a cat", "query");
    assert!(!first.0);
    let again = ask("a cat", "query");
    assert!(again.0 && again.1 == first.1 && again.2 == first.2, "{again:?}");
    let other = ask("a cat", "document");
    assert!(!other.0 && other.1 != first.1, "a task has a vector of its own");
    assert!(ask("a cat", "query").0);
    assert!(!ask("a dog", "query").0);
    assert!(!ask("a cat", "document").0, "two are kept");
    let (_, _, of_many) = served.post("/v1/embeddings", &json!({"input": ["a cat", "b"], "task": "query"}));
    assert_eq!(vectors(&of_many)[0], first.1[0]);
    let without = Served::start(&[]);
    for _ in 0..2 {
        let (_, head, _) = without.post("/v1/embeddings", &json!({"input": "a cat"}));
        assert!(!head.contains("x-inference-time: 0.000"), "{head}");
    }
}

#[test]
fn keys_have_so_many_tokens_a_minute() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, "# who may ask\n\nsmall 20\nlarge\n").unwrap();
    let served = Served::start(&["--api-keys", file.to_str().unwrap(), "--tokens-per-minute", "100000"]);
    let ask = |key: &str, texts: usize| {
        let body = json!({"input": vec!["some words of a text"; texts]}).to_string();
        let key = format!("Authorization: Bearer {key}");
        request(&mut served.connect(), "POST", "/openai/v1/embeddings", &[&key], body.as_bytes())
    };
    assert_eq!(ask("unknown", 1).0, 401);
    assert_eq!(ask("small", 100).0, 200, "no request is too large, but the next ones wait");
    let (status, head, answer) = ask("small", 1);
    assert_eq!(status, 429, "{answer}");
    let after = head.split("retry-after: ").nth(1).unwrap().lines().next().unwrap().parse::<u64>().unwrap();
    // 100 texts of some 8 tokens at 20 a minute.
    assert!((600..6000).contains(&after), "{head}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("tokens of a minute"), "{answer}");
    assert_eq!(ask("large", 100).0, 200, "the other key has its own");
    // A request that fails costs nothing.
    let all = Served::start(&["--tokens-per-minute", "30"]);
    let wrong = "x".repeat(4000);
    for _ in 0..3 {
        assert_eq!(all.post("/v1/embeddings", &json!({"input": "a", "task": wrong})).0, 400);
    }
    assert_eq!(all.post("/v1/embeddings", &json!({"input": "some words of a text"})).0, 200);

    let said = |text: &str| {
        std::fs::write(&file, text).unwrap();
        taskvec(&folder).args(["serve", "--port", "0", "--api-keys", "keys"]).output().unwrap()
    };
    fails(&said("# nobody\n"), 2, &["keys has no key"]);
    fails(&said("a\nb many\n"), 2, &["line 2", "tokens a minute"]);
    fails(&said("a 5 5\n"), 2, &["line 1"]);
    fails(&said("a 0\n"), 2, &["line 1"]);
}

#[test]
fn tokens_become_texts() {
    let served = Served::start(&[]);
    let (_, _, tokens) = served.post("/tokenize", &json!({"inputs": "a small cat"}));
    let tokens = tokens[0].as_array().unwrap().clone();
    assert_eq!((&tokens[0]["special"], &tokens[1]["special"]), (&json!(true), &json!(false)), "{tokens:?}");
    let ids: Vec<u64> = tokens.iter().map(|token| token["id"].as_u64().unwrap()).collect();
    let (_, _, bare) =
        served.post("/tokenize", &json!({"inputs": ["a small cat"], "add_special_tokens": false}));
    assert_eq!(bare[0].as_array().unwrap().len(), ids.len() - 2);
    assert_eq!(served.post("/decode", &json!({"ids": ids})).2, json!(["a small cat"]));
    assert_eq!(served.post("/decode", &json!({"ids": [ids, ids]})).2, json!(["a small cat", "a small cat"]));
    let (_, _, with_special) = served.post("/decode", &json!({"ids": ids, "skip_special_tokens": false}));
    let with_special = with_special[0].as_str().unwrap();
    assert!(with_special.contains("a small cat") && with_special.len() > 13, "{with_special}");
    let (_, _, text) = served.post("/v1/detokenize", &json!({"tokens": ids, "model": "m"}));
    assert_eq!(text["text"], "a small cat");
    for body in [json!({"ids": [1_000_000_000]}), json!({"ids": [[1], 2]}), json!({"ids": [-1]}), json!({})] {
        assert_eq!(served.post("/decode", &body).0, 422, "{body}");
    }
}

/// RFC 9113, 3.4: what a client says first, then a frame of settings, here without any.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A reranker with a chat template takes the caller's words for what makes a document relevant.
#[test]
fn rerankers_take_an_instruction() {
    let model = fixture("reranker-qwen3-logit");
    let served = Served::start(&["--model", model.to_str().unwrap()]);
    let scores = |path: &str, body: Value| {
        let (status, _, answer) = served.post(path, &body);
        assert_eq!(status, 200, "{answer}");
        answer.to_string()
    };
    let reranker = taskvec::Reranker::builder().device(taskvec::Device::Cpu).open(&model).unwrap();
    let documents = ["leaves in water", "a car"];
    let how = taskvec::EmbedOptions::new().instruction("Find drinks.");
    let want = reranker.score_with("tea", &documents, how, &taskvec::CancelToken::new()).unwrap();
    let plain = json!({"query": "tea", "documents": documents});
    let asked = json!({"query": "tea", "documents": documents, "instruction": "Find drinks."});
    assert_ne!(scores("/v1/rerank", plain), scores("/v1/rerank", asked.clone()));
    let (_, _, answer) = served.post("/v1/rerank", &asked);
    for result in answer["results"].as_array().unwrap() {
        let index = result["index"].as_u64().unwrap() as usize;
        let score = result["relevance_score"].as_f64().unwrap() as f32;
        assert_eq!(score, want[index].value, "{answer}");
    }
    let tei = json!({"query": "tea", "texts": documents, "instruction": "Find drinks."});
    let (_, _, answer) = served.post("/rerank", &tei);
    assert_eq!(answer[0]["score"].as_f64().unwrap() as f32, want.iter().map(|w| w.value).fold(0.0, f32::max));
    assert_eq!(
        served.post("/v1/rerank", &json!({"query": "a", "documents": ["b"], "prompt_name": "none"})).0,
        400
    );
}

/// HTTP/2 without an upgrade, as clients with prior knowledge speak it.
#[test]
fn it_speaks_http_2_without_encryption() {
    let served = Served::start(&[]);
    let mut stream = served.connect();
    stream.write_all(PREFACE).unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "the server's settings come first: {frame:?}");
}

#[cfg(feature = "tls")]
#[test]
fn connections_are_encrypted() {
    use rustls::pki_types::ServerName;
    let folder = TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let files = ["--tls-certificate", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let served = Served::start(&files);
    let connect = |protocols: &[&[u8]]| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let client =
            rustls::ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap());
        rustls::StreamOwned::new(client.unwrap(), served.connect())
    };
    let body = json!({"input": ["a cat", "b"]}).to_string();
    let (status, _, answer) = request(&mut connect(&[]), "POST", "/v1/embeddings", &[], body.as_bytes());
    assert_eq!(status, 200, "{answer}");
    let plain = Served::start(&[]);
    assert_eq!(answer["data"], plain.post("/v1/embeddings", &serde_json::from_str(&body).unwrap()).2["data"]);
    let mut second = connect(&[b"h2", b"http/1.1"]);
    second.write_all(PREFACE).unwrap();
    let mut frame = [0; 9];
    second.read_exact(&mut frame).unwrap();
    assert_eq!((second.conn.alpn_protocol(), frame[3]), (Some(&b"h2"[..]), 4));
    // Who speaks in the clear gets no answer, and who says nothing holds up nobody.
    let silent = served.connect();
    let mut clear = served.connect();
    clear.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = clear.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP/"), "{said:?}");
    assert_eq!(request(&mut connect(&[]), "GET", "/health", &[], b"").0, 200);
    drop(silent);

    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("other.pem"), other.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    for (certificate, key, what) in [
        ("nowhere.pem", "key.pem", "nowhere.pem: no certificates"),
        ("empty.pem", "key.pem", "empty.pem: there is no certificate"),
        ("certificate.pem", "empty.pem", "empty.pem: no private key"),
        ("certificate.pem", "other.pem", "other.pem: it does not go with"),
    ] {
        let mut command = taskvec(&folder);
        command.args(["serve", "--port", "0", "--tls-certificate", certificate, "--tls-key", key]);
        fails(&command.arg("--model").arg(fixture("bert-e5")).output().unwrap(), 1, &[what]);
    }
}

/// A collector that gets one batch of spans.
#[test]
fn traces_are_sent() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let served = Served::with(TempDir::new().unwrap(), "0", &[], &environment);
    let body = json!({"input": ["a cat", "b"]}).to_string();
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let got = request(&mut served.connect(), "POST", "/v1/embeddings", &[parent], body.as_bytes());
    assert_eq!(got.0, 200);
    let (mut stream, _) = collector.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (head, sent) = posted(&mut stream);
    assert!(head.starts_with("POST /v1/traces "), "{head}");
    let spans = sent["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    let named =
        |name: &str| spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("{sent}"));
    let whole = named("POST /v1/embeddings");
    assert_eq!(whole["traceId"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(whole["parentSpanId"], "b7ad6b7169203331");
    assert!(!sent.to_string().contains("a cat"), "no text is sent");
    let time = |span: &Value, name: &str| span[name].as_str().unwrap().parse::<u128>().unwrap();
    for part in ["wait", "compute"] {
        let span = named(part);
        assert_eq!(span["parentSpanId"], whole["spanId"]);
        assert!(time(span, "startTimeUnixNano") >= time(whole, "startTimeUnixNano"), "{sent}");
        assert!(time(span, "endTimeUnixNano") <= time(whole, "endTimeUnixNano"), "{sent}");
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    // A collector that is gone holds up nobody.
    drop((stream, collector));
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(served.post("/v1/embeddings", &json!({"input": "a cat"})).0, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// A request's head, and its body as JSON.
fn posted(stream: &mut TcpStream) -> (String, Value) {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    // The rest has the form of an answer's.
    let (_, head, body) = answer(&mut std::io::Cursor::new(b"HTTP/1.1 200 OK\r\n").chain(reader));
    (first + &head, body)
}
