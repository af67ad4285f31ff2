//! The map as a picture that stays as it is.

use crate::groups::{Form, Group};
use crate::map::Map;
use std::fmt::Write;

/// The side of the square that points are in, and where it begins.
const SIDE: f64 = 760.0;
const LEFT: f64 = 40.0;
const TOP: f64 = 78.0;

/// The width of the legend, and characters that fit in it.
const LEGEND: f64 = 360.0;
const CHARACTERS: usize = 40;

/// Characters of the line below the title.
const SUBTITLE: usize = 150;

/// Characters of a text that is shown when it is pointed at.
const SHOWN: usize = 300;

impl Map {
    /// The map as SVG. A browser shows the text of a point when it is pointed at.
    pub fn svg(&self) -> String {
        let lines = self.groups.all.len();
        let (width, height) =
            (LEFT + SIDE + 24.0 + LEGEND, (TOP + SIDE + 40.0).max(TOP + 24.0 * lines as f64 + 20.0));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"34\" font-size=\"20\">{}</text>\n\
             <text x=\"{LEFT}\" y=\"58\" fill=\"#555\">{}</text>\n\
             <rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{SIDE}\" height=\"{SIDE}\" fill=\"none\" stroke=\"#ccc\"/>\n",
            escaped(&cut(&self.title, 100)),
            escaped(&cut(&self.subtitle(), SUBTITLE)),
        );
        self.axes(&mut svg);
        let radius = radius(self.texts.len());
        // Small groups last, so that large ones do not hide them.
        for (place, group) in self.groups.all.iter().enumerate() {
            let _ = writeln!(svg, "<g fill=\"{}\" fill-opacity=\"0.75\">", group.colour); // a String takes all
            let rows = self.groups.of_rows.iter().enumerate().filter(|(_, of)| **of == place);
            for (row, _) in rows {
                let Some(point) = self.placement.points.get(row) else { continue };
                let text = self.texts.get(row).map_or("", String::as_str);
                svg += &mark(
                    group.form,
                    on_paper(*point),
                    radius,
                    &format!("<title>{}</title>", escaped(&cut(text, SHOWN))),
                );
            }
            svg += "</g>\n";
        }
        self.numbers(&mut svg);
        self.legend(&mut svg);
        svg += "</svg>\n";
        svg
    }

    fn axes(&self, svg: &mut String) {
        let [x, y] = &self.placement.axes;
        let (middle, bottom) = (LEFT + SIDE / 2.0, TOP + SIDE + 24.0);
        let (left, centre) = (LEFT - 14.0, TOP + SIDE / 2.0);
        let _ = writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{bottom}\" text-anchor=\"middle\" fill=\"#555\">{}</text>\n\
             <text x=\"{left}\" y=\"{centre}\" text-anchor=\"middle\" fill=\"#555\" transform=\"rotate(-90 {left} {centre})\">{}</text>",
            escaped(x),
            escaped(y),
        );
    }

    /// The groups' numbers, where they are.
    fn numbers(&self, svg: &mut String) {
        for (i, place) in self.group_places().into_iter().enumerate() {
            let Some((x, y)) = place.map(on_paper) else { continue };
            let text = |paint: &str| {
                format!(
                    "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-weight=\"bold\" {paint}>{}</text>",
                    y + 5.0,
                    i + 1
                )
            };
            // A white edge that does not depend on the viewer's order of painting.
            let edge = text("fill=\"none\" stroke=\"#fff\" stroke-width=\"4\" stroke-linejoin=\"round\"");
            let _ = writeln!(svg, "{edge}{}", text("fill=\"#222\""));
        }
    }

    fn legend(&self, svg: &mut String) {
        let x = LEFT + SIDE + 36.0;
        for (i, group) in self.groups.all.iter().enumerate() {
            let Group { name, rows, colour, form } = group;
            let y = TOP + 14.0 + 24.0 * i as f64;
            let full = escaped(&cut(name, SHOWN));
            let number = if group.is_own() { (i + 1).to_string() } else { String::new() };
            let _ = writeln!(
                svg,
                "<g fill=\"{colour}\">{}</g><text x=\"{:.1}\" y=\"{y:.1}\"><title>{full}</title><tspan font-weight=\"bold\">{number}</tspan> {} <tspan fill=\"#555\">({rows})</tspan></text>",
                mark(*form, (x, y - 4.0), 5.0, ""),
                x + 14.0,
                escaped(&cut(name, CHARACTERS)),
            );
        }
    }
}

/// Where a point of the map is in the picture.
fn on_paper([x, y]: [f32; 2]) -> (f64, f64) {
    let half = SIDE / 2.0;
    let reach = half - 14.0;
    (LEFT + half + reach * f64::from(x), TOP + half - reach * f64::from(y))
}

/// Many points are small.
fn radius(points: usize) -> f64 {
    (90.0 / (points.max(1) as f64).sqrt()).clamp(1.6, 5.0)
}

/// A form around a point, with what belongs in its tag.
fn mark(form: Form, (x, y): (f64, f64), r: f64, inside: &str) -> String {
    match form {
        Form::Circle => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r:.1}\">{inside}</circle>\n"),
        Form::Triangle => {
            let (left, low) = (x - 1.1 * r, y + 0.8 * r);
            format!(
                "<path d=\"M{left:.1} {low:.1}h{:.1}L{x:.1} {:.1}z\">{inside}</path>\n",
                2.2 * r,
                y - 1.2 * r
            )
        }
        Form::Square => {
            let side = 1.8 * r;
            format!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{side:.1}\" height=\"{side:.1}\">{inside}</rect>\n",
                x - side / 2.0,
                y - side / 2.0
            )
        }
    }
}

/// A text on one line, cut where it gets long.
pub(crate) fn cut(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// As text in XML, which has no control characters.
fn escaped(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|c| if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' { ' ' } else { c })
        .collect();
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Groups, Placement};

    #[test]
    fn every_row_is_drawn_once_and_texts_stay_texts() {
        let texts = ["<script>alert(1)</script>", "a & b\u{0}", "\"quoted\""].map(str::to_owned);
        let map = Map {
            title: "a <b>".to_owned(),
            about: "model".to_owned(),
            placement: Placement {
                points: vec![[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]],
                axes: [String::new(), String::new()],
                method: "by hand".to_owned(),
            },
            groups: Groups::of_labels(&[Some("x"), Some("x"), None]),
            texts: texts.into(),
        };
        let svg = map.svg();
        assert_eq!(svg.matches("<title>").count(), 3 + 2, "{svg}");
        assert!(svg.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && !svg.contains("<script"));
        assert!(
            svg.contains("a &amp; b ") && svg.contains("a &lt;b&gt;") && svg.contains("&quot;quoted&quot;")
        );
        assert!(svg.contains("model; 3 texts; by hand") && svg.contains("without a label"));
    }
}
