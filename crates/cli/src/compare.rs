//! `taskvec compare`: how tasks move the vectors of texts.

use crate::arguments::CompareArguments;
use crate::outcome::Outcome;
use crate::sink::Sink;
use crate::text::shortened;
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
        sink.write(heat_map(&labels, &cosines).as_bytes())?;
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

/// The cosines as coloured squares, from white at the smallest to dark blue at 1.
fn heat_map(labels: &[(&str, String)], cosines: &[Vec<f32>]) -> String {
    const CELL: usize = 46;
    const LEFT: usize = 430;
    let min = cosines.iter().flatten().copied().fold(1.0, f32::min);
    let side = labels.len() * CELL;
    let (width, height) = (LEFT + side + 20, side + 60);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"24\" font-size=\"15\">Cosines between the vectors of texts under tasks</text>\n"
    );
    for (i, ((task, label), row)) in labels.iter().zip(cosines).enumerate() {
        let y = 40 + i * CELL;
        let middle = y + CELL / 2 + 4;
        let label = escaped(&format!("{i}  {task}: {label}"));
        let _ = writeln!(svg, "<text x=\"10\" y=\"{middle}\">{label}</text>");
        for (j, cosine) in row.iter().enumerate() {
            let x = LEFT + j * CELL;
            let share = if min < 1.0 { ((cosine - min) / (1.0 - min)).clamp(0.0, 1.0) } else { 1.0 };
            let tone = |from: f32, to: f32| (from + (to - from) * share).round() as u8;
            let colour = format!("rgb({},{},{})", tone(255.0, 8.0), tone(255.0, 48.0), tone(255.0, 107.0));
            let ink = if share > 0.55 { "white" } else { "black" };
            let centre = x + CELL / 2;
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" fill=\"{colour}\"/>\
                 <text x=\"{centre}\" y=\"{middle}\" fill=\"{ink}\" text-anchor=\"middle\">{cosine:.3}</text>"
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
