//! Vectors in each output format.

use crate::arguments::Format;
use crate::outcome::{Failure, Outcome};
use crate::sink::Sink;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::io::IsTerminal;
use taskvec::{OutputType, Quantized, SparseVector};
use taskvec_corpus::{npy_header, safetensors_header};

/// What is written of one text.
pub(crate) struct Record {
    pub(crate) values: Values,
    /// Which text it is a piece of, and from which byte to which.
    pub(crate) piece: Option<(usize, usize, usize)>,
    pub(crate) tokens: usize,
    /// Tokens of the whole text.
    pub(crate) untruncated: usize,
}

impl Record {
    /// Tokens of a piece, or those that the model saw of the text.
    fn own_tokens(&self) -> usize {
        match &self.values {
            Values::Piece(_, tokens) => *tokens,
            _ => self.tokens,
        }
    }
}

/// What a model gives for a text.
pub(crate) enum Values {
    Vector(Quantized),
    /// A piece's vector, and its own tokens.
    Piece(Quantized, usize),
    Sparse(SparseVector),
    /// A dense and a sparse vector.
    Both(Quantized, SparseVector),
    /// Token ids, and a vector for each.
    Tokens(Vec<u32>, Vec<Quantized>),
}

/// What is known of all texts before the first.
pub(crate) struct Heading {
    pub(crate) rows: usize,
    pub(crate) dimensions: usize,
    pub(crate) output_type: OutputType,
    /// Which vectors these may be compared with; empty where nothing asks for it.
    pub(crate) fingerprint: String,
    /// Model, device, prompt and so on.
    pub(crate) about: Value,
}

impl Heading {
    /// Values of a vector as it is stored.
    fn width(&self) -> usize {
        self.output_type.values(self.dimensions)
    }
}

/// Writes records as they come, in order.
pub(crate) struct Records {
    sink: Sink,
    format: Format,
    base64: bool,
    fingerprint: String,
    written: usize,
}

impl Records {
    pub(crate) fn new(sink: Sink, format: Format, to_stdout: bool, base64: bool) -> Outcome<Records> {
        let binary = matches!(format, Format::Npy | Format::Safetensors);
        if binary && to_stdout && std::io::stdout().is_terminal() {
            let problem = "this format is binary: give --output FILE, or send standard output somewhere";
            return Err(Failure::Usage(problem.to_owned()));
        }
        Ok(Records { sink, format, base64, fingerprint: String::new(), written: 0 })
    }

    /// Whether the format has a place for a fingerprint.
    pub(crate) fn has_fingerprint(format: Format) -> bool {
        format != Format::Table
    }

    /// Writes what stands before the first record.
    pub(crate) fn begin(&mut self, heading: Heading) -> Outcome {
        self.fingerprint = heading.fingerprint.clone();
        match self.format {
            Format::Table => {
                let dimensions = heading.dimensions;
                let shown = match dimensions > SHOWN {
                    true => format!("the first {SHOWN} of {dimensions} values; --format json prints all"),
                    false => format!("{dimensions} values"),
                };
                self.sink.write(format!("index  tokens  vector ({shown})\n").as_bytes())
            }
            Format::Json => {
                let head = heading.about.to_string();
                let open = head.strip_suffix('}').unwrap_or(&head);
                self.sink.write(format!("{open},\"embeddings\":[\n").as_bytes())
            }
            Format::Jsonl | Format::Parquet | Format::Arrow => Ok(()), // the last two are a job's
            Format::Npy => {
                let fingerprint = (!heading.fingerprint.is_empty()).then_some(&*heading.fingerprint);
                self.sink.write(&npy_header(
                    heading.output_type,
                    heading.rows as u64,
                    heading.width(),
                    fingerprint,
                ))
            }
            Format::Safetensors => {
                let rows = heading.rows as u64;
                self.sink.write(&safetensors_header(
                    heading.output_type,
                    rows,
                    heading.width(),
                    &heading.about,
                ))
            }
        }
    }

