//! The vectors of a window: equal texts once, texts of like length together, and each result into the journal.

use super::options::{RowOptions, string};
use super::progress::Reporter;
use super::settings::{Give, Job, OnError};
use crate::error::{CorpusError, Result};
use crate::output::About;
use crate::window::Window;
use crate::workspace::{self, Journal, PartFacts};
use arrow_array::Array;
use rayon::prelude::*;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use taskvec::{
    DenseAndSparse, EmbedOptions, Error, Output, Request, RequestError, SparseVector, Value, quantize,
};

/// Tokens of results that wait to be written to the journal together: about a batch's.
const TOKENS_AT_A_TIME: u32 = 192;

/// What computes.
pub(super) struct Computer<'c, 'j> {
    pub(super) job: &'c Job<'j>,
    pub(super) row: &'c RowOptions,
    pub(super) about: &'c About,
}

/// A row of the output: a row of the window, or a piece of its text.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) row: usize,
    /// Its number among the row's pieces, and its first character and the one behind its last.
    pub(super) piece: [u32; 3],
    /// Which of the texts; `None` for a row that has none.
    pub(super) text: Option<usize>,
}

/// A text that is computed once, however many rows have it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Text<'w> {
    text: &'w str,
    title: Option<&'w str>,
    options: Arc<EmbedOptions>,
}

impl Text<'_> {
    fn request(&self) -> Request<'_> {
        let request = Request::new(self.text).options(self.options.clone());
        match self.title {
            Some(title) => request.title(title),
            None => request,
        }
    }
}

/// What a window came to.
pub(super) struct Computed {
    pub(super) units: Vec<Unit>,
    pub(super) results: Results,
    /// Rows without a vector, and why.
    pub(super) rejects: BTreeMap<usize, String>,
    /// The fingerprint of each text's space, where rows say theirs.
    pub(super) fingerprints: Vec<Arc<str>>,
}

/// What texts came to.
pub(super) struct Results {
    row_bytes: usize,
    /// The dense vectors as they are stored, `[texts, row bytes]`.
    values: Vec<u8>,
    /// The sparse ones, if they are wanted; else they are empty. `[texts]`
    sparse: Vec<SparseVector>,
    /// Of each text that could be embedded.
    pub(super) facts: Vec<Option<TextFacts>>,
}

/// What is known of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextFacts {
    pub(super) tokens: u32,
    pub(super) untruncated: u32,
}

impl Results {
    fn new(texts: usize, row_bytes: usize) -> Results {
        let sparse = vec![SparseVector::default(); texts];
        Results { row_bytes, values: vec![0; texts * row_bytes], sparse, facts: vec![None; texts] }
    }

    fn take(&mut self, entry: workspace::Entry) {
        let text = entry.text as usize;
        if let Some(facts) = self.facts.get_mut(text) {
            self.values[text * self.row_bytes..][..self.row_bytes].copy_from_slice(&entry.values);
            self.sparse[text] = entry.sparse;
            *facts = Some(TextFacts { tokens: entry.tokens, untruncated: entry.untruncated });
        }
    }

    /// The sparse vector of a text.
    pub(super) fn sparse(&self, text: usize) -> &SparseVector {
        &self.sparse[text]
    }

    /// The dense vector of a text, as it is stored.
    pub(super) fn vector(&self, text: usize) -> &[u8] {
        &self.values[text * self.row_bytes..][..self.row_bytes]
    }
}

/// Takes what texts come to, from all threads.
struct Sink {
    results: Results,
    journal: Journal,
    /// Texts that cannot be embedded, and why.
    failed: HashMap<usize, String>,
    /// Why there is nothing to go on for.
    stopped: Option<CorpusError>,
    /// Tokens of what the journal has not written.
    waiting: u32,
}

