//! Anything as the file of a corpus, or of vectors: an error that says what is wrong with it, or rows; never a panic.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use taskvec_corpus::{Columns, Corpus, Index, InputFormat, Keep};

fuzz_target!(|contents: &[u8]| {
    let file = common::file(contents);
    let formats = [
        None,
        Some(InputFormat::Lines),
        Some(InputFormat::Jsonl),
        Some(InputFormat::Csv),
        Some(InputFormat::Tsv),
        Some(InputFormat::Parquet),
        Some(InputFormat::Arrow),
    ];
    for format in formats {
        for keep in [Keep::Nothing, Keep::All] {
            let columns = Columns { keep, ..Columns::default() };
            if let Ok(corpus) = Corpus::open(&[file.path()], format, columns) {
                corpus.texts().take(10_000).for_each(drop);
            }
        }
    }
    if let Ok(index) = Index::open(&[file.path()]) {
        let query = vec![0.5; index.dimensions().min(4096)];
        if let Ok(hits) = index.search(&query, 3) {
            let _ = index.columns(&hits);
        }
    }
});
