//! Requests with options of their own, streams of them, and where models come from.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use taskvec::{
    CancelToken, Device, EmbedOptions, Embedder, EmbedderBuilder, Embedding, Error, ErrorKind, ModelFiles,
    Output, Piece, Request, RequestError, SparseVector, Task, TokenVectors, Truncation,
};
use taskvec_testing::fixture;

fn cpu() -> EmbedderBuilder {
    Embedder::builder().device(Device::Cpu).threads(2)
}

fn open(name: &str) -> Embedder {
    cpu().open(fixture(name)).unwrap()
}

fn long_text() -> String {
    "many words make a long text ".repeat(40)
}

/// Tasks, prompts, titles, sizes and task adapters in one call: each as if it were alone.
#[test]
fn one_call_mixes_what_requests_ask_for() {
    let options = [
        EmbedOptions::new().task(Task::RetrievalQuery),
        EmbedOptions::new().task(Task::RetrievalDocument),
        EmbedOptions::new().prompt("another prompt: ").dimensions(8),
        EmbedOptions::new().prompt("").normalize(false),
        EmbedOptions::new().truncation(Truncation::Windows { overlap: 3 }),
        EmbedOptions::new().task(Task::Clustering).truncation(Truncation::Start),
    ];
    let texts = ["a text", "", &long_text(), "Tea is made of leaves."];
    for model in ["bert-e5", "jina-v3-lora", "t5-instructor", "embedding-gemma"] {
        let embedder = open(model);
        let all = || texts.iter().flat_map(|text| options.iter().map(move |how| (*text, how)));
        let mixed: Vec<Embedding> =
            embedder.embed_requests(all().map(|(text, how)| Request::new(text).options(how))).unwrap();
        assert_eq!(mixed.len(), texts.len() * options.len());
        for ((text, how), mixed) in all().zip(&mixed) {
            let alone = embedder.embed(text, how).unwrap();
            assert_eq!(alone.value, mixed.value, "{model}: {how:?}");
            assert_eq!((alone.tokens, alone.untruncated_tokens), (mixed.tokens, mixed.untruncated_tokens));
            assert_eq!(*alone.prompt, *mixed.prompt);
            assert!(alone.space.check_comparable(&mixed.space).is_ok());
        }
    }
}

/// A prompt is looked up and tokenised once for all texts of a call that have it: they share one.
#[test]
fn texts_of_a_call_share_their_prompts() {
    let embedder = open("embedding-gemma");
    let titles = ["Tea", "Coffee"];
    let requests = (0..400).map(|i| {
        let options = EmbedOptions::new().task(Task::RetrievalDocument);
        Request::new("Made of leaves or beans.").options(options).title(titles[i % 2])
    });
    let results: Vec<Embedding> = embedder.embed_requests(requests).unwrap();
    for (i, result) in results.iter().enumerate() {
        assert!(result.prompt.text.contains(titles[i % 2]), "{}", result.prompt.text);
        assert!(Arc::ptr_eq(&result.prompt, &results[i % 2].prompt), "text {i} has a prompt of its own");
    }
    assert!(!Arc::ptr_eq(&results[0].prompt, &results[1].prompt));
}

/// Token ids are the text by itself: special tokens and the prompt come around them.
#[test]
fn a_text_may_be_given_as_token_ids() {
    for model in ["bert-e5", "xlm-roberta-e5", "qwen3-embedding"] {
        let embedder = open(model);
        let text = "Tea is made of leaves.";
        let whole = embedder.token_ids(text, EmbedOptions::new().prompt("")).unwrap();
        let empty = embedder.token_ids("", EmbedOptions::new().prompt("")).unwrap();
        // What stands around an empty text stands around this one.
        let before = whole.iter().zip(&empty).take_while(|(a, b)| a == b).count();
        let ids = whole[before..whole.len() - (empty.len() - before)].to_vec();
        let embed =
            |request: Request<'_>| -> Embedding { embedder.embed_requests([request]).unwrap().remove(0) };
        let (by_ids, by_text) = (
            embed(Request::from_ids(ids.clone()).options(EmbedOptions::new().prompt(""))),
            embed(Request::new(text).options(EmbedOptions::new().prompt(""))),
        );
        assert_eq!((by_ids.value, by_ids.tokens), (by_text.value, by_text.tokens), "{model}");
        let with_prompt = embed(Request::from_ids(ids).options(Task::RetrievalQuery));
        assert!(with_prompt.tokens > by_text.tokens, "{model}: the prompt is there too");
    }
    let embedder = open("bert-e5");
    let wrong: Result<Vec<Embedding>, Error> =
        embedder.embed_requests([Request::from_ids(vec![7, 4_000_000])]);
    let error = wrong.unwrap_err();
    assert!(error.to_string().starts_with("text 0: ") && error.to_string().contains("4000000"), "{error}");
    let long = vec![7; 500];
    let cut: Vec<Embedding> = embedder.embed_requests([Request::from_ids(long)]).unwrap();
    assert_eq!((cut[0].tokens, cut[0].truncated()), (48, true));
}

