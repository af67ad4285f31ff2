//! `taskvec search` finds what an exact search finds.

use crate::binary::{fails, stderr, stdout, taskvec};
use crate::corpus::{embed, parquet_rows, succeeds, vectors};
use serde_json::Value;
use std::process::Output;
use taskvec_testing::fixture;
use tempfile::TempDir;

fn search(folder: &TempDir, arguments: &[&str]) -> Output {
    taskvec(folder).arg("search").args(["--device", "cpu"]).args(arguments).output().unwrap()
}

/// Row and score of each hit.
fn hits(output: &Output) -> Vec<(u64, f64)> {
    assert!(output.status.success(), "{}", stderr(output));
    let lines = stdout(output).lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|hit| (hit["row"].as_u64().unwrap(), hit["score"].as_f64().unwrap())).collect()
}

/// Texts enough for several groups of rows, and a file of them in each type and format.
fn corpus() -> TempDir {
    let folder = TempDir::new().unwrap();
    let words = ["tea", "leaves", "hill", "cat", "day", "night", "water", "stone", "river", "bird", "house"];
    let mut rows = String::from("id,text\n");
    for row in 0..20_000_usize {
        let text: Vec<&str> = (0..4).map(|i| words[(row / 11_usize.pow(i)) % 11]).collect();
        rows += &format!("{row},{} {}\n", text.join(" "), row / 14_641);
    }
    std::fs::write(folder.path().join("in.csv"), rows).unwrap();
    folder
}

const BASE: [&str; 6] = ["--input", "in.csv", "--text", "text", "--id", "id"];

fn query_vector(query: &str) -> Vec<f32> {
    let embedder =
        taskvec::Embedder::builder().device(taskvec::Device::Cpu).open(fixture("bert-e5")).unwrap();
    embedder.embed(query, taskvec::Task::RetrievalQuery).unwrap().value
}

