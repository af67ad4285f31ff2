//! Models with real weights: their vectors are the reference's.
//!
//! `tests/weights/fetch.py` fetches the models and prints where they are, `tests/weights/expected.json` has what
//! sentence-transformers makes of them in float64 (`expected.py` there writes it). `cargo xtask weights` does both.

use serde_json::Value;
use std::path::PathBuf;
use taskvec::{EmbedOptions, EmbedderBuilder};
use taskvec_testing::{max_difference, root};

const TOLERANCE: f64 = 1e-5;

/// The largest difference in a value.
fn difference(name: &str, expected: &Value, texts: &[String], builder: EmbedderBuilder) -> f64 {
    let folder =
        PathBuf::from(std::env::var_os("TASKVEC_TEST_WEIGHTS").expect("the folder that fetch.py printed"));
    let embedder = builder.open(folder.join(name)).unwrap();
    let unit = EmbedOptions::new().normalize(true);
    match &expected["dense"] {
        Value::Array(vectors) => {
            let found = embedder.embed_batch(texts, unit).unwrap();
            let of_row = |(found, row): (&taskvec::Embedding, &Value)| {
                let row: Vec<f64> = row.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
                max_difference(&found.value, &row)
            };
            found.iter().zip(vectors).map(of_row).fold(0.0, f64::max)
        }
        _ => {
            let found = embedder.embed_sparse(texts, EmbedOptions::new()).unwrap();
            let of_row = |(found, row): (&taskvec::Output<taskvec::SparseVector>, &Value)| {
                let mut all = std::collections::BTreeMap::<u64, f64>::new();
                for pair in row.as_array().unwrap() {
                    all.insert(pair[0].as_u64().unwrap(), pair[1].as_f64().unwrap());
                }
                for (&index, &weight) in found.value.indices.iter().zip(&found.value.values) {
                    *all.entry(index.into()).or_default() -= f64::from(weight);
                }
                all.into_values().map(f64::abs).fold(0.0, f64::max)
            };
            found.iter().zip(expected["sparse"].as_array().unwrap()).map(of_row).fold(0.0, f64::max)
        }
    }
}

/// On the GPU and on the CPU's instruction sets. The scalar reference would take minutes for each.
#[test]
#[ignore = "needs the models of tests/weights/fetch.py: cargo xtask weights"]
fn vectors_of_real_weights_are_the_references() {
    let file = std::fs::read(root().join("tests/weights/expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&file).unwrap();
    let texts: Vec<String> = serde_json::from_value(expected["texts"].clone()).unwrap();
    for (name, result) in expected["models"].as_object().unwrap() {
        for (device, builder) in crate::devices().into_iter().filter(|(device, _)| device != "reference") {
            let worst = difference(name, result, &texts, builder);
            println!("{name} on {device}: the largest difference is {worst:.1e}");
            assert!(worst <= TOLERANCE, "{name} on {device}: {worst}");
        }
    }
}
