//! What options do to vectors: long texts, pieces, sizes, registries, spaces.

use serde_json::json;
use taskvec::{
    Device, EmbedOptions, Embedder, EmbedderBuilder, Error, PromptSource, RequestError, Similarity, Task,
    Truncation,
};
use taskvec_testing::{ModelFolder, RawTensor};
use taskvec_testing::{fixture, max_difference};

fn cpu() -> EmbedderBuilder {
    Embedder::builder().device(Device::Cpu)
}

fn open(name: &str) -> Embedder {
    cpu().open(fixture(name)).unwrap()
}

fn long_text() -> String {
    (0..40).map(|i| format!("Sentence {i} is about transformers. ")).collect()
}

#[test]
fn the_start_or_the_end_is_cut_and_the_prompt_stays() {
    let embedder = open("bert-e5");
    let text = long_text();
    let ids =
        |policy| embedder.token_ids(&text, EmbedOptions::new().prompt("query: ").truncation(policy)).unwrap();
    let whole = cpu().max_tokens(64).open(fixture("bert-e5")).unwrap();
    let all = |text: &str| whole.token_ids(text, EmbedOptions::new().prompt("")).unwrap();
    let prompt = all("query: ");
    let prompt = &prompt[..prompt.len() - 1]; // without [SEP]
    let (start, end) = (ids(Truncation::Start), ids(Truncation::End));
    assert_eq!((start.len(), end.len()), (48, 48));
    assert_eq!((&start[..prompt.len()], &end[..prompt.len()]), (prompt, prompt));
    let tail = all("Sentence 39 is about transformers. ");
    assert!(start.ends_with(&tail[1..]), "the end of the text is there");
    assert!(!end.ends_with(&tail[1..]));
    let error = embedder.embed(&text, EmbedOptions::new().truncation(Truncation::Error)).unwrap_err();
    assert!(
        matches!(error, Error::Request { problem: RequestError::TooLong { limit: 48, .. }, .. }),
        "{error}"
    );
}

#[test]
fn a_suffix_of_a_template_stays_too() {
    let embedder = open("bert-e5");
    let how = EmbedOptions::new().template("Summarize sentence \"{text}\" in one word:\"");
    let explanation = embedder.explain(&long_text(), &how).unwrap();
    let pieces: Vec<&str> = explanation.tokens.iter().map(|token| token.piece.as_str()).collect();
    assert_eq!(pieces.len(), 48);
    assert_eq!(&pieces[pieces.len() - 3..], [":", "[UNK]", "[SEP]"], "{pieces:?}");
    assert!(explanation.assembled.starts_with("Summarize sentence \"Sentence 0"));
    for wrong in ["no place", "{text} {text}"] {
        let error = embedder.prompt(EmbedOptions::new().template(wrong)).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Request { problem: RequestError::InvalidOption { option: "template", .. }, .. }
            ),
            "{error}"
        );
    }
}

/// By hand: windows of the tokens that fit beside the prompt, the mean of their directions weighted by
/// their tokens, at unit length.
#[test]
fn windows_are_the_mean_of_their_parts() {
    let embedder = open("bert-e5");
    let how = EmbedOptions::new().prompt("").truncation(Truncation::Windows { overlap: 10 });
    // One short text is a window by itself.
    let short = embedder.embed("short", &how).unwrap();
    assert_eq!(short.value, embedder.embed("short", EmbedOptions::new().prompt("")).unwrap().value);
    // 60 times one token that is a word of its own.
    let text = vec!["a"; 60].join(" ");
    let got = embedder.embed(&text, &how).unwrap();
    let part = |words: usize| {
        embedder.embed(&vec!["a"; words].join(" "), EmbedOptions::new().prompt("")).unwrap().value
    };
    let (first, second) = (part(46), part(60 - 36)); // 46 beside [CLS] and [SEP]; 10 of them again
    let mut mean: Vec<f64> =
        first.iter().zip(&second).map(|(a, b)| 48.0 * f64::from(*a) + 26.0 * f64::from(*b)).collect();
    let norm = mean.iter().map(|v| v * v).sum::<f64>().sqrt();
    mean.iter_mut().for_each(|v| *v /= norm);
    assert!(max_difference(&got.value, &mean) < 1e-6);
    assert_eq!((got.tokens, got.truncated()), (48 + 26, false));
    let error = embedder
        .embed(&text, EmbedOptions::new().truncation(Truncation::Windows { overlap: 46 }))
        .unwrap_err();
    assert!(error.to_string().contains("overlap"), "{error}");
}

