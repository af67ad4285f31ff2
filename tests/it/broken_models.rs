//! Model folders that are broken in one way each: each gets an error that names what is wrong and
//! where, on opening or at the first use; none panics, none gives a vector.

use serde_json::json;
use taskvec::{Device, EmbedOptions, Embedder};
use taskvec_testing::fixture;
use taskvec_testing::{ModelFolder, RawTensor};

/// A name, how to break a copy of the BERT fixture, and what the error must say.
type Case = (&'static str, fn(&ModelFolder), &'static [&'static str]);

/// The files that every model needs, and their JSON.
const FILES: &[Case] = &[
    ("no config", |m| m.remove("config.json"), &["config.json", "there is no"]),
    ("no weights", |m| m.remove("model.safetensors"), &["model.safetensors", "there is no"]),
    ("no tokenizer", |m| m.remove("tokenizer.json"), &["tokenizer.json", "there is no"]),
    ("config is not JSON", |m| m.write("config.json", "{\"a\": "), &["config.json", "not valid JSON"]),
    (
        "config is not UTF-8",
        |m| m.write("config.json", b"{\"a\": \"\xff\"}"),
        &["config.json", "not valid JSON"],
    ),
    (
        "config is deeply nested",
        |m| m.write("config.json", "[".repeat(100_000)),
        &["config.json", "not valid JSON"],
    ),
    ("config is a list", |m| m.write("config.json", "[]"), &["config.json", "model_type"]),
    ("config is huge", |m| m.write("config.json", vec![b' '; 17 << 20]), &["config.json", "bytes"]),
    (
        "no model_type",
        |m| m.edit("config.json", |c| drop(c.as_object_mut().unwrap().remove("model_type"))),
        &["model_type"],
    ),
    (
        "unknown model_type",
        |m| m.edit("config.json", |c| c["model_type"] = json!("gpt9")),
        &["model_type", "gpt9", "bert"],
    ),
    (
        "unknown activation",
        |m| m.edit("config.json", |c| c["hidden_act"] = json!("prelu")),
        &["activation", "prelu", "gelu"],
    ),
    (
        "a size is text",
        |m| m.edit("config.json", |c| c["hidden_size"] = json!("48")),
        &["hidden_size", "\"48\""],
    ),
    ("a size is negative", |m| m.edit("config.json", |c| c["vocab_size"] = json!(-1)), &["vocab_size", "-1"]),
    (
        "a size is zero",
        |m| m.edit("config.json", |c| c["num_attention_heads"] = json!(0)),
        &["num_attention_heads", "0"],
    ),
    (
        "a size overflows",
        |m| m.edit("config.json", |c| c["intermediate_size"] = json!(u64::MAX)),
        &["intermediate_size"],
    ),
    (
        "a billion layers",
        |m| m.edit("config.json", |c| c["num_hidden_layers"] = json!(1_000_000_000)),
        &["encoder.layer.3"],
    ),
    (
        "heads do not divide",
        |m| m.edit("config.json", |c| c["num_attention_heads"] = json!(5)),
        &["num_attention_heads", "5"],
    ),
    (
        "epsilon is negative",
        |m| m.edit("config.json", |c| c["layer_norm_eps"] = json!(-1e-5)),
        &["layer_norm_eps"],
    ),
    (
        "relative positions",
        |m| m.edit("config.json", |c| c["position_embedding_type"] = json!("relative_key")),
        &["relative_key"],
    ),
    (
        "config disagrees with weights",
        |m| m.edit("config.json", |c| c["hidden_size"] = json!(96)),
        &["has shape [475, 48]", "expected [475, 96]", "hidden_size"],
    ),
];

/// modules.json and what it names.
const MODULES: &[Case] = &[
    ("modules is not a list", |m| m.write("modules.json", "{}"), &["modules.json", "list"]),
    ("no modules", |m| m.write("modules.json", "[]"), &["modules.json", "empty"]),
    (
        "a module without type",
        |m| m.edit("modules.json", |v| v[1] = json!({"path": "1_Pooling"})),
        &["modules.json", "type"],
    ),
    (
        "unknown module",
        |m| m.edit("modules.json", |v| v[2]["type"] = json!("sentence_transformers.models.CNN")),
        &["module", "CNN", "Dense"],
    ),
    (
        "no transformer first",
        |m| m.edit("modules.json", |v| v[0]["type"] = json!("x.WordEmbeddings")),
        &["WordEmbeddings", "Transformer"],
    ),
    (
        "no pooling",
        |m| m.edit("modules.json", |v| drop(v.as_array_mut().unwrap().drain(1..))),
        &["a vector a token"],
    ),
    (
        "a path out of the folder",
        |m| m.edit("modules.json", |v| v[1]["path"] = json!("../../etc")),
        &["../../etc", "inside"],
    ),
    ("an absolute path", |m| m.edit("modules.json", |v| v[1]["path"] = json!("/etc")), &["/etc", "inside"]),
    ("no pooling config", |m| m.remove("1_Pooling/config.json"), &["1_Pooling/config.json"]),
    (
        "unknown pooling mode",
        |m| m.edit("1_Pooling/config.json", |c| c["pooling_mode"] = json!("median")),
        &["pooling mode", "median", "mean"],
    ),
    (
        "unknown pooling flag",
        |m| {
            m.write(
                "1_Pooling/config.json",
                "{\"word_embedding_dimension\": 48, \"pooling_mode_median_tokens\": true}",
            )
        },
        &["pooling_mode_median_tokens"],
    ),
    (
        "empty pooling list",
        |m| m.edit("1_Pooling/config.json", |c| c["pooling_mode"] = json!([])),
        &["pooling_mode", "empty"],
    ),
    (
        "pooling of another width",
        |m| m.edit("1_Pooling/config.json", |c| c["embedding_dimension"] = json!(64)),
        &["64", "48"],
    ),
    (
        "token-wise normalise",
        |m| m.edit("2_Normalize/config.json", |c| c["module_input_name"] = json!("token_embeddings")),
        &["module_input_name", "token_embeddings"],
    ),
    (
        "dense without files",
        |m| {
            m.edit("modules.json", |v| {
                v[2] = json!({"type": "sentence_transformers.models.Dense", "path": "2_Dense"})
            })
        },
        &["2_Dense/config.json"],
    ),
    (
        "dense of another width",
        |m| add_dense(m, 40, "torch.nn.modules.linear.Identity"),
        &["Dense", "40", "48"],
    ),
    (
        "dense with an unknown activation",
        |m| add_dense(m, 48, "torch.nn.modules.activation.Softmax"),
        &["activation", "Softmax"],
    ),
    (
        "a prompt is a number",
        |m| m.edit("config_sentence_transformers.json", |c| c["prompts"]["query"] = json!(7)),
        &["query", "7"],
    ),
    (
        "default prompt does not exist",
        |m| m.edit("config_sentence_transformers.json", |c| c["default_prompt_name"] = json!("search")),
        &["default_prompt_name", "search"],
    ),
    (
        "token limit is text",
        |m| m.edit("sentence_bert_config.json", |c| c["max_seq_length"] = json!("48")),
        &["max_seq_length"],
    ),
];

fn add_dense(model: &ModelFolder, inputs: usize, activation: &str) {
    let config =
        json!({"in_features": inputs, "out_features": 8, "bias": false, "activation_function": activation});
    model.write("2_Dense/config.json", config.to_string());
    let weight = RawTensor::from_f32(&[8, inputs], &vec![0.1; 8 * inputs]);
    model.write_tensors("2_Dense/model.safetensors", &[("linear.weight".to_owned(), weight)].into());
    model.edit("modules.json", |v| {
        v[2] = json!({"type": "sentence_transformers.models.Dense", "path": "2_Dense"})
    });
}

/// Weights and the safetensors format.
const WEIGHTS: &[Case] = &[
    ("empty file", |m| m.write("model.safetensors", ""), &["model.safetensors", "safetensors"]),
    ("shorter than its length field", |m| m.write("model.safetensors", [1, 2, 3]), &["model.safetensors"]),
    ("truncated", |m| change_bytes(m, |b| b.truncate(b.len() - 1)), &["model.safetensors", "download"]),
    ("trailing bytes", |m| change_bytes(m, |b| b.push(0)), &["model.safetensors", "download"]),
    (
        "header longer than the file",
        |m| change_bytes(m, |b| b[..8].copy_from_slice(&(1u64 << 40).to_le_bytes())),
        &["model.safetensors"],
    ),
    (
        "header length overflows",
        |m| change_bytes(m, |b| b[..8].copy_from_slice(&u64::MAX.to_le_bytes())),
        &["model.safetensors"],
    ),
    ("header is not JSON", |m| change_bytes(m, |b| b[8] = b'!'), &["model.safetensors"]),
    ("overlapping tensors", |m| change_header(m, "[0,768]", "[0,764]"), &["model.safetensors"]),
    (
        "tensor out of range",
        |m| m.write("model.safetensors", one_tensor("[475,48]", "[0,91200]", 4)),
        &["model.safetensors"],
    ),
    (
        "shape overflows",
        |m| m.write("model.safetensors", one_tensor("[9223372036854775807,4]", "[0,4]", 4)),
        &["model.safetensors"],
    ),
    (
        "missing tensor",
        |m| m.edit_tensors(|t| drop(t.remove("encoder.layer.1.output.dense.bias"))),
        &["encoder.layer.1.output.dense.bias", "there is no"],
    ),
    (
        "wrong shape",
        |m| m.edit_tensors(|t| reshape(t, "embeddings.LayerNorm.weight", &[24, 2])),
        &["embeddings.LayerNorm.weight", "[24, 2]", "[48]"],
    ),
    (
        "transposed",
        |m| m.edit_tensors(|t| reshape(t, "encoder.layer.0.intermediate.dense.weight", &[48, 96])),
        &["[48, 96]", "[96, 48]", "intermediate_size"],
    ),
    (
        "integer weights",
        |m| {
            m.edit_tensors(|t| {
                t.get_mut("embeddings.LayerNorm.bias").unwrap().dtype = safetensors::Dtype::I32
            })
        },
        &["embeddings.LayerNorm.bias", "I32"],
    ),
    (
        "NaN in a matrix",
        |m| poison(m, "encoder.layer.2.attention.self.key.weight", 100, f32::NAN),
        &["encoder.layer.2.attention.self.key.weight", "NaN", "element 100"],
    ),
    (
        "infinity in a norm",
        |m| poison(m, "embeddings.LayerNorm.bias", 3, f32::INFINITY),
        &["embeddings.LayerNorm.bias", "inf", "element 3"],
    ),
    (
        "infinity in a bias",
        |m| poison(m, "encoder.layer.0.output.dense.bias", 0, f32::NEG_INFINITY),
        &["encoder.layer.0.output.dense.bias", "-inf"],
    ),
    (
        "NaN in the embedding table",
        |m| poison(m, "embeddings.word_embeddings.weight", 2 * 48 + 5, f32::NAN),
        &["embeddings.word_embeddings.weight", "element 101"],
    ),
    (
        "NaN in the position table",
        |m| poison(m, "embeddings.position_embeddings.weight", 1, f32::NAN),
        &["embeddings.position_embeddings.weight", "element 1"],
    ),
    (
        "a tensor that would be left out",
        |m| {
            m.edit_tensors(|t| {
                drop(t.insert("linear.weight".into(), RawTensor::from_f32(&[8, 48], &[0.1; 384])))
            })
        },
        &["linear.weight", "bert", "left out"],
    ),
    ("arithmetic overflows", |m| m.edit_tensors(overflow), &["not finite", "overflowed"]),
];

fn change_bytes(model: &ModelFolder, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(model.file("model.safetensors")).unwrap();
    change(&mut bytes);
    model.write("model.safetensors", bytes);
}

/// Replaces text of the header by other text of the same length.
fn change_header(model: &ModelFolder, from: &str, to: &str) {
    let header = serde_json::json!({
        "a": {"dtype": "F32", "shape": [192], "data_offsets": [0, 768]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [768, 776]},
    });
    let header = header.to_string();
    assert!(header.contains(from) && from.len() == to.len());
    let header = header.replacen(from, to, 1);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes().chain([0; 776]));
    model.write("model.safetensors", bytes);
}

/// A file with one word table, as its header claims it to be.
fn one_tensor(shape: &str, offsets: &str, bytes: usize) -> Vec<u8> {
    let name = "embeddings.word_embeddings.weight";
    let header = format!("{{\"{name}\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}");
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.into_bytes());
    file.extend(vec![0; bytes]);
    file
}