/// Results come in order, one for each request; what is wrong with one spoils no other.
#[test]
fn a_stream_gives_one_result_for_each_request() {
    let embedder = open("bert-e5");
    let strict = Arc::new(EmbedOptions::new().truncation(Truncation::Error));
    let long = long_text();
    let request = |i: usize| match i % 50 {
        7 => Request::new(long.clone()).options(strict.clone()),
        8 => Request::new("a").options(EmbedOptions::new().prompt_name("none such")),
        9 => Request::new("a").options(EmbedOptions::new().dimensions(1_000_000)),
        _ => Request::new(format!("text {i}")).options(strict.clone()),
    };
    let results: Vec<_> = embedder.stream((0..20_000).map(request)).collect();
    assert_eq!(results.len(), 20_000);
    for (i, result) in results.iter().enumerate() {
        match (i % 50, result) {
            (7..=9, Err(error)) => {
                assert_eq!((error.text(), error.kind()), (Some(i), ErrorKind::Request), "{error}");
            }
            (7..=9, Ok(_)) => panic!("request {i} is wrong"),
            (_, Ok(embedding)) if i % 1111 == 0 => {
                let alone = embedder.embed(&format!("text {i}"), strict.clone()).unwrap();
                assert_eq!(alone.value, embedding.value, "{i}");
            }
            (_, result) => assert!(result.is_ok(), "{i}: {result:?}"),
        }
    }
    let first = results.into_iter().find_map(Result::err).unwrap();
    let batch: Result<Vec<Embedding>, Error> = embedder.embed_requests((0..100).map(request));
    assert_eq!(batch.unwrap_err().to_string(), first.to_string(), "a batch call fails with the first");
}

/// Whatever comes after them, only some requests are taken at a time.
#[test]
fn a_stream_takes_requests_as_it_goes() {
    let embedder = open("bert-e5");
    let taken = Cell::new(0usize);
    let requests = (0..).inspect(|_| taken.set(taken.get() + 1)).map(|i| Request::new(format!("text {i}")));
    let mut stream = embedder.stream(requests);
    assert!(stream.next().unwrap().is_ok());
    let after_one = taken.get();
    assert!(after_one < 50_000, "{after_one} of an endless number");
    for _ in 0..after_one {
        stream.next().unwrap().unwrap();
    }
    assert!(taken.get() > after_one && taken.get() < 3 * after_one + 50_000);
    assert!(embedder.stream(Vec::<Request<'_>>::new()).next().is_none());
}

#[test]
fn a_stream_reports_progress_and_can_be_cancelled() {
    let embedder = open("bert-e5");
    let (cancel, reports) = (CancelToken::new(), Cell::new(Vec::new()));
    let requests = (0..).map(|i| Request::new(format!("text {i}")));
    let stream = embedder.stream(requests).cancel(&cancel).on_progress(|progress| {
        let mut all = reports.take();
        all.push((progress.texts, progress.tokens));
        reports.set(all);
    });
    let mut done = 0;
    let counted = stream.inspect(|_| {
        done += 1;
        if done == 30_000 {
            cancel.cancel();
        }
    });
    let last = counted.filter_map(Result::err).collect::<Vec<_>>();
    assert!(matches!(&last[..], [Error::Request { problem: RequestError::Cancelled, .. }]), "{last:?}");
    let reports = reports.take();
    assert!(reports.len() > 1 && reports.windows(2).all(|pair| pair[0] < pair[1]), "{reports:?}");
    assert!(reports[0].1 >= 3 * reports[0].0, "tokens of each text are counted: {reports:?}");
}

/// Whoever takes results as they are computed gets each once, with the bits and the errors of the ordered stream.
#[test]
fn results_are_handed_on_when_they_are_ready() {
    let embedder = cpu().threads(2).batch_tokens(64).open(fixture("bert-e5")).unwrap();
    let request = |i: usize| match i % 50 {
        7 => Request::new("a").options(EmbedOptions::new().prompt_name("none such")),
        8 => Request::new(""),
        9 => Request::new("the same text, again and again"),
        _ => Request::new(format!("text {i} {}", "and more ".repeat(i % 13))),
    };
    let ordered: Vec<taskvec::Result<Embedding>> = embedder.stream((0..9000).map(request)).collect();
    let ready = Mutex::new(Vec::new());
    let stream = embedder.stream((0..9000).map(request));
    stream
        .for_each_ready(|i, result| {
            ready.lock().unwrap().push((i, result));
            ControlFlow::Continue(())
        })
        .unwrap();
    let mut ready: Vec<(usize, taskvec::Result<Embedding>)> = ready.into_inner().unwrap();
    assert!(ready.windows(2).any(|pair| pair[0].0 > pair[1].0), "they come as batches are computed");
    ready.sort_by_key(|(i, _)| *i);
    assert!(ready.iter().map(|(i, _)| *i).eq(0..9000));
    for ((i, ready), ordered) in ready.into_iter().zip(ordered) {
        match (ready, ordered) {
            (Ok(ready), Ok(ordered)) => {
                assert_eq!((ready.value, ready.tokens), (ordered.value, ordered.tokens))
            }
            (Err(ready), Err(ordered)) => {
                assert_eq!((ready.to_string(), ready.text()), (ordered.to_string(), Some(i)));
            }
            (ready, ordered) => panic!("{i}: {ready:?} {ordered:?}"),
        }
    }
    // Whoever has enough breaks off, between two batches.
    let count = AtomicUsize::new(0);
    let endless = (0..).map(|i| Request::new(format!("text {i}")));
    let broken_off =
        embedder.stream(endless).for_each_ready(|_, _| match count.fetch_add(1, Ordering::Relaxed) {
            0..500 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        });
    let error = broken_off.unwrap_err();
    assert!(matches!(error, Error::Request { problem: RequestError::Cancelled, text: None }), "{error}");
}

/// Another thread stops a call that computes, between two of its batches.
#[test]
fn a_call_is_cancelled_while_it_computes() {
    let embedder = cpu().threads(1).batch_tokens(64).open(fixture("modernbert")).unwrap();
    let cancel = CancelToken::new();
    let texts: Vec<String> =
        (0..200_000).map(|i| format!("a longer text of some words, number {i}")).collect();
    let start = std::time::Instant::now();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            cancel.cancel();
        });
        embedder.stream(texts.iter().map(|text| text.as_str())).cancel(&cancel).collect::<Result<Vec<_>, _>>()
    });
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::Request { problem: RequestError::Cancelled, .. }), "{error}");
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
}

