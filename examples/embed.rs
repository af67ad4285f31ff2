//! The ten-line use: which of some documents answers a question?
//!
//! `cargo run --release --example embed`, or with a model folder as its argument.

use taskvec::{Embedder, Task, cosine};

fn main() -> taskvec::Result<()> {
    let embedder = match std::env::args().nth(1) {
        Some(folder) => Embedder::open(folder)?,
        None => Embedder::builtin()?,
    };
    let documents = ["Tea is made from leaves.", "A transformer is a neural network built on attention."];
    let query = embedder.embed("How do transformers work?", Task::RetrievalQuery)?;
    for (text, document) in documents.iter().zip(embedder.embed_batch(&documents, Task::RetrievalDocument)?) {
        println!("{:.4}  {text}", cosine(&query.value, &document.value));
    }
    Ok(())
}
