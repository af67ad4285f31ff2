//! A roofline: what arithmetic and memory allow at each number of operations a byte, and where kernels are.
//!
//! Williams, Waterman, Patterson: Roofline (2009).

use super::peaks::Peaks;
use super::point::Point;
use crate::text::escaped;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 600.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 60.0;

/// The picture's axes: operations a byte, and operations a second, both logarithmic.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    fn place(&self, intensity: f64, rate: f64) -> (f64, f64) {
        let share = |value: f64, (low, high): (f64, f64)| (value / low).ln() / (high / low).ln();
        let x = LEFT + share(intensity, self.x) * (WIDTH - LEFT - RIGHT);
        let y = HEIGHT - BOTTOM - share(rate, self.y) * (HEIGHT - TOP - BOTTOM);
        (x, y)
    }
}

/// The roofline of a device as SVG.
pub(super) fn roofline(device: &str, peaks: &Peaks, points: &[Point]) -> String {
    let highest = peaks.arithmetic.iter().map(|(_, peak)| *peak).fold(1e9, f64::max);
    let mut axes = Axes { x: (0.5, 2048.0), y: (highest / 2048.0, highest * 1.5) };
    for point in points.iter().filter(|point| !point.is_elementwise()) {
        while axes.x.0 > point.operations / point.bytes {
            axes.x.0 /= 4.0;
        }
        axes.y.0 = axes.y.0.min(0.8 * point.operations / point.seconds);
    }
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"16\">taskvec kernels on {}</text>\n",
        escaped(device)
    );
    grid(&mut svg, &axes);
    roofs(&mut svg, &axes, peaks, highest);
    let shown: Vec<&Point> = points.iter().filter(|point| !point.is_elementwise()).collect();
    for point in &shown {
        let place = axes.place(point.operations / point.bytes, point.operations / point.seconds);
        let rate = point.operations / point.seconds / 2e9;
        let title = format!("{} {}: {rate:.1} G multiply-adds/s", escaped(&point.name), point.storage);
        svg += &Mark::of(&point.name).svg(place, color(point.storage), &title);
    }
    legend(&mut svg, &shown);
    with_edges(&svg) + "</svg>\n"
}

/// The same with a white edge around each text, so that lines behind it do not cross it: drawn first, since not every
/// viewer knows `paint-order`.
fn with_edges(svg: &str) -> String {
    let mut edged = String::new();
    for (i, part) in svg.split("<text ").enumerate() {
        if i > 0 {
            let end = part.find("</text>").map_or(part.len(), |end| end + "</text>".len());
            edged += "<text stroke=\"white\" stroke-width=\"3\" ";
            edged += &part[..end];
            edged += "<text ";
        }
        edged += part;
    }
    edged
}

/// The form of a kernel's point. Precisions have colours, so that forms and colours say different things.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    /// With what stands before and behind it.
    Product,
    BareProduct,
    Attention,
    Other,
}

