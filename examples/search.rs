//! A search over the lines of a file, by meaning.
//!
//! `cargo run --release --example search -- README.md "how do I make vectors smaller?"`, or with a
//! model's folder as a third argument: one that was trained with task prompts (E5, EmbeddingGemma, Qwen3-Embedding, …)
//! gets its own for the question and for the lines.

use std::sync::Arc;
use taskvec::{EmbedOptions, Embedder, Request, Similarity, Task};

/// Hits that are printed.
const SHOWN: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(question)) = (arguments.next(), arguments.next()) else {
        return Err("usage: search FILE QUESTION [MODEL]".into());
    };
    let embedder = match arguments.next() {
        Some(folder) => Embedder::open(folder)?,
        None => Embedder::builtin()?,
    };
    let query = embedder.embed(&question, Task::RetrievalQuery)?;
    let text = std::fs::read_to_string(file)?;
    let lines: Vec<(usize, &str)> = text.lines().enumerate().filter(|(_, line)| line.len() > 20).collect();
    let options = Arc::new(EmbedOptions::new().task(Task::RetrievalDocument));
    let requests = lines.iter().map(|(_, line)| Request::new(*line).options(options.clone()));
    let mut hits = Vec::new();
    for ((number, line), document) in lines.iter().zip(embedder.stream(requests)) {
        hits.push((query.similarity(&document?, Similarity::Cosine)?, number + 1, line));
    }
    hits.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
    for (similarity, number, line) in hits.into_iter().take(SHOWN) {
        println!("{similarity:.3}  line {number}: {}", line.trim());
    }
    Ok(())
}
