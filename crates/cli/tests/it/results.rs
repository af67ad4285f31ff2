//! The real binary: output types, explanations, comparisons, ranks and spaces.

use crate::binary::{fails, run, run_with_input, stderr, stdout, taskvec};
use serde_json::Value;
use taskvec_testing::fixture;
use tempfile::TempDir;

/// The head of NumPy's and safetensors' files, and their data.
#[test]
fn every_type_is_written_in_every_binary_format() {
    let folder = TempDir::new().unwrap();
    let sample = folder.path().join("sample.txt");
    std::fs::write(&sample, "one\ntwo\nthree words here\nand four\n").unwrap();
    for (kind, numpy, tensor, bytes) in [
        ("f32", "<f4", "F32", 4 * 384),
        ("f16", "<f2", "F16", 2 * 384),
        ("int8", "|i1", "I8", 384),
        ("uint8", "|u1", "U8", 384),
        ("binary", "|i1", "I8", 48),
        ("ubinary", "|u1", "U8", 48),
    ] {
        let mut arguments = vec!["embed", "a", "b", "--device", "cpu", "--type", kind];
        if kind.contains("int") {
            arguments.extend(["--calibrate", sample.to_str().unwrap()]);
        }
        let npy = run(&[&arguments[..], &["--format", "npy"]].concat()).stdout;
        let head = String::from_utf8_lossy(&npy[10..]).into_owned();
        assert!(
            head.contains(&format!("'descr': '{numpy}'")) && head.contains("# taskvec "),
            "{kind}: {head}"
        );
        let header = usize::from(u16::from_le_bytes([npy[8], npy[9]])) + 10;
        assert_eq!(npy.len() - header, 2 * bytes, "{kind}");
        let safe = run(&[&arguments[..], &["--format", "safetensors"]].concat()).stdout;
        let file = safetensors::SafeTensors::deserialize(&safe).unwrap();
        let view = file.tensor("embeddings").unwrap();
        assert_eq!(format!("{:?}", view.dtype()), tensor, "{kind}");
        assert_eq!(view.data(), &npy[header..], "{kind}");
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&safe).unwrap();
        assert_eq!(metadata.metadata().as_ref().unwrap()["type"], kind);
    }
    fails(&run(&["embed", "a", "--type", "int8"]), 2, &["--ranges", "--calibrate"]);
    fails(&run(&["embed", "a", "--type", "int4"]), 2, &["int4", "ubinary"]);
    fails(&run(&["embed", "a", "--give", "sparse", "--format", "npy"]), 2, &["--format json"]);
    fails(&run(&["embed", "a", "--device", "cpu", "--give", "sparse"]), 1, &["one vector a text"]);
}

#[test]
fn ranges_are_saved_and_used_again() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("sample.txt"), "one\ntwo\nthree words here\n").unwrap();
    let base = ["embed", "a", "--device", "cpu", "--type", "int8", "--format", "jsonl"];
    let first =
        run(&[&base[..], &["--calibrate", &path("sample.txt"), "--save-ranges", &path("ranges.json")]]
            .concat());
    assert!(stderr(&first).contains("ranges from 3 vectors"), "{}", stderr(&first));
    let again = run(&[&base[..], &["--ranges", &path("ranges.json")]].concat());
    assert!(again.status.success() && again.stdout == first.stdout);
    std::fs::write(path("ranges.json"), "[[0],[1]]").unwrap();
    fails(&run(&[&base[..], &["--ranges", &path("ranges.json")]].concat()), 1, &["1 dimensions", "384"]);
}

#[test]
fn base64_holds_the_vectors_bytes() {
    use base64::Engine;
    let plain = run(&["embed", "a", "--device", "cpu", "--format", "jsonl"]);
    let packed = run(&["embed", "a", "--device", "cpu", "--format", "jsonl", "--base64"]);
    let (plain, packed): (Value, Value) =
        (serde_json::from_str(stdout(&plain)).unwrap(), serde_json::from_str(stdout(&packed)).unwrap());
    let bytes = base64::prelude::BASE64_STANDARD.decode(packed["embedding"].as_str().unwrap()).unwrap();
    let values = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let want = plain["embedding"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32);
    assert!(values.eq(want));
}

