//! The real binary: output types, explanations, comparisons, ranks and spaces.
#![cfg(feature = "cli")]

#[path = "common/binary.rs"]
mod binary;
mod common;

use binary::{fails, run, run_with_input, stderr, stdout, taskvec};
use common::fixture;
use serde_json::Value;
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
        fails(&run_with_input(&arguments, input), 2, &["titles"]);
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
    assert_eq!(picture.matches("text-anchor").count(), 9);
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
