//! `taskvec map` draws what files of vectors hold.

use crate::binary::{fails, stderr, taskvec};
use crate::corpus::{embed, succeeds};
use serde_json::Value;
use std::process::Output;
use taskvec_corpus::Index;
use tempfile::TempDir;

fn map(folder: &TempDir, arguments: &[&str]) -> Output {
    taskvec(folder).arg("map").args(arguments).output().unwrap()
}

/// Texts of three kinds; one row has none.
fn corpus() -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut rows = String::from("kind,text,year\n");
    for row in 0..60 {
        let (kind, words) =
            [("tea", "tea leaves"), ("cats", "a cat by the river"), ("", "stone <b>")][row % 3];
        rows += &format!("{kind},{words} {row},{}\n", 2000 + row);
    }
    rows += "none,,2000\n";
    std::fs::write(folder.path().join("in.csv"), rows).unwrap();
    folder
}

const BASE: [&str; 8] = ["--input", "in.csv", "--text", "text", "--keep", "all", "--on-error", "null"];

/// What a page shows.
fn data(folder: &TempDir, name: &str) -> Value {
    let page = std::fs::read_to_string(folder.path().join(name)).unwrap();
    let start = page.split("const DATA = ").nth(1).unwrap();
    serde_json::from_str(start.split(";\n").next().unwrap()).unwrap()
}

#[test]
fn texts_stand_on_the_map_by_label_or_cluster() {
    let folder = corpus();
    succeeds(&embed(&folder, &[&BASE[..], &["--output", "v.parquet"]].concat()));
    succeeds(&map(&folder, &["v.parquet", "--output", "m.html", "--label", "kind", "--title", "Kinds"]));
    let page = data(&folder, "m.html");
    let groups: Vec<(&str, u64)> = page["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| (group["name"].as_str().unwrap(), group["rows"].as_u64().unwrap()))
        .collect();
    assert_eq!(page["title"], "Kinds");
    assert_eq!(page["texts"].as_array().unwrap().len(), 61, "a text of no characters has a vector: {page}");
    assert_eq!(groups.iter().map(|(_, rows)| rows).sum::<u64>(), 61);
    assert!(groups.contains(&("tea", 20)) && groups.contains(&("cats", 20)), "{groups:?}");
    assert!(page["subtitle"].as_str().unwrap().contains("t-SNE"));
    // The same again; clusters are named by one of their texts.
    succeeds(&map(&folder, &["v.parquet", "-o", "one.svg", "--clusters", "3"]));
    succeeds(&map(&folder, &["v.parquet", "-o", "two.svg", "--clusters", "3"]));
    let [one, two] =
        ["one.svg", "two.svg"].map(|name| std::fs::read_to_string(folder.path().join(name)).unwrap());
    assert!(one == two, "the same vectors give the same picture");
    assert!(one.contains("tea leaves") && one.contains("&lt;b&gt;") && !one.contains("<b>"));
    // Some of them, and the other way to place them.
    let few = ["v.parquet", "-o", "few.html", "--where", "year>=2040", "--rows", "9", "--method", "pca"];
    let drawn = map(&folder, &few);
    succeeds(&drawn);
    assert!(stderr(&drawn).contains("9 of 61 texts"), "{}", stderr(&drawn));
    let page = data(&folder, "few.html");
    assert!(page["axes"][0].as_str().unwrap().contains("% of variance"), "{page}");
    let late =
        |text: &Value| text.as_str().unwrap().rsplit(' ').next().unwrap().parse::<u32>().unwrap() >= 40;
    assert!(page["texts"].as_array().unwrap().iter().all(late), "{page}");
}

#[test]
fn what_cannot_be_drawn_is_told() {
    let folder = corpus();
    succeeds(&embed(&folder, &[&BASE[..], &["--output", "v.parquet"]].concat()));
    fails(&map(&folder, &["v.parquet", "-o", "m.png"]), 2, &[".html or .svg"]);
    fails(&map(&folder, &["v.parquet", "-o", "m.svg", "--label", "sort"]), 2, &["sort", "kind, text, year"]);
    fails(&map(&folder, &["v.parquet", "-o", "m.svg", "--text", "body"]), 2, &["--text body"]);
    fails(&map(&folder, &["in.csv", "-o", "m.svg"]), 1, &["neither Parquet nor Arrow"]);
    assert!(!folder.path().join("m.svg").exists());
}

/// Stored vectors as numbers: those of f32, within what a type can say.
#[test]
fn a_sample_is_the_stored_vectors() {
    let folder = corpus();
    let open = |name: &str| Index::open(&[folder.path().join(name)]).unwrap();
    succeeds(&embed(&folder, &[&BASE[..], &["--output", "f32.parquet"]].concat()));
    let exact = open("f32.parquet").sample(1000).unwrap();
    let width = open("f32.parquet").dimensions();
    assert_eq!((exact.hits.len(), exact.values.len()), (61, 61 * width));
    for (kind, most) in
        [("f32", 0.0), ("f16", 1e-3), ("int8", 0.02), ("uint8", 0.02), ("binary", 2.0), ("ubinary", 2.0)]
    {
        for ending in ["parquet", "arrow"] {
            let name = format!("v-{kind}.{ending}");
            let ranges: &[&str] = if kind.contains("int8") { &["--calibrate", "in.csv"] } else { &[] };
            succeeds(&embed(&folder, &[&BASE[..], ranges, &["--type", kind, "--output", &name]].concat()));
            let sample = open(&name).sample(1000).unwrap();
            assert_eq!(sample.hits, exact.hits, "{name}");
            for (value, exact) in sample.values.iter().zip(&exact.values) {
                assert!((value - exact).abs() <= most, "{name}: {value} and {exact}");
                assert!(
                    !kind.contains("binary") || *value == if *exact > 0.0 { 1.0 } else { -1.0 },
                    "{name}"
                );
            }
        }
    }
    let some = open("f32.parquet").sample(7).unwrap();
    let rows: Vec<u64> = some.hits.iter().map(|hit| hit.row).collect();
    assert_eq!((rows.len(), some.values.len()), (7, 7 * width));
    assert!(rows.windows(2).all(|pair| (8..=9).contains(&(pair[1] - pair[0]))), "{rows:?}");
    assert_eq!(open("f32.parquet").sample(0).unwrap().hits, []);
}
