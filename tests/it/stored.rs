//! How a file stores its weights makes no difference to the vectors: where it has 16 bits for each, the CPU
//! keeps them so and widens them as it multiplies.

use safetensors::Dtype;
use std::collections::BTreeMap;
use taskvec::{Device, EmbedOptions, Embedder, Precision};
use taskvec_testing::{FIXTURES, fixture};
use taskvec_testing::{ModelFolder, RawTensor};

/// A tensor of f32, each value rounded to this type, stored in it or as f32.
fn rounded(tensor: &RawTensor, to: Dtype, stored: Dtype) -> RawTensor {
    let round = |value: f32| match to {
        Dtype::F16 => half::f16::from_f32(value).to_f32(),
        _ => half::bf16::from_f32(value).to_f32(),
    };
    let bytes = |value: f32| match stored {
        Dtype::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
        Dtype::BF16 => half::bf16::from_f32(value).to_le_bytes().to_vec(),
        _ => value.to_le_bytes().to_vec(),
    };
    let values = tensor.data.as_chunks().0.iter().map(|bytes| round(f32::from_le_bytes(*bytes)));
    RawTensor { dtype: stored, shape: tensor.shape.clone(), data: values.flat_map(bytes).collect() }
}

type Vectors = Vec<Vec<f32>>;

fn vectors(model: &ModelFolder, isa: &str, precision: Precision) -> Vectors {
    let builder =
        Embedder::builder().device(Device::Cpu).instruction_set(isa).precision(precision).threads(2);
    let texts = ["query: how do transformers work?", "", "a cup of tea ".repeat(40).leak()];
    let embedder = builder.open(model.path()).unwrap();
    let embeddings = embedder.embed_batch(&texts, EmbedOptions::new()).unwrap();
    embeddings.into_iter().map(|embedding| embedding.value).collect()
}

#[test]
fn weights_of_16_bits_give_the_bits_of_the_same_weights_in_32() {
    for name in FIXTURES {
        let model = ModelFolder::copy_of(&fixture(name));
        if !model.file("model.safetensors").exists() {
            continue;
        }
        let original = model.tensors("model.safetensors");
        for to in [Dtype::F16, Dtype::BF16] {
            let with = |stored: &dyn Fn(usize) -> Dtype| {
                let change = |(i, (name, tensor)): (usize, (&String, &RawTensor))| {
                    let tensor = match tensor.dtype {
                        // What Gemma scales its embeddings with is rounded as they are stored.
                        Dtype::F32 if name.ends_with("embed_tokens.weight") => {
                            rounded(tensor, to, Dtype::F32)
                        }
                        Dtype::F32 => rounded(tensor, to, stored(i)),
                        _ => tensor.clone(),
                    };
                    (name.clone(), tensor)
                };
                let tensors: BTreeMap<_, _> = original.iter().enumerate().map(change).collect();
                model.write_tensors("model.safetensors", &tensors);
            };
            for isa in taskvec::instruction_sets() {
                for precision in [Precision::F32, Precision::Int8] {
                    with(&|_| Dtype::F32);
                    let wide = vectors(&model, isa, precision);
                    with(&|_| to);
                    assert_eq!(
                        vectors(&model, isa, precision),
                        wide,
                        "{name} in {to:?} on {isa}, {precision:?}"
                    );
                    // Query, key and value are one matrix here, and not all of a kind.
                    with(&|i| if i % 3 == 0 { Dtype::F32 } else { to });
                    assert_eq!(vectors(&model, isa, precision), wide, "{name} in {to:?} and f32 on {isa}");
                }
            }
        }
    }
}

#[test]
fn a_value_of_16_bits_that_is_not_finite_is_named() {
    const MATRIX: &str = "encoder.layer.1.intermediate.dense.weight";
    for to in [Dtype::F16, Dtype::BF16] {
        for (bad, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
            let model = ModelFolder::copy_of(&fixture("bert-e5"));
            model.edit_tensors(|tensors| {
                let matrix = tensors.get_mut(MATRIX).unwrap();
                matrix.data[4 * 100..4 * 101].copy_from_slice(&bad.to_le_bytes());
                *matrix = rounded(matrix, to, to);
            });
            for isa in taskvec::instruction_sets() {
                let builder = Embedder::builder().device(Device::Cpu).instruction_set(isa);
                let error = builder.open(model.path()).expect_err("it must be refused").to_string();
                for part in [MATRIX, shown, "element 100"] {
                    assert!(error.contains(part), "{to:?} on {isa}: {error}");
                }
            }
        }
    }
}
