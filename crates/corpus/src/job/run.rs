//! The work of a job: windows are read, computed and written at the same time, each by a thread of its own.

use super::compute::{Computed, Computer};
use super::options::RowOptions;
use super::part;
use super::progress::{ReportFn, Reporter};
use super::settings::Job;
use crate::error::{CorpusError, Result};
use crate::output::{self, About, Joining};
use crate::window::{Window, Windows};
use crate::workspace::{self, PartFacts, Workspace};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

/// What a job came to.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Rows that were read.
    pub rows: u64,
    /// Rows that were written: fewer if some were left out, more if texts were cut into pieces.
    pub written: u64,
    /// Rows without a vector.
    pub rejected: u64,
    /// Which, and why, as JSON lines; `None` if there are none.
    pub rejects: Option<PathBuf>,
    /// Tokens of all texts that were computed.
    pub tokens: u64,
    /// Texts that were not computed, being equal to others near them.
    pub saved: u64,
    /// Texts of which a part was cut off.
    pub truncated: u64,
    /// Tokens that this run computed: fewer than `tokens` if an earlier one did some of the work.
    pub tokens_now: u64,
}

impl<'j> Job<'j> {
    /// Does the work, or what an earlier run left of it.
    ///
    /// # Errors
    /// If the options contradict each other, the input cannot be read or has changed, a row cannot be embedded and
    /// [`OnError::Fail`](crate::OnError::Fail) holds, the output cannot be written, or the engine fails. What was computed is kept.
    pub fn run(self) -> Result<Report> {
        self.output.check()?;
        self.check()?;
        let row = self.row_options();
        let about = self.about(&row)?;
        let manifest = self.manifest(&about)?;
        let mut workspace = Workspace::open(&self.output, &manifest, self.corpus.can_be_read_again())?;
        let tokens_before: u64 = workspace.done.parts.values().map(|part| part.tokens).sum();
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner).take();
        let joined = match self.work(&row, &about, &mut workspace, report) {
            Ok(joined) => joined,
            Err(error) => {
                let _ = std::fs::remove_file(workspace.joined_path()); // begun anew by the next run
                // There is nothing to go on with.
                if !self.output.is_folder && workspace.is_empty()? {
                    workspace.remove()?;
                }
                return Err(error);
            }
        };
        let mut facts = PartFacts::default();
        workspace.done.parts.values().for_each(|part| facts.add(part));
        let rejects = self.finish(&about, workspace, joined, &facts)?;
        Ok(Report {
            rows: facts.rows,
            written: facts.written,
            rejected: facts.rejected,
            rejects: (facts.rejected > 0).then_some(rejects),
            tokens: facts.tokens,
            saved: facts.saved,
            truncated: facts.truncated,
            tokens_now: facts.tokens - tokens_before,
        })
    }

    /// Reads, computes and writes all windows that are not done. Gives the output, where it grew with its parts.
    fn work(
        &self,
        row: &RowOptions,
        about: &About,
        workspace: &mut Workspace,
        report: Option<ReportFn<'j>>,
    ) -> Result<Option<Joined>> {
        if workspace.done.windows.is_some() {
            return Ok(None);
        }
        let shared = Mutex::new(workspace);
        let vector_bytes = about.heading.row_bytes();
        // Handed over from hand to hand: one window is read, one computed and one written, and none waits between.
        let (to_compute, windows) = sync_channel::<Result<Option<Window>>>(0);
        let (to_write, finished) = sync_channel::<Message>(0);
        std::thread::scope(|scope| {
            scope.spawn(move || read_ahead(Windows::new(self.corpus, vector_bytes), &to_compute));
            let writer = scope.spawn(|| self.write_all(about, &shared, finished));
            let computed = self.compute_all(row, about, &shared, windows, to_write, report);
            let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // What stopped the writer stopped the computing too, and is the reason.
            written.and_then(|joined| computed.map(|()| joined))
        })
    }

    /// Computes windows as they come.
    fn compute_all(
        &self,
        row: &RowOptions,
        about: &About,
        workspace: &Mutex<&mut Workspace>,
        windows: Receiver<Result<Option<Window>>>,
        to_write: SyncSender<Message>,
        report: Option<ReportFn<'j>>,
    ) -> Result<()> {
        let mut reporter = Reporter::new(report);
        let computer = Computer { job: self, row, about };
        let mut count = 0;
        // An empty corpus has one window without rows, so that there is a part that says what the columns are.
        let mut none = Some(Window::empty(self.corpus));
        loop {
            // A reader that is gone without a word has panicked: the corpus did not end there.
            let read = windows.recv().unwrap_or(Err(CorpusError::Interrupted))?;
            let Some(window) = read.or_else(|| none.take()) else { break };
            none = None;
            let index = window.index;
            count = index + 1;
            let (share, done) = {
                let workspace = workspace.lock().unwrap_or_else(PoisonError::into_inner);
                (workspace.share(), workspace.done.parts.get(&index).copied())
            };
            if !share.has(index) {
                continue; // another process's
            }
            if let Some(done) = done {
                reporter.pass_over(&window, done.rejected);
                continue;
            }
            let journal = workspace
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .journal(index, computer.row_bytes())?;
            let computed = computer.compute(&window, journal, &mut reporter)?;
            if to_write.send(Message::Part(Box::new((window, computed)))).is_err() {
                return Err(CorpusError::Interrupted); // the writer says why
            }
        }
        let _ = to_write.send(Message::End(count)); // a writer that is gone says why
        Ok(())
    }

    /// Writes parts as they are computed.
    fn write_all(
        &self,
        about: &About,
        workspace: &Mutex<&mut Workspace>,
        messages: Receiver<Message>,
    ) -> Result<Option<Joined>> {
        let folder = workspace.lock().unwrap_or_else(PoisonError::into_inner).folder.clone();
        let mut joined = match self.output.is_folder || about.heading.format.is_array() {
            true => None,
            false => Some(Joined::begin(about, &workspace.lock().unwrap_or_else(PoisonError::into_inner))?),
        };
        for message in messages {
            let (window, computed) = match message {
                Message::Part(finished) => *finished,
                Message::End(windows) => {
                    workspace.lock().unwrap_or_else(PoisonError::into_inner).done.end(windows)?;
                    continue;
                }
            };
            let facts = computed.facts(&window, self.on_error);
            let rejects = part::rejects(self.corpus, &window, &computed);
            let rows = part::rows(self.on_error, about, &window, computed)?;
            let (journal, rejects_path) = {
                let workspace = workspace.lock().unwrap_or_else(PoisonError::into_inner);
                (workspace.journal_path(window.index), workspace.rejects_path(window.index))
            };
            if !rejects.is_empty() {
                output::whole(&rejects_path, |file| {
                    Ok(std::io::Write::write_all(file, rejects.as_bytes())?)
                })?;
            }
            output::write_part(&folder, window.index, about, &rows)?;
            workspace.lock().unwrap_or_else(PoisonError::into_inner).done.add(window.index, facts)?;
            std::fs::remove_file(&journal).map_err(CorpusError::write(&journal))?;
            if let Some(joined) = &mut joined {
                joined.add_finished(&folder, about, workspace)?;
            }
        }
        Ok(joined)
    }

    /// Joins the parts of an output that is one file. Gives the file of rows that were left out, if there are any.
    fn finish(
        &self,
        about: &About,
        workspace: Workspace,
        joined: Option<Joined>,
        facts: &PartFacts,
    ) -> Result<PathBuf> {
        let parts: Vec<(PathBuf, usize)> =
            workspace.done.parts.keys().map(|part| (workspace.folder.clone(), *part)).collect();
        let rejects = workspace.rejects_file(&self.output);
        workspace::join_rejects(&parts, &rejects, facts.rejected)?;
        if !self.output.is_folder {
            match joined {
                Some(joined) if joined.parts == parts.len() => joined.file.finish_as(&self.output.path)?,
                _ => output::join(&parts, &about.heading, facts.written, &self.output.path)?,
            }
            workspace.remove()?;
        }
        Ok(rejects)
    }
}