/// The mean of a whole text is the mean of its pieces' means, weighted by their tokens, and of the two
/// special tokens: so pieces are pooled from one forward pass over all of it.
#[test]
fn pieces_are_pooled_from_one_pass_over_the_whole_text() {
    let folder = ModelFolder::copy_of(&fixture("bert-e5"));
    folder.edit("modules.json", |modules| modules.as_array_mut().unwrap().truncate(2)); // no Normalize
    for (device, builder) in crate::devices() {
        let embedder = builder.open(folder.path()).unwrap();
        let text = "First sentence here. Second one follows. The third ends it.";
        let ends = [20, 40];
        let pieces = embedder.embed_pieces(text, &ends, EmbedOptions::new().prompt("query: ")).unwrap();
        assert_eq!(pieces.value.len(), 3);
        let again = embedder
            .embed_pieces(text, &[20, 40, text.len()], EmbedOptions::new().prompt("query: "))
            .unwrap();
        assert_eq!(pieces.value, again.value);
        assert_eq!(pieces.value[1].bytes, 20..40);
        let alone = embedder.embed("First sentence here.", EmbedOptions::new().prompt("query: ")).unwrap();
        assert_ne!(pieces.value[0].vector, alone.value, "it knows what follows");
        // One piece: every token but the special ones and the prompt's.
        let whole = embedder.embed_pieces(text, &[], EmbedOptions::new().prompt("query: ")).unwrap();
        let total: usize = pieces.value.iter().map(|piece| piece.tokens).sum();
        assert_eq!(total, whole.value[0].tokens, "{device}");
        for (d, want) in whole.value[0].vector.iter().enumerate() {
            let sum: f32 = pieces.value.iter().map(|piece| piece.tokens as f32 * piece.vector[d]).sum();
            assert!((sum / total as f32 - want).abs() < 1e-5, "{device}");
        }
    }
    let embedder = cpu().open(folder.path()).unwrap();
    let fails = |ends: &[usize]| embedder.embed_pieces("über alles", ends, EmbedOptions::new()).unwrap_err();
    for ends in [&[1][..], &[5, 3], &[99], &[0]] {
        assert!(fails(ends).to_string().contains("ends of pieces"), "{ends:?}");
    }
    let error = embedder.embed_pieces(&long_text(), &[], EmbedOptions::new()).unwrap_err();
    assert!(
        matches!(error, Error::Request { problem: RequestError::TooLong { .. }, .. }),
        "one pass cannot hold it: {error}"
    );
    let error = open("gte-new").embed_pieces("a b", &[], EmbedOptions::new()).unwrap_err();
    assert!(error.to_string().contains("pools one token"), "{error}");
}

#[test]
#[cfg(feature = "split")]
fn a_text_is_split_at_sentences_into_pieces_that_fit() {
    let embedder = open("bert-e5");
    let text = "First sentence here. Second one follows. The third ends it.\n\nA paragraph.";
    let ends = embedder.split(text, 14, EmbedOptions::new()).unwrap();
    assert_eq!(ends.last(), Some(&text.len()));
    assert!(ends.windows(2).all(|pair| pair[0] < pair[1]) && ends.len() > 1, "{ends:?}");
    let pieces = embedder.embed_pieces(text, &ends, EmbedOptions::new()).unwrap();
    assert_eq!(pieces.value.len(), ends.len());
    assert!(embedder.split("", 5, EmbedOptions::new()).unwrap().is_empty());
    assert!(embedder.split(text, 0, EmbedOptions::new()).is_err());
}

/// stella's way to other sizes: a projection of its own for each.
#[test]
fn a_projection_in_a_folder_of_its_own_is_chosen_by_its_size() {
    let folder = ModelFolder::copy_of(&fixture("t5-gtr")); // 2_Dense gives 32
    let config = json!({"in_features": 48, "out_features": 7, "bias": false, "activation_function": "torch.nn.modules.linear.Identity"});
    folder.write("2_Dense_7/config.json", config.to_string());
    let weights: Vec<f32> = (0..7 * 48).map(|i| (i as f32 * 0.37).sin()).collect();
    let tensors = [("linear.weight".to_owned(), RawTensor::from_f32(&[7, 48], &weights))].into();
    folder.write_tensors("2_Dense_7/model.safetensors", &tensors);
    let usual = cpu().open(folder.path()).unwrap();
    let other = cpu().dimensions(7).open(folder.path()).unwrap();
    assert_eq!((usual.dimensions(), other.dimensions()), (32, 7));
    let error = usual.embed("a", EmbedOptions::new().dimensions(7)).unwrap_err();
    assert!(error.to_string().contains("Builder::dimensions(7)"), "{error}");
    let cut = usual.embed("a", EmbedOptions::new().dimensions(8)).unwrap().value;
    assert_eq!(cut.len(), 8);
    assert_eq!(other.embed("a", EmbedOptions::new()).unwrap().value.len(), 7);
}