impl Mark {
    const ALL: [(Mark, &'static str); 4] = [
        (Mark::Product, "product, with encoding, bias and activation"),
        (Mark::BareProduct, "bare product"),
        (Mark::Attention, "attention"),
        (Mark::Other, "other"),
    ];

    fn of(name: &str) -> Mark {
        match name {
            name if name.starts_with("bare product") => Mark::BareProduct,
            name if name.starts_with("product") => Mark::Product,
            name if name.starts_with("attention") => Mark::Attention,
            _ => Mark::Other,
        }
    }

    fn svg(self, (x, y): (f64, f64), color: &str, title: &str) -> String {
        let filled = format!("fill=\"{color}\" fill-opacity=\"0.7\"");
        let hollow = format!("fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"");
        let (form, paint) = match self {
            Mark::Product => (format!("circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\""), filled),
            Mark::BareProduct => (format!("circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\""), hollow),
            Mark::Attention => (format!("path d=\"M{x:.1} {:.1}l5 5l-5 5l-5 -5z\"", y - 5.0), filled),
            Mark::Other => {
                (format!("rect x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\"", x - 3.5, y - 3.5), filled)
            }
        };
        let tag = form.split(' ').next().unwrap_or_default();
        format!("<{form} {paint}><title>{title}</title></{tag}>\n")
    }
}

/// What forms and colours mean, of those that are there.
fn legend(svg: &mut String, points: &[&Point]) {
    let mut y = HEIGHT - BOTTOM - 14.0;
    let mut line = |mark: Mark, color: &str, text: &str| {
        let x = WIDTH - RIGHT - 290.0;
        *svg += &mark.svg((x, y - 4.0), color, text);
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{y:.1}\">{text}</text>", x + 12.0);
        y -= 18.0;
    };
    for (mark, name) in Mark::ALL {
        if points.iter().any(|point| Mark::of(&point.name) == mark) {
            line(mark, "#444", name);
        }
    }
    let mut storages: Vec<&str> = points.iter().map(|point| point.storage).collect();
    storages.sort_unstable();
    storages.dedup();
    for storage in storages {
        line(Mark::Product, color(storage), storage);
    }
}

fn grid(svg: &mut String, axes: &Axes) {
    let mut intensity = axes.x.0;
    while intensity <= axes.x.1 {
        let ((x, bottom), (_, top)) = (axes.place(intensity, axes.y.0), axes.place(intensity, axes.y.1));
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {bottom:.1}V{top:.1}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            intensity / 2.0
        );
        intensity *= 4.0;
    }
    let mut rate = 2e6; // a multiply-add is two operations
    while rate <= axes.y.1 {
        if rate >= axes.y.0 {
            let ((left, y), (right, _)) = (axes.place(axes.x.0, rate), axes.place(axes.x.1, rate));
            let _ = writeln!(
                svg,
                "<path d=\"M{left:.1} {y:.1}H{right:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                y + 4.0,
                rate / 2e9
            );
        }
        rate *= 10.0;
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">multiply-adds a byte</text>\n\
         <text x=\"14\" y=\"{:.1}\" transform=\"rotate(-90 14 {:.1})\" text-anchor=\"middle\">G multiply-adds/s</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 16.0,
        HEIGHT / 2.0,
        HEIGHT / 2.0
    );
}

/// Memories as slopes up to the highest arithmetic, arithmetic as levels.
fn roofs(svg: &mut String, axes: &Axes, peaks: &Peaks, highest: f64) {
    for (name, _, bandwidth) in &peaks.memory {
        let from = (axes.y.0 / bandwidth).max(axes.x.0);
        let (x1, y1) = axes.place(from, bandwidth * from);
        let (x2, y2) = axes.place(highest / bandwidth, highest);
        let _ = writeln!(
            svg,
            "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" stroke=\"#888\" fill=\"none\"/><text x=\"{:.1}\" y=\"{:.1}\" fill=\"#555\">{name}: {:.0} GB/s</text>",
            x1 + 4.0,
            y1 - 6.0,
            bandwidth / 1e9
        );
    }
    for (storage, peak) in &peaks.arithmetic {
        let (x1, y) = axes.place(axes.x.0, *peak);
        let (x2, _) = axes.place(axes.x.1, *peak);
        let _ = writeln!(
            svg,
            "<path d=\"M{x1:.1} {y:.1}H{x2:.1}\" stroke=\"{0}\"/><text x=\"{x2:.1}\" y=\"{1:.1}\" text-anchor=\"end\" fill=\"{0}\">{storage}: {2:.0} G multiply-adds/s</text>",
            color(storage),
            y - 4.0,
            peak / 2e9
        );
    }
}

fn color(storage: &str) -> &'static str {
    match storage {
        "f32" | "f32xf16" | "f32xbf16" => "#1f5fbf",
        "bf16" | "matrix" => "#b3541e",
        _ => "#2e7d32",
    }
}
