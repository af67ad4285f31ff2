//! `taskvec compare`: how tasks move the vectors of texts.

use crate::arguments::CompareArguments;
use crate::heat_map::heat_map;
use crate::outcome::Outcome;
use crate::sink::Sink;
use crate::text::{model_name, shortened};
use std::fmt::Write;
use taskvec::cosine;

pub(crate) fn run(arguments: &CompareArguments) -> Outcome {
    let embedder = arguments.model.open(None)?;
    let mut labels = Vec::new();
    let mut vectors = Vec::new();
    let mut note = None;
    for text in &arguments.texts {
        for task in &arguments.tasks.0 {
            let embedding = embedder.embed(text, *task)?;
            note = note.or_else(|| embedding.prompt.note.clone());
            labels.push((task.name(), shortened(text, 40)));
            vectors.push(embedding.value);
        }
    }
    let cosines: Vec<Vec<f32>> =
        vectors.iter().map(|a| vectors.iter().map(|b| cosine(a, b)).collect()).collect();
    if let Some(note) = note {
        eprintln!("taskvec: warning: {note}");
    }
    if let Some(file) = &arguments.svg {
        let mut sink = Sink::open(Some(file))?;
        let model = embedder.model().display().to_string();
        sink.write(heat_map(model_name(&model), &labels, &cosines).as_bytes())?;
        sink.finish()?;
    }
    let mut sink = Sink::open(None)?;
    sink.write(table(&labels, &cosines).as_bytes())?;
    sink.finish()
}

fn table(labels: &[(&str, String)], cosines: &[Vec<f32>]) -> String {
    let mut text = String::from("    ");
    // Writing to a String cannot fail.
    (0..labels.len()).for_each(|i| {
        let _ = write!(text, "{i:>8}");
    });
    text.push('\n');
    for (i, ((task, label), row)) in labels.iter().zip(cosines).enumerate() {
        let row: String = row.iter().map(|cosine| format!("{cosine:8.4}")).collect();
        let _ = writeln!(text, "{i:4}{row}  {task:22}{label}");
    }
    text
}
