//! Sparse vectors of corpora, alone and beside dense ones, and searches by both.

use crate::binary::{fails, stderr, stdout, taskvec};
use crate::corpus::{parquet_rows, succeeds, vectors};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt32Type};
use arrow_array::{Array, RecordBatch};
use serde_json::Value;
use std::collections::HashMap;
use std::process::Output;
use taskvec::{DenseAndSparse, Device, Embedder, Request, SparseVector};
use taskvec_testing::fixture;
use tempfile::TempDir;

const WORDS: [&str; 9] = ["tea", "leaves", "hill", "cat", "night", "water", "stone", "river", "bird"];

/// A table of texts; every seventh row has none.
fn corpus() -> TempDir {
    let folder = TempDir::new().unwrap();
    let rows: Vec<String> = (0..300_usize)
        .map(|row| match row % 7 {
            6 => format!("{{\"id\": {row}, \"text\": null}}"),
            _ => {
                let text: Vec<&str> =
                    (0..3 + row % 4).map(|i| WORDS[row / 9_usize.pow(i as u32 % 3) % 9]).collect();
                format!("{{\"id\": {row}, \"text\": \"{}\"}}", text.join(" "))
            }
        })
        .collect();
    std::fs::write(folder.path().join("in.jsonl"), rows.join("\n")).unwrap();
    folder
}

fn text(row: usize) -> String {
    (0..3 + row % 4).map(|i| WORDS[row / 9_usize.pow(i as u32 % 3) % 9]).collect::<Vec<_>>().join(" ")
}

fn embed(folder: &TempDir, model: &str, arguments: &[&str]) -> Output {
    let mut command = taskvec(folder);
    command.arg("embed").arg("--model").arg(fixture(model)).args(["--device", "cpu", "--input", "in.jsonl"]);
    command.args(["--id", "id", "--keep", "all", "--on-error", "null"]).args(arguments).output().unwrap()
}

fn sparse_of(rows: &RecordBatch) -> Vec<Option<SparseVector>> {
    let column = rows.column_by_name("sparse").unwrap().as_struct();
    let list = |name: &str| column.column_by_name(name).unwrap().as_list::<i32>().clone();
    let (indices, values) = (list("indices"), list("values"));
    let of = |row: usize| SparseVector {
        indices: indices.value(row).as_primitive::<UInt32Type>().values().to_vec(),
        values: values.value(row).as_primitive::<Float32Type>().values().to_vec(),
    };
    (0..rows.num_rows()).map(|row| column.is_valid(row).then(|| of(row))).collect()
}

/// Row and score of each hit.
fn search(folder: &TempDir, arguments: &[&str]) -> Vec<(u64, f64)> {
    let output = taskvec(folder)
        .args(["search", "the cat by night", "--device", "cpu", "--jsonl"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = stdout(&output).lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|hit| (hit["row"].as_u64().unwrap(), hit["score"].as_f64().unwrap())).collect()
}

/// In each format, what a text has by itself; the dense column is that of a file without the sparse one.
#[test]
fn both_kinds_of_vectors_stand_side_by_side() {
    let folder = corpus();
    let embedder = Embedder::builder().device(Device::Cpu).open(fixture("bge-m3")).unwrap();
    for output in ["v.parquet", "v.arrow", "v.jsonl", "f/"] {
        succeeds(&embed(&folder, "bge-m3", &["--give", "both", "--output", output]));
    }
    succeeds(&embed(&folder, "bge-m3", &["--output", "dense.parquet"]));
    succeeds(&embed(&folder, "bge-m3", &["--give", "sparse", "--output", "sparse.parquet"]));
    let rows = parquet_rows(&folder.path().join("v.parquet"));
    let (dense, sparse) = (vectors(&rows), sparse_of(&rows));
    assert_eq!(dense, vectors(&parquet_rows(&folder.path().join("dense.parquet"))));
    let alone = parquet_rows(&folder.path().join("sparse.parquet"));
    assert_eq!(sparse, sparse_of(&alone));
    assert!(alone.column_by_name("embedding").is_none());
    let lines = std::fs::read_to_string(folder.path().join("v.jsonl")).unwrap();
    for (row, line) in lines.lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        if row % 7 == 6 {
            assert!(dense[row].is_none() && sparse[row].is_none() && line["sparse"].is_null(), "{row}");
            continue;
        }
        let own: Vec<taskvec::Output<DenseAndSparse>> =
            embedder.embed_requests([Request::new(text(row))]).unwrap();
        let own = &own[0].value;
        assert_eq!(
            (dense[row].as_ref(), sparse[row].as_ref()),
            (Some(&own.dense), Some(&own.sparse)),
            "{row}"
        );
        assert!(!own.sparse.indices.is_empty());
        let indices: Vec<u32> = serde_json::from_value(line["sparse"]["indices"].clone()).unwrap();
        assert_eq!(indices, own.sparse.indices, "{row}");
    }
    // Standard output has both too.
    let mut command = taskvec(&folder);
    command.arg("embed").arg("--model").arg(fixture("bge-m3")).args(["--device", "cpu", "--give", "both"]);
    let said = command.args(["--format", "jsonl"]).arg(text(0)).output().unwrap();
    let said: Value = serde_json::from_str(stdout(&said)).unwrap();
    assert_eq!(
        serde_json::from_value::<Vec<f32>>(said["embedding"].clone()).unwrap(),
        *dense[0].as_ref().unwrap()
    );
    assert_eq!(
        serde_json::from_value::<Vec<u32>>(said["indices"].clone()).unwrap(),
        sparse[0].as_ref().unwrap().indices
    );
}