type Tensors = std::collections::BTreeMap<String, RawTensor>;

fn reshape(tensors: &mut Tensors, name: &str, shape: &[usize]) {
    tensors.get_mut(name).unwrap().shape = shape.to_vec();
}

fn poison(model: &ModelFolder, name: &str, element: usize, value: f32) {
    model.edit_tensors(|tensors| {
        tensors.get_mut(name).unwrap().data[element * 4..][..4].copy_from_slice(&value.to_le_bytes());
    });
}

/// Finite weights whose sums are not.
fn overflow(tensors: &mut Tensors) {
    let weight = tensors.get_mut("encoder.layer.0.attention.self.value.weight").unwrap();
    weight.data = vec![3e38f32; 48 * 48].iter().flat_map(|v| v.to_le_bytes()).collect();
    let weight = tensors.get_mut("encoder.layer.0.attention.output.dense.weight").unwrap();
    weight.data =
        (0..48 * 48).flat_map(|i| (if i % 2 == 0 { 3e38f32 } else { -3e38 }).to_le_bytes()).collect();
}

/// tokenizer.json.
const TOKENIZERS: &[Case] = &[
    (
        "an end token that does not exist",
        |m| {
            m.edit("tokenizer_config.json", |c| {
                c["add_eos_token"] = json!(true);
                c["eos_token"] = json!("</end>");
            });
        },
        &["tokenizer_config.json", "</end>", "vocabulary ends"],
    ),
    ("not JSON", |m| m.write("tokenizer.json", "{"), &["tokenizer.json", "not valid JSON"]),
    ("a list", |m| m.write("tokenizer.json", "[]"), &["tokenizer.json", "object"]),
    (
        "no model",
        |m| m.edit("tokenizer.json", |t| drop(t.as_object_mut().unwrap().remove("model"))),
        &["tokenizer.json", "model"],
    ),
    (
        "unknown model",
        |m| m.edit("tokenizer.json", |t| t["model"]["type"] = json!("Markov")),
        &["tokenizer.json", "Markov"],
    ),
    (
        "vocabulary is a number",
        |m| m.edit("tokenizer.json", |t| t["model"]["vocab"] = json!(5)),
        &["tokenizer.json"],
    ),
    (
        "ids beyond the table",
        |m| m.edit("tokenizer.json", |t| t["model"]["vocab"]["zebra"] = json!(475)),
        &["tokenizer.json", "475", "another model"],
    ),
    (
        "special token beyond the table",
        |m| {
            m.edit("tokenizer.json", |t| {
                t["post_processor"]["special_tokens"]["[CLS]"]["ids"] = json!([9999])
            })
        },
        &["tokenizer.json"],
    ),
    (
        "unknown pre-tokenizer",
        |m| m.edit("tokenizer.json", |t| t["pre_tokenizer"] = json!({"type": "Psychic"})),
        &["tokenizer.json", "Psychic"],
    ),
];

