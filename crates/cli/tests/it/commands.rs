//! The real binary: what it prints where, what it writes, and how it ends.

use crate::binary::{fails, run, run_with_input, stderr, stdout, taskvec};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use taskvec_testing::fixture;
use tempfile::TempDir;

#[test]
fn the_built_in_model_embeds_in_any_directory() {
    let output = run(&["embed", "hello world", "--device", "cpu"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("-0.0345   0.0311   0.0067   0.0261  -0.0395"), "{}", stdout(&output));
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
}

#[test]
fn jsonl_records_have_their_five_fields_and_stdout_holds_nothing_else() {
    let long = "word ".repeat(300);
    let arguments = ["embed", "a", &long, "--task", "clustering", "--format", "jsonl", "--device", "cpu"];
    let output = run(&arguments);
    assert!(output.status.success());
    let records: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 2);
    for (i, record) in records.iter().enumerate() {
        let mut keys: Vec<&String> = record.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["embedding", "fingerprint", "index", "tokens", "truncated"]);
        assert_eq!(record["index"], i);
        assert_eq!(record["embedding"].as_array().unwrap().len(), 384);
    }
    assert_eq!((&records[0]["tokens"], &records[0]["truncated"]), (&Value::from(3), &Value::from(false)));
    assert_eq!((&records[1]["tokens"], &records[1]["truncated"]), (&Value::from(256), &Value::from(true)));
    let warnings = stderr(&output);
    assert!(
        warnings.contains("trained without task prompts") && warnings.contains("1 text was cut"),
        "{warnings}"
    );
}

#[test]
fn json_says_how_the_vectors_were_made() {
    let model = fixture("bert-e5");
    let arguments =
        ["embed", "a", "b", "--task", "retrieval-document", "--format", "json", "--device", "cpu", "--model"];
    let output = taskvec(&TempDir::new().unwrap()).args(arguments).arg(&model).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["prompt"], "passage: ");
    assert_eq!(json["prompt_source"], "the model's prompt `passage`");
    assert_eq!(json["note"], Value::Null);
    assert_eq!(json["dimensions"], 48);
    assert_eq!(json["embeddings"][1]["index"], 1);
    assert!(json["device"].as_str().unwrap().starts_with("cpu"));
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
}

/// An output file's ending says how it is written, unless --format does.
#[test]
fn endings_and_contents_that_are_no_format_are_refused() {
    let folder = TempDir::new().unwrap();
    for name in ["v.parquet", "v.csv", "v.txt", "v"] {
        let output =
            taskvec(&folder).args(["embed", "one", "--device", "cpu", "--output", name]).output().unwrap();
        fails(&output, 2, &["--output", name, "--format"]);
        assert!(!folder.path().join(name).exists());
    }
    let embed = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        taskvec(&folder)
            .args(["embed", "--device", "cpu", "--format", "jsonl", "--input", name])
            .output()
            .unwrap()
    };
    fails(&embed("all.json", "[\"one\"]"), 1, &["all.json", "--input-format"]);
    let output = embed("rows.csv", "id,text\n1,one\n2,two\n");
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).lines().count() == 2);
    fails(
        &embed("rows.txt", "{\"text\": \"one\"}\n"),
        1,
        &["rows.txt", "JSON objects", "--input-format jsonl"],
    );
    let output = embed("rows.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).lines().count() == 2);
}

#[test]
fn an_output_files_ending_names_its_format() {
    let folder = TempDir::new().unwrap();
    for (name, format, start) in [
        ("v.npy", None, &b"\x93NUMPY"[..]),
        ("v.JSON", None, b"{"),
        ("v.jsonl", None, b"{\"index\""),
        ("v.npy", Some("json"), b"{"),
        ("v.ndjson", None, b"{\"index\""),
        ("v.txt", Some("table"), b"index"),
    ] {
        let mut command = taskvec(&folder);
        command.args(["embed", "one", "two", "--device", "cpu", "--output", name]);
        command.args(format.iter().flat_map(|format| ["--format", format]));
        assert!(command.status().unwrap().success());
        let bytes = std::fs::read(folder.path().join(name)).unwrap();
        assert!(bytes.starts_with(start), "{name}, {format:?}: {}", String::from_utf8_lossy(&bytes[..40]));
    }
}