/// Every kind of value comes from a stream, with its facts.
#[test]
fn streams_give_every_kind_of_value() {
    let long = long_text();
    let texts = ["two words", &long];
    fn check<T>(results: Vec<taskvec::Result<Output<T>>>) {
        let outputs: Vec<Output<T>> = results.into_iter().collect::<Result<_, _>>().unwrap();
        assert_eq!(outputs.iter().map(Output::truncated).collect::<Vec<_>>(), [false, true]);
        assert!(outputs[0].tokens >= 3 && outputs[1].untruncated_tokens > 100);
    }
    check::<Vec<f32>>(open("bert-e5").stream(texts).collect());
    check::<SparseVector>(open("splade-bert").stream_of(texts).collect());
    check::<SparseVector>(open("bge-m3").stream_of(texts).collect());
    check::<TokenVectors>(open("colbert").stream_of(texts).collect());
    let embedder = open("bert-e5");
    let text = "First sentence here. Second one follows.";
    let requests = [Request::new(text).pieces(vec![20]), Request::new(text)];
    let pieces: Vec<Output<Vec<Piece>>> = embedder.embed_requests(requests).unwrap();
    assert_eq!(pieces[0].value.iter().map(|piece| piece.bytes.clone()).collect::<Vec<_>>(), [0..20, 20..40]);
    assert_eq!(pieces[1].value.len(), 1);
    assert!(pieces[0].tokens > pieces[0].value.iter().map(|piece| piece.tokens).sum());
}

/// An error about a text names that text, whichever way it was given.
#[test]
fn errors_name_the_text_that_they_are_about() {
    let embedder = open("bert-e5");
    let long = long_text();
    let strict = || EmbedOptions::new().truncation(Truncation::Error);
    let error = embedder.embed_batch(&["a", "b", &long], strict()).unwrap_err();
    assert!(
        matches!(error, Error::Request { text: Some(2), problem: RequestError::TooLong { .. } }),
        "{error}"
    );
    // A piece's number is its own, the text's is the call's.
    let error = embedder.embed_pieces("a b", &[1, 2], EmbedOptions::new()).unwrap_err();
    let empty = RequestError::EmptyPiece { piece: 1 }.to_string();
    assert_eq!((error.text(), error.to_string()), (Some(0), format!("text 0: {empty}")));
    // Options that are wrong for all texts blame none.
    let error = embedder.embed_batch(&["a", "b"], EmbedOptions::new().dimensions(0)).unwrap_err();
    assert_eq!((error.text(), error.kind()), (None, ErrorKind::Request), "{error}");
    let none: [&str; 0] = [];
    assert!(embedder.embed_batch(&none, EmbedOptions::new().prompt_name("none such")).is_err());
    assert!(embedder.embed_batch(&none, EmbedOptions::new()).unwrap().is_empty());
}

