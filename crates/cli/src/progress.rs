//! How far a long command is, on stderr: a bar on a terminal, else a line from time to time.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two lines where stderr is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// The progress of so many texts.
pub(crate) struct Progress {
    total: u64,
    started: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn of(texts: usize) -> Progress {
        let now = Instant::now();
        let bar = std::io::stderr().is_terminal().then(|| bar(texts as u64));
        Progress { total: texts as u64, started: now, last_line: now, bar }
    }

    /// So many texts are done.
    pub(crate) fn set(&mut self, done: usize) {
        match &self.bar {
            Some(bar) => bar.set_position(done as u64),
            None if self.last_line.elapsed() >= BETWEEN_LINES => {
                self.last_line = Instant::now();
                let rate = done as f64 / self.started.elapsed().as_secs_f64();
                eprintln!("taskvec: {done} of {} texts, {}", self.total, per_second(rate));
            }
            None => {}
        }
    }

    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `1234 texts/s`, with a digit behind the point where there are few.
fn per_second(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1} texts/s") } else { format!("{rate:.0} texts/s") }
}

fn bar(texts: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(texts), ProgressDrawTarget::stderr());
    let rate = |state: &ProgressState, text: &mut dyn Write| {
        // What cannot be written to the bar is not shown.
        let _ = text.write_str(&per_second(state.per_sec()));
    };
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} texts, {rate}, {eta} left");
    style.map_or(bar.clone(), |style| bar.with_style(style.with_key("rate", rate)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_as_many_digits_as_say_something() {
        assert_eq!([0.123, 9.87, 341.77].map(per_second), ["0.1 texts/s", "9.9 texts/s", "342 texts/s"]);
    }
}
