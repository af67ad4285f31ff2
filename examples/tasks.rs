//! One text under four tasks: what is put in front of it, and how far apart the vectors lie.
//!
//! `cargo run --release --example tasks -- path/to/e5-small-v2`. The built-in model, which runs
//! without an argument, was trained without task prompts: its four vectors are one, and it says so.

use taskvec::{Embedder, Embedding, Task, cosine};

const TEXT: &str = "How do transformers work?";
const TASKS: [Task; 4] =
    [Task::RetrievalQuery, Task::RetrievalDocument, Task::Clustering, Task::CodeRetrievalQuery];

fn main() -> taskvec::Result<()> {
    let embedder = match std::env::args().nth(1) {
        Some(folder) => Embedder::open(folder)?,
        None => Embedder::builtin()?,
    };
    let embeddings: Vec<Embedding> =
        TASKS.into_iter().map(|task| embedder.embed(TEXT, task)).collect::<Result<_, _>>()?;
    for (task, embedding) in TASKS.iter().zip(&embeddings) {
        let prompt = &embedding.prompt;
        println!("{:22} {:?} ({})", task.name(), format!("{}{TEXT}", prompt.text), prompt.source);
        if let Some(note) = &prompt.note {
            println!("{:22} note: {note}", "");
        }
    }
    println!("\ncosine between them:");
    for a in &embeddings {
        let row: Vec<String> =
            embeddings.iter().map(|b| format!("{:.4}", cosine(&a.value, &b.value))).collect();
        println!("  {}", row.join("  "));
    }
    Ok(())
}
