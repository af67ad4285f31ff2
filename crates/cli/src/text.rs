//! Texts, times and sizes as they are shown.

/// A text on one line, cut where it gets long.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A text in XML, which has no control characters.
pub(crate) fn escaped(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A model as pictures name it: of one inside the program, which goes by `<NAME in memory>`, the name.
pub(crate) fn model_name(model: &str) -> &str {
    let inside = model.strip_prefix('<').and_then(|name| name.strip_suffix(" in memory>"));
    inside.unwrap_or(model)
}

/// `1 h 12 min`, `3 min 20 s`, `7 s`
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// `1.5 MB`, `12 GB`
pub(crate) fn bytes(count: u64) -> String {
    match count as f64 {
        small if small < 1e7 => format!("{:.1} MB", small / 1e6),
        middle if middle < 1e10 => format!("{:.0} MB", middle / 1e6),
        large => format!("{:.1} GB", large / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!(
            [0.4, 59.6, 200.0, 4321.0].map(duration),
            ["0 s", "1 min 0 s", "3 min 20 s", "1 h 12 min"]
        );
        assert_eq!([1_500_000, 12_000_000, 12_345_678_901].map(bytes), ["1.5 MB", "12 MB", "12.3 GB"]);
    }
}
