//! `taskvec bench`, on the real binary.

use crate::binary::{run, stderr, stdout, taskvec};
use tempfile::TempDir;

#[test]
fn kernels_are_measured_beside_the_machines_peaks() {
    let folder = TempDir::new().unwrap();
    let arguments = [
        "bench",
        "kernels",
        "encode",
        "1x384x384",
        "attention",
        "--rows",
        "1",
        "--json",
        "k.json",
        "--svg",
        "k.svg",
    ];
    let output = taskvec(&folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    for part in
        ["multiply-adds/s", "256 MiB", "encode 128x384", "product hidden 1x384x384", "attention 1 tokens"]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains("1536x384"), "only what was asked for: {text}");
    let report = std::fs::read_to_string(folder.path().join("k.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let kernels = report["kernels"].as_array().unwrap();
    assert!(kernels.len() >= 8, "{report}");
    for kernel in kernels {
        assert!(kernel["seconds"].as_f64().unwrap() > 0.0 && kernel["error"].as_f64().unwrap() < 0.05);
    }
    for peak in report["peaks"]["operations_per_second"].as_array().unwrap() {
        assert!(peak["value"].as_f64().unwrap() > 1e8, "{report}");
    }
    let svg = std::fs::read_to_string(folder.path().join("k.svg")).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.matches("<circle").count() >= 4,
        "{svg}"
    );
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

/// On whatever GPU there is: a software one in CI. Its vectors are held against the CPU's.
#[cfg(feature = "gpu")]
#[test]
fn a_gpus_kernels_are_measured_beside_its_peaks() {
    let folder = TempDir::new().unwrap();
    let model = taskvec_testing::fixture("bert-e5");
    let model = model.to_str().unwrap();
    for precision in ["f32", "bf16", "f16"] {
        let arguments = ["bench", "kernels", "--device", "gpu", "--model", model, "--precision", precision];
        let files = ["--rows", "16,100", "--json", "g.json", "--svg", "g.svg"];
        let output = taskvec(&folder).args(arguments).args(files).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let text = stdout(&output);
        for part in
            ["multiply-adds/s in f32", "a copy", "product query_key_value 16x144x48", "bytes read back"]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let report = std::fs::read_to_string(folder.path().join("g.json")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        for run in report["runs"].as_array().unwrap() {
            assert_eq!(run["dispatches"], 23, "{run}");
            assert_eq!(run["bytes_read_back"].as_u64().unwrap(), 192 * run["texts"].as_u64().unwrap());
            assert!(run["min_cosine_to_cpu"].as_f64().unwrap() > 0.999, "{run}");
            assert!(run["kernels"].as_array().unwrap().len() >= 7, "{run}");
        }
        assert!(report["peaks"]["f32_operations_per_second"].as_f64().unwrap() > 1e8);
        let svg = std::fs::read_to_string(folder.path().join("g.svg")).unwrap();
        assert!(svg.matches("<circle").count() >= 5 && !svg.contains("NaN"), "{svg}");
    }
}

#[test]
fn a_model_is_measured_in_each_precision() {
    let folder = TempDir::new().unwrap();
    let arguments = [
        "bench",
        "model",
        "--device",
        "cpu",
        "--lengths",
        "5",
        "--batch",
        "1,2",
        "--seconds",
        "0.3",
        "--precisions",
        "f32,int8",
        "--json",
        "m.json",
    ];
    let output = taskvec(&folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let report = std::fs::read_to_string(folder.path().join("m.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let runs = report["seconds"].as_array().unwrap();
    let what: Vec<(&str, u64)> =
        runs.iter().map(|run| (run["precision"].as_str().unwrap(), run["texts"].as_u64().unwrap())).collect();
    assert_eq!(what, [("f32", 1), ("f32", 2), ("int8", 1), ("int8", 2)]);
    for run in runs {
        let [p50, p90, p99] = ["p50", "p90", "p99"].map(|share| run[share].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p90 && p90 <= p99 && run["calls"].as_u64().unwrap() >= 10, "{run}");
    }
}

#[test]
fn a_model_is_measured_on_texts_of_a_file() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("t.txt"), "one\ntwo words\nthree more words\n").unwrap();
    let arguments = ["bench", "model", "--device", "cpu", "--texts", "t.txt", "--seconds", "0.01"];
    let output = taskvec(&folder).args(arguments).args(["--json", "m.json"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let report = std::fs::read_to_string(folder.path().join("m.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let run = &report["seconds"][0];
    assert_eq!(
        (run["texts"].as_u64(), run["all_tokens"].as_u64()),
        (Some(3), Some(3 * 2 + 1 + 2 + 3)),
        "{run}"
    );
}

#[test]
fn what_cannot_be_measured_is_said() {
    for (arguments, code, part) in [
        (&["bench", "kernels", "convolution"][..], 2, "no kernel has one of these in its name"),
        (&["bench", "kernels", "--isa", "sse9"], 1, "sse9"),
        (&["bench", "kernels", "--device", "reference"], 2, "kernels are measured on the cpu and on a gpu"),
        (&["bench", "kernels", "--rows", "0"], 2, "0"),
        (&["bench", "model", "--device", "cpu", "--lengths", "100000"], 2, "takes 3 to 256 tokens"),
        (&["bench", "model", "--device", "cpu", "--seconds=-1"], 2, "--seconds"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(part), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_search_is_measured_beside_the_machines_memory() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("in.txt"), "tea\nleaves\nwater\n").unwrap();
    let embed = ["embed", "--device", "cpu", "--input", "in.txt", "--output", "v.parquet"];
    let output = taskvec(&folder).args(embed).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let arguments =
        ["bench", "search", "--in", "v.parquet", "--queries", "1,3", "--seconds", "0.01", "--json", "s.json"];
    let output = taskvec(&folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("3 vectors of 384 values as f32"), "{}", stdout(&output));
    let report = std::fs::read_to_string(folder.path().join("s.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let queries: Vec<u64> =
        report["seconds"].as_array().unwrap().iter().map(|run| run["queries"].as_u64().unwrap()).collect();
    assert_eq!(queries, [1, 3]);
    assert!(report["seconds"].as_array().unwrap().iter().all(|run| run["p50"].as_f64().unwrap() > 0.0));
}