/// The files of a folder, as bytes.
fn in_memory(name: &str) -> ModelFiles {
    let folder = fixture(name);
    let mut files = Vec::new();
    let mut open = vec![folder.clone()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().replace('\\', "/");
                files.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    ModelFiles::in_memory(name, files)
}

/// A model whose files were fetched, decrypted or unpacked opens without a folder, to the same bits; also without a
/// thread that waits.
#[test]
fn models_open_from_memory() {
    for name in ["bert-e5", "t5-gtr", "bge-m3", "model2vec", "gte-new"] {
        let folder = open(name);
        let expected = folder.embed("Tea is made of leaves.", EmbedOptions::new()).unwrap();
        let files = in_memory(name);
        let memory = cpu().open_files(&files).unwrap();
        let asynchronous = pollster::block_on(cpu().open_files_async(&files)).unwrap();
        for embedder in [memory, asynchronous] {
            let got = embedder.embed("Tea is made of leaves.", EmbedOptions::new()).unwrap();
            assert_eq!(got.value, expected.value, "{name}");
            assert_eq!(got.space.fingerprint(), expected.space.fingerprint(), "{name}");
            let requests = [Request::new("Tea is made of leaves.")];
            let waited = embedder.embed_requests_async::<Vec<f32>>(requests);
            assert_eq!(pollster::block_on(waited).unwrap()[0].value, expected.value, "{name}");
        }
    }
    let empty = ModelFiles::in_memory("nothing", Vec::<(String, Vec<u8>)>::new());
    let error = cpu().open_files(&empty).unwrap_err();
    assert!(error.to_string().contains("<nothing in memory>"), "{error}");
}

#[test]
fn a_batch_is_one_flat_matrix() {
    let embedder = open("bert-e5");
    let texts = ["one", "two words", &long_text()];
    let rows = embedder.embed_batch(&texts, Task::RetrievalQuery).unwrap();
    let matrix = embedder.embed_matrix(&texts, Task::RetrievalQuery).unwrap();
    assert_eq!((matrix.rows(), matrix.dimensions), (3, embedder.dimensions()));
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(matrix.row(i), row.value);
        assert_eq!((matrix.tokens[i], matrix.untruncated_tokens[i]), (row.tokens, row.untruncated_tokens));
    }
    let none: [&str; 0] = [];
    assert_eq!(embedder.embed_matrix(&none, Task::RetrievalQuery).unwrap().rows(), 0);
    #[cfg(feature = "ndarray")]
    assert_eq!(matrix.clone().into_ndarray().row(1).to_vec(), matrix.row(1));
    assert_eq!(embedder.count_tokens(texts[2], Task::RetrievalQuery).unwrap(), matrix.untruncated_tokens[2]);
}

#[cfg(feature = "serde")]
#[test]
fn results_and_options_are_written_and_read_by_name() {
    use serde_json::json;
    let embedder = open("bert-e5");
    let embedding =
        embedder.embed("a", EmbedOptions::new().task(Task::RetrievalQuery).dimensions(2)).unwrap();
    let written = serde_json::to_value(&embedding).unwrap();
    assert_eq!(
        (&written["tokens"], &written["prompt"]["text"]),
        (&json!(embedding.tokens), &json!("query: "))
    );
    assert_eq!(written["value"].as_array().unwrap().len(), 2);
    assert_eq!(written["fingerprint"], json!(embedding.space.fingerprint().to_string()));
    for (text, value) in [("retrieval-query", Task::RetrievalQuery), ("passage", Task::RetrievalDocument)] {
        assert_eq!(serde_json::from_value::<Task>(json!(text)).unwrap(), value);
    }
    let windows = Truncation::Windows { overlap: 8 };
    assert_eq!(serde_json::to_value(windows).unwrap(), json!("windows:8"));
    assert_eq!(serde_json::from_value::<Truncation>(json!("windows:8")).unwrap(), windows);
    assert_eq!(serde_json::from_value::<Device>(json!("gpu:1")).unwrap().to_string(), "gpu:1");
    let wrong = serde_json::from_value::<taskvec::Precision>(json!("f8")).unwrap_err().to_string();
    assert!(wrong.contains("`f8`") && wrong.contains("bf16"), "{wrong}");
}