/// By sparse vectors: the oracle's scores; by both: the ranks of the two.
#[test]
fn a_search_goes_by_what_the_files_have() {
    let folder = corpus();
    succeeds(&embed(&folder, "bge-m3", &["--give", "both", "--output", "v.parquet"]));
    succeeds(&embed(&folder, "bge-m3", &["--give", "both", "--output", "v.arrow"]));
    succeeds(&embed(&folder, "bge-m3", &["--output", "dense.parquet"]));
    let embedder = Embedder::builder().device(Device::Cpu).open(fixture("bge-m3")).unwrap();
    let query: Vec<taskvec::Output<DenseAndSparse>> = embedder.embed_requests(["the cat by night"]).unwrap();
    let stored = sparse_of(&parquet_rows(&folder.path().join("v.parquet")));
    let mut want: Vec<(u64, f32)> = (0..)
        .zip(&stored)
        .filter_map(|(row, vector)| Some((row, vector.as_ref()?.dot(&query[0].value.sparse))))
        .filter(|(_, score)| *score > 0.0)
        .collect();
    want.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let of = |hits: &[(u64, f64)]| hits.iter().map(|(row, score)| (*row, *score as f32)).collect::<Vec<_>>();
    for file in ["v.parquet", "v.arrow"] {
        let by_sparse = search(&folder, &["--in", file, "--by", "sparse", "--top", "200"]);
        assert_eq!(of(&by_sparse), want[..by_sparse.len()], "{file}");
        assert_eq!(by_sparse.len(), want.len().min(200));
        let by_dense = search(&folder, &["--in", file, "--by", "dense", "--top", "200"]);
        assert_eq!(by_dense[..10], search(&folder, &["--in", "dense.parquet"])[..]);
        let mut ranks: HashMap<u64, f64> = HashMap::new();
        for hits in [&by_dense, &by_sparse] {
            for (rank, (row, _)) in hits.iter().take(100).enumerate() {
                *ranks.entry(*row).or_default() += 1.0 / (61.0 + rank as f64);
            }
        }
        let found = search(&folder, &["--in", file]);
        assert_eq!(found.len(), 10);
        let mut best: Vec<f64> = ranks.values().copied().collect();
        best.sort_by(|a, b| b.total_cmp(a));
        for ((row, score), best) in found.iter().zip(best) {
            assert!(
                (score - best).abs() < 1e-6 && (ranks[row] - best).abs() < 1e-6,
                "{file}: {row} {score} {best}"
            );
        }
        let table =
            taskvec(&folder).args(["search", "tea", "--device", "cpu", "--in", file]).output().unwrap();
        let header = stdout(&table).lines().next().unwrap();
        assert_eq!(
            header.split_whitespace().collect::<Vec<_>>(),
            ["score", "index", "id", "text"],
            "no vectors"
        );
        let some = search(&folder, &["--in", file, "--where", "id<100", "--top", "200"]);
        assert!(!some.is_empty() && some.iter().all(|(row, _)| *row < 100));
    }
}

/// A model that gives sparse vectors alone.
#[test]
fn sparse_vectors_alone_are_searched_and_have_no_place_on_a_map() {
    let folder = corpus();
    succeeds(&embed(&folder, "splade-bert", &["--give", "sparse", "--output", "v.parquet"]));
    let hits = search(&folder, &["--in", "v.parquet", "--top", "3"]);
    assert_eq!(hits.len(), 3);
    assert_eq!(hits, search(&folder, &["--in", "v.parquet", "--top", "3", "--by", "sparse"]));
    let run = |arguments: &[&str]| taskvec(&folder).args(arguments).output().unwrap();
    fails(
        &run(&["search", "tea", "--device", "cpu", "--in", "v.parquet", "--by", "dense"]),
        2,
        &["sparse vectors only"],
    );
    fails(&run(&["map", "v.parquet", "-o", "m.svg"]), 2, &["sparse vectors only"]);
    fails(&embed(&folder, "splade-bert", &["--output", "w.parquet"]), 1, &["it gives sparse vectors"]);
    fails(&embed(&folder, "splade-bert", &["--give", "sparse", "--output", "w.npy"]), 2, &["jsonl"]);
    succeeds(&embed(&folder, "bge-m3", &["--output", "dense.parquet"]));
    fails(
        &run(&["search", "tea", "--device", "cpu", "--in", "dense.parquet", "--by", "hybrid"]),
        2,
        &["no sparse vectors"],
    );
    fails(&run(&["search", "tea", "--device", "cpu", "--in", "dense.parquet", "v.parquet"]), 1, &["give"]);
}
