//! `taskvec serve` over bare sockets: what many clients at once get, and what broken ones do. The vendors' own clients are asked by
//! tests/clients/talk.py.

use crate::binary::{fails, taskvec};
use crate::served::{Served, answer, request, vectors};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use taskvec::{Device, EmbedOptions, Embedder, Task, cosine};
use taskvec_testing::fixture;
use tempfile::TempDir;

/// Tasks, sizes and lengths meet in batches as they come; each request gets the bits that the library gives it alone.
#[test]
fn many_clients_at_once_get_what_each_would_get_alone() {
    let served = Served::start(&[]);
    let embedder = Embedder::builder().device(Device::Cpu).open(fixture("bert-e5")).unwrap();
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for client in 0..12usize {
            let (served, embedder, failed) = (&served, &embedder, &failed);
            scope.spawn(move || {
                let mut stream = served.connect();
                for turn in 0..15usize {
                    let count = if client == 0 { 200 } else { 1 + (client + turn) % 3 };
                    let texts: Vec<String> = (0..count)
                        .map(|i| format!("text {} {}", (client * 31 + turn * 7 + i) % 97, "and more ".repeat((i + turn) % 9)))
                        .collect();
                    let task = [Task::RetrievalQuery, Task::RetrievalDocument, Task::Clustering][client % 3];
                    let dimensions = if turn % 2 == 0 { 16 } else { 24 };
                    let body = json!({
                        "input": texts, "task": task.name(), "dimensions": dimensions, "encoding_format": "float",
                    });
                    let body = body.to_string();
                    let (status, _, found) = request(&mut stream, "POST", "/openai/v1/embeddings", &[], body.as_bytes());
                    assert_eq!(status, 200, "{found}");
                    let options = EmbedOptions::new().task(task).dimensions(dimensions);
                    let want = embedder.embed_batch(&texts, options).unwrap();
                    for (found, want) in vectors(&found).iter().zip(&want) {
                        if found != &want.value {
                            failed.lock().unwrap().push((client, turn, cosine(found, &want.value)));
                        }
                    }
                }
            });
        }
    });
    assert_eq!(*failed.lock().unwrap(), []);
}

#[test]
fn one_wrong_text_fails_its_own_request_alone() {
    let served = Served::start(&[]);
    std::thread::scope(|scope| {
        for client in 0..8 {
            let served = &served;
            scope.spawn(move || {
                for _ in 0..10 {
                    let long = "word ".repeat(1000);
                    let texts = if client % 2 == 0 { vec!["a", "b"] } else { vec!["a", &long] };
                    let (status, _, answer) = served.post("/openai/v1/embeddings", &json!({"input": texts}));
                    match client % 2 {
                        0 => assert_eq!((status, vectors(&answer).len()), (200, 2)),
                        _ => {
                            assert_eq!(status, 400);
                            let message = answer["error"]["message"].as_str().unwrap();
                            assert!(message.starts_with("input 1: ") && message.contains("48"), "{message}");
                        }
                    }
                }
            });
        }
    });
}

/// A connection that sends a byte now and then, one that breaks off, and one whose headers are too long hold up nobody.
#[test]
fn broken_clients_hold_up_nobody() {
    let served = Served::start(&["--largest-body", "100000"]);
    let mut slow: Vec<TcpStream> = (0..50).map(|_| served.connect()).collect();
    slow.iter_mut().for_each(|stream| stream.write_all(b"POST /v1/emb").unwrap());
    let mut half = served.connect();
    half.write_all(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"input\":")
        .unwrap();
    drop(half);
    let mut large = served.connect();
    let sent = large.write_all(format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(10 << 20)).as_bytes());
    let mut said = String::new();
    let _ = large.read_to_string(&mut said); // it may be cut off before anything is said
    assert!(sent.is_err() || said.is_empty() || said.starts_with("HTTP/1.1 431"), "{said}");
    let (status, _, answer) = served.post("/v1/embeddings", &json!({"input": "x".repeat(200_000)}));
    assert_eq!(status, 413);
    assert!(answer["error"]["message"].as_str().unwrap().contains("100000 bytes"), "{answer}");
    let mut chunked = served.connect();
    chunked
        .write_all(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 60_000, "x".repeat(60_000));
    let _ = chunked.write_all(format!("{chunk}{chunk}").as_bytes());
    assert_eq!(crate::serve::answer(&mut chunked).0, 413);
    for _ in 0..5 {
        let (status, _, answer) = served.post("/v1/embeddings", &json!({"input": "a"}));
        assert_eq!((status, vectors(&answer).len()), (200, 1));
    }
}

