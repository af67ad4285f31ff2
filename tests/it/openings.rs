//! What other engines drop or get wrong, one test each, named after it.

use serde_json::json;
use taskvec::{Device, EmbedOptions, Embedder, Embedding, Error, ModelError, PromptSource, Request, Task};
use taskvec_testing::ModelFolder;
use taskvec_testing::{Expected, fixture, max_difference};

fn open(name: &str) -> Embedder {
    Embedder::builder().device(Device::Cpu).open(fixture(name)).unwrap()
}

fn open_folder(folder: &ModelFolder) -> Embedder {
    Embedder::builder().device(Device::Cpu).open(folder.path()).unwrap()
}

/// text-embeddings-inference reads it and ignores it; only its command line counts.
#[test]
fn default_prompt_name_is_honoured() {
    let embedder = open("bert-instructed");
    let prompt = embedder.prompt(EmbedOptions::new()).unwrap();
    assert_eq!(prompt.source, PromptSource::ModelDefault { name: "document".into() });
    assert_eq!(prompt.text, "Represent the document for retrieval: ");
}

/// Its OpenAI-compatible endpoint passes no prompt name, fastembed's query_embed adds no text, ollama and
/// infinity send the text as it is: one task here puts the trained prompt there.
#[test]
fn one_task_parameter_puts_the_trained_prompt_in_front() {
    let embedder = open("bert-e5");
    let expected = Expected::read(&fixture("bert-e5").join("expected.json"));
    for (task, name) in [(Task::RetrievalQuery, "query"), (Task::RetrievalDocument, "passage")] {
        let case = expected.cases.iter().find(|case| case.prompt_name.as_deref() == Some(name)).unwrap();
        let got = embedder.embed_batch(&expected.texts, task).unwrap();
        for (got, want) in got.iter().zip(&case.vectors) {
            assert!(max_difference(&got.value, want) < 2e-5);
        }
    }
}

/// Candle's engines have no T5, and infinity fails to load it: the instruction is seen and not pooled.
#[test]
fn instructor_runs_and_its_instruction_is_kept_out_of_the_mean() {
    let embedder = open("t5-instructor");
    let explanation = embedder.explain("3D Actions", Task::RetrievalQuery).unwrap();
    let pooled = explanation.tokens.iter().filter(|token| token.pooled).count();
    assert!(pooled > 1 && pooled < explanation.tokens.len(), "{explanation:?}");
    assert_eq!(explanation.tokens.last().map(|token| token.pooled), Some(true), "the end token is pooled");
}

/// sentence-transformers leaves the instruction out only for three exact repository names.
#[test]
fn include_prompt_does_not_depend_on_an_exact_repository_name() {
    let folder = ModelFolder::copy_of(&fixture("t5-instructor"));
    folder.edit("1_Pooling/config.json", |config| {
        drop(config.as_object_mut().unwrap().remove("include_prompt"))
    });
    // The name alone says it, wherever the folder lies.
    let renamed = folder.path().parent().unwrap().join(format!("my-instructor-large-{}", std::process::id()));
    std::fs::rename(folder.path(), &renamed).unwrap();
    let embedder = Embedder::builder().device(Device::Cpu).open(&renamed).unwrap();
    let explanation = embedder.explain("text", EmbedOptions::new().prompt("Represent this: ")).unwrap();
    std::fs::remove_dir_all(&renamed).unwrap();
    assert!(!explanation.tokens[0].pooled);
    // Where nothing tells, the caller can.
    let gtr = open("t5-gtr");
    let how = EmbedOptions::new().prompt("Represent this: ");
    assert!(gtr.explain("text", how.clone()).unwrap().tokens[0].pooled);
    assert!(!gtr.explain("text", how.pool_prompt(false)).unwrap().tokens[0].pooled);
}