impl Sink {
    fn take(&mut self, text: usize, entry: Result<workspace::Entry>) -> ControlFlow<()> {
        let written = match entry {
            Ok(entry) => {
                self.journal.add(&entry);
                self.waiting += entry.tokens;
                self.results.take(entry);
                if self.waiting < TOKENS_AT_A_TIME {
                    return ControlFlow::Continue(());
                }
                self.waiting = 0;
                self.journal.flush()
            }
            Err(CorpusError::Engine(Error::Request { text: Some(_), problem })) => {
                self.failed.insert(text, problem.to_string());
                Ok(())
            }
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.stopped.get_or_insert(error);
                ControlFlow::Break(())
            }
        }
    }
}

impl Computed {
    /// The facts of a unit's text, if it has a vector.
    pub(super) fn facts_of(&self, unit: &Unit) -> Option<TextFacts> {
        unit.text.and_then(|text| self.results.facts[text])
    }

    pub(super) fn facts(&self, window: &Window, on_error: OnError) -> PartFacts {
        let found: Vec<TextFacts> = self.units.iter().filter_map(|unit| self.facts_of(unit)).collect();
        let computed = || self.results.facts.iter().flatten();
        let written = if on_error == OnError::Null { self.units.len() } else { found.len() };
        PartFacts {
            rows: window.rows() as u64,
            written: written as u64,
            rejected: self.rejects.len() as u64,
            tokens: computed().map(|facts| u64::from(facts.tokens)).sum(),
            saved: (found.len() - computed().count()) as u64,
            truncated: found.iter().filter(|facts| facts.untruncated > facts.tokens).count() as u64,
        }
    }
}

impl Computer<'_, '_> {
    pub(super) fn row_bytes(&self) -> usize {
        self.about.heading.row_bytes()
    }

    /// Computes what the journal has not. A row that cannot be embedded is an error, or is among the rejects.
    pub(super) fn compute(
        &self,
        window: &Window,
        (journal, before): (Journal, Vec<workspace::Entry>),
        reporter: &mut Reporter<'_>,
    ) -> Result<Computed> {
        let mut rejects = window.faults.clone();
        let (units, texts) = self.texts(window, &mut rejects);
        self.refuse(window, &rejects)?;
        let mut results = Results::new(texts.len(), self.row_bytes());
        before.into_iter().for_each(|entry| results.take(entry));
        let rows = rows_of(&units, texts.len());
        reporter.change(|progress| progress.rejected += rejects.len() as u64);
        for text in (0..texts.len()).filter(|text| results.facts[*text].is_some()) {
            reporter.pass_over_text(rows[text], texts[text].text.len());
        }
        let mut order: Vec<usize> = (0..texts.len()).filter(|text| results.facts[*text].is_none()).collect();
        order.sort_by_key(|text| Reverse(texts[*text].text.len()));
        let sink = Mutex::new(Sink { results, journal, failed: HashMap::new(), stopped: None, waiting: 0 });
        let reporter = Mutex::new(reporter);
        let take = |text: usize, entry: Result<workspace::Entry>| {
            let tokens = entry.as_ref().map_or(0, |entry| entry.tokens);
            let flow = sink.lock().unwrap_or_else(PoisonError::into_inner).take(text, entry);
            if flow.is_continue() {
                let mut reporter = reporter.lock().unwrap_or_else(PoisonError::into_inner);
                reporter.text_is_done(rows[text], texts[text].text.len(), tokens);
            }
            flow
        };
        let dense = |vector: &[f32]| self.stored(vector);
        let ended = match self.job.give {
            Give::Dense => {
                self.each(&texts, &order, |v: Vec<f32>| Ok((dense(&v)?, SparseVector::default())), take)
            }
            Give::Sparse => self.each(&texts, &order, |sparse: SparseVector| Ok((Vec::new(), sparse)), take),
            Give::Both => {
                self.each(&texts, &order, |both: DenseAndSparse| Ok((dense(&both.dense)?, both.sparse)), take)
            }
        };
        let Sink { results, mut journal, failed, stopped, .. } =
            sink.into_inner().unwrap_or_else(PoisonError::into_inner);
        journal.flush()?;
        if let Some(error) = stopped {
            return Err(error);
        }
        ended.map_err(|error| self.ended(error, window, &units, &order))?;
        let is_lost = |text: usize| results.facts[text].is_none() && !failed.contains_key(&text);
        if (0..texts.len()).any(is_lost) {
            return Err(
                Error::Internal { what: "a call ended before all of its texts came to something" }.into()
            );
        }
        for unit in &units {
            if let Some(problem) = unit.text.and_then(|text| failed.get(&text)) {
                rejects.entry(unit.row).or_insert_with(|| problem.clone());
            }
        }
        self.refuse(window, &rejects)?;
        let fingerprints = self.fingerprints(&texts)?;
        Ok(Computed { units, results, rejects, fingerprints })
    }