#[test]
fn titles_come_from_the_input() {
    let model = fixture("embedding-gemma");
    let arguments = [
        "embed",
        "--model",
        model.to_str().unwrap(),
        "--device",
        "cpu",
        "--input",
        "-",
        "--input-format",
        "jsonl",
        "--format",
        "jsonl",
        "--task",
        "retrieval-document",
    ];
    let records = |input: &str| -> Vec<Value> {
        let output = run_with_input(&arguments, input.as_bytes());
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["embedding"].clone())
            .collect()
    };
    let both = records("{\"text\": \"leaves\", \"title\": \"Tea\"}\n{\"text\": \"leaves\"}\n");
    assert_ne!(both[0], both[1]);
    let mut titled = arguments.to_vec();
    titled.extend(["--title", "Tea"]);
    let output = run_with_input(&titled, b"{\"text\": \"leaves\"}\n");
    let alone: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(alone["embedding"], both[0]);
}

#[test]
fn titles_without_a_place_are_not_dropped() {
    let input = b"{\"text\": \"a\", \"title\": \"T\"}\n";
    for other in [&["--pieces", "5"][..], &["--give", "tokens"]] {
        let arguments =
            [&["embed", "--input", "-", "--input-format", "jsonl", "--device", "cpu"][..], other].concat();
        fails(&run_with_input(&arguments, input), 1, &["text 0", "a title was given"]);
    }
}

#[test]
fn explain_shows_what_the_model_sees() {
    let model = fixture("t5-instructor");
    let output = run(&[
        "explain",
        "3D Actions",
        "--model",
        model.to_str().unwrap(),
        "--device",
        "cpu",
        "--task",
        "query",
    ]);
    let text = stdout(&output);
    for words in [
        "Represent the question for retrieving supporting documents: 3D Actions",
        "pooled",
        "</s>",
        "adapter   none",
    ] {
        assert!(text.contains(words), "no {words:?} in:\n{text}");
    }
    let model = fixture("jina-v3-lora");
    let output =
        run(&["explain", "a", "--model", model.to_str().unwrap(), "--device", "cpu", "--task", "separation"]);
    assert!(stdout(&output).contains("adapter   separation"), "{}", stdout(&output));
}

#[test]
fn compare_shows_how_tasks_move_vectors_as_a_table_and_a_picture() {
    let (model, folder) = (fixture("bert-e5"), TempDir::new().unwrap());
    let svg = folder.path().join("tasks.svg");
    let output = run(&[
        "compare",
        "a <text>",
        "--tasks",
        "query,passage,clustering",
        "--model",
        model.to_str().unwrap(),
        "--device",
        "cpu",
        "--svg",
        svg.to_str().unwrap(),
    ]);
    let table: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(table.len(), 4, "{}", stderr(&output));
    assert!(
        table[1].contains("1.0000")
            && table[1].contains("retrieval-query")
            && !table[1].contains(" 1.0000  1.0000")
    );
    assert!(table[3].starts_with("   2  1.0000"), "E5 clusters with its query prompt: {}", table[3]);
    let picture = std::fs::read_to_string(svg).unwrap();
    assert!(
        picture.starts_with("<svg") && picture.ends_with("</svg>\n") && picture.contains("a &lt;text&gt;")
    );
    // Nine cosines of three decimals, the numbers of rows and columns, the model, and the scale.
    let cosines =
        picture.split("text-anchor=\"middle\">").skip(1).map(|rest| rest.split('<').next().unwrap());
    assert_eq!(cosines.filter(|text| text.len() == 5 && text.as_bytes()[1] == b'.').count(), 9, "{picture}");
    assert_eq!(picture.matches("font-weight=\"bold\"").count(), 6);
    assert!(picture.contains("bert-e5") && picture.contains(">cosine</text>"));
}

#[test]
fn rerank_sorts_documents_and_needs_a_model() {
    let model = fixture("reranker-bert");
    let output = run(&[
        "rerank",
        "tea",
        "one",
        "two words",
        "three",
        "--model",
        model.to_str().unwrap(),
        "--device",
        "cpu",
        "--top",
        "2",
    ]);
    let rows: Vec<f32> = stdout(&output)
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
        .collect();
    assert!(rows.len() == 2 && rows[0] >= rows[1], "{}", stdout(&output));
    fails(&run(&["rerank", "tea", "one"]), 2, &["--model"]);
}