#[test]
fn npy_holds_the_same_values_as_jsonl() {
    let folder = TempDir::new().unwrap();
    let texts = ["embed", "a", "b", "c", "--device", "cpu", "--dimensions", "32"];
    let status =
        taskvec(&folder).args(texts).args(["--format", "npy", "--output", "v.npy"]).status().unwrap();
    assert!(status.success());
    let bytes = std::fs::read(folder.path().join("v.npy")).unwrap();
    let header = String::from_utf8_lossy(&bytes[10..128]).into_owned();
    assert!(bytes.starts_with(b"\x93NUMPY\x01\x00") && header.contains("'shape': (3, 32)"), "{header}");
    let values: Vec<f32> =
        bytes[128..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let jsonl = taskvec(&folder).args(texts).args(["--format", "jsonl"]).output().unwrap();
    let expected: Vec<f32> = stdout(&jsonl)
        .lines()
        .flat_map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["embedding"].as_array().unwrap().clone()
        })
        .map(|value| value.as_f64().unwrap() as f32)
        .collect();
    assert_eq!(values, expected);
}

#[test]
fn texts_come_from_files_and_standard_input() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("texts.txt"), "one\r\n\nthree\n").unwrap();
    std::fs::write(
        folder.path().join("texts.jsonl"),
        "{\"text\": \"one\"}\n{\"text\": \"\", \"id\": 3}\n{\"text\": \"three\"}\n",
    )
    .unwrap();
    let arguments = ["embed", "--format", "jsonl", "--device", "cpu", "--input"];
    let lines = taskvec(&folder).args(arguments).arg("texts.txt").output().unwrap();
    let jsonl =
        taskvec(&folder).args(arguments).args(["texts.jsonl", "--input-format", "jsonl"]).output().unwrap();
    let stdin =
        run_with_input(&["embed", "--format", "jsonl", "--device", "cpu", "--input", "-"], b"one\n\nthree");
    assert_eq!(stdout(&lines).lines().count(), 3);
    assert_eq!(lines.stdout, jsonl.stdout);
    assert_eq!(lines.stdout, stdin.stdout);
}

