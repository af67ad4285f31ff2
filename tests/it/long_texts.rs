//! Long texts and wide vocabularies, with layers so small that this is no matter of minutes: on every device the oracle's
//! vector, or an error that says why there is none.

use crate::devices;
use crate::random_models::{BOUND, Random, Shape, difference, qwen3, write};
use serde_json::json;
use taskvec::{Device, DeviceError, EmbedOptions, Embedder, Error};
use taskvec_testing::{ModelFolder, RawTensor, fixture};

fn oracle(folder: &ModelFolder) -> Embedder {
    Embedder::builder().device(Device::Reference).open(folder.path()).unwrap()
}

/// A text of this many tokens.
fn text(embedder: &Embedder, tokens: usize) -> String {
    let word = |i: usize| format!("{} ", ["The", "quick", "fox", "42", "jumps"][i * i % 5]);
    let mut text: String = (0..tokens).map(word).collect();
    while embedder.count_tokens(&text, EmbedOptions::new()).unwrap() > tokens {
        text.truncate(text.len() - 1);
    }
    text
}

/// A decoder of one layer whose heads are as wide as any model's, with mean pooling.
fn wide_heads() -> ModelFolder {
    let mut random = Random(11);
    let shape = Shape { hidden: 16, intermediate: 24, layers: 1, heads: 1, kv_heads: 1, head_dim: 256 };
    let (mut config, tensors) = qwen3(&shape, false, None, false, &mut random);
    config["max_position_embeddings"] = json!(20_000);
    let folder = write(&config, &tensors, &["mean"], None, &mut random);
    let settings = json!({"tokenizer_class": "TokenizersBackend", "model_max_length": 20_000});
    folder.write("tokenizer_config.json", settings.to_string());
    folder
}

#[test]
fn long_texts_are_the_oracles_on_every_device() {
    let folder = wide_heads();
    let oracle = oracle(&folder);
    let text = text(&oracle, 2048); // EmbeddingGemma's longest
    let expected = oracle.embed(&text, EmbedOptions::new()).unwrap();
    assert!((2000..=2048).contains(&expected.tokens), "{}", expected.tokens);
    for (device, builder) in devices().into_iter().filter(|(device, _)| device != "reference") {
        let got = builder.open(folder.path()).unwrap().embed(&text, EmbedOptions::new()).unwrap();
        let worst = difference(&got.value, &expected.value);
        assert!(worst <= BOUND, "{device}: {worst:e}");
    }
}

/// Some software drivers end loops early. Then a text is refused: its vector would be another one.
#[test]
fn a_text_is_right_or_refused_on_a_gpu() {
    let folder = wide_heads();
    let cpu = Embedder::builder().device(Device::Cpu).open(folder.path()).unwrap();
    let text = text(&cpu, 9000);
    let expected = cpu.embed(&text, EmbedOptions::new()).unwrap();
    for (device, builder) in devices().into_iter().filter(|(device, _)| device == "gpu") {
        match builder.open(folder.path()).unwrap().embed(&text, EmbedOptions::new()) {
            Ok(got) => {
                let worst = difference(&got.value, &expected.value);
                assert!(worst <= BOUND, "{device}: {worst:e}");
            }
            Err(Error::Device(error @ DeviceError::LoopLimit { .. })) => {
                let message = error.to_string();
                assert!(message.contains(&format!("{} tokens", expected.tokens)), "{message}");
            }
            Err(other) => panic!("{device}: {other}"),
        }
    }
}

/// A vocabulary as wide as BERT's, whose entries are each the largest of a long text's tokens.
#[test]
fn wide_vocabularies_of_long_texts_are_the_oracles() {
    const VOCABULARY: usize = 30_522;
    const LONGEST: usize = 300;
    let folder = ModelFolder::copy_of(&fixture("splade-bert"));
    folder.edit("config.json", |config| {
        config["vocab_size"] = json!(VOCABULARY);
        config["max_position_embeddings"] = json!(LONGEST);
    });
    folder.edit("tokenizer_config.json", |config| config["model_max_length"] = json!(LONGEST));
    folder.edit("sentence_bert_config.json", |config| {
        config.as_object_mut().unwrap().remove("max_seq_length");
    });
    let mut random = Random(5);
    folder.edit_tensors(|tensors| {
        for (name, rows) in [("word", VOCABULARY), ("position", LONGEST)] {
            let name = format!("bert.embeddings.{name}_embeddings.weight");
            tensors.insert(name, random.matrix(rows, 48));
        }
        tensors.insert(
            "cls.predictions.bias".to_owned(),
            RawTensor::from_f32(&[VOCABULARY], &[0.0; VOCABULARY]),
        );
    });
    let oracle = oracle(&folder);
    let text = text(&oracle, LONGEST);
    let expected = entries(&oracle, &text);
    for (device, builder) in devices().into_iter().filter(|(device, _)| device != "reference") {
        let got = entries(&builder.open(folder.path()).unwrap(), &text);
        let worst = difference(&got, &expected);
        assert!(worst <= 2.0 * BOUND, "{device}: {worst:e}");
    }
}

/// All entries of the vocabulary.
fn entries(embedder: &Embedder, text: &str) -> Vec<f32> {
    let found = embedder.embed_sparse(&[text], EmbedOptions::new()).unwrap().remove(0);
    assert!(found.tokens > 290, "{}", found.tokens);
    let mut all = vec![0.0; 30_522];
    for (index, value) in found.value.indices.iter().zip(&found.value.values) {
        all[*index as usize] = *value;
    }
    assert!(all.iter().filter(|value| **value > 0.0).count() > 1000);
    all
}
