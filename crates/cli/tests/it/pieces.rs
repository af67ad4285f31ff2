//! `--pieces`: a long text in parts, whatever stands in it.

use crate::binary::{fails, stderr, stdout, taskvec};
use serde_json::Value;
use std::time::Instant;
use taskvec_testing::fixture;
use tempfile::TempDir;

/// The records, and what is said beside them.
fn pieces(model: &str, texts: &[&str], tokens: usize, more: &[&str]) -> (Vec<Value>, String) {
    let folder = TempDir::new().unwrap();
    let lines =
        texts.iter().map(|text| format!("{}\n", serde_json::json!({"text": text}))).collect::<String>();
    std::fs::write(folder.path().join("texts.jsonl"), lines).unwrap();
    let tokens = tokens.to_string();
    let output = taskvec(&folder)
        .args([
            "embed",
            "--device",
            "cpu",
            "--format",
            "jsonl",
            "--input",
            "texts.jsonl",
            "--pieces",
            &tokens,
        ])
        .arg("--model")
        .arg(fixture(model))
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{model} {tokens} {texts:?}: {}", stderr(&output));
    (stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect(), stderr(&output))
}

const TEXTS: [&str; 9] = [
    "One. Two three, and a longer sentence of many words after it.",
    "\u{feff}begins with a byte order mark",
    "",
    "   \u{a0} ",
    "\u{feff}",
    "e\u{301}\u{301} comb, \u{301}alone \u{301} and \u{200d}d👩\u{200d}👧",
    "東京タワーは東京都港区にある",
    "nul \0 and \u{fffd}",
    "last one",
];

/// Each text's pieces follow each other without a gap, each has tokens of its own, and no more than it may, but where a
/// few characters have more.
#[test]
fn pieces_are_whole_and_small_enough_in_any_model() {
    for model in ["bert-e5", "xlm-roberta-e5", "t5-gtr", "modernbert", "roberta", "embedding-gemma"] {
        for tokens in [1, 2, 3, 5, 9] {
            for more in [&[][..], &["--prompt", "x "], &["--prompt", "note:"]] {
                let (records, said) = pieces(model, &TEXTS, tokens, more);
                let what = format!("{model}, {tokens} tokens, {more:?}");
                let mut end = [0; TEXTS.len()];
                for record in &records {
                    let number =
                        |key: &str| record[key].as_u64().unwrap_or_else(|| panic!("{record}")) as usize;
                    let (text, start) = (number("text"), number("start"));
                    assert_eq!(start, end[text], "{what}: {record}");
                    end[text] = number("end");
                    let piece = &TEXTS[text][start..end[text]];
                    let has = number("tokens");
                    let is_one = piece.trim().chars().count() <= 2 || !piece.is_ascii();
                    let fits = has <= tokens || is_one;
                    assert!(has >= 1 && fits, "{what}: {has} tokens in {piece:?}");
                }
                let whole = |text: usize| end[text] == TEXTS[text].len() || end[text] == 0;
                assert!((0..TEXTS.len()).all(whole), "{what}: {end:?}");
                for text in [0, 1, 5, 6, 8] {
                    assert!(end[text] > 0, "{what}: text {text} has no pieces");
                }
                assert_eq!(end[2], 0, "{what}: an empty text has none");
                assert!(said.contains("no tokens of their own") && said.contains("text 2"), "{what}: {said}");
            }
        }
    }
}

#[test]
fn a_text_that_is_too_long_for_pieces_is_named() {
    let folder = TempDir::new().unwrap();
    let lines = format!("short\n\nalso short\n{}\n", "word ".repeat(600));
    std::fs::write(folder.path().join("texts.txt"), lines).unwrap();
    let output = taskvec(&folder)
        .args(["embed", "--device", "cpu", "--format", "jsonl", "--input", "texts.txt", "--pieces", "8"])
        .output()
        .unwrap();
    fails(&output, 1, &["text 3:", "602 tokens", "the limit is 256"]);
}

/// The limit comes first; and without one, the time grows with the length.
#[test]
fn a_megabyte_without_a_place_to_split_takes_no_minutes() {
    let start = Instant::now();
    let folder = TempDir::new().unwrap();
    for text in [".".repeat(1 << 20), "京".repeat(1 << 18), "a".repeat(1 << 20)] {
        std::fs::write(folder.path().join("texts.txt"), text).unwrap();
        let output = taskvec(&folder)
            .args(["embed", "--device", "cpu", "--format", "jsonl", "--input", "texts.txt", "--pieces", "20"])
            .output()
            .unwrap();
        // A word of a million letters is one unknown token.
        if !output.status.success() {
            fails(&output, 1, &["text 0:", "the limit is 256"]);
        }
    }
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
