//! Models with adapters, experts, tables, heads and pickles, broken in one way each: the same promise as
//! for the plain ones (`broken_models.rs`).

use serde_json::json;
use taskvec::{Device, EmbedOptions, Embedder, Reranker, Task};
use taskvec_testing::fixture;
use taskvec_testing::{ModelFolder, RawTensor};

/// The fixture, what is wrong, how to break a copy, and what the error must say.
type Case = (&'static str, &'static str, fn(&ModelFolder), &'static [&'static str]);

const LORA: &str = "roberta.encoder.layers.0.mlp.fc1.parametrizations.weight.0.lora_A";

const CASES: &[Case] = &[
    (
        "jina-v3-lora",
        "a factor is gone",
        |m| m.edit_tensors(|t| drop(t.remove(LORA))),
        &["lora_A", "no tensor"],
    ),
    (
        "jina-v3-lora",
        "a factor of another rank",
        |m| m.edit("config.json", |c| c["lora_rank"] = json!(3)),
        &["lora_rank", "expected [5, "],
    ),
    (
        "jina-v3-lora",
        "adapters without names",
        |m| m.edit("config.json", |c| c["lora_adaptations"] = json!([1])),
        &["lora_adaptations"],
    ),
    (
        "jina-v3-lora",
        "fewer names than adapters",
        |m| m.edit("config.json", |c| c["lora_adaptations"] = json!(["a"])),
        &["lora_adaptations", "expected [1, "],
    ),
    (
        "jina-v3-lora",
        "a factor is NaN",
        |m| m.edit_tensors(|t| t.get_mut(LORA).unwrap().data[..4].copy_from_slice(&f32::NAN.to_le_bytes())),
        &["NaN", "lora_A"],
    ),
    (
        "bert-e5",
        "an adapter in a file of its own",
        |m| m.write("adapter_config.json", r#"{"peft_type": "LORA"}"#),
        &["adapter format", "LORA"],
    ),
    (
        "nomic-moe",
        "more experts asked for than there are",
        |m| m.edit("config.json", |c| c["moe_top_k"] = json!(9)),
        &["moe_top_k", "9 of 5"],
    ),
    (
        "nomic-moe",
        "no number of experts",
        |m| m.edit("config.json", |c| drop(c.as_object_mut().unwrap().remove("num_experts"))),
        &["num_experts"],
    ),
    (
        "nomic-moe",
        "shared experts",
        |m| m.edit("config.json", |c| c["num_shared_experts"] = json!(1)),
        &["num_shared_experts"],
    ),
    (
        "nomic-moe",
        "probabilities brought to 1",
        |m| m.edit("config.json", |c| c["moe_normalize_expert_weights"] = json!(true)),
        &["moe_normalize_expert_weights"],
    ),
    (
        "nomic-moe",
        "experts of another size",
        |m| m.edit("config.json", |c| c["num_experts"] = json!(4)),
        &["router", "expected [4, 48]"],
    ),
    (
        "nomic-bert",
        "a scaling below 1",
        |m| m.edit("config.json", |c| c["rotary_scaling_factor"] = json!(0.5)),
        &["rotary_scaling_factor", "0.5"],
    ),
    (
        "jina-v2",
        "an unknown gate",
        |m| m.edit("config.json", |c| c["feed_forward_type"] = json!("swiglu2")),
        &["feed_forward_type", "swiglu2"],
    ),
    (
        "jina-v2",
        "a matrix of half the size",
        |m| {
            m.edit_tensors(|t| {
                drop(t.insert(
                    "encoder.layer.0.mlp.gated_layers.weight".into(),
                    RawTensor::from_f32(&[64, 48], &[0.1; 64 * 48]),
                ))
            })
        },
        &["gated_layers", "[64, 48]", "[128, 48]"],
    ),
    ("static", "no table", |m| m.edit_tensors(|t| t.clear()), &["embedding.weight", "no tensor"]),
    (
        "model2vec-folded",
        "a row that is not there",
        |m| {
            m.edit_tensors(|t| t.get_mut("mapping").unwrap().data[..8].copy_from_slice(&200i64.to_le_bytes()))
        },
        &["mapping", "200 rows"],
    ),
    (
        "model2vec-folded",
        "a negative row",
        |m| {
            m.edit_tensors(|t| {
                t.get_mut("mapping").unwrap().data[..8].copy_from_slice(&(-1i64).to_le_bytes())
            })
        },
        &["mapping"],
    ),
    (
        "model2vec-folded",
        "fewer weights than tokens",
        |m| m.edit_tensors(|t| drop(t.insert("weights".into(), RawTensor::from_f32(&[3], &[1.0; 3])))),
        &["weights", "[3]", "one weight a token"],
    ),
    ("model2vec", "no tokens at all", |m| m.remove("tokenizer.json"), &["tokenizer.json"]),
    (
        "splade-bert",
        "no language-model head",
        |m| m.edit_tensors(|t| t.retain(|name, _| !name.contains("transform"))),
        &["language-model head", "BertForMaskedLM"],
    ),
    (
        "splade-bert",
        "an unknown pooling",
        |m| m.edit("1_SpladePooling/config.json", |c| c["pooling_strategy"] = json!("mean")),
        &["pooling_strategy", "mean"],
    ),
    (
        "splade-bert",
        "an unknown activation",
        |m| m.edit("1_SpladePooling/config.json", |c| c["activation_function"] = json!("elu")),
        &["activation", "elu"],
    ),
    (
        "splade-bert",
        "an activation of the head",
        |m| m.edit("config.json", |c| c["hidden_act"] = json!("prelu")),
        &["activation", "prelu"],
    ),
    (
        "splade-bert",
        "a router",
        |m| m.edit("modules.json", |v| v[0]["type"] = json!("x.Router")),
        &["x.Router", "Transformer"],
    ),
    (
        "colbert",
        "an unknown expansion",
        |m| m.edit("sentence_bert_config.json", |c| c["query_expansion"]["strategy"] = json!("ratio")),
        &["query_expansion", "ratio"],
    ),
    (
        "colbert",
        "no mask token",
        |m| m.edit("tokenizer_config.json", |c| drop(c.as_object_mut().unwrap().remove("mask_token"))),
        &["mask token"],
    ),
    (
        "colbert",
        "other tasks to skip",
        |m| m.edit("2_MultiVectorMask/config.json", |c| c["skiplist_tasks"] = json!(["query"])),
        &["skiplist_tasks"],
    ),
    (
        "colbert",
        "tokens to keep",
        |m| m.edit("2_MultiVectorMask/config.json", |c| c["keep_only_token_ids"] = json!([1])),
        &["keep_only_token_ids"],
    ),
    (
        "colbert",
        "a projection of the text",
        |m| m.edit("1_Dense/config.json", |c| c["module_input_name"] = json!("sentence_embedding")),
        &["module_input_name", "token_embeddings"],
    ),
    (
        "colbert",
        "a residual",
        |m| m.edit("1_Dense/config.json", |c| c["use_residual"] = json!(true)),
        &["residual.weight"],
    ),
    (
        "colbert-pylate",
        "words that are numbers",
        |m| m.edit("config_sentence_transformers.json", |c| c["skiplist_words"] = json!([1])),
        &["skiplist_words"],
    ),
    (
        "colbert-pylate",
        "a length that is text",
        |m| m.edit("config_sentence_transformers.json", |c| c["query_length"] = json!("32")),
        &["query_length", "\"32\""],
    ),
    (
        "bge-m3",
        "a pickle that is no archive",
        |m| m.write("pytorch_model.bin", "PK nothing"),
        &["pytorch_model.bin", "zip"],
    ),
    ("bge-m3", "an empty pickle", |m| m.write("sparse_linear.pt", ""), &["sparse_linear.pt"]),
    (
        "bge-m3",
        "half a pickle",
        |m| m.write("pytorch_model.bin", &std::fs::read(m.file("pytorch_model.bin")).unwrap()[..60_000]),
        &["pytorch_model.bin"],
    ),
    (
        "bge-m3",
        "a pickle that calls something",
        |m| {
            replace(
                m,
                "sparse_linear.pt",
                b"torch._utils\n_rebuild_tensor_v2",
                b"posix_______\nsystem____________",
            )
        },
        &["sparse_linear.pt", "calls"],
    ),
    (
        "bge-m3",
        "a kind of number that is unknown",
        |m| replace(m, "sparse_linear.pt", b"torch\nFloatStorage", b"torch\nFloatSt0rage"),
        &["FloatSt0rage"],
    ),
    (
        "bge-m3",
        "a head of another width",
        |m| m.edit("config.json", |c| c["hidden_size"] = json!(44)),
        &["44"],
    ),
    ("reranker-bert", "opened to embed", |_| {}, &["reranker", "taskvec rerank"]),
];

/// Replaces bytes of a file by as many others.
fn replace(model: &ModelFolder, file: &str, from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(model.file(file)).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    model.write(file, bytes);
}

/// Opens the model, and asks for all that it gives.
fn use_it(model: &ModelFolder) -> taskvec::Result<()> {
    let embedder = Embedder::builder().device(Device::Cpu).threads(1).open(model.path())?;
    for task in [Task::RetrievalQuery, Task::RetrievalDocument, Task::Clustering] {
        embedder.embed_all(&["a text"], EmbedOptions::new().task(task))?;
    }
    Ok(())
}

#[test]
fn each_broken_folder_has_its_error() {
    let mut failures = Vec::new();
    for (name, what, damage, words) in CASES {
        let model = ModelFolder::copy_of(&fixture(name));
        damage(&model);
        let Err(error) = use_it(&model) else {
            failures.push(format!("{name}, {what}: no error"));
            continue;
        };
        let message = error.to_string();
        if let Some(word) = words.iter().find(|word| !message.contains(**word)) {
            failures.push(format!("{name}, {what}: no {word:?} in: {message}"));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), CASES.len(), failures.join("\n"));
}

#[test]
fn a_reranker_with_several_labels_is_refused() {
    let model = ModelFolder::copy_of(&fixture("reranker-bert"));
    model.edit_tensors(|tensors| {
        tensors.insert("classifier.weight".into(), RawTensor::from_f32(&[3, 48], &[0.1; 144]));
        tensors.insert("classifier.bias".into(), RawTensor::from_f32(&[3], &[0.1; 3]));
    });
    let error = Reranker::builder().device(Device::Cpu).open(model.path()).unwrap_err().to_string();
    assert!(error.contains("number of labels") && error.contains('3'), "{error}");
    let model = ModelFolder::copy_of(&fixture("reranker-bert"));
    model.edit("config_sentence_transformers.json", |c| c["activation_fn"] = json!("torch.nn.Softplus"));
    let error = Reranker::builder().device(Device::Cpu).open(model.path()).unwrap_err().to_string();
    assert!(error.contains("activation") && error.contains("Softplus"), "{error}");
    let model = ModelFolder::copy_of(&fixture("reranker-xlm-roberta"));
    model.edit_tensors(|tensors| tensors.retain(|name, _| !name.starts_with("classifier")));
    let error = Reranker::builder().device(Device::Cpu).open(model.path()).unwrap_err().to_string();
    assert!(error.contains("classification head"), "{error}");
}