/// The pooling configuration of sentence-transformers 5.4 and later fails to parse elsewhere, and only
/// three modes are known.
#[test]
fn both_generations_of_the_pooling_configuration_are_read() {
    let texts = ["one text", "another, longer one"];
    let mut vectors = Vec::new();
    for config in [
        json!({"word_embedding_dimension": 48, "pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true}),
        json!({"embedding_dimension": 48, "pooling_mode": ["max", "mean"]}),
    ] {
        let folder = ModelFolder::copy_of(&fixture("bert-e5"));
        folder.write("1_Pooling/config.json", config.to_string());
        let embeddings = open_folder(&folder).embed_batch(&texts, EmbedOptions::new()).unwrap();
        vectors.push(embeddings.into_iter().map(|embedding| embedding.value).collect::<Vec<_>>());
    }
    assert_eq!(vectors[0], vectors[1]);
    assert_eq!(vectors[0][0].len(), 96);
}

#[test]
fn max_seq_length_is_not_mandatory() {
    let folder = ModelFolder::copy_of(&fixture("bert-e5"));
    folder.write("sentence_bert_config.json", "{}");
    assert_eq!(open_folder(&folder).max_tokens(), 48, "the tokenizer's model_max_length");
    folder.remove("sentence_bert_config.json");
    assert_eq!(open_folder(&folder).max_tokens(), 48);
}

/// Elsewhere an unknown module is a warning, and Dense heads are silently dropped.
#[test]
fn dense_heads_run_and_an_unknown_module_is_an_error() {
    assert_eq!(open("embedding-gemma").dimensions(), 48);
    assert_eq!(open("bert-instructed").dimensions(), 32, "a Dense with tanh");
    let folder = ModelFolder::copy_of(&fixture("bert-e5"));
    folder.edit("modules.json", |modules| {
        modules
            .as_array_mut()
            .unwrap()
            .push(json!({"type": "sentence_transformers.models.WeightedLayerPooling", "path": "9"}));
    });
    let error = Embedder::open(folder.path()).unwrap_err();
    assert!(
        matches!(&error, Error::Model(ModelError::Unsupported { found, .. }) if found == "WeightedLayerPooling"),
        "{error}"
    );
}

/// `gelu` computed as its tanh form is off by up to 5e-4 an activation.
#[test]
fn gelu_is_the_exact_one() {
    // PyTorch's values in f32, whose rounding is 5e-7 at -3; the tanh form is off by 4e-4 there.
    let published = [
        (-3.0, -0.004050225),
        (-1.0, -0.158655256),
        (-0.5, -0.154268742),
        (0.5, 0.345731229),
        (1.0, 0.841344714),
        (3.0, 2.995949745),
    ];
    for isa in taskvec_kernels::Isa::available() {
        let mut values: Vec<f32> = published.iter().map(|(x, _)| *x).collect();
        taskvec_kernels::activate(isa, taskvec_kernels::Activation::GeluErf, &mut values);
        for ((x, want), got) in published.iter().zip(&values) {
            assert!((got - want).abs() < 1e-6, "{}: gelu({x}) = {got}", isa.name());
        }
    }
}

/// qwen2, mistral and llama need CUDA there; jina-v3 is unsupported; Gemma is f32 only.
#[test]
fn decoders_and_jina_v3_run_without_cuda() {
    for name in ["qwen2-gte", "mistral-e5", "llama", "qwen3-embedding", "jina-v3", "embedding-gemma"] {
        assert!(open(name).embed("a text", EmbedOptions::new()).is_ok(), "{name}");
    }
}

/// The exponent of nomic's dynamic scaling is a real number (head_dim / (head_dim - 2)), and longer texts
/// than the model was trained with change with it, on every device alike.
#[test]
fn nomics_dynamic_rotary_scaling_has_its_real_exponent() {
    let folder = ModelFolder::copy_of(&fixture("nomic-bert"));
    folder.edit("config.json", |config| {
        config["rotary_scaling_factor"] = json!(2.0);
        config["max_trained_positions"] = json!(16);
    });
    let plain = open("nomic-bert");
    let (short, long) = ("a short text", "a text of many more words than it was trained with ".repeat(3));
    let how = EmbedOptions::new();
    let reference = Embedder::builder().device(Device::Reference).open(folder.path()).unwrap();
    let expected = reference.embed_batch(&[short, &long], &how).unwrap();
    assert_eq!(
        open_folder(&folder).embed(short, &how).unwrap().value,
        plain.embed(short, &how).unwrap().value
    );
    assert!(taskvec::cosine(&expected[1].value, &plain.embed(&long, &how).unwrap().value) < 0.9999);
    for (device, builder) in crate::devices() {
        // In one batch, where each text has angles of its own.
        let got = builder.open(folder.path()).unwrap().embed_batch(&[short, &long], &how).unwrap();
        for (got, want) in got.iter().zip(&expected) {
            let want: Vec<f64> = want.value.iter().map(|v| f64::from(*v)).collect();
            assert!(max_difference(&got.value, &want) < 2e-5, "{device}");
        }
    }
}

/// LayerNorm over the whole vector comes before nomic v1.5's vectors are cut.
#[test]
fn nomic_v1_5_is_normalised_before_it_is_cut() {
    let folder = ModelFolder::copy_of(&fixture("nomic-bert"));
    folder.edit("config.json", |config| config["_name_or_path"] = json!("nomic-ai/nomic-embed-text-v1.5"));
    let embedder = open_folder(&folder);
    let raw = embedder.embed("a text", EmbedOptions::new().normalize(false)).unwrap().value;
    let mean = raw.iter().sum::<f32>() / raw.len() as f32;
    let mut expected: Vec<f32> = raw.iter().take(16).map(|v| v - mean).collect();
    let norm = expected.iter().map(|v| v * v).sum::<f32>().sqrt();
    expected.iter_mut().for_each(|v| *v /= norm);
    let cut = embedder.embed("a text", EmbedOptions::new().dimensions(16)).unwrap().value;
    assert!(cut.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{cut:?} {expected:?}");
}

/// fastembed gives jina-v3 its task's number and not the instruction; llama.cpp leaves both to the user.
#[test]
fn a_task_chooses_jina_v3s_adapter_and_its_instruction() {
    let embedder = open("jina-v3-lora");
    let cases = [
        (Task::RetrievalQuery, "retrieval.query", "Represent the query for retrieving evidence documents: "),
        (Task::RetrievalDocument, "retrieval.passage", "Represent the document for retrieval: "),
        (Task::Clustering, "separation", ""),
        (Task::Classification, "classification", ""),
        (Task::SemanticSimilarity, "text-matching", ""),
        (
            Task::QuestionAnswering,
            "retrieval.query",
            "Represent the query for retrieving evidence documents: ",
        ),
    ];
    for (task, adapter, text) in cases {
        let prompt = embedder.prompt(task).unwrap();
        assert_eq!((prompt.adapter.as_deref(), prompt.text.as_str()), (Some(adapter), text), "{task}");
    }
}

/// e5, bge and nomic come back un-normalised from fastembed although their modules end in Normalize.
#[test]
fn vectors_have_unit_length_where_the_modules_say_so_and_only_there() {
    let length = |vector: &[f32]| vector.iter().map(|v| v * v).sum::<f32>().sqrt();
    let embedder = open("xlm-roberta-e5");
    assert!((length(&embedder.embed("a text", Task::RetrievalQuery).unwrap().value) - 1.0).abs() < 1e-5);
    let raw = embedder.embed("a text", EmbedOptions::new().normalize(false)).unwrap();
    assert!((length(&raw.value) - 1.0).abs() > 1e-3, "as it is, on request");
    let folder = ModelFolder::copy_of(&fixture("bert-e5"));
    folder.edit("modules.json", |modules| modules.as_array_mut().unwrap().truncate(2));
    assert!(
        (length(&open_folder(&folder).embed("a text", EmbedOptions::new()).unwrap().value) - 1.0).abs()
            > 1e-3
    );
}

/// llama.cpp's EOS: tokenizer.json's template is trusted; add_eos_token is honoured where it has none.
#[test]
fn the_end_token_is_there_where_the_model_was_trained_with_it() {
    let ids = |embedder: &Embedder| embedder.token_ids("a text", EmbedOptions::new().prompt("")).unwrap();
    assert_eq!(
        ids(&open("qwen3-embedding")).last(),
        Some(&0),
        "<|endoftext|> of the template, not the config's <|im_end|>"
    );
    let folder = ModelFolder::copy_of(&fixture("mistral-e5"));
    let whole = ids(&open("mistral-e5"));
    folder.edit("tokenizer.json", |json| {
        // As e5-mistral publishes it: the template adds <s> only.
        let single = json["post_processor"]["single"].as_array_mut().unwrap();
        single.retain(|part| part["SpecialToken"]["id"] != "</s>");
    });
    assert_eq!(ids(&open_folder(&folder)), whole[..whole.len() - 1]);
    folder.edit("tokenizer_config.json", |json| json["add_eos_token"] = json!(true));
    assert_eq!(ids(&open_folder(&folder)), whole);
    // bge-m3: both ends, once.
    let m3 = ids(&open("bge-m3"));
    assert_eq!((m3.first(), m3.last(), m3.iter().filter(|id| **id == 2).count()), (Some(&0), Some(&2), 1));
}

/// A config that only names "passage" gets no prefix for documents in sentence-transformers.
#[test]
fn a_passage_only_config_works_for_documents() {
    let folder = ModelFolder::copy_of(&fixture("roberta"));
    folder.write(
        "config_sentence_transformers.json",
        json!({"prompts": {"query": null, "document": "", "passage": "p: "}}).to_string(),
    );
    let prompt = open_folder(&folder).prompt(Task::RetrievalDocument).unwrap();
    assert_eq!(
        (prompt.text.as_str(), prompt.source),
        ("p: ", PromptSource::Model { name: "passage".into() })
    );
}

/// Titles of their own for each document are unsupported elsewhere (sentence-transformers #3532).
#[test]
fn documents_have_titles_of_their_own() {
    let embedder = open("embedding-gemma");
    let document = || Request::new("leaves").options(Task::RetrievalDocument);
    let got: Vec<Embedding> = embedder.embed_requests([document().title("Tea"), document()]).unwrap();
    assert_eq!(got[0].prompt.text, "title: Tea | text: ");
    assert_eq!(got[1].prompt.text, "title: none | text: ");
    assert_ne!(got[0].value, got[1].value);
    let alone =
        embedder.embed("leaves", EmbedOptions::new().task(Task::RetrievalDocument).title("Tea")).unwrap();
    assert_eq!(alone.value, got[0].value);
}

/// vLLM #10184 and candle #3567: gte-Qwen2 is bidirectional, which only `auto_map` says.
#[test]
fn gte_qwen2_sees_both_ways() {
    let folder = ModelFolder::copy_of(&fixture("qwen2-gte"));
    folder
        .edit("config.json", |config| config["auto_map"] = json!({"AutoModel": "modeling_qwen.Qwen2Model"}));
    let (causal, both) = (open("qwen2-gte"), open_folder(&folder));
    let first = |embedder: &Embedder, text: &str| embedder.embed(text, EmbedOptions::new()).unwrap().value;
    assert_ne!(first(&causal, "some words here"), first(&both, "some words here"));
    // Code that nobody knows may do either: that is an error, until config.json says which.
    folder.edit("config.json", |config| config["auto_map"] = json!({"AutoModel": "modeling_mine.MyModel"}));
    let error = Embedder::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("modeling_mine.MyModel") && error.contains("is_causal"), "{error}");
    folder.edit("config.json", |config| config["is_causal"] = json!(false));
    assert_eq!(first(&open_folder(&folder), "some words here"), first(&both, "some words here"));
}

/// gte's `new` architecture needs an override in vLLM.
#[test]
fn the_new_architecture_is_known_by_its_own_name() {
    let folder = ModelFolder::copy_of(&fixture("gte-new"));
    folder.edit("config.json", |config| config["model_type"] = json!("new"));
    let how = EmbedOptions::new();
    assert_eq!(
        open_folder(&folder).embed("a", &how).unwrap().value,
        open("gte-new").embed("a", &how).unwrap().value
    );
}

/// omlx #2594: bge-m3 with the mean instead of the first token has a cosine of 0.776 to the right vector.
#[test]
fn bge_m3_pools_its_first_token() {
    let explanation = open("bge-m3").explain("a text", EmbedOptions::new()).unwrap();
    let pooled: Vec<bool> = explanation.tokens.iter().map(|token| token.pooled).collect();
    assert!(pooled[0] && pooled[1..].iter().all(|pooled| !pooled));
}

/// context_chat #338: the instruct variant of E5 without its instruction.
#[test]
fn e5_instruct_gets_an_instruction_that_its_files_do_not_have() {
    let folder = ModelFolder::copy_of(&fixture("roberta"));
    folder.edit("config.json", |config| {
        config["_name_or_path"] = json!("intfloat/multilingual-e5-large-instruct")
    });
    let embedder = open_folder(&folder);
    let query = embedder.prompt(Task::RetrievalQuery).unwrap();
    assert_eq!(
        query.text,
        "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "
    );
    let own = embedder.prompt(EmbedOptions::new().instruction("Find the paragraph")).unwrap();
    assert_eq!(own.text, "Instruct: Find the paragraph\nQuery: ");
    assert_eq!(embedder.prompt(Task::RetrievalDocument).unwrap().text, "");
}

/// txtai #1004: the prompts in a model's own files are loaded and listed.
#[test]
fn a_models_own_prompts_are_loaded_and_listed() {
    let own = open("nomic-bert").inspect().unwrap().prompts;
    assert!(own.contains(&("search_query".to_owned(), "search_query: ".to_owned())), "{own:?}");
}

/// A cut vector has unit length again, so that dot products can be compared.
#[test]
fn matryoshka_cuts_are_brought_to_unit_length_again() {
    let cut = open("bert-e5").embed("a text", EmbedOptions::new().dimensions(8)).unwrap();
    assert_eq!(cut.value.len(), 8);
    assert!((cut.value.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-5);
}