/// In f32, from Parquet, Arrow and a folder, with a query for documents: the oracle's rows in its order.
#[test]
fn the_best_are_those_of_an_exact_search() {
    let folder = corpus();
    let documents = ["--task", "retrieval-document"];
    for output in ["v.parquet", "v.arrow", "v/"] {
        succeeds(&embed(&folder, &[&BASE[..], &documents, &["--output", output]].concat()));
    }
    let stored = vectors(&parquet_rows(&folder.path().join("v.parquet")));
    for query in ["the cat by the river", "water"] {
        let vector = query_vector(query);
        let dot = |row: &Option<Vec<f32>>| -> f64 {
            row.as_ref().unwrap().iter().zip(&vector).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let mut want: Vec<(usize, f64)> = stored.iter().map(dot).enumerate().collect();
        want.sort_by(|a, b| b.1.total_cmp(&a.1));
        for file in ["v.parquet", "v.arrow"] {
            let found = hits(&search(&folder, &[query, "--in", file, "--jsonl", "--top", "20"]));
            assert_eq!(found.len(), 20);
            for ((row, score), (place, exact)) in found.iter().zip(&want) {
                assert!((score - exact).abs() < 1e-6, "{file}: {score} and {exact}");
                // Others may be as good, to the last bits of f32.
                let of_row = dot(&stored[*row as usize]);
                assert!(
                    *row == *place as u64 || (of_row - exact).abs() < 1e-6,
                    "{file}: row {row}, not {place}"
                );
            }
        }
        let whole = hits(&search(&folder, &[query, "--in", "v.parquet", "--jsonl"]));
        let parts = search(&folder, &[query, "--in", "v", "--jsonl"]);
        let parts: Vec<f64> = hits(&parts).into_iter().map(|(_, score)| score).collect();
        assert_eq!(parts, whole.into_iter().map(|(_, score)| score).collect::<Vec<_>>());
    }
}

/// Smaller types find nearly the same, and equal ones in each format; many queries what each finds alone.
#[test]
fn smaller_types_and_many_queries() {
    let folder = corpus();
    succeeds(&embed(&folder, &[&BASE[..], &["--output", "f32.parquet"]].concat()));
    let exact = hits(&search(&folder, &["cat water", "--in", "f32.parquet", "--jsonl"]));
    for kind in ["f16", "int8", "uint8", "binary", "ubinary"] {
        let mut more = vec!["--type", kind];
        if kind.ends_with("int8") {
            more.extend(["--calibrate", "sample.txt"]);
            std::fs::write(
                folder.path().join("sample.txt"),
                "tea hill\ncat day 1\nnight water\nriver bird stone\nhouse\nleaves 0\n",
            )
            .unwrap();
        }
        let find = |ending: &str| {
            let file = format!("{kind}.{ending}");
            succeeds(&embed(&folder, &[&BASE[..], &more, &["--output", &file]].concat()));
            hits(&search(&folder, &["cat water", "--in", &file, "--jsonl"]))
        };
        let (parquet, arrow) = (find("parquet"), find("arrow"));
        assert_eq!(parquet, arrow, "{kind}");
        if kind == "f16" {
            assert!(
                parquet.iter().zip(&exact).all(|(a, b)| (a.1 - b.1).abs() < 1e-3),
                "{parquet:?} {exact:?}"
            );
        }
        assert!(parquet.windows(2).all(|pair| pair[0].1 >= pair[1].1), "{kind}: best first");
    }
    let queries = ["cat water", "bird", "the house on the hill", "night", "stone", "day"];
    std::fs::write(folder.path().join("queries.txt"), queries.join("\n")).unwrap();
    let all =
        hits(&search(&folder, &["--queries", "queries.txt", "--in", "f32.parquet", "--jsonl", "--top", "5"]));
    for (query, found) in queries.iter().zip(all.chunks(5)) {
        assert_eq!(
            found,
            hits(&search(&folder, &[query, "--in", "f32.parquet", "--jsonl", "--top", "5"])),
            "{query}"
        );
    }
}

/// Conditions on kept columns leave the order of the others as it was.
#[test]
fn only_rows_that_fulfil_conditions_are_found() {
    let folder = corpus();
    for file in ["v.parquet", "v.arrow"] {
        succeeds(&embed(&folder, &[&BASE[..], &["--keep", "text", "--output", file]].concat()));
        let all = hits(&search(&folder, &["cat water", "--in", file, "--jsonl", "--top", "20000"]));
        assert_eq!(all.len(), 20_000, "{file}");
        let conditions = ["--where", "index>=3000", "--where", "index < 9000", "--where", "id!=4000"];
        let found = hits(&search(
            &folder,
            &[&["cat water", "--in", file, "--jsonl", "--top", "50"][..], &conditions].concat(),
        ));
        let want: Vec<(u64, f64)> =
            all.into_iter().filter(|(row, _)| (3000..9000).contains(row) && *row != 4000).take(50).collect();
        assert_eq!(found, want, "{file}");
        fails(&search(&folder, &["cat", "--in", file, "--where", "year=5"]), 1, &["`year`", "index, id"]);
        fails(&search(&folder, &["cat", "--in", file, "--where", "index"]), 2, &["year>=2020"]);
    }
}

/// A query of another model, precision or purpose is refused, with what to do.
#[test]
fn spaces_are_not_mixed() {
    let folder = corpus();
    succeeds(&embed(
        &folder,
        &[&BASE[..], &["--output", "v.parquet", "--task", "retrieval-document"]].concat(),
    ));
    let query =
        |more: &[&str]| search(&folder, &[&["cat", "--in", "v.parquet", "--top", "3"], more].concat());
    let found = query(&[]);
    succeeds(&found);
    assert!(stdout(&found).starts_with("  score  index  id"), "{}", stdout(&found));
    assert_eq!(stdout(&found).lines().count(), 4);
    let other = fixture("bert-bge");
    fails(&query(&["--model", other.to_str().unwrap()]), 1, &["cannot be compared", "--model", "bert-e5"]);
    fails(&query(&["--precision", "int8"]), 1, &["cannot be compared", "--precision"]);
    fails(&query(&["--task", "clustering"]), 1, &["prompts"]);
    fails(&query(&["--show", "title"]), 2, &["title", "index, id"]);
    std::fs::write(folder.path().join("v.npy"), "x").unwrap();
    fails(&search(&folder, &["cat", "--in", "v.npy"]), 1, &["v.npy", "Parquet"]);
    fails(&search(&folder, &["cat", "--in", "none.parquet"]), 1, &["none.parquet"]);
    let verified = taskvec(&folder)
        .args(["verify", "v.parquet", "--task", "query", "--model"])
        .arg(fixture("bert-e5"))
        .output();
    succeeds(&verified.unwrap());
}
