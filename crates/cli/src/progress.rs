//! How far a long command is, on stderr: a bar on a terminal, else a line from time to time.

use crate::arguments::ProgressKind;
use crate::text::duration;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::json;
use std::fmt;
use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use taskvec::CancelToken;
use taskvec_corpus::{Corpus, Count};

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

/// The progress of a job on a corpus. How much there is to do is counted meanwhile, so that the time that is left goes by
/// the bytes of texts, which are as good as tokens, and not by rows.
pub(crate) struct CorpusProgress {
    kind: ProgressKind,
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
    total: Arc<OnceLock<Count>>,
}

impl CorpusProgress {
    /// Runs work that is told where to report. It is one of so many shares, which are about as large as each other.
    pub(crate) fn show<T>(
        kind: ProgressKind,
        (corpus, shares): (&Corpus, usize),
        work: impl FnOnce(Box<dyn FnMut(taskvec_corpus::Progress) + Send>) -> T,
    ) -> T {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = (kind == ProgressKind::Auto && is_terminal).then(corpus_bar);
        let total = Arc::new(OnceLock::new());
        let stop = CancelToken::new();
        let shown = bar.clone();
        std::thread::scope(|scope| {
            let counts = kind != ProgressKind::None && corpus.can_be_read_again();
            if counts {
                let (total, stop) = (total.clone(), stop.clone());
                scope.spawn(move || {
                    if let Ok(mut count) = corpus.count(&stop) {
                        count.rows = count.rows.div_ceil(shares as u64);
                        count.text_bytes = count.text_bytes.div_ceil(shares as u64);
                        let _ = total.set(count); // set once
                    }
                });
            }
            let mut progress = CorpusProgress { kind, bar, last_line: None, total };
            let result = work(Box::new(move |now| progress.report(&now)));
            stop.cancel();
            if let Some(bar) = shown {
                bar.finish_and_clear();
            }
            result
        })
    }

    fn report(&mut self, now: &taskvec_corpus::Progress) {
        let total = self.total.get();
        let line = Line { now, total };
        if let Some(bar) = &self.bar {
            if let Some(total) = total {
                bar.set_length(total.text_bytes);
            }
            bar.set_position(now.text_bytes);
            bar.set_message(line.to_string());
            return;
        }
        let between = match self.kind {
            ProgressKind::Auto => BETWEEN_LINES,
            ProgressKind::Json => Duration::from_secs(1),
            ProgressKind::None => return,
        };
        if self.last_line.get_or_insert_with(Instant::now).elapsed() >= between {
            self.last_line = Some(Instant::now());
            match self.kind {
                ProgressKind::Json => eprintln!("{}", line.json()),
                _ => eprintln!("taskvec: {line}"),
            }
        }
    }
}

/// What is said of a job under way.
struct Line<'l> {
    now: &'l taskvec_corpus::Progress,
    total: Option<&'l Count>,
}

impl Line<'_> {
    fn tokens_per_second(&self) -> f64 {
        self.now.tokens as f64 / self.now.elapsed.as_secs_f64().max(1e-3)
    }

    /// Seconds that are left, if it is known how much there is to do.
    fn left(&self) -> Option<f64> {
        let (done, before) = (self.now.text_bytes, self.now.text_bytes_before);
        let rate = done.saturating_sub(before) as f64 / self.now.elapsed.as_secs_f64().max(1e-3);
        let left = self.total?.text_bytes.saturating_sub(done) as f64;
        (rate > 0.0).then_some(left / rate)
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "rows": self.now.rows,
            "total_rows": self.total.map(|total| total.rows),
            "tokens": self.now.tokens,
            "tokens_per_second": self.tokens_per_second().round(),
            "seconds": self.now.elapsed.as_secs_f64(),
            "seconds_left": self.left().map(f64::round),
            "saved": self.now.saved,
            "rejected": self.now.rejected,
        })
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.now.rows)?;
        if let Some(total) = self.total {
            write!(f, " of {}", total.rows)?;
        }
        write!(f, " rows, {} tokens, {:.0} tokens/s", self.now.tokens, self.tokens_per_second())?;
        if self.now.saved > 0 {
            write!(f, ", {} equal to others", self.now.saved)?;
        }
        if self.now.rejected > 0 {
            write!(f, ", {} without a vector", self.now.rejected)?;
        }
        match self.left() {
            Some(left) => write!(f, ", {} left", duration(left)),
            None => Ok(()),
        }
    }
}

fn corpus_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{wide_bar} {msg}");
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

/// `1234 texts/s`, with a digit behind the point where there are few.
fn per_second(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1} texts/s") } else { format!("{rate:.0} texts/s") }
}

fn bar(texts: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(texts), ProgressDrawTarget::stderr());
    let rate = |state: &ProgressState, text: &mut dyn fmt::Write| {
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