    /// Writes the next record.
    pub(crate) fn write(&mut self, record: &Record) -> Outcome {
        let bytes = match (self.format, &record.values) {
            (Format::Table, _) => table_row(self.written, record).into_bytes(),
            (Format::Json, _) => {
                let comma = if self.written == 0 { "" } else { ",\n" };
                format!("{comma}{}", self.json_record(record, false)).into_bytes()
            }
            (Format::Jsonl, _) => format!("{}\n", self.json_record(record, true)).into_bytes(),
            (Format::Npy | Format::Safetensors, Values::Vector(vector) | Values::Piece(vector, _)) => {
                vector.to_bytes()
            }
            (Format::Npy | Format::Safetensors | Format::Parquet | Format::Arrow, _) => Vec::new(), // refused before
        };
        self.written += 1;
        self.sink.write(&bytes)
    }

    /// Hands what was written to whoever reads standard output.
    pub(crate) fn flush(&mut self) -> Outcome {
        self.sink.flush()
    }

    /// Writes what stands after the last record, and makes all of it appear.
    pub(crate) fn finish(mut self) -> Outcome {
        if self.format == Format::Json {
            self.sink.write(b"\n]}\n")?;
        }
        self.sink.finish()
    }

    /// `{"index", "embedding", "tokens", "truncated"}`, or the sparse and token-wise forms.
    fn json_record(&self, record: &Record, with_fingerprint: bool) -> String {
        let index = self.written;
        let vector = |vector: &Quantized| match self.base64 {
            true => format!("\"{}\"", BASE64_STANDARD.encode(vector.to_bytes())),
            false => vector.to_json(),
        };
        let weights = |sparse: &SparseVector| {
            let weights = vector(&Quantized::F32(sparse.values.clone()));
            format!("\"indices\":{:?},\"values\":{weights}", sparse.indices)
        };
        let values = match &record.values {
            Values::Vector(values) | Values::Piece(values, _) => {
                format!("\"embedding\":{}", vector(values))
            }
            Values::Sparse(sparse) => weights(sparse),
            Values::Both(values, sparse) => format!("\"embedding\":{},{}", vector(values), weights(sparse)),
            Values::Tokens(ids, vectors) => {
                let vectors: Vec<String> = vectors.iter().map(vector).collect();
                format!("\"ids\":{ids:?},\"embeddings\":[{}]", vectors.join(","))
            }
        };
        let (tokens, truncated) = (record.own_tokens(), record.untruncated > record.tokens);
        let fingerprint = match with_fingerprint {
            true => format!(",\"fingerprint\":\"{}\"", self.fingerprint),
            false => String::new(),
        };
        let piece = record.piece.map_or_else(String::new, |(text, start, end)| {
            format!("\"text\":{text},\"start\":{start},\"end\":{end},")
        });
        format!(
            "{{\"index\":{index},{piece}{values},\"tokens\":{tokens},\"truncated\":{truncated}{fingerprint}}}"
        )
    }
}

/// Values of a row of the table at most.
const SHOWN: usize = 8;

fn table_row(index: usize, record: &Record) -> String {
    let float = |value: f32| format!("{value:8.4}");
    let (values, count): (Vec<String>, usize) = match &record.values {
        Values::Vector(vector) | Values::Piece(vector, _) | Values::Both(vector, _) => {
            let shown = match vector {
                Quantized::F32(values) => values.iter().take(SHOWN).map(|value| float(*value)).collect(),
                Quantized::F16(values) => {
                    values.iter().take(SHOWN).map(|value| float(value.to_f32())).collect()
                }
                Quantized::Int8(values) => {
                    values.iter().take(SHOWN).map(|value| format!("{value:4}")).collect()
                }
                Quantized::Uint8(values) => {
                    values.iter().take(SHOWN).map(|value| format!("{value:4}")).collect()
                }
            };
            (shown, vector.len())
        }
        Values::Sparse(sparse) => {
            let entries = sparse.indices.iter().zip(&sparse.values).take(SHOWN);
            (entries.map(|(index, value)| format!("{index}:{value:.4}")).collect(), sparse.indices.len())
        }
        Values::Tokens(ids, _) => (vec![format!("{} vectors", ids.len())], 1),
    };
    let more = if count > SHOWN { " …" } else { "" };
    let cut = match record.untruncated > record.tokens {
        true => format!("  (cut from {} tokens)", record.untruncated),
        false => String::new(),
    };
    format!("{index:5}  {:6}  {}{more}{cut}\n", record.own_tokens(), values.join(" "))
}