#[test]
fn every_format_prints_the_same_vectors_on_every_device() {
    for device in ["cpu", "reference", "auto"] {
        let output = run(&["embed", "hello world", "--device", device]);
        assert!(stdout(&output).contains("-0.0345   0.0311   0.0067"), "{device}: {}", stderr(&output));
    }
    if cfg!(feature = "gpu") {
        let output = run(&["embed", "hello world", "--device", "gpu"]);
        assert!(stdout(&output).contains("-0.0345   0.0311   0.0067"), "gpu: {}", stderr(&output));
        let output = run(&["embed", "hello world", "--adapter", "0"]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

/// A GPU goes by its whole name, whatever characters that has; several are asked for one by one.
#[cfg(feature = "gpu")]
#[test]
fn gpus_are_asked_for_by_name() {
    let name = taskvec::gpu_adapters()[0].name.clone();
    for (adapters, count) in [(vec!["--adapter", &name], 1), (vec!["--adapter", &name, "--adapter", "0"], 2)]
    {
        let output = run(&[&["embed", "hello world", "--format", "json"][..], &adapters].concat());
        let json: Value = serde_json::from_str(stdout(&output)).unwrap();
        let device = json["device"].as_str().unwrap();
        assert_eq!(device.matches(&name).count(), count, "{device}");
    }
}

#[test]
fn bad_input_says_where() {
    let cpu = ["embed", "--device", "cpu", "--input", "-"];
    fails(&run_with_input(&cpu, b"fine\nnot \xff fine\n"), 1, &["standard input", "line 2", "UTF-8"]);
    fails(&run_with_input(&cpu, b""), 1, &["no texts"]);
    let jsonl = [&cpu[..], &["--input-format", "jsonl"]].concat();
    fails(&run_with_input(&jsonl, b"{\"text\": \"a\"}\n{\"title\": \"b\"}\n"), 1, &["line 2", "`text`"]);
    fails(&run_with_input(&jsonl, b"{\"text\": \"a\"}\nplain\n"), 1, &["line 2", "JSON"]);
    fails(&run(&["embed", "--device", "cpu", "--input", "/no/such/file"]), 1, &["/no/such/file", "read"]);
    fails(&run(&["embed", "a", "--model", "/no/such/model"]), 1, &["/no/such/model", "model folder"]);
    let long = "word ".repeat(300);
    fails(
        &run(&["embed", &long, "--too-long", "error", "--device", "cpu"]),
        1,
        &["302 tokens", "limit is 256"],
    );
}

/// Texts are embedded some hundreds at a time; an error names the line of the input.
#[test]
fn an_error_names_the_text_by_its_place_in_the_input() {
    let input = "a\n".repeat(700) + &"word ".repeat(300) + "\n";
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("in.txt"), input).unwrap();
    let arguments =
        ["embed", "--device", "cpu", "--input", "in.txt", "--too-long", "error", "--output", "out.jsonl"];
    let output = taskvec(&folder).args(arguments).output().unwrap();
    fails(&output, 1, &["in.txt, line 701: the text has 302 tokens"]);
    assert!(!folder.path().join("out.jsonl").exists());
}

#[test]
fn wrong_usage_ends_with_2() {
    fails(&run(&["embed", "a", "--task", "search"]), 2, &["search", "retrieval-query"]);
    fails(&run(&["embed"]), 2, &["--input"]);
    fails(&run(&["embed", "a", "--input", "b"]), 2, &["--input"]);
    fails(&run(&["embed", "a", "--input-format", "jsonl"]), 2, &["--input"]);
    fails(&run(&["embed", "a", "--device", "tpu"]), 2, &["tpu", "cpu"]);
    fails(&run(&["embed", "a", "--device", "cpu", "--adapter", "0"]), 2, &["--adapter"]);
    fails(&run(&["similarity", "only one"]), 2, &["2 values required"]);
    fails(&run(&["fly"]), 2, &["fly"]);
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}

#[test]
fn options_that_do_not_fit_the_model_are_errors() {
    let cpu = |arguments: &[&str]| run(&[&["embed", "a", "--device", "cpu"], arguments].concat());
    fails(&cpu(&["--dimensions", "385"]), 1, &["dimensions", "1 to 384"]);
    fails(&cpu(&["--max-tokens", "513"]), 1, &["max_tokens", "512"]);
    fails(&cpu(&["--max-tokens", "1"]), 1, &["limit is 1"]);
    fails(&cpu(&["--threads", "0"]), 1, &["threads"]);
    fails(&cpu(&["--cores", "0,60000"]), 1, &["cores", "core 60000"]);
    fails(&cpu(&["--cores", "0", "--threads", "2"]), 1, &["threads", "number of cores"]);
    fails(&cpu(&["--cores", "3-1"]), 2, &["3-1", "range"]);
    fails(&cpu(&["--instruction-set", "mmx"]), 1, &["mmx", "portable"]);
    fails(&cpu(&["--prompt-name", "query"]), 1, &["no prompt named `query`"]);
    fails(&cpu(&["--instruction", "Find it"]), 1, &["instruction", "all-MiniLM-L6-v2"]);
    fails(&cpu(&["--title", "Tea"]), 1, &["title"]);
    fails(&cpu(&["--prompt", "a", "--prompt-name", "b"]), 1, &["cannot be used together"]);
    fails(&cpu(&["--prompt", &"word ".repeat(400), "--task", "clustering"]), 1, &["prompt", "no room"]);
    #[cfg(feature = "gpu")]
    fails(&run(&["embed", "a", "--adapter", "Voodoo 2"]), 1, &["Voodoo 2", "no GPU adapter"]);
}

#[test]
fn output_files_appear_whole_or_not_at_all() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("out.jsonl");
    std::fs::write(&file, "precious").unwrap();
    let arguments = ["embed", "a", "--device", "cpu", "--format", "jsonl", "--output", "out.jsonl"];
    let failed = taskvec(&folder).args(arguments).args(["--dimensions", "999"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious", "a failed run leaves what was there");
    assert!(taskvec(&folder).args(arguments).status().unwrap().success());
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("{\"index\":0"));
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["out.jsonl"], "nothing else is left");
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let to = |path: &str| run(&["embed", "a", "--device", "cpu", "--output", path]);
    fails(&to("/no/such/folder/out.npy"), 1, &["/no/such/folder/out.npy", "cannot write"]);
    fails(&to("/"), 1, &["cannot write", "directory"]);
    if Path::new("/dev/full").exists() {
        fails(&to("/dev/full"), 1, &["/dev/full", "No space left"]);
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let folder = TempDir::new().unwrap();
        let output = taskvec(&folder)
            .args(["embed", "a", "--device", "cpu"])
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        fails(&output, 1, &["standard output", "No space left"]);
    }
}

#[cfg(unix)]
#[test]
fn a_new_file_has_the_usual_permissions_and_a_replaced_one_keeps_its_own() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("out.npy");
    let mode = || std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    let arguments = ["embed", "a", "--device", "cpu", "--output", "out.npy"];
    assert!(taskvec(&folder).args(arguments).status().unwrap().success());
    std::fs::File::create(folder.path().join("other")).unwrap();
    assert_eq!(mode(), std::fs::metadata(folder.path().join("other")).unwrap().permissions().mode() & 0o777);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(taskvec(&folder).args(arguments).status().unwrap().success());
    assert_eq!(mode(), 0o640);
}

