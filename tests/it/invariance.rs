//! The same text gives bit-identical vectors on one device, whatever shares its batch.

use crate::devices;
use taskvec::{EmbedOptions, Embedder, EmbedderBuilder, Precision};
use taskvec_testing::fixture;

/// 200 texts of mixed lengths, in no order of length.
fn texts() -> Vec<String> {
    const WORDS: [&str; 7] = ["the", "tea", "of", "transformers", "causes", "42", "mixed-up"];
    (0..200)
        .map(|i: usize| {
            let length = (i * 37 + 11) % 43;
            (0..length).map(|j| WORDS[(i * 3 + j * j) % WORDS.len()]).collect::<Vec<_>>().join(" ")
        })
        .collect()
}

fn check(name: &str, embedder: &Embedder, texts: &[String]) {
    let together = embedder.embed_batch(texts, EmbedOptions::new()).unwrap();
    for (i, text) in texts.iter().enumerate() {
        let alone = embedder.embed(text, EmbedOptions::new()).unwrap();
        let same = alone.value.iter().zip(&together[i].value).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{name}: text {i} of {} tokens differs when it is alone", alone.tokens);
    }
}

fn with_threads(builder: &EmbedderBuilder) -> [(usize, EmbedderBuilder); 2] {
    [1, 2].map(|threads| (threads, builder.clone().threads(threads)))
}

#[test]
fn each_text_of_a_shuffled_batch_is_as_if_it_were_alone() {
    let texts = texts();
    for model in ["bert-e5", "mpnet", "deberta", "qwen3-embedding", "nomic-moe"] {
        for (device, builder) in devices() {
            // A GPU and the oracle have no threads to share work with.
            let all = with_threads(&builder);
            let differ = if ["gpu", "reference"].contains(&device.as_str()) { &all[..1] } else { &all[..] };
            for (threads, builder) in differ {
                let embedder = builder.clone().open(fixture(model)).unwrap();
                check(&format!("{model} on {device}, {threads} threads"), &embedder, &texts);
            }
        }
    }
}

#[test]
fn smaller_precisions_are_invariant_too() {
    let texts = &texts()[..60];
    for precision in [Precision::Bf16, Precision::Int8] {
        for isa in taskvec::instruction_sets() {
            let builder = Embedder::builder().device(taskvec::Device::Cpu).instruction_set(isa);
            for (threads, builder) in with_threads(&builder.precision(precision)) {
                let embedder = builder.open(fixture("bert-e5")).unwrap();
                check(&format!("{} on {isa}, {threads} threads", precision.name()), &embedder, texts);
            }
        }
    }
}

/// The forms of shaders that a GPU runs in other precisions, and what they need of a batch of one.
#[test]
fn a_gpus_other_precisions_are_invariant_too() {
    let texts = &texts()[..60];
    for precision in [Precision::Bf16, Precision::F16] {
        for (_, builder) in devices().into_iter().filter(|(device, _)| device == "gpu") {
            for model in ["bert-e5", "qwen3-embedding"] {
                let embedder = builder.clone().precision(precision).open(fixture(model)).unwrap();
                check(&format!("{model}, {} on the GPU", precision.name()), &embedder, texts);
            }
        }
    }
}

/// Two GPUs share the work; here they are one GPU opened twice, so that bits must be the same.
#[cfg(feature = "gpu")]
#[test]
fn several_gpus_give_what_one_gives() {
    use taskvec::{Device, GpuSelector};
    let texts = &texts()[..80];
    let vectors = |device: Device| -> Vec<Vec<f32>> {
        let embedder = Embedder::builder().device(device).batch_tokens(100).open(fixture("bert-e5")).unwrap();
        let embeddings = embedder.embed_batch(texts, EmbedOptions::new()).unwrap();
        embeddings.into_iter().map(|embedding| embedding.value).collect()
    };
    let best = GpuSelector::Best;
    let one = vectors(Device::Gpu(best.clone()));
    assert_eq!(vectors(Device::Gpus(vec![best.clone(), best.clone()])), one);
    assert!(Embedder::builder().device(Device::Gpus(Vec::new())).open(fixture("bert-e5")).is_err());
}

#[test]
fn threads_and_batch_sizes_do_not_change_a_bit() {
    let texts = texts();
    for (device, builder) in devices() {
        let vectors = |builder: EmbedderBuilder| -> Vec<Vec<f32>> {
            let embedder = builder.open(fixture("bert-e5")).unwrap();
            let embeddings = embedder.embed_batch(&texts, EmbedOptions::new()).unwrap();
            embeddings.into_iter().map(|embedding| embedding.value).collect()
        };
        let expected = vectors(builder.clone());
        for tokens in [1, 50, 10_000] {
            assert_eq!(
                vectors(builder.clone().threads(1).batch_tokens(tokens)),
                expected,
                "{device}, {tokens} tokens"
            );
            assert_eq!(
                vectors(builder.clone().threads(2).batch_tokens(tokens)),
                expected,
                "{device}, {tokens} tokens"
            );
        }
    }
}

#[cfg(feature = "builtin")]
#[test]
fn the_built_in_model_is_invariant_too() {
    let texts = texts();
    let best = taskvec::instruction_sets().pop();
    for isa in taskvec::instruction_sets() {
        // The slower ones on fewer texts.
        let texts = if Some(isa) == best { &texts[..] } else { &texts[..40] };
        let builder = Embedder::builder().device(taskvec::Device::Cpu).instruction_set(isa);
        for (threads, builder) in with_threads(&builder) {
            check(&format!("built-in on {isa}, {threads} threads"), &builder.builtin().unwrap(), texts);
        }
    }
}