/// A sharded model.
const SHARDS: &[Case] = &[
    ("index without map", |m| m.write("model.safetensors.index.json", "{}"), &["weight_map"]),
    (
        "missing shard",
        |m| m.edit("model.safetensors.index.json", |v| v["weight_map"]["x"] = json!("model-9.safetensors")),
        &["model-9.safetensors"],
    ),
    (
        "shard outside",
        |m| m.edit("model.safetensors.index.json", |v| v["weight_map"]["x"] = json!("../x.safetensors")),
        &["inside"],
    ),
    (
        "tensor not in its shard",
        |m| {
            m.edit("model.safetensors.index.json", |v| {
                v["weight_map"]["nowhere"] = json!("model-1.safetensors")
            })
        },
        &["nowhere"],
    ),
    (
        "tensor in two shards",
        |m| m.write_tensors("model-2.safetensors", &m.tensors("model-1.safetensors")),
        &["another file"],
    ),
];

/// Splits model.safetensors into two shards and an index.
fn shard(model: &ModelFolder) {
    let tensors = model.tensors("model.safetensors");
    let mut shards = [Tensors::new(), Tensors::new()];
    let mut map = serde_json::Map::new();
    for (i, (name, tensor)) in tensors.into_iter().enumerate() {
        map.insert(name.clone(), json!(format!("model-{}.safetensors", i % 2 + 1)));
        shards[i % 2].insert(name, tensor);
    }
    model.write_tensors("model-1.safetensors", &shards[0]);
    model.write_tensors("model-2.safetensors", &shards[1]);
    model.write("model.safetensors.index.json", json!({"metadata": {}, "weight_map": map}).to_string());
    model.remove("model.safetensors");
}

