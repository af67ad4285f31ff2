//! Rerankers that are language models or chains of modules, and models with folders of adapters, broken in one way each.

use serde_json::json;
use taskvec::{Device, EmbedOptions, Embedder, Reranker, Task};
use taskvec_testing::{ModelFolder, fixture};

/// The fixture, what is wrong, how to break a copy, and what the error must say.
type Case = (&'static str, &'static str, fn(&ModelFolder), &'static [&'static str]);

const CASES: &[Case] = &[
    (
        "reranker-qwen3-logit",
        "no token of a yes",
        |m| m.edit("1_LogitScore/config.json", |c| drop(c.as_object_mut().unwrap().remove("true_token_id"))),
        &["true_token_id", "missing"],
    ),
    (
        "reranker-qwen3-logit",
        "a token behind the vocabulary",
        |m| m.edit("1_LogitScore/config.json", |c| c["false_token_id"] = json!(600)),
        &["600", "vocabulary ends at 599"],
    ),
    (
        "reranker-qwen3-logit",
        "a token that is none",
        |m| m.edit("1_LogitScore/config.json", |c| c["true_token_id"] = json!("yes")),
        &["true_token_id", "token id"],
    ),
    (
        "reranker-qwen3-logit",
        "another input",
        |m| m.edit("1_LogitScore/config.json", |c| c["module_input_name"] = json!("logits")),
        &["module_input_name", "causal_logits"],
    ),
    (
        "reranker-qwen3-logit",
        "a template for chats",
        |m| {
            m.write("chat_template.jinja", "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}")
        },
        &["query", "document", "chat template"],
    ),
    (
        "reranker-qwen3-logit",
        "no template",
        |m| std::fs::remove_file(m.file("chat_template.jinja")).unwrap(),
        &["no chat template"],
    ),
    (
        "reranker-qwen3-logit",
        "a template that does not end",
        |m| m.write("chat_template.jinja", "{% for m in messages %}"),
        &["chat template"],
    ),
    (
        "reranker-qwen3-logit",
        "another output of the transformer",
        |m| m.edit("sentence_bert_config.json", |c| c["module_output_name"] = json!("token_embeddings")),
        &["module_output_name", "causal_logits"],
    ),
    (
        "reranker-ettin",
        "a module behind the score",
        |m| {
            m.edit("modules.json", |v| {
                let last = v[2].clone();
                v.as_array_mut().unwrap().push(last);
            })
        },
        &["behind the one that gives the score"],
    ),
    (
        "reranker-ettin",
        "a score of another size",
        |m| m.edit("4_Dense/config.json", |c| c["in_features"] = json!(24)),
        &["4_Dense", "expected [1, 24]"],
    ),
    (
        "reranker-eurobert",
        "labels of another token",
        |m| m.edit("config.json", |c| c["classifier_pooling"] = json!("eos")),
        &["classifier_pooling", "eos", "late"],
    ),
    (
        "reranker-deberta",
        "a convolution beside the layers",
        |m| m.edit("config.json", |c| c["conv_kernel_size"] = json!(3)),
        &["conv_kernel_size", "3"],
    ),
    (
        "reranker-deberta",
        "another kind of distances",
        |m| m.edit("config.json", |c| c["pos_att_type"] = json!("c2p|p2p")),
        &["pos_att_type", "p2p", "c2p, p2c"],
    ),
    (
        "reranker-deberta",
        "kinds of distances that are no names",
        |m| m.edit("config.json", |c| c["pos_att_type"] = json!(3)),
        &["pos_att_type"],
    ),
    (
        "reranker-deberta",
        "another number of distances",
        |m| m.edit("config.json", |c| c["position_buckets"] = json!(9)),
        &["rel_embeddings", "expected [18, 48]"],
    ),
    (
        "reranker-deberta",
        "more ranges than distances",
        |m| m.edit("config.json", |c| c["max_relative_positions"] = json!(5)),
        &["position_buckets", "8", "up to 5"],
    ),
    (
        "reranker-deberta",
        "projections of its own that are not there",
        |m| m.edit("config.json", |c| c["share_att_key"] = json!(false)),
        &["pos_key_proj"],
    ),
    (
        "reranker-deberta",
        "narrow words",
        |m| m.edit("config.json", |c| c["embedding_size"] = json!(24)),
        &["embedding_size", "24"],
    ),
    (
        "reranker-jina-v2",
        "code that is not known",
        |m| m.edit("config.json", |c| c["auto_map"]["AutoConfig"] = json!("a--b.OtherConfig")),
        &["model_type"],
    ),
    (
        "jina-v5-small",
        "an adapter is gone",
        |m| std::fs::remove_file(m.file("adapters/clustering/adapter_model.safetensors")).unwrap(),
        &["clustering", "adapter_model.safetensors"],
    ),
    (
        "jina-v5-small",
        "no names of adapters",
        |m| m.edit("config.json", |c| drop(c.as_object_mut().unwrap().remove("task_names"))),
        &["task_names"],
    ),
    (
        "qwen3-embedding",
        "adapters that nobody names",
        |m| {
            std::fs::create_dir(m.file("adapters")).unwrap();
            m.write("adapters/notes.txt", "");
        },
        &["adapters", "task_names"],
    ),
    (
        "jina-v5-small",
        "another kind of adapter",
        |m| m.edit("adapters/retrieval/adapter_config.json", |c| c["peft_type"] = json!("IA3")),
        &["peft_type", "IA3", "LORA"],
    ),
    (
        "jina-v5-small",
        "directions and sizes apart",
        |m| m.edit("adapters/retrieval/adapter_config.json", |c| c["use_dora"] = json!(true)),
        &["use_dora"],
    ),
    (
        "jina-v5-small",
        "other modules saved",
        |m| m.edit("adapters/retrieval/adapter_config.json", |c| c["modules_to_save"] = json!(["norm"])),
        &["modules_to_save"],
    ),
    (
        "jina-v5-small",
        "another rank",
        |m| m.edit("adapters/retrieval/adapter_config.json", |c| c["r"] = json!(5)),
        &["adapter_config.json", "expected [5, 48]"],
    ),
    (
        "pplx",
        "a quantizer that nobody knows",
        |m| m.edit("modules.json", |v| v[2]["type"] = json!("their_code.FlexibleQuantizer")),
        &["their_code.FlexibleQuantizer"],
    ),
    (
        "splade-router",
        "no way of documents",
        |m| {
            m.edit("router_config.json", |c| drop(c["structure"].as_object_mut().unwrap().remove("document")))
        },
        &["route `document`"],
    ),
    (
        "splade-router",
        "queries through a network",
        |m| m.edit("router_config.json", |c| c["structure"]["query"] = c["structure"]["document"].clone()),
        &["route of queries", "SparseStaticEmbedding"],
    ),
    (
        "splade-router",
        "a module that has no type",
        |m| m.edit("router_config.json", |c| c["structure"]["query"] = json!(["elsewhere"])),
        &["query", "types"],
    ),
    (
        "splade-router",
        "a table of another size",
        |m| m.edit("document_0_MLMTransformer/config.json", |c| c["vocab_size"] = json!(99)),
        &["99"],
    ),
    (
        "splade-router",
        "tasks to ways",
        |m| m.edit("router_config.json", |c| c["parameters"]["route_mappings"] = json!({"a,b": "query"})),
        &["route_mappings"],
    ),
    (
        "nemotron3",
        "no length that queries grow by",
        |m| {
            m.edit("config.json", |c| {
                drop(c["rope_parameters"].as_object_mut().unwrap().remove("original_max_position_embeddings"))
            })
        },
        &["original_max_position_embeddings"],
    ),
];

