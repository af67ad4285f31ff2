//! Model folders with random damage: never a panic, never a vector that is not finite.

use proptest::prelude::*;
use taskvec::{Device, EmbedOptions, Embedder};
use taskvec_testing::ModelFolder;
use taskvec_testing::fixture;

const FILES: [&str; 9] = [
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "2_Normalize/config.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "model.safetensors",
];

/// What happens to a file.
#[derive(Debug, Clone)]
enum Damage {
    /// Bytes are overwritten: where, as a share of the file, and by what.
    Overwrite(Vec<(prop::sample::Index, u8)>),
    /// Cut here.
    Truncate(prop::sample::Index),
    /// A token of the file's own JSON is put somewhere else.
    Splice(prop::sample::Index, prop::sample::Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"0129-.eE{}[]\",:\\ntf".to_vec())];
    prop_oneof![
        3 => prop::collection::vec((any::<prop::sample::Index>(), byte), 1..4).prop_map(Damage::Overwrite),
        1 => any::<prop::sample::Index>().prop_map(Damage::Truncate),
        2 => (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1usize..40)
            .prop_map(|(from, to, length)| Damage::Splice(from, to, length)),
    ]
}

/// Only the first part of the file: headers, and the parts of tokenizer.json that are not words.
fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let reach = bytes.len().min(16 << 10);
    match damage {
        Damage::Overwrite(changes) => changes.iter().for_each(|(at, byte)| bytes[at.index(reach)] = *byte),
        Damage::Truncate(at) => bytes.truncate(at.index(reach)),
        Damage::Splice(from, to, length) => {
            let from = from.index(reach);
            let piece = bytes[from..(from + length).min(reach)].to_vec();
            let to = to.index(reach);
            bytes.splice(to..to, piece);
        }
    }
}

fn check(name: &str, damage: &Damage) -> Result<(), TestCaseError> {
    for base in ["bert-e5", "qwen3-embedding"] {
        let model = ModelFolder::copy_of(&fixture(base));
        let mut bytes = std::fs::read(model.file(name)).unwrap();
        apply(&mut bytes, damage);
        model.write(name, bytes);
        let Ok(embedder) = Embedder::builder().device(Device::Cpu).threads(1).open(model.path()) else {
            continue;
        };
        for text in ["", "a text [CLS] <|endoftext|> naïve 東京 🙂"] {
            if let Ok(embedding) = embedder.embed(text, EmbedOptions::new()) {
                prop_assert!(embedding.value.iter().all(|value| value.is_finite()));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_give_errors(name in prop::sample::select(FILES.to_vec()), damage in damage()) {
        check(name, &damage)?;
    }

    #[test]
    fn damaged_tokenizers_give_errors(damage in damage()) {
        check("tokenizer.json", &damage)?;
    }
}
