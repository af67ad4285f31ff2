//! The built-in model: real weights against sentence-transformers' vectors and published values.

use crate::devices;
use std::path::Path;
use taskvec::{Device, EmbedOptions, Embedder, Note, Task, Truncation};
use taskvec_testing::{Expected, max_difference};

fn expected() -> Expected {
    Expected::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/builtin/expected.json"))
}

/// The largest difference that any value of any vector may have.
const BOUND: f64 = 1e-5;

#[test]
fn vectors_are_sentence_transformers_on_every_device() {
    let expected = expected();
    let vectors = &expected.cases[0].vectors;
    for (device, builder) in devices() {
        let embedder = builder.builtin().unwrap();
        let got = embedder.embed_batch(&expected.texts, EmbedOptions::new()).unwrap();
        let differences: Vec<f64> =
            got.iter().zip(vectors).map(|(got, want)| max_difference(&got.value, want)).collect();
        let worst = differences.iter().copied().fold(0.0, f64::max);
        println!("{device:14} worst difference {worst:.1e}");
        assert!(worst <= BOUND, "{device}: {differences:?}");
    }
}

#[test]
fn token_ids_are_the_references() {
    let expected = expected();
    let embedder = Embedder::builder().device(Device::Cpu).builtin().unwrap();
    for (text, ids) in expected.texts.iter().zip(&expected.token_ids) {
        assert_eq!(&embedder.token_ids(text, EmbedOptions::new()).unwrap(), ids, "{text:?}");
    }
}

/// fastembed's test constants for all-MiniLM-L6-v2: the first values for `hello world`.
#[test]
fn the_published_values_hold() {
    let embedder = Embedder::builder().device(Device::Cpu).builtin().unwrap();
    let vector = embedder.embed("hello world", EmbedOptions::new()).unwrap().value;
    for (got, want) in vector.iter().zip([-0.0345, 0.0310, 0.0067, 0.0261, -0.0394]) {
        assert!((got - want).abs() < 1e-3, "{got} not {want}");
    }
}

#[test]
fn a_task_changes_nothing_and_that_is_said() {
    let embedder = Embedder::builder().device(Device::Cpu).builtin().unwrap();
    let plain = embedder.embed("a text", EmbedOptions::new()).unwrap();
    assert_eq!(plain.prompt.note, None);
    for task in Task::ALL {
        let embedding = embedder.embed("a text", task).unwrap();
        assert_eq!(embedding.value, plain.value);
        assert_eq!(embedding.prompt.note, Some(Note::TrainedWithoutPrompts { task }));
    }
}

#[test]
fn tokens_and_truncation_are_reported() {
    let embedder = Embedder::builder().device(Device::Cpu).builtin().unwrap();
    let empty = embedder.embed("", EmbedOptions::new()).unwrap();
    assert_eq!((empty.tokens, empty.truncated()), (2, false), "the special tokens only");
    let long = "word ".repeat(400);
    let cut = embedder.embed(&long, EmbedOptions::new()).unwrap();
    assert_eq!((cut.tokens, cut.untruncated_tokens, cut.truncated()), (256, 402, true));
    let error =
        embedder.embed(&long, EmbedOptions::new().truncation(Truncation::Error)).unwrap_err().to_string();
    assert!(error.contains("402 tokens") && error.contains("limit is 256"), "{error}");
    // The architecture's positions reach further than its authors' limit.
    let wider = Embedder::builder().device(Device::Cpu).max_tokens(512).builtin().unwrap();
    assert_eq!(wider.embed(&long, EmbedOptions::new()).unwrap().tokens, 402);
    assert!(Embedder::builder().max_tokens(513).builtin().is_err());
}

#[test]
fn fewer_dimensions_are_the_first_ones_at_unit_length() {
    let embedder = Embedder::builder().device(Device::Cpu).builtin().unwrap();
    let whole = embedder.embed("a text", EmbedOptions::new()).unwrap().value;
    let short = embedder.embed("a text", EmbedOptions::new().dimensions(64)).unwrap().value;
    let norm = whole[..64].iter().map(|v| v * v).sum::<f32>().sqrt();
    assert_eq!(short.len(), 64);
    assert!(short.iter().zip(&whole).all(|(s, w)| (s - w / norm).abs() < 1e-6));
    for wrong in [0, 385] {
        let error = embedder.embed("a", EmbedOptions::new().dimensions(wrong)).unwrap_err().to_string();
        assert!(error.contains("1 to 384"), "{error}");
    }
}

#[test]
fn one_embedder_serves_many_threads() {
    let embedder = Embedder::builder().device(Device::Cpu).threads(2).builtin().unwrap();
    let expected = embedder.embed("shared", EmbedOptions::new()).unwrap().value;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..8 {
                    assert_eq!(embedder.embed("shared", EmbedOptions::new()).unwrap().value, expected);
                }
            });
        }
    });
}

#[test]
fn no_texts_are_no_vectors() {
    let embedder = Embedder::builder().device(Device::Cpu).builtin().unwrap();
    assert!(embedder.embed_batch::<&str>(&[], Task::Clustering).unwrap().is_empty());
}