#[test]
fn verify_tells_vectors_that_may_be_compared_from_those_that_must_not() {
    let folder = TempDir::new().unwrap();
    let model = fixture("bert-e5");
    let model = model.to_str().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, format: &str, task: &str| {
        let output = run(&[
            "embed",
            "a",
            "b",
            "--model",
            model,
            "--device",
            "cpu",
            "--task",
            task,
            "--format",
            format,
            "--output",
            &path(name),
        ]);
        assert!(output.status.success(), "{}", stderr(&output));
    };
    write("query.npy", "npy", "query");
    write("document.json", "json", "passage");
    write("document.jsonl", "jsonl", "passage");
    write("document.safetensors", "safetensors", "passage");
    for file in ["document.json", "document.jsonl", "document.safetensors", "query.npy"] {
        let output = run(&["verify", &path("query.npy"), &path(file)]);
        assert!(
            output.status.success() && stdout(&output).contains("may be compared"),
            "{file}: {}",
            stderr(&output)
        );
    }
    let with_model = |task: &str| {
        run(&["verify", &path("query.npy"), "--model", model, "--device", "cpu", "--task", task])
    };
    assert!(with_model("passage").status.success());
    let other = run(&["verify", &path("query.npy"), "--device", "cpu"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(
        stdout(&other).contains("must not be compared") && stderr(&other).contains("weights"),
        "{}",
        stderr(&other)
    );
    std::fs::write(path("plain.json"), "{\"embeddings\": []}").unwrap();
    fails(&run(&["verify", &path("plain.json"), &path("query.npy")]), 1, &["no fingerprint"]);
    fails(&run(&["verify", &path("none.npy"), &path("query.npy")]), 1, &["none.npy"]);
}

#[test]
fn pieces_of_long_texts_say_where_they_are() {
    let model = fixture("bert-e5");
    let text = "First sentence here. Second one follows. The third ends it.";
    let output = run(&[
        "embed",
        text,
        "b",
        "--model",
        model.to_str().unwrap(),
        "--device",
        "cpu",
        "--pieces",
        "12",
        "--format",
        "jsonl",
    ]);
    let records: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.len() > 2, "{}", stderr(&output));
    let ends: Vec<u64> =
        records.iter().filter(|r| r["text"] == 0).map(|r| r["end"].as_u64().unwrap()).collect();
    assert_eq!(ends.last(), Some(&(text.len() as u64)));
    assert_eq!(records.last().unwrap()["text"], 1);
}

#[test]
fn models_lists_what_is_known() {
    let folder = TempDir::new().unwrap();
    let output = taskvec(&folder).args(["models", "qwen3"]).env("HF_HOME", folder.path()).output().unwrap();
    let text = stdout(&output);
    assert!(
        text.contains("Qwen/Qwen3-Embedding-0.6B") && text.contains("apache-2.0") && text.contains("1024"),
        "{text}"
    );
    assert!(!text.contains("bge"), "{text}");
}

/// The facts of a text come with whatever the model gives for it.
#[test]
fn sparse_and_token_vectors_say_how_many_tokens_they_are_of_and_whether_texts_were_cut() {
    let long = "many words make a long text ".repeat(40);
    for (name, give) in
        [("splade-bert", "sparse"), ("bge-m3", "sparse"), ("colbert", "tokens"), ("bge-m3", "tokens")]
    {
        let model = fixture(name);
        let arguments = ["embed", "two words", &long, "--model", model.to_str().unwrap(), "--device", "cpu"];
        let output = run(&[&arguments[..], &["--give", give, "--format", "jsonl"]].concat());
        assert!(stderr(&output).contains("1 text was cut"), "{name}: {}", stderr(&output));
        let records: Vec<Value> =
            stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(records[0]["tokens"].as_u64().unwrap() >= 3, "{name}: {}", records[0]["tokens"]);
        assert_eq!(
            (&records[0]["truncated"], &records[1]["truncated"]),
            (&false.into(), &true.into()),
            "{name}"
        );
    }
}

/// Nothing of a failed call is printed, and the text that it failed at is named by its place in all of the input.
#[test]
fn an_error_names_the_text_that_it_is_about() {
    let long = "many words make a long text ".repeat(40);
    let input: String =
        (0..700).map(|i| if i == 650 { format!("{long}\n") } else { "a\n".to_owned() }).collect();
    let model = fixture("bert-e5");
    let arguments = ["embed", "--input", "-", "--model", model.to_str().unwrap(), "--device", "cpu"];
    for more in [&["--too-long", "error"][..], &["--pieces", "8"]] {
        let arguments = [&arguments[..], more, &["--format", "jsonl"]].concat();
        fails(&run_with_input(&arguments, input.as_bytes()), 1, &["text 650: ", "the limit is 48"]);
    }
}

#[test]
fn all_tasks_are_compared_by_default_and_by_name() {
    let model = fixture("bert-e5");
    let arguments = ["compare", "a text", "--model", model.to_str().unwrap(), "--device", "cpu"];
    let default = run(&arguments);
    let named = run(&[&arguments[..], &["--tasks", "all"]].concat());
    assert_eq!(stdout(&default).lines().count(), 9, "{}", stderr(&default));
    assert_eq!(default.stdout, named.stdout);
    fails(&run(&[&arguments[..], &["--tasks", "query,sing"]].concat()), 2, &["`sing`", "retrieval-query"]);
}

#[test]
fn a_dash_is_standard_input() {
    let arguments = ["embed", "-", "--device", "cpu", "--format", "jsonl"];
    let output = run_with_input(&arguments, b"one\ntwo\n");
    let alone = run(&["embed", "one", "two", "--device", "cpu", "--format", "jsonl"]);
    assert!(output.status.success() && output.stdout == alone.stdout, "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 2);
}

#[test]
fn what_is_listed_can_be_had_as_json() {
    let folder = TempDir::new().unwrap();
    let json = |arguments: &[&str]| -> Value {
        let output = taskvec(&folder).args(arguments).env("HF_HOME", folder.path()).output().unwrap();
        serde_json::from_str(stdout(&output)).unwrap_or_else(|e| panic!("{e}: {}", stderr(&output)))
    };
    let models = json(&["models", "Qwen3-Embedding-0.6B", "--json"]);
    assert_eq!((&models[0]["dimensions"], &models[0]["bytes"]), (&1024.into(), &Value::Null));
    let model = fixture("bert-e5");
    let model = ["--model", model.to_str().unwrap(), "--device", "cpu"];
    let inspected = json(&[&["inspect", "--json"][..], &model].concat());
    assert_eq!(
        (&inspected["model"]["family"], &inspected["device"]["kind"]),
        (&"bert".into(), &"cpu".into())
    );
    assert_eq!(inspected["model"]["tasks"].as_array().unwrap().len(), 8);
    let reranker = fixture("reranker-bert");
    let reranker = ["--model", reranker.to_str().unwrap(), "--device", "cpu", "--json"];
    let ranked = json(&[&["rerank", "tea", "leaves", "tea leaves"][..], &reranker].concat());
    assert!(ranked[0]["score"].as_f64() >= ranked[1]["score"].as_f64(), "{ranked}");
    assert!(ranked[0]["tokens"].as_u64() > Some(3) && ranked[0]["truncated"] == false, "{ranked}");
}

#[test]
fn help_and_completions_say_what_there_is() {
    let help = run(&["rerank", "--help"]);
    assert!(!stdout(&help).contains("built-in all-MiniLM"), "there is no built-in reranker");
    assert!(stdout(&run(&["embed", "--help"])).contains("built-in all-MiniLM"));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(&["completions", shell]);
        assert!(script.status.success() && stdout(&script).contains("rerank"), "{shell}");
    }
}

/// A table cannot hold all values of a vector: it says so, and where they are.
#[test]
fn the_table_says_what_it_leaves_out() {
    let output = run(&["embed", "a", "--device", "cpu"]);
    assert!(stdout(&output).contains("the first 8 of 384 values; --format json"), "{}", stdout(&output));
    assert_eq!(stderr(&output), "", "nothing was asked for that could be amiss");
}
