//! `taskvec similarity`

use super::arguments::SimilarityArguments;
use super::sink::Sink;
use super::{Outcome, warn};
use taskvec::cosine;

pub(crate) fn run(arguments: &SimilarityArguments) -> Outcome {
    let embedder = arguments.model.open()?;
    let embeddings = embedder.embed_batch(&arguments.texts, arguments.task.options())?;
    warn(&embedder, &embeddings);
    let mut sink = Sink::open(None)?;
    let numbers: Vec<String> = (0..embeddings.len()).map(|i| format!("{i:>8}")).collect();
    sink.write(format!("{:4}{}  text\n", "", numbers.concat()).as_bytes())?;
    for (i, (a, text)) in embeddings.iter().zip(&arguments.texts).enumerate() {
        let cosines: Vec<String> =
            embeddings.iter().map(|b| format!("{:8.4}", cosine(&a.vector, &b.vector))).collect();
        sink.write(format!("{i:4}{}  {}\n", cosines.concat(), shortened(text)).as_bytes())?;
    }
    sink.finish()
}

/// A text on one line, cut where it gets long.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
