//! `taskvec similarity`

use crate::arguments::SimilarityArguments;
use crate::outcome::Outcome;
use crate::sink::Sink;
use crate::text::shortened;
use crate::warnings::Warnings;

pub(crate) fn run(arguments: &SimilarityArguments) -> Outcome {
    let embedder = arguments.model.open(arguments.task.dimensions)?;
    let by = arguments.by.unwrap_or_else(|| embedder.similarity_function());
    let embeddings = embedder.embed_batch(&arguments.texts, arguments.task.options())?;
    let mut warnings = Warnings::default();
    warnings.about_dimensions(&embedder, arguments.task.dimensions);
    embeddings.iter().for_each(|embedding| warnings.note(embedding));
    warnings.print(&embedder, arguments.task.too_long());
    let mut sink = Sink::open(None)?;
    let numbers: Vec<String> = (0..embeddings.len()).map(|i| format!("{i:>10}")).collect();
    sink.write(format!("{:4}{}  text ({by})\n", "", numbers.concat()).as_bytes())?;
    for (i, (a, text)) in embeddings.iter().zip(&arguments.texts).enumerate() {
        let row: Result<Vec<String>, taskvec::Error> =
            embeddings.iter().map(|b| Ok(format!("{:10.4}", a.similarity(b, by)?))).collect();
        sink.write(format!("{i:4}{}  {}\n", row?.concat(), shortened(text, 60)).as_bytes())?;
    }
    sink.finish()
}