/// Opens the model, and asks for what it gives.
fn use_it(name: &str, model: &ModelFolder) -> taskvec::Result<()> {
    if name.starts_with("reranker") {
        let reranker = Reranker::builder().device(Device::Cpu).threads(1).open(model.path())?;
        return reranker.score("a query", &["a document"]).map(drop);
    }
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
        let Err(error) = use_it(name, &model) else {
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

/// A language model by itself is asked for yes or no, and is no reranker without those words; to embed it is another model.
#[test]
fn a_language_model_by_itself_is_asked_for_yes_or_no() {
    let model = ModelFolder::copy_of(&fixture("reranker-qwen3-logit"));
    let open = |model: &ModelFolder| Reranker::builder().device(Device::Cpu).threads(1).open(model.path());
    let want = open(&model).unwrap().score("tea", &["leaves", "a car"]).unwrap();
    std::fs::remove_file(model.file("modules.json")).unwrap();
    std::fs::remove_file(model.file("sentence_bert_config.json")).unwrap();
    let got = open(&model).unwrap().score("tea", &["leaves", "a car"]).unwrap();
    let values = |outputs: &[taskvec::Output<f32>]| outputs.iter().map(|o| o.value).collect::<Vec<_>>();
    assert_eq!(values(&got), values(&want));
    model.edit("tokenizer.json", |t| {
        let vocabulary = t["model"]["vocab"].as_object_mut().unwrap();
        let id = vocabulary.remove("yes").unwrap();
        vocabulary.insert("yess".into(), id);
    });
    let error = open(&model).unwrap_err().to_string();
    assert!(error.contains("reranker"), "{error}");
    let error = Embedder::open(fixture("reranker-qwen3-logit")).unwrap_err().to_string();
    assert!(error.contains("reranker"), "{error}");
}
