//! pytorch_model.bin in each way in which torch.save has written it, against the same weights as safetensors: the
//! same bits on every device. `tests/pickles/write.py` writes the files.

use crate::devices;
use safetensors::Dtype;
use serde_json::json;
use std::path::PathBuf;
use taskvec::{EmbedOptions, EmbedderBuilder};
use taskvec_testing::{ModelFolder, fixture, root};

const TEXTS: [&str; 3] = ["a", "What causes global warming?", "the quick brown fox jumps over the lazy dog"];

/// The files, and in which type they hold the numbers.
const FILES: [(&str, Dtype); 19] = [
    ("plain", Dtype::F32),
    ("protocol-4", Dtype::F32),
    ("protocol-5", Dtype::F32),
    ("slices", Dtype::F32),
    ("transposed", Dtype::F32),
    ("every-second", Dtype::F32),
    ("entries", Dtype::F32),
    ("parameters", Dtype::F32),
    ("buffers", Dtype::F32),
    ("same-storage", Dtype::F32),
    ("bert-prefix", Dtype::F32),
    ("older", Dtype::F32),
    ("older-slices", Dtype::F32),
    ("older-transposed", Dtype::F32),
    ("older-entries", Dtype::F32),
    ("f64", Dtype::F32),
    ("f16", Dtype::F16),
    ("older-f16", Dtype::F16),
    ("bf16", Dtype::BF16),
];

fn file(name: &str) -> PathBuf {
    root().join("tests/pickles").join(name)
}

/// A BERT of one layer without weights.
fn model() -> ModelFolder {
    let folder = ModelFolder::copy_of(&fixture("bert-e5"));
    folder.remove("model.safetensors");
    folder.edit("1_Pooling/config.json", |config| {
        for key in ["word_embedding_dimension", "embedding_dimension"] {
            if config.get(key).is_some() {
                config[key] = json!(8);
            }
        }
    });
    folder.edit("config.json", |config| {
        let sizes = [
            ("hidden_size", 8),
            ("intermediate_size", 16),
            ("num_hidden_layers", 1),
            ("num_attention_heads", 2),
        ];
        sizes.iter().for_each(|(key, size)| config[key] = json!(size));
    });
    folder
}

/// The weights as safetensors, rounded to this type.
fn as_safetensors(dtype: Dtype) -> ModelFolder {
    let folder = model();
    folder.write("model.safetensors", std::fs::read(file("model.safetensors")).unwrap());
    folder.edit_tensors(|tensors| {
        for tensor in tensors.values_mut().filter(|_| dtype != Dtype::F32) {
            let values =
                tensor.data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
            let rounded = |value| match dtype {
                Dtype::F16 => half::f16::from_f32(value).to_le_bytes(),
                _ => half::bf16::from_f32(value).to_le_bytes(),
            };
            tensor.data = values.flat_map(rounded).collect();
            tensor.dtype = dtype;
        }
    });
    folder
}

fn vectors(builder: &EmbedderBuilder, folder: &ModelFolder) -> Vec<Vec<f32>> {
    let embedder = builder.clone().open(folder.path()).unwrap();
    let results = embedder.embed_batch(&TEXTS, EmbedOptions::new()).unwrap();
    results.into_iter().map(|result| result.value).collect()
}

#[test]
fn every_kind_of_pickle_gives_the_bits_of_safetensors() {
    for (device, builder) in devices() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            let expected = vectors(&builder, &as_safetensors(dtype));
            assert!(expected.iter().flatten().all(|value| value.is_finite() && *value != 0.0));
            for (name, _) in FILES.iter().filter(|(_, stored)| *stored == dtype) {
                let folder = model();
                folder.write("pytorch_model.bin", std::fs::read(file(&format!("{name}.bin"))).unwrap());
                assert_eq!(vectors(&builder, &folder), expected, "{name} on {device}");
            }
        }
    }
}

#[test]
fn sharded_pickles_give_the_bits_of_safetensors() {
    let folder = model();
    for name in ["one.bin", "two.bin", "pytorch_model.bin.index.json"] {
        folder.write(name, std::fs::read(file(name)).unwrap());
    }
    for (device, builder) in devices() {
        assert_eq!(vectors(&builder, &folder), vectors(&builder, &as_safetensors(Dtype::F32)), "{device}");
    }
}

/// Cut anywhere, a pickle is an error that names the file.
#[test]
fn a_pickle_cut_anywhere_is_an_error() {
    let folder = model();
    for name in ["plain", "older", "entries", "f64"] {
        let whole = std::fs::read(file(&format!("{name}.bin"))).unwrap();
        for length in (0..whole.len()).step_by(97) {
            folder.write("pytorch_model.bin", &whole[..length]);
            let builder = taskvec::Embedder::builder().device(taskvec::Device::Reference);
            let error = builder.open(folder.path()).map(drop).unwrap_err().to_string();
            assert!(error.contains("pytorch_model.bin"), "{name} cut at {length}: {error}");
        }
    }
}
