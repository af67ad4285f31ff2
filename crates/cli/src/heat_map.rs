//! Cosines as a picture.

use crate::text::escaped;
use std::fmt::Write;

/// The side of a square, the place of the labels, and what is above the squares.
const CELL: usize = 46;
const LEFT: usize = 450;
const TOP: usize = 100;

/// The width of the scale of colours, and of its steps.
const SCALE: usize = 240;
const STEP: usize = 4;

/// The cosines as coloured squares, row and column by the number of a text under a task: white at 0, dark blue at 1, and
/// orange below 0, whatever the cosines are, so that pictures can be held beside each other.
pub(crate) fn heat_map(model: &str, labels: &[(&str, String)], cosines: &[Vec<f32>]) -> String {
    let side = labels.len() * CELL;
    let is_signed = cosines.iter().flatten().any(|cosine| *cosine < 0.0);
    let (width, height) = (LEFT + side.max(SCALE) + 20, TOP + side + 74);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"28\" font-size=\"17\">Cosines between the vectors of texts under tasks</text>\n\
         <text x=\"10\" y=\"48\" fill=\"#555\">{}</text>\n",
        escaped(model)
    );
    // Writing to a String cannot fail.
    for (i, ((task, label), row)) in labels.iter().zip(cosines).enumerate() {
        let (x, y) = (LEFT + i * CELL + CELL / 2, TOP + i * CELL);
        let middle = y + CELL / 2 + 4;
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" font-weight=\"bold\">{i}</text>\n\
             <text x=\"10\" y=\"{middle}\"><tspan font-weight=\"bold\">{i}</tspan> {}: {}</text>",
            TOP - 8,
            escaped(task),
            escaped(label)
        );
        for (j, cosine) in row.iter().enumerate() {
            let x = LEFT + j * CELL;
            let (colour, ink) = colours(*cosine);
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" fill=\"{colour}\" stroke=\"#fff\"/>\
                 <text x=\"{}\" y=\"{middle}\" fill=\"{ink}\" text-anchor=\"middle\">{cosine:.3}</text>",
                x + CELL / 2
            );
        }
    }
    // Where one text ends and the next begins.
    for (i, _) in labels.windows(2).enumerate().filter(|(_, pair)| pair[0].1 != pair[1].1) {
        let (at, y) = (LEFT + (i + 1) * CELL, TOP + (i + 1) * CELL);
        let _ = writeln!(svg, "<path d=\"M{LEFT} {y}h{side}M{at} {TOP}v{side}\" stroke=\"#222\"/>");
    }
    scale(&mut svg, TOP + side + 24, is_signed);
    svg.push_str("</svg>\n");
    svg
}

/// What the colours mean.
fn scale(svg: &mut String, y: usize, is_signed: bool) {
    let lowest = if is_signed { -1.0 } else { 0.0 };
    for x in (0..SCALE).step_by(STEP) {
        let share = (x as f32 + STEP as f32 / 2.0) / SCALE as f32;
        let (colour, _) = colours(lowest + share * (1.0 - lowest));
        let _ = writeln!(
            svg,
            "<rect x=\"{}\" y=\"{y}\" width=\"{STEP}\" height=\"14\" fill=\"{colour}\"/>",
            LEFT + x
        );
    }
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{SCALE}\" height=\"14\" fill=\"none\" stroke=\"#999\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\">cosine</text>",
        LEFT - 12,
        y + 12
    );
    for i in 0..=4 {
        let value = lowest + (1.0 - lowest) * i as f32 / 4.0;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{value}</text>",
            LEFT + i * SCALE / 4,
            y + 30
        );
    }
}

/// The colour of a cosine, and one that can be read on it. Blue and orange are told apart by all kinds of colour vision.
fn colours(cosine: f32) -> (String, &'static str) {
    let share = cosine.abs().min(1.0);
    let darkest = if cosine < 0.0 { [179.0, 84.0, 30.0] } else { [8.0, 48.0, 107.0] };
    let [red, green, blue] = darkest.map(|dark: f32| (255.0 + (dark - 255.0) * share).round() as u8);
    (format!("rgb({red},{green},{blue})"), if share > 0.55 { "white" } else { "black" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_do_not_depend_on_the_other_cosines() {
        let labels = [("query", "a".to_owned()), ("document", "a".to_owned()), ("query", "<b>".to_owned())];
        let picture = |least: f32| {
            heat_map("model", &labels, &[vec![1.0, 0.5, least], vec![0.5, 1.0, 0.5], vec![least, 0.5, 1.0]])
        };
        for picture in [picture(0.0), picture(0.4), picture(-0.3)] {
            assert!(picture.contains(&format!("fill=\"{}\"", colours(0.5).0)), "{picture}");
        }
        assert_eq!(colours(0.0), ("rgb(255,255,255)".to_owned(), "black"));
        assert_eq!(colours(-1.0).0, "rgb(179,84,30)");
        let picture = picture(-0.3);
        assert!(
            picture.contains(">-1</text>")
                && picture.contains("query: &lt;b&gt;")
                && picture.contains(">model<")
        );
        assert_eq!(picture.matches("font-weight=\"bold\">2<").count(), 2, "numbers of rows and columns");
    }
}