/// What a client no longer waits for is not computed.
#[test]
fn who_hangs_up_frees_the_device() {
    let served = Served::start(&[]);
    let texts: Vec<String> = (0..40_000).map(|i| format!("{i} {}", "word ".repeat(40))).collect();
    let body = json!({"input": texts}).to_string();
    let mut gone = served.connect();
    let head = format!("POST /cohere/v1/embed HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    let body = body.replace("\"input\"", "\"texts\"");
    gone.write_all(head.as_bytes()).unwrap();
    gone.write_all(body.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    drop(gone);
    let begun = Instant::now();
    loop {
        let (_, _, metrics) = request(&mut served.connect(), "GET", "/metrics", &[], b"");
        if metrics.as_str().unwrap().contains("te_queue_size 0\n") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{metrics}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Too much is refused at once, with the time to come back; and nothing but that.
#[test]
fn what_would_wait_too_long_is_refused() {
    let served = Served::start(&["--longest-wait", "0"]);
    let texts: Vec<String> = (0..60_000).map(|i| format!("{i} {}", "word ".repeat(40))).collect();
    let body = json!({"texts": texts}).to_string();
    std::thread::scope(|scope| {
        let large =
            scope.spawn(|| request(&mut served.connect(), "POST", "/cohere/v1/embed", &[], body.as_bytes()));
        let begun = Instant::now();
        loop {
            let (_, _, metrics) = request(&mut served.connect(), "GET", "/metrics", &[], b"");
            if !metrics.as_str().unwrap().contains("te_queue_size 0\n") {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing waits");
        }
        let begun = Instant::now();
        let (status, head, answer) = served.post("/cohere/v1/embed", &json!({"texts": texts[..30_000]}));
        assert_eq!(status, 429, "{answer}");
        assert!(head.contains("\r\nretry-after: ") && head.contains("\r\nretry-after-ms: "), "{head}");
        assert!(answer["message"].as_str().unwrap().contains("try again in"), "{answer}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        let (status, _, answer) = large.join().unwrap();
        assert_eq!((status, answer["embeddings"].as_array().unwrap().len()), (200, 60_000));
    });
}

/// A client's own deadline: work that cannot be done in time is not begun, and it is told so.
#[test]
fn deadlines_are_kept() {
    let served = Served::start(&[]);
    let texts: Vec<String> = (0..60_000).map(|i| format!("{i} {}", "word ".repeat(40))).collect();
    let body = json!({"texts": texts}).to_string();
    std::thread::scope(|scope| {
        let large = scope
            .spawn(|| request(&mut served.connect(), "POST", "/cohere/v1/embed", &[], body.as_bytes()).0);
        std::thread::sleep(Duration::from_millis(700));
        let begun = Instant::now();
        let (status, _, answer) =
            request(&mut served.connect(), "POST", "/cohere/v1/embed", &["x-timeout-ms: 1"], body.as_bytes());
        assert!(status == 429 || status == 408, "{status} {answer}");
        assert!(answer["message"].is_string());
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(large.join().unwrap(), 200);
    });
}

#[cfg(unix)]
#[test]
fn a_signal_lets_requests_end() {
    let mut served = Served::start(&[]);
    let texts: Vec<String> = (0..20_000).map(|i| format!("{i} {}", "word ".repeat(30))).collect();
    let body = json!({"texts": texts}).to_string();
    let mut stream = served.connect();
    let head = format!("POST /cohere/v1/embed HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    served.signal("-TERM");
    let (status, _, answer) = answer(&mut stream);
    assert_eq!((status, answer["embeddings"].as_array().unwrap().len()), (200, 20_000));
    assert_eq!(served.wait(), Some(0));
}

#[cfg(unix)]
#[test]
fn a_server_that_was_killed_comes_back_at_its_port() {
    let mut served = Served::start(&[]);
    let port = served.address.rsplit(':').next().unwrap().to_owned();
    let want = vectors(&served.post("/v1/embeddings", &json!({"input": "a"})).2);
    let open = served.connect();
    served.signal("-KILL");
    assert_eq!(served.wait(), None);
    drop(open);
    let again = Served::at(TempDir::new().unwrap(), &port, &[]);
    assert_eq!(vectors(&again.post("/v1/embeddings", &json!({"input": "a"})).2), want);
}

#[cfg(unix)]
#[test]
fn it_listens_on_a_socket_of_the_file_system() {
    use std::os::unix::net::UnixStream;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let mut command = taskvec(&folder);
    command.args(["serve", "--device", "cpu", "--unix", "socket", "--model"]).arg(fixture("bert-e5"));
    let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(process.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.contains("unix:socket"), "{line}");
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    std::process::Command::new("kill").args(["-TERM", &process.id().to_string()]).status().unwrap();
    assert!(process.wait().unwrap().success());
    assert!(!path.exists(), "the socket is taken away");
}

/// Files that go away under an open model change nothing: they are mapped.
#[cfg(unix)]
#[test]
fn a_model_whose_folder_is_removed_goes_on() {
    let folder = TempDir::new().unwrap();
    let model = folder.path().join("model");
    copy(&fixture("bert-e5"), &model);
    let served = Served::start(&["--model", model.to_str().unwrap()]);
    let want = vectors(&served.post("/v1/embeddings", &json!({"input": "a"})).2);
    std::fs::remove_dir_all(&model).unwrap();
    for _ in 0..3 {
        assert_eq!(vectors(&served.post("/v1/embeddings", &json!({"input": "a"})).2), want);
    }
}

#[cfg(unix)]
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn names_of_models() {
    let (embedder, other) = (fixture("bert-e5"), fixture("bert-bge"));
    let served = Served::start(&[
        "--model",
        embedder.to_str().unwrap(),
        "--model",
        other.to_str().unwrap(),
        "--alias",
        "text-embedding-3-small=bert-bge",
    ]);
    let of = |name: Value| {
        let (status, _, answer) =
            served.post("/openai/v1/embeddings", &json!({"input": "a cat", "model": name}));
        (status, if status == 200 { vectors(&answer) } else { vec![] })
    };
    let (e5, bge) = (of(json!("bert-e5")), of(json!("bert-bge")));
    assert_eq!((e5.0, bge.0), (200, 200));
    assert_ne!(e5, bge);
    assert_eq!(of(json!("text-embedding-3-small")), bge);
    assert_eq!(of(json!("BERT-bge:latest")), bge);
    assert_eq!(of(json!(null)), e5, "the first one");
    assert_ne!(of(json!("bert-e5@query")), of(json!("bert-e5@document")));
    assert_eq!(of(json!("no such model")).0, 404);
    assert_eq!(of(json!("bert-e5@poetry")).0, 404);
    drop(served);
    let alone = Served::start(&[]);
    let status = |name: &str| alone.post("/v1/embeddings", &json!({"input": "a", "model": name}));
    assert_eq!(status("any name").0, 200, "one model answers to any name");
    let (misspelt, _, answer) = status("bert-e5@qurey");
    assert_eq!(misspelt, 404, "but a misspelt task is none");
    assert!(answer["error"]["message"].as_str().unwrap().contains("retrieval-query"), "{answer}");
    let strict = Served::start(&["--strict"]);
    assert_eq!(strict.post("/v1/embeddings", &json!({"input": "a", "model": "other"})).0, 404);
}

#[test]
fn requests_are_logged_without_their_texts() {
    let mut served = Served::start(&["--log"]);
    let said = served.said();
    let body = json!({"input": ["a secret", "b"]}).to_string();
    request(&mut served.connect(), "POST", "/v1/embeddings", &["x-request-id: mine"], body.as_bytes());
    served.post("/v2/embed", &json!({"texts": ["a secret"]}));
    let line = || {
        let line = said.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(!line.contains("secret"), "{line}");
        serde_json::from_str::<Value>(&line).unwrap()
    };
    let first = line();
    assert_eq!((&first["id"], &first["status"], &first["texts"]), (&json!("mine"), &json!(200), &json!(2)));
    assert!(first["tokens"].as_u64().unwrap() >= 4 && first["seconds"].as_f64().unwrap() > 0.0);
    let second = line();
    assert_eq!((&second["dialect"], &second["status"]), (&json!("cohere"), &json!(400)));
    assert!(second["problem"].as_str().unwrap().contains("model is missing"), "{second}");
}

#[test]
fn what_cannot_be_served_is_told_at_the_start() {
    let folder = TempDir::new().unwrap();
    let said = |folder: &TempDir, arguments: &[&str]| {
        let mut command = taskvec(folder);
        command.arg("serve").args(arguments).output().unwrap()
    };
    fails(&said(&folder, &["--port", "0", "--model", "nowhere/at/all/of"]), 1, &["nowhere/at/all/of"]);
    fails(&said(&folder, &["--port", "0", "--alias", "a=b"]), 2, &["served are all-MiniLM-L6-v2"]);
    let served = Served::start(&[]);
    let port = served.address.rsplit(':').next().unwrap();
    fails(&said(&served.folder, &["--port", port]), 1, &[port]);
}