#[test]
fn a_closed_pipe_is_an_error_and_not_a_panic() {
    let folder = TempDir::new().unwrap();
    let texts = vec!["a"; 1000];
    let mut command = taskvec(&folder);
    command.args(["embed", "--device", "cpu", "--format", "jsonl"]).args(&texts);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    fails(&output, 1, &["closed before all results were written"]);
    assert!(!stderr(&output).contains("panicked"));
}

#[test]
fn inspect_shows_what_each_task_does() {
    let output = taskvec(&TempDir::new().unwrap())
        .args(["inspect", "--device", "cpu", "--model"])
        .arg(fixture("bert-e5"))
        .output()
        .unwrap();
    let text = stdout(&output);
    for words in [
        "family      bert",
        "Pooling mean, prompt included",
        "Normalize",
        "passage: \"passage: \"",
        "retrieval-document    \"passage: \"  (the model's prompt `passage`; trained)",
        "clustering            \"query: \"  (the built-in registry, E5; trained)",
        "attention  query_key_value -> context  4 heads of 12",
        "3 layers",
    ] {
        assert!(text.contains(words), "no {words:?} in:\n{text}");
    }
    let text = run(&["inspect", "--device", "cpu"]);
    assert!(
        stdout(&text).contains("22.6 M parameters") && stdout(&text).contains("trained without task prompts")
    );
}

#[test]
fn devices_names_the_kernels_that_would_run() {
    let output = run(&["devices"]);
    let text = stdout(&output);
    assert!(text.contains("cpu ") && text.contains("portable") && text.contains("would run"), "{text}");
    if cfg!(feature = "gpu") {
        assert!(
            text.contains("gpu 0") && text.contains("vulkan"),
            "these tests need a Vulkan driver: {text}"
        );
    }
}

#[test]
fn similarity_is_a_matrix_with_ones_across() {
    let output = run(&["similarity", "a cat", "a kitten", "the stock market", "--device", "cpu"]);
    let text = stdout(&output);
    let rows: Vec<Vec<f32>> = text
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().skip(1).take(3).map(|cell| cell.parse().unwrap()).collect())
        .collect();
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row[i], 1.0);
        let column: Vec<f32> = rows.iter().map(|row| row[i]).collect();
        assert_eq!(*row, column, "symmetric");
    }
    assert!(rows[0][1] > rows[0][2], "a cat is more like a kitten: {text}");
}

#[test]
fn help_names_every_task() {
    let output = run(&["embed", "--help"]);
    let help = stdout(&output);
    for name in [
        "retrieval-query",
        "fact-verification",
        "--prompt-name",
        "--dimensions",
        "--input-format",
        "--adapter",
    ] {
        assert!(help.contains(name), "no {name} in:\n{help}");
    }
}

/// Mesa's drivers print a line for every device that is looked for where no desktop is.
#[cfg(all(feature = "gpu", target_os = "linux"))]
#[test]
fn drivers_are_quiet_without_a_desktop() {
    let output =
        taskvec(&TempDir::new().unwrap()).arg("devices").env_remove("XDG_RUNTIME_DIR").output().unwrap();
    assert!(output.status.success() && stdout(&output).contains("cpu"));
    assert_eq!(stderr(&output), "");
}
