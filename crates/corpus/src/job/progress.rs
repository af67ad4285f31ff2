//! How far a job is.

use crate::window::Window;
use std::time::{Duration, Instant};

/// How far a job is.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// Rows of this process's share that are done, by an earlier run too.
    pub rows: u64,
    /// Bytes of their texts.
    pub text_bytes: u64,
    /// Rows that an earlier run had done.
    pub rows_before: u64,
    /// Bytes of the texts of those.
    pub text_bytes_before: u64,
    /// Tokens that this run computed.
    pub tokens: u64,
    /// Texts that were not computed, being equal to others near them.
    pub saved: u64,
    /// Rows without a vector.
    pub rejected: u64,
    /// Since this run began.
    pub elapsed: Duration,
}

/// Is told how far a job is.
pub(super) type ReportFn<'j> = Box<dyn FnMut(Progress) + Send + 'j>;

/// Between two reports.
const BETWEEN_REPORTS: Duration = Duration::from_millis(100);

/// Tells the caller how far the job is.
pub(super) struct Reporter<'j> {
    report: Option<ReportFn<'j>>,
    progress: Progress,
    started: Instant,
    last: Option<Instant>,
}

impl<'j> Reporter<'j> {
    pub(super) fn new(report: Option<ReportFn<'j>>) -> Reporter<'j> {
        Reporter { report, progress: Progress::default(), started: Instant::now(), last: None }
    }

    /// A text that an earlier run computed.
    pub(super) fn pass_over_text(&mut self, rows: u64, bytes: usize) {
        self.progress.rows_before += rows;
        self.progress.text_bytes_before += rows * bytes as u64;
        self.text_is_done(rows, bytes, 0);
    }

    /// A text, of so many rows, came to so many tokens.
    pub(super) fn text_is_done(&mut self, rows: u64, bytes: usize, tokens: u32) {
        self.change(|progress| {
            progress.rows += rows;
            progress.text_bytes += rows * bytes as u64;
            progress.tokens += u64::from(tokens);
            progress.saved += rows.saturating_sub(1);
        });
    }

    /// A window that an earlier run did.
    pub(super) fn pass_over(&mut self, window: &Window, rejected: u64) {
        let bytes = window.text_bytes();
        self.progress.rows_before += window.rows() as u64;
        self.progress.text_bytes_before += bytes;
        self.change(|progress| {
            progress.rows += window.rows() as u64;
            progress.text_bytes += bytes;
            progress.rejected += rejected;
        });
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress);
        let Some(report) = &mut self.report else { return };
        if self.last.is_none_or(|last| last.elapsed() >= BETWEEN_REPORTS) {
            self.last = Some(Instant::now());
            self.progress.elapsed = self.started.elapsed();
            report(self.progress);
        }
    }
}