    /// The error that ended a window's computing, about a row where the engine's is about one of the texts.
    fn ended(&self, error: Error, window: &Window, units: &[Unit], order: &[usize]) -> CorpusError {
        match error {
            Error::Request { problem: RequestError::Cancelled, .. } => CorpusError::Interrupted,
            Error::Request { text: Some(i), problem } => {
                let has_it = |unit: &&Unit| unit.text == order.get(i).copied();
                let row = units.iter().find(has_it).map_or(0, |unit| unit.row);
                let (file, number) = window.places[row];
                let place = self.job.corpus.place(file, number);
                CorpusError::Row { place, problem: problem.to_string() }
            }
            error => error.into(),
        }
    }

    /// The first row that cannot be embedded, if that ends the job.
    fn refuse(&self, window: &Window, rejects: &BTreeMap<usize, String>) -> Result<()> {
        match rejects.first_key_value() {
            Some((row, problem)) if self.job.on_error == OnError::Fail => {
                let (file, number) = window.places[*row];
                Err(CorpusError::Row { place: self.job.corpus.place(file, number), problem: problem.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Hands on what each of these texts comes to, as soon as it is computed.
    fn each<T: Value>(
        &self,
        texts: &[Text<'_>],
        order: &[usize],
        values: impl Fn(T) -> Result<(Vec<u8>, SparseVector)> + Sync,
        take: impl Fn(usize, Result<workspace::Entry>) -> ControlFlow<()> + Sync,
    ) -> taskvec::Result<()> {
        let entry = |text: usize, output: taskvec::Result<Output<T>>| -> Result<workspace::Entry> {
            let output = output?;
            let (tokens, untruncated) = (output.tokens as u32, output.untruncated_tokens as u32);
            let (values, sparse) = values(output.value)?;
            Ok(workspace::Entry { text: text as u32, tokens, untruncated, values, sparse })
        };
        let requests = order.iter().map(|text| texts[*text].request());
        let stream = self.job.embedder.stream_of(requests).cancel(&self.job.cancel);
        stream.for_each_ready(|i, output| take(order[i], entry(order[i], output)))
    }

    /// A dense vector as it is stored.
    fn stored(&self, vector: &[f32]) -> Result<Vec<u8>> {
        let (output_type, ranges) = (self.about.heading.output_type, self.job.output.ranges.as_ref());
        Ok(quantize(vector, output_type, ranges)?.to_bytes())
    }

    /// The rows of the output, and the different texts that they have.
    fn texts<'w>(
        &self,
        window: &'w Window,
        rejects: &mut BTreeMap<usize, String>,
    ) -> (Vec<Unit>, Vec<Text<'w>>) {
        let (mut units, mut texts) = (Vec::new(), Vec::new());
        let mut places: HashMap<Text<'w>, usize> = HashMap::new();
        let known = &*rejects;
        let of_row = |row| self.pieces(window, row, known);
        // Only finding where sentences end takes time.
        let pieces: Vec<Result<Vec<Piece<'w>>, String>> = match self.job.chunks {
            Some(_) => (0..window.rows()).into_par_iter().map(of_row).collect(),
            None => (0..window.rows()).map(of_row).collect(),
        };
        for (row, pieces) in pieces.into_iter().enumerate() {
            match pieces {
                Ok(pieces) => units.extend(pieces.into_iter().map(|Piece { text, place }| {
                    let next = texts.len();
                    let text = *places.entry(text).or_insert_with_key(|text| {
                        texts.push(text.clone());
                        next
                    });
                    Unit { row, piece: place, text: Some(text) }
                })),
                Err(problem) => {
                    rejects.entry(row).or_insert(problem);
                    units.push(Unit { row, piece: [0; 3], text: None });
                }
            }
        }
        (units, texts)
    }

    /// A row's text, or the pieces that it is cut into.
    fn pieces<'w>(
        &self,
        window: &'w Window,
        row: usize,
        rejects: &BTreeMap<usize, String>,
    ) -> Result<Vec<Piece<'w>>, String> {
        if let Some(problem) = rejects.get(&row) {
            return Err(problem.clone());
        }
        if window.texts.text.is_null(row) {
            return Err("the text is null".to_owned());
        }
        let text = window.texts.text.value(row);
        let title = window.texts.title.as_ref().and_then(|titles| string(titles, row));
        let options = self.row.of(window, row)?;
        let piece =
            |text: &'w str, place| Piece { text: Text { text, title, options: options.clone() }, place };
        let Some(chunks) = self.job.chunks else {
            return Ok(vec![piece(text, [0; 3])]);
        };
        let split = |text: &str, tokens: usize| {
            self.job.embedder.split(text, tokens, EmbedOptions::clone(&options)).map_err(|e| e.to_string())
        };
        let ends = split(text, chunks.tokens - chunks.overlap)?;
        if ends.is_empty() {
            return Ok(vec![piece(text, [0, 0, characters(text)])]); // no token of its own: one piece all the same
        }
        let (mut start, mut before, mut end_character, mut all) = (0, 0, 0, Vec::new());
        for (i, end) in ends.into_iter().enumerate() {
            let begin = match chunks.overlap {
                0 => start,
                overlap => before + last_piece(&split(&text[before..start], overlap)?),
            };
            end_character += characters(&text[start..end]);
            let first = end_character - characters(&text[begin..end]);
            all.push(piece(&text[begin..end], [i as u32, first, end_character]));
            (before, start) = (start, end);
        }
        Ok(all)
    }

    /// The fingerprint of each text's space, if rows say theirs.
    fn fingerprints(&self, texts: &[Text<'_>]) -> Result<Vec<Arc<str>>> {
        if !self.about.shape.fingerprints {
            return Ok(Vec::new());
        }
        let mut known: HashMap<*const EmbedOptions, Arc<str>> = HashMap::new();
        let mut all = Vec::with_capacity(texts.len());
        for text in texts {
            let fingerprint = match known.entry(Arc::as_ptr(&text.options)) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(place) => {
                    let space = self.job.space(text.options.clone())?;
                    place.insert(space.fingerprint().to_string().into()).clone()
                }
            };
            all.push(fingerprint);
        }
        Ok(all)
    }
}

/// A piece of a row's text: its number, its first character and the one behind its last.
struct Piece<'w> {
    text: Text<'w>,
    place: [u32; 3],
}

/// Where the last of the pieces begins that end here.
fn last_piece(ends: &[usize]) -> usize {
    ends.iter().rev().nth(1).copied().unwrap_or(0)
}

fn characters(text: &str) -> u32 {
    text.chars().count() as u32
}

/// The rows of each text.
fn rows_of(units: &[Unit], texts: usize) -> Vec<u64> {
    let mut rows = vec![0; texts];
    for unit in units.iter().filter(|unit| unit.piece[0] == 0) {
        if let Some(text) = unit.text {
            rows[text] += 1;
        }
    }
    rows
}
