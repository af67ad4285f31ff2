//! Results beyond one vector a text, on every device, against those that sentence-transformers (or the
//! plain tensor code that each expected.json names) gets from the same tiny models in float64.

use crate::devices;
use serde_json::{Value, json};
use taskvec::{
    CancelToken, Device, EmbedOptions, Embedder, Error, ModelError, Output, RequestError, Reranker,
    SparseVector, Task, TokenVectors, Truncation,
};
use taskvec_testing::ModelFolder;
use taskvec_testing::{fixture, max_difference};

const BOUND: f64 = 2e-5;

const RERANKERS: [&str; 17] = [
    "reranker-albert",
    "reranker-bert",
    "reranker-camembert",
    "reranker-deberta",
    "reranker-electra",
    "reranker-ettin",
    "reranker-eurobert",
    "reranker-eurobert-late",
    "reranker-gte",
    "reranker-jina-v2",
    "reranker-last",
    "reranker-modernbert",
    "reranker-nomic",
    "reranker-qwen3-logit",
    "reranker-qwen3-one",
    "reranker-qwen3-seq",
    "reranker-xlm-roberta",
];

/// Of a sum over up to 48 tokens, where their errors add up, and which may be large.
fn bound(value: f64) -> f64 {
    5.0 * BOUND * value.max(1.0)
}

fn expected(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(name).join("expected.json")).unwrap()).unwrap()
}