#[test]
fn a_registry_of_ones_own_comes_first() {
    let folder = ModelFolder::empty();
    let write = |text: &str| {
        folder.write("registry.json", text);
        cpu().registry(folder.file("registry.json"))
    };
    let entry = json!([{"family": "mine", "match": ["bert-e5"], "prompts": {
        "retrieval-query": "Q: ", "clustering": "<{title}> {text} </end>", "search_document": ""}}]);
    let embedder = write(&entry.to_string()).open(fixture("bert-e5")).unwrap();
    let query = embedder.prompt(Task::RetrievalQuery).unwrap();
    assert_eq!(
        (query.text.as_str(), query.source),
        ("Q: ", PromptSource::UserRegistry { family: "mine".into() })
    );
    let clustering = embedder.prompt(Task::Clustering).unwrap();
    assert_eq!(clustering.around("x"), "<none> x </end>");
    let titled = embedder.prompt(EmbedOptions::new().task(Task::Clustering).title("T")).unwrap();
    assert_eq!(titled.around("x"), "<T> x </end>");
    assert_eq!(embedder.prompt(Task::RetrievalDocument).unwrap().text, "", "an empty prompt is one too");
    assert_eq!(embedder.prompt(Task::Classification).unwrap().text, "query: ", "the rest is as it was");
    for (wrong, word) in [
        ("{", "not valid JSON"),
        ("{}", "expected a list"),
        ("[1]", "expected an object"),
        (r#"[{"family": "a", "match": ["b"], "prompt": {}}]"#, "no key `prompt`"),
        (r#"[{"match": ["b"]}]"#, "`family`"),
        (r#"[{"family": "a", "match": []}]"#, "`match`"),
        (r#"[{"family": "a", "match": [1]}]"#, "`match`"),
        (r#"[{"family": "a", "match": ["b"], "prompts": {"sing": ""}}]"#, "`sing`"),
        (r#"[{"family": "a", "match": ["b"], "prompts": {"query": 1}}]"#, "expected a string"),
        (r#"[{"family": "a", "match": ["b"], "prompts": {"query": "{text}{text}"}}]"#, "more than once"),
        (r#"[{"family": "a", "match": ["b"], "instruction": "x"}]"#, "{instruction}"),
        (r#"[{"family": "a", "match": ["b"], "pools_prompt": "no"}]"#, "true or false"),
    ] {
        let error = format!("{:#}", write(wrong).open(fixture("bert-e5")).unwrap_err());
        assert!(error.contains(word) && error.contains("registry.json"), "{wrong}: {error}");
    }
    assert!(
        cpu()
            .registry(folder.file("none.json"))
            .open(fixture("bert-e5"))
            .unwrap_err()
            .to_string()
            .contains("none.json")
    );
}

#[test]
fn what_each_task_does_and_whether_it_was_trained_is_listed() {
    let tasks = open("bert-bge").tasks();
    let of = |task| tasks.iter().find(|listed| listed.task == task).unwrap();
    assert!(
        of(Task::RetrievalQuery).trained
            && of(Task::RetrievalQuery).prompt.text.starts_with("Represent this")
    );
    let verification = of(Task::FactVerification);
    assert!(!verification.trained, "{verification:?}");
    assert_eq!(tasks.len(), 8);
}

#[test]
fn only_vectors_of_one_space_are_compared() {
    let embedder = open("bert-e5");
    let embed = |how: EmbedOptions| embedder.embed("a text", how).unwrap();
    let (query, document) = (embed(Task::RetrievalQuery.into()), embed(Task::RetrievalDocument.into()));
    assert!(query.similarity(&document, Similarity::Cosine).is_ok());
    let mixed = |other: &taskvec::Embedding| {
        let error = query.similarity(other, Similarity::Cosine).unwrap_err();
        assert!(matches!(error, Error::Request { problem: RequestError::MixedSpaces { .. }, .. }), "{error}");
        error.to_string()
    };
    assert!(
        mixed(&embed(EmbedOptions::new().task(Task::RetrievalQuery).dimensions(8)))
            .contains("of another size")
    );
    // By the names of the model's prompts too; and where nothing is said, the caller knows.
    let named = |name: &str| embed(EmbedOptions::new().prompt_name(name));
    assert!(named("query").similarity(&named("passage"), Similarity::Dot).is_ok());
    assert!(
        query.similarity(&embed(EmbedOptions::new().prompt("something else: ")), Similarity::Dot).is_ok()
    );
    let gemma = open("embedding-gemma");
    let [ask, group] = [Task::RetrievalQuery, Task::Clustering].map(|task| gemma.embed("a", task).unwrap());
    let error = ask.similarity(&group, Similarity::Cosine).unwrap_err().to_string();
    assert!(error.contains("other prompts"), "{error}");
    assert!(
        mixed(&open("bert-instructed").embed("a text", Task::RetrievalQuery).unwrap()).contains("weights")
    );
    // Another process, device or name of the folder makes no other space.
    let copy = ModelFolder::copy_of(&fixture("bert-e5"));
    let elsewhere = Embedder::builder().device(Device::Reference).open(copy.path()).unwrap();
    let same = elsewhere.space(EmbedOptions::new().prompt("query: ")).unwrap().fingerprint();
    let fingerprint = embedder.space(EmbedOptions::new().prompt("query: ")).unwrap().fingerprint();
    assert_eq!(same, fingerprint);
    // One weight does.
    copy.edit_tensors(|tensors| tensors.get_mut("encoder.layer.0.output.dense.bias").unwrap().data[0] ^= 1);
    let changed =
        cpu().open(copy.path()).unwrap().space(EmbedOptions::new().prompt("query: ")).unwrap().fingerprint();
    assert!(changed.check_comparable(&fingerprint).is_err());
}