/// Opens the model and embeds a text.
fn embed(model: &ModelFolder, device: Device) -> taskvec::Result<Vec<f32>> {
    let embedder = Embedder::builder().device(device).threads(1).open(model.path())?;
    Ok(embedder.embed("a text", EmbedOptions::new())?.value)
}

fn check(cases: &[Case], base: fn(&ModelFolder), device: &Device) {
    let mut failures = Vec::new();
    for (name, damage, words) in cases {
        let model = ModelFolder::copy_of(&fixture("bert-e5"));
        base(&model);
        damage(&model);
        match embed(&model, device.clone()) {
            Ok(vector) => failures.push(format!("{name}: gave a vector {:?}…", &vector[..2])),
            Err(error) => {
                let message = error.to_string();
                if let Some(word) = words.iter().find(|word| !message.contains(**word)) {
                    failures.push(format!("{name}: no {word:?} in: {message}"));
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} on {device:?}:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

#[test]
fn each_broken_folder_has_its_error() {
    for cases in [FILES, MODULES, WEIGHTS, TOKENIZERS] {
        check(cases, |_| {}, &Device::Cpu);
    }
    check(SHARDS, shard, &Device::Cpu);
}

#[test]
fn broken_weights_have_the_same_errors_on_every_device() {
    check(WEIGHTS, |_| {}, &Device::Reference);
    #[cfg(feature = "gpu")]
    check(WEIGHTS, |_| {}, &Device::Gpu(taskvec::GpuSelector::Best));
}

/// What the cases above break does work before it is broken.
#[test]
fn the_folders_are_good_before_they_are_broken() {
    let model = ModelFolder::copy_of(&fixture("bert-e5"));
    let expected = embed(&model, Device::Cpu).unwrap();
    shard(&model);
    assert_eq!(embed(&model, Device::Cpu).unwrap(), expected, "sharded");
    model.remove("modules.json");
    assert_eq!(embed(&model, Device::Cpu).unwrap().len(), 48, "without modules.json: mean, not normalised");
    let dense = ModelFolder::copy_of(&fixture("bert-e5"));
    add_dense(&dense, 48, "torch.nn.modules.linear.Identity");
    assert_eq!(embed(&dense, Device::Cpu).unwrap().len(), 8);
}

#[test]
fn a_path_that_is_no_folder_is_an_error() {
    for path in ["/no/such/folder", file!()] {
        let error = Embedder::builder().device(Device::Cpu).open(path).err().unwrap().to_string();
        assert!(error.contains("model folder"), "{error}");
    }
}

/// e5-mistral's files ask for `</s>` in tokenizer_config.json alone.
#[test]
fn begin_and_end_tokens_are_added_where_only_the_settings_ask_for_them() {
    let model = ModelFolder::copy_of(&fixture("mistral-e5"));
    let ids = |model: &ModelFolder| {
        let embedder = Embedder::builder().device(Device::Cpu).threads(1).open(model.path()).unwrap();
        embedder.token_ids("a text", EmbedOptions::new().prompt("")).unwrap()
    };
    let expected = ids(&model);
    assert_eq!((expected.first(), expected.last()), (Some(&1), Some(&2)));
    model.edit("tokenizer.json", |t| t["post_processor"] = serde_json::Value::Null);
    assert_eq!(ids(&model), expected[1..expected.len() - 1]);
    model.edit("tokenizer_config.json", |c| {
        c["add_bos_token"] = json!(true);
        c["add_eos_token"] = json!(true);
        c["bos_token"] = json!({"content": "<s>", "lstrip": false});
        c["eos_token"] = json!("</s>");
    });
    assert_eq!(ids(&model), expected);
}

/// gte-Qwen2 and stella say only through the code they name that they look both ways.
#[test]
fn qwen2_looks_both_ways_where_its_own_code_does() {
    let model = ModelFolder::copy_of(&fixture("qwen2-gte"));
    let causal = embed(&model, Device::Cpu).unwrap();
    model.edit("config.json", |c| c["auto_map"] = json!({"AutoModel": "modeling_qwen.Qwen2Model"}));
    let by_code = embed(&model, Device::Cpu).unwrap();
    model.edit("config.json", |c| {
        c.as_object_mut().unwrap().remove("auto_map");
        c["is_causal"] = json!(false);
    });
    assert_eq!(by_code, embed(&model, Device::Cpu).unwrap());
    assert_ne!(by_code, causal);
}

/// Instructor leaves its instruction out of the mean, from a folder whose files do not say so.
#[test]
fn instructors_instruction_is_left_out_of_pooling_by_its_name() {
    let parent = ModelFolder::empty();
    let embed_as = |name: &str| {
        let copy = ModelFolder::copy_of(&fixture("t5-instructor"));
        copy.edit("1_Pooling/config.json", |c| drop(c.as_object_mut().unwrap().remove("include_prompt")));
        std::fs::rename(copy.path(), parent.file(name)).unwrap();
        let embedder = Embedder::builder().device(Device::Cpu).open(parent.file(name)).unwrap();
        embedder.embed("a text", EmbedOptions::new().prompt_name("query")).unwrap().value
    };
    let said = Embedder::builder().device(Device::Cpu).open(fixture("t5-instructor")).unwrap();
    let said = said.embed("a text", EmbedOptions::new().prompt_name("query")).unwrap().value;
    assert_eq!(embed_as("instructor-base"), said);
    assert_ne!(embed_as("another-t5"), said);
}

/// Other spellings of the same model are the same model.
#[test]
fn older_layouts_are_read_too() {
    let model = ModelFolder::copy_of(&fixture("bert-e5"));
    let expected = embed(&model, Device::Cpu).unwrap();
    model.edit("modules.json", |v| {
        for (i, kind) in ["Transformer", "Pooling", "Normalize"].iter().enumerate() {
            v[i]["type"] = json!(format!("sentence_transformers.models.{kind}"));
        }
    });
    model.write("1_Pooling/config.json", "{\"word_embedding_dimension\": 48, \"pooling_mode_mean_tokens\": true, \"pooling_mode_cls_token\": false}");
    model.remove("2_Normalize/config.json");
    model.remove("sentence_bert_config.json");
    model.write("sentence_roberta_config.json", "{\"max_seq_length\": 48}");
    model.edit_tensors(|tensors| {
        let old: Tensors = tensors
            .iter()
            .map(|(name, tensor)| {
                let name = name
                    .replace("LayerNorm.weight", "LayerNorm.gamma")
                    .replace("LayerNorm.bias", "LayerNorm.beta");
                (format!("bert.{name}"), tensor.clone())
            })
            .collect();
        *tensors = old;
        let ids = RawTensor { dtype: safetensors::Dtype::I64, shape: vec![1, 2], data: vec![0; 16] };
        tensors.insert("bert.embeddings.position_ids".to_owned(), ids);
    });
    model.edit("tokenizer.json", |t| {
        t["truncation"] = json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
        t["padding"] = json!({"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
    });
    assert_eq!(embed(&model, Device::Cpu).unwrap(), expected);
}