fn texts(json: &Value) -> Vec<String> {
    json.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn numbers(json: &Value) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn rerankers_give_the_references_scores() {
    for name in RERANKERS {
        let expected = expected(name);
        for (device, builder) in taskvec_testing::devices::<Reranker>(cfg!(feature = "gpu")) {
            let reranker = builder.open(fixture(name)).unwrap_or_else(|e| panic!("{name} on {device}: {e}"));
            for (q, query) in texts(&expected["queries"]).iter().enumerate() {
                let documents = texts(&expected["texts"]);
                for (document, ids) in documents.iter().zip(expected["token_ids"][q].as_array().unwrap()) {
                    let ids: Vec<u32> = numbers(ids).iter().map(|id| *id as u32).collect();
                    assert_eq!(
                        reranker.token_ids(query, document).unwrap(),
                        ids,
                        "{name}: {query:?} {document:?}"
                    );
                }
                let scored = reranker.score(query, &documents).unwrap();
                let scores: Vec<f32> = scored.iter().map(|score| score.value).collect();
                let worst = max_difference(&scores, &numbers(&expected["scores"][q]));
                println!("{name:22} {device:14} worst difference {worst:.1e}");
                assert!(worst <= BOUND, "{name} on {device}: {scores:?}");
                for case in expected["prompted"].as_array().into_iter().flatten() {
                    let how = EmbedOptions::new().prompt(case["prompt"].as_str().unwrap());
                    let prompted =
                        reranker.score_with(query, &documents, how.clone(), &CancelToken::new()).unwrap();
                    let prompted: Vec<f32> = prompted.iter().map(|score| score.value).collect();
                    let worst = max_difference(&prompted, &numbers(&case["scores"][q]));
                    assert!(worst <= BOUND, "{name} on {device}, prompted: {prompted:?}");
                    for (document, ids) in documents.iter().zip(case["token_ids"][q].as_array().unwrap()) {
                        let explained = reranker.explain(query, document, how.clone()).unwrap();
                        let got: Vec<f64> =
                            explained.tokens.iter().map(|token| f64::from(token.id)).collect();
                        assert_eq!(got, numbers(ids), "{name}: {document:?}");
                    }
                }
                let ranked = reranker.rank(query, &documents).unwrap();
                assert!(ranked.windows(2).all(|pair| pair[0].1.value >= pair[1].1.value));
                assert!(ranked.iter().all(|(place, score)| scores[*place] == score.value));
            }
        }
    }
}

/// The model named after DistilBERT sums over tokens, the others take the largest.
fn check_sparse(label: &str, got: &SparseVector, want: &Value) {
    let (indices, values) = (numbers(&want["indices"]), numbers(&want["values"]));
    let wanted = |id: u32| indices.iter().position(|i| *i == f64::from(id)).map_or(0.0, |at| values[at]);
    // An entry next to zero may be there or not.
    for (index, value) in got.indices.iter().zip(&got.values) {
        let difference = (f64::from(*value) - wanted(*index)).abs();
        let bound = if label.contains("distilbert") { bound(wanted(*index)) } else { BOUND };
        assert!(difference <= bound && *value > 0.0, "{label}: entry {index} differs by {difference:e}");
    }
    for (index, value) in indices.iter().zip(&values) {
        assert!(*value <= BOUND || got.indices.contains(&(*index as u32)), "{label}: no entry {index}");
    }
    assert!(got.indices.windows(2).all(|pair| pair[0] < pair[1]), "{label}: ascending");
}

#[test]
fn sparse_vectors_are_the_references() {
    for name in [
        "splade-bert",
        "splade-distilbert",
        "splade-xlm-roberta",
        "splade-modernbert",
        "splade-gte",
        "bge-m3",
    ] {
        let expected = expected(name);
        let texts = texts(&expected["texts"]);
        for (device, builder) in devices() {
            let embedder = builder.open(fixture(name)).unwrap_or_else(|e| panic!("{name} on {device}: {e}"));
            let got = embedder.embed_sparse(&texts, EmbedOptions::new()).unwrap();
            for (got, want) in got.iter().zip(expected["sparse"].as_array().unwrap()) {
                check_sparse(&format!("{name} on {device}"), &got.value, want);
            }
            if name.starts_with("splade") {
                let error = embedder.embed("a", EmbedOptions::new()).unwrap_err();
                assert!(
                    matches!(error, Error::Request { problem: RequestError::NoSuchOutput { .. }, .. }),
                    "{error}"
                );
                assert!(error.to_string().contains("embed_sparse"), "{error}");
            }
        }
    }
}

/// Models of two ways: queries are looked up, documents go through the network.
#[test]
fn queries_that_are_looked_up() {
    for name in ["splade-router", "splade-router-root"] {
        let expected = expected(name);
        let texts = texts(&expected["texts"]);
        for (device, builder) in devices() {
            let embedder = builder.open(fixture(name)).unwrap_or_else(|e| panic!("{name} on {device}: {e}"));
            let sparse = |how: EmbedOptions| embedder.embed_sparse(&texts, how).unwrap();
            let queries = sparse(EmbedOptions::new().task(Task::RetrievalQuery));
            let documents = sparse(EmbedOptions::new().task(Task::RetrievalDocument));
            let by_default = sparse(EmbedOptions::new());
            for i in 0..texts.len() {
                check_sparse(
                    &format!("{name} query {i} on {device}"),
                    &queries[i].value,
                    &expected["query"][i],
                );
                let label = format!("{name} document {i} on {device}");
                check_sparse(&label, &documents[i].value, &expected["document"][i]);
                assert_eq!(by_default[i].value, documents[i].value);
            }
            let query = &queries[0];
            assert!(query.tokens > 0 && query.untruncated_tokens >= query.tokens);
            assert!(queries.last().unwrap().truncated(), "the longest text");
            assert_ne!(query.value.dot(&documents[0].value), 0.0);
            for (truncation, refused) in
                [(Truncation::Windows { overlap: 0 }, "windows"), (Truncation::Error, "tokens")]
            {
                let how = EmbedOptions::new().task(Task::RetrievalQuery).truncation(truncation);
                let error = embedder.embed_sparse(&texts, how).unwrap_err().to_string();
                assert!(error.contains(refused), "{error}");
            }
            let explained = embedder.explain(&texts[0], Task::RetrievalQuery).unwrap();
            assert_eq!(explained.tokens.len(), query.tokens);
            let all =
                embedder.embed_all(&texts[..1], EmbedOptions::new().task(Task::RetrievalQuery)).unwrap();
            assert_eq!(all[0].value.sparse.as_ref(), Some(&query.value));
        }
    }
}

/// pplx-embed's vectors are whole numbers: those next to the reference's before it rounds.
#[test]
fn vectors_of_whole_numbers() {
    let expected = expected("pplx");
    for (device, builder) in devices() {
        let embedder = builder.open(fixture("pplx")).unwrap_or_else(|e| panic!("{device}: {e}"));
        let vectors = embedder.embed_batch(&texts(&expected["texts"]), EmbedOptions::new()).unwrap();
        let want = expected["unrounded"].as_array().unwrap();
        assert_eq!(vectors.len(), want.len());
        for (vector, want) in vectors.iter().zip(want) {
            assert!(vector.value.iter().all(|value| value.fract() == 0.0 && value.abs() <= 127.0));
            let worst = max_difference(&vector.value, &numbers(want));
            assert!(worst <= 0.5 + 127.0 * BOUND, "{device}: {worst}");
        }
        // A shorter one is cut before it is rounded, and a longer one than its length is not brought to it.
        let short = embedder.embed("a", EmbedOptions::new().dimensions(8)).unwrap().value;
        assert_eq!(short, embedder.embed("a", EmbedOptions::new()).unwrap().value[..8]);
        let unit = embedder.embed("a", EmbedOptions::new().normalize(true)).unwrap().value;
        assert!((unit.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
    }
}

fn check_tokens(label: &str, got: &[&TokenVectors], want: &Value) {
    for (i, (got, want)) in got.iter().zip(want.as_array().unwrap()).enumerate() {
        let want: Vec<f64> = want.as_array().unwrap().iter().flat_map(numbers).collect();
        let worst = max_difference(&got.values, &want);
        assert!(
            worst <= BOUND,
            "{label}, text {i}: {worst:e} ({} values of {})",
            got.values.len(),
            want.len()
        );
        assert_eq!(got.ids.len() * got.dimensions, got.values.len());
    }
}

fn values(outputs: &[Output<TokenVectors>]) -> Vec<&TokenVectors> {
    outputs.iter().map(|output| &output.value).collect()
}

#[test]
fn token_vectors_of_queries_and_documents_are_the_references() {
    for name in ["colbert", "colbert-pylate", "colbert-min", "colbert-eos"] {
        let expected = expected(name);
        let texts = texts(&expected["texts"]);
        for (device, builder) in devices() {
            let embedder = builder.open(fixture(name)).unwrap_or_else(|e| panic!("{name} on {device}: {e}"));
            let queries = embedder.embed_tokens(&texts, Task::RetrievalQuery).unwrap();
            check_tokens(&format!("{name} queries on {device}"), &values(&queries), &expected["query"]);
            let documents = embedder.embed_tokens(&texts, Task::RetrievalDocument).unwrap();
            check_tokens(
                &format!("{name} documents on {device}"),
                &values(&documents),
                &expected["document"],
            );
            // Each of a query's unit vectors meets itself.
            let query = &queries[0].value;
            let itself = query.maxsim(query);
            assert!((itself - query.ids.len() as f32).abs() < 1e-3, "{itself}");
            assert!(query.maxsim(&documents[0].value) < itself);
        }
    }
}

/// What a query is filled up with counts where a module says so, or where it is attended to.
#[test]
fn filling_that_nobody_sees_is_left_out() {
    let folder = ModelFolder::copy_of(&fixture("colbert-min"));
    let embedder = Embedder::builder().device(Device::Cpu);
    let tokens = |folder: &ModelFolder| {
        let embedder = embedder.clone().open(folder.path()).unwrap();
        embedder.embed_tokens(&["a cat"], Task::RetrievalQuery).unwrap()[0].value.ids.len()
    };
    assert_eq!(tokens(&folder), 16);
    folder.edit("modules.json", |modules| {
        modules.as_array_mut().unwrap().retain(|module| !module["type"].as_str().unwrap().contains("Mask"));
    });
    assert!(tokens(&folder) < 16);
    folder.edit("sentence_bert_config.json", |c| c["query_expansion"]["attend"] = json!(true));
    assert_eq!(tokens(&folder), 16);
}

/// A query's expansion that nobody attends to reaches beyond the window of half the layers: tokens there see no key, and
/// their attention is 0.
#[test]
fn an_expansion_beyond_the_window_is_the_references() {
    let path = taskvec_testing::root().join("tests/mutations/expansion.json");
    let expected: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let folder = ModelFolder::copy_of(&fixture("modernbert"));
    for (name, content) in expected["files"].as_object().unwrap() {
        std::fs::create_dir_all(folder.file(name).parent().unwrap()).unwrap();
        folder.write(name, content.to_string());
    }
    for (device, builder) in devices() {
        let embedder = builder.open(folder.path()).unwrap_or_else(|e| panic!("{device}: {e}"));
        let queries = embedder.embed_tokens(&texts(&expected["texts"]), Task::RetrievalQuery).unwrap();
        check_tokens(&device, &values(&queries), &expected["tokens"]);
    }
}

/// Stanford's layout says the same as sentence-transformers': markers, lengths, the projection beside the
/// weights, and punctuation that documents leave out.
#[test]
fn stanfords_colbert_layout_is_read() {
    let stanford = ModelFolder::copy_of(&fixture("colbert"));
    let projection = stanford.tensors("1_Dense/model.safetensors");
    stanford.edit_tensors(|tensors| {
        tensors.insert("linear.weight".into(), projection["linear.weight"].clone());
    });
    for file in ["modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"] {
        stanford.remove(file);
    }
    stanford.edit("config.json", |config| config["architectures"] = json!(["HF_ColBERT"]));
    let metadata = json!({"query_token_id": "[MASK]", "doc_token_id": "[PAD]", "query_maxlen": 20, "doc_maxlen": 30,
        "attend_to_mask_tokens": true, "mask_punctuation": true});
    stanford.write("artifact.metadata", metadata.to_string());

    let modern = ModelFolder::copy_of(&fixture("colbert"));
    modern.edit("config_sentence_transformers.json", |config| {
        config["prompts"] = json!({"query": "[MASK] ", "document": "[PAD] "});
    });
    modern.edit("sentence_bert_config.json", |config| {
        config["document_length"] = json!(30);
        config["query_expansion"] = json!({"strategy": "fixed", "attend": true, "length": 20});
    });
    let punctuation: Vec<String> = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~".chars().map(String::from).collect();
    modern.edit("2_MultiVectorMask/config.json", |config| config["skiplist_words"] = json!(punctuation));
    let texts =
        ["What is this, then?", "a much longer text: it has more tokens than a query may have; so it is cut"];
    for task in [Task::RetrievalQuery, Task::RetrievalDocument] {
        let [a, b] = [&stanford, &modern].map(|folder| {
            let builder = Embedder::builder().device(Device::Cpu);
            builder.open(folder.path()).unwrap().embed_tokens(&texts, task).unwrap()
        });
        for (a, b) in a.iter().zip(&b) {
            assert_eq!(a.value, b.value, "{task}");
        }
        assert_eq!(a[1].value.ids.len() == 20, task.is_query());
    }
}

/// One forward pass gives all three; pytorch_model.bin and the heads' .pt files are read as they are.
#[test]
fn bge_m3_gives_its_three_results_at_once() {
    let expected = expected("bge-m3");
    let texts = texts(&expected["texts"]);
    for (device, builder) in devices() {
        let embedder = builder.open(fixture("bge-m3")).unwrap_or_else(|e| panic!("{device}: {e}"));
        let outputs = embedder.embed_all(&texts, EmbedOptions::new()).unwrap();
        for (i, outputs) in outputs.iter().map(|output| &output.value).enumerate() {
            let dense = outputs.dense.as_ref().unwrap();
            assert!(max_difference(dense, &numbers(&expected["dense"][i])) <= BOUND, "{device}");
            check_sparse(&device, outputs.sparse.as_ref().unwrap(), &expected["sparse"][i]);
            check_tokens(
                &device,
                &[outputs.tokens.as_ref().unwrap()],
                &Value::from(vec![expected["document"][i].clone()]),
            );
        }
        let alone = embedder.embed_batch(&texts, EmbedOptions::new()).unwrap();
        assert!(
            alone.iter().zip(&outputs).all(|(alone, all)| Some(&alone.value) == all.value.dense.as_ref())
        );
    }
}

/// Everything at once is what each by itself is, a prompt kept out of pooling included; a way with long
/// texts that a result does not have is an error.
#[test]
fn options_hold_for_every_result() {
    let open = |name| Embedder::builder().device(Device::Cpu).open(fixture(name)).unwrap();
    let instructor = open("t5-instructor");
    let all = instructor.embed_all(&["3D Actions"], Task::RetrievalQuery).unwrap();
    let alone = instructor.embed("3D Actions", Task::RetrievalQuery).unwrap();
    assert_eq!(all[0].value.dense.as_ref(), Some(&alone.value));
    let m3 = open("bge-m3");
    let long = "many words make a long text ".repeat(30);
    let how = |policy| EmbedOptions::new().truncation(policy);
    let start = m3.embed_all(&[&long], how(Truncation::Start)).unwrap();
    assert_eq!(start[0].value.dense, Some(m3.embed(&long, how(Truncation::Start)).unwrap().value));
    let error = m3.embed_tokens(&[&long], how(Truncation::Windows { overlap: 0 })).unwrap_err().to_string();
    assert!(error.contains("windows"), "{error}");
    let error = m3.embed_sparse(&[&long], how(Truncation::Error)).unwrap_err();
    assert!(
        matches!(error, Error::Request { text: Some(0), problem: RequestError::TooLong { .. } }),
        "{error}"
    );
}

#[test]
fn a_model_is_refused_for_what_it_is_not_made_for() {
    let error = Embedder::open(fixture("reranker-bert")).unwrap_err();
    assert!(matches!(error, Error::Model(ModelError::Reranker { .. })), "{error}");
    let error = Reranker::open(fixture("bert-e5")).unwrap_err();
    assert!(matches!(error, Error::Model(ModelError::NotAReranker { .. })), "{error}");
    let dense = Embedder::builder().device(Device::Cpu).open(fixture("bert-e5")).unwrap();
    for error in [
        dense.embed_sparse(&["a"], EmbedOptions::new()).err(),
        dense.embed_tokens(&["a"], EmbedOptions::new()).err(),
    ] {
        assert!(error.unwrap().to_string().contains("one vector a text"));
    }
}