/// The output, with the parts so far.
struct Joined {
    file: Joining,
    parts: usize,
}

impl Joined {
    fn begin(about: &About, workspace: &Workspace) -> Result<Joined> {
        Ok(Joined { file: Joining::create(&workspace.joined_path(), &about.heading)?, parts: 0 })
    }

    /// Adds the parts that are finished now, as far as none before them is missing.
    fn add_finished(
        &mut self,
        folder: &Path,
        about: &About,
        workspace: &Mutex<&mut Workspace>,
    ) -> Result<()> {
        let is_done = |part: usize| {
            let workspace = workspace.lock().unwrap_or_else(PoisonError::into_inner);
            workspace.done.parts.contains_key(&part)
        };
        while is_done(self.parts) {
            self.file.add(&folder.join(output::part_name(about.heading.format, self.parts)))?;
            self.parts += 1;
        }
        Ok(())
    }
}

/// What the writer is told.
enum Message {
    Part(Box<(Window, Computed)>),
    /// There are no more; so many windows make up the corpus.
    End(usize),
}

/// Hands windows on as they are read, until nobody takes them; behind the last one `None`, for good.
fn read_ahead(mut windows: Windows<'_>, to_compute: &SyncSender<Result<Option<Window>>>) {
    loop {
        let window = windows.next().transpose();
        let failed = window.is_err();
        if to_compute.send(window).is_err() || failed {
            return;
        }
    }
}
