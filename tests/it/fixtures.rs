//! The families' tiny models against the vectors that sentence-transformers gets from them, in
//! float64: one table over family × prompt × text × device. For what it has no class for (JinaBERT v2,
//! nomic's mixture of experts) the vectors are those of a few lines of plain tensor code
//! (`generate_more.py`), which is not the vendors'; each expected.json says what it comes from.

use crate::devices;
use taskvec::{EmbedOptions, Precision};
use taskvec_testing::{Expected, FIXTURES, fixture, max_difference};

/// The largest difference that any value of any vector may have.
const BOUND: f64 = 2e-5;

#[test]
fn every_text_under_every_prompt_on_every_device_has_the_references_vector() {
    let mut failures = Vec::new();
    for name in FIXTURES {
        let expected = Expected::read(&fixture(name).join("expected.json"));
        for (device, builder) in devices() {
            let embedder = builder.open(fixture(name)).unwrap_or_else(|e| panic!("{name} on {device}: {e}"));
            let mut worst: f64 = 0.0;
            for case in &expected.cases {
                let prompt = &case.prompt;
                let got = embedder
                    .embed_batch(&expected.texts, case.options())
                    .unwrap_or_else(|e| panic!("{name} on {device}: {e}"));
                assert_eq!(got.len(), case.vectors.len());
                assert_eq!(got[0].prompt.adapter, case.adapter, "{name}");
                for ((got, want), text) in got.iter().zip(&case.vectors).zip(&expected.texts) {
                    let difference = max_difference(&got.value, want);
                    worst = worst.max(difference);
                    if difference.is_nan() || difference > BOUND {
                        let text: String = text.chars().take(30).collect();
                        failures.push(format!(
                            "{name} on {device}, prompt {prompt:?}, text {text:?}: {difference:.1e}"
                        ));
                    }
                }
            }
            println!("{name:16} {device:14} worst difference {worst:.1e}");
        }
    }
    assert!(
        failures.is_empty(),
        "{} vectors differ by more than {BOUND:e}:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Products in bf16 keep the direction of every vector; those in int8 nearly so, on models as small as these,
/// where one value of 16 to 64 is a large part of a row.
#[test]
fn smaller_precisions_keep_the_references_direction() {
    check_directions(Precision::Bf16, 0.999, |_| true);
    check_directions(Precision::Int8, 0.99, |device| device != "gpu");
}

/// As do f16 weights and activations on a GPU, for families whose activations f16 has numbers for; the
/// others are refused.
#[test]
fn f16_keeps_the_references_direction() {
    check_directions(Precision::F16, 0.999, |device| device == "gpu");
}

fn check_directions(precision: Precision, allowed: f64, runs_on: impl Fn(&str) -> bool) {
    for name in FIXTURES {
        let expected = Expected::read(&fixture(name).join("expected.json"));
        let mut worst: f64 = 1.0;
        for (device, builder) in devices().into_iter().filter(|(device, _)| runs_on(device)) {
            let overflows = ["t5-", "embedding-gemma", "gemma"].iter().any(|family| name.starts_with(family));
            let embedder = match builder.precision(precision).open(fixture(name)) {
                Ok(embedder) => embedder,
                Err(error) if precision == Precision::F16 && overflows => {
                    assert!(error.to_string().contains("exceed f16's largest number"), "{name}: {error}");
                    continue;
                }
                Err(error) => panic!("{name} on {device}: {error}"),
            };
            for case in &expected.cases {
                let got = embedder.embed_batch(&expected.texts, case.options()).unwrap();
                for ((got, want), text) in got.iter().zip(&case.vectors).zip(&expected.texts) {
                    let want: Vec<f32> = want.iter().map(|v| *v as f32).collect();
                    let cosine = f64::from(taskvec::cosine(&got.value, &want));
                    // A static model has no vector for an empty text.
                    let empty = want.iter().all(|v| *v == 0.0);
                    assert!(cosine >= allowed || empty, "{name} on {device}, {text:?}: cosine {cosine}");
                    worst = if empty { worst } else { worst.min(cosine) };
                }
            }
        }
        println!("{name:16} {}: smallest cosine {worst:.5}", precision.name());
    }
}

#[test]
fn token_ids_are_the_references() {
    for name in FIXTURES {
        let expected = Expected::read(&fixture(name).join("expected.json"));
        let embedder = taskvec::Embedder::builder().device(taskvec::Device::Cpu).open(fixture(name)).unwrap();
        for (text, ids) in expected.texts.iter().zip(&expected.token_ids) {
            assert_eq!(
                &embedder.token_ids(text, EmbedOptions::new().prompt("")).unwrap(),
                ids,
                "{name}: {text:?}"
            );
        }
    }
}
