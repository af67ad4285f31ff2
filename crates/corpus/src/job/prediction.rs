//! What a job will take, from a sample of its rows.

use super::options::RowOptions;
use super::settings::{Give, Job};
use crate::error::Result;
use crate::window::Windows;
use arrow_array::Array;
use std::sync::Arc;
use std::time::{Duration, Instant};
use taskvec::{DenseAndSparse, EmbedOptions, Output, Request, SparseVector, Truncation, Value};

/// Texts that are sampled.
const SAMPLE: usize = 256;

/// Bytes of an entry of a sparse vector.
const SPARSE_ENTRY: usize = 8;

/// What a job will take.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Prediction {
    /// Rows of the corpus.
    pub rows: u64,
    /// Bytes of their texts.
    pub text_bytes: u64,
    /// Rows without a text.
    pub rejected: u64,
    /// Texts that were embedded for the prediction.
    pub sampled: usize,
    /// Tokens that the model will see of all texts, prompts included.
    pub tokens: u64,
    /// Tokens a second, on the sample.
    pub tokens_per_second: f64,
    /// How long it will take.
    pub time: Duration,
    /// Bytes of the vectors.
    pub vector_bytes: u64,
    /// The share of texts that will be cut, of the sample.
    pub truncated: f64,
    /// Tokens of the longest sampled text.
    pub longest: usize,
}

impl Job<'_> {
    /// Reads the whole corpus, embeds a sample of its texts, and says what the job will take. Writes nothing.
    ///
    /// # Errors
    /// If the corpus cannot be read, or the engine fails.
    pub fn predict(&self) -> Result<Prediction> {
        self.output.check()?;
        self.check()?;
        let row = self.row_options();
        let about = self.about(&row)?;
        let vector_bytes = about.heading.row_bytes();
        let (mut rows, mut text_bytes, mut rejected) = (0, 0, 0);
        let mut sample = Sample { step: 1, texts: Vec::new() };
        for window in Windows::new(self.corpus, vector_bytes) {
            let window = window?;
            for place in 0..window.rows() {
                let is_text = window.texts.text.is_valid(place) && !window.faults.contains_key(&place);
                if is_text {
                    text_bytes += window.texts.text.value(place).len() as u64;
                    sample.offer(rows, || window.texts.text.value(place).to_owned());
                }
                rejected += u64::from(!is_text);
                rows += 1;
            }
        }
        let measured = self.measure(&row, &sample.texts)?;
        let sample_bytes = sample.texts.iter().map(String::len).sum::<usize>().max(1);
        // Prompts and special tokens are of each row, the rest goes with the bytes.
        let tokens = (measured.tokens as f64 / sample_bytes as f64 * text_bytes as f64) as u64;
        let rate = measured.tokens as f64 / measured.seconds.max(1e-9);
        let seconds = if measured.tokens == 0 { 0.0 } else { tokens as f64 / rate };
        Ok(Prediction {
            rows,
            text_bytes,
            rejected,
            sampled: sample.texts.len(),
            tokens,
            tokens_per_second: rate,
            time: Duration::from_secs_f64(seconds),
            vector_bytes: ((rows - rejected) as f64 * (vector_bytes as f64 + measured.sparse_bytes)) as u64,
            truncated: measured.truncated as f64 / sample.texts.len().max(1) as f64,
            longest: measured.longest,
        })
    }

    fn measure(&self, row: &RowOptions, texts: &[String]) -> Result<Measured> {
        match self.give {
            Give::Dense => self.measured(row, texts, |_: &Vec<f32>| 0),
            Give::Sparse => self.measured(row, texts, |vector: &SparseVector| vector.indices.len()),
            Give::Both => self.measured(row, texts, |both: &DenseAndSparse| both.sparse.indices.len()),
        }
    }

    fn measured<T: Value>(
        &self,
        row: &RowOptions,
        texts: &[String],
        sparse: impl Fn(&T) -> usize,
    ) -> Result<Measured> {
        // A long text is counted, and does not end the prediction.
        let options = Arc::new(EmbedOptions::clone(&row.base).truncation(Truncation::End));
        let requests = || texts.iter().map(|text| Request::new(text.as_str()).options(options.clone()));
        // The first call also touches the weights.
        let _: Vec<Output<T>> = self.embedder.embed_requests(requests().take(8))?;
        let start = Instant::now();
        let outputs: Vec<Output<T>> = self.embedder.embed_requests(requests())?;
        let entries: usize = outputs.iter().map(|output| sparse(&output.value)).sum();
        Ok(Measured {
            seconds: start.elapsed().as_secs_f64(),
            tokens: outputs.iter().map(|output| output.tokens).sum(),
            truncated: outputs.iter().filter(|output| output.truncated()).count(),
            longest: outputs.iter().map(|output| output.untruncated_tokens).max().unwrap_or(0),
            sparse_bytes: entries as f64 * SPARSE_ENTRY as f64 / texts.len().max(1) as f64,
        })
    }
}

struct Measured {
    seconds: f64,
    tokens: usize,
    truncated: usize,
    longest: usize,
    /// Of a text.
    sparse_bytes: f64,
}

/// Texts from all over a corpus whose size is not known: every so many, more of them apart as it goes on.
struct Sample {
    step: u64,
    texts: Vec<String>,
}

impl Sample {
    fn offer(&mut self, row: u64, text: impl FnOnce() -> String) {
        if !row.is_multiple_of(self.step) {
            return;
        }
        if self.texts.len() == 2 * SAMPLE {
            let mut place = 0;
            self.texts.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.step *= 2;
            if !row.is_multiple_of(self.step) {
                return;
            }
        }
        self.texts.push(text());
    }
}
