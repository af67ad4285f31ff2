//! The families' tiny models against the vectors that sentence-transformers gets from them, in
//! float64: one table over family × prompt × text × device.

mod common;

use common::{Expected, FIXTURES, devices, fixture, max_difference};
use taskvec::EmbedOptions;

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
                    let difference = max_difference(&got.vector, want);
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
