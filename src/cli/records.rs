//! Vectors in each output format.

use super::arguments::Format;
use super::sink::Sink;
use super::{Failure, Outcome};
use serde_json::json;
use std::io::IsTerminal;
use taskvec::{Embedder, Embedding};

/// Writes vectors as they come, in order.
pub(crate) struct Records {
    sink: Sink,
    format: Format,
    texts: usize,
    dimensions: usize,
    written: usize,
}

impl Records {
    /// For `texts` vectors of `dimensions` values.
    pub(crate) fn new(
        sink: Sink,
        format: Format,
        to_stdout: bool,
        texts: usize,
        dimensions: usize,
    ) -> Outcome<Records> {
        if format == Format::Npy && to_stdout && std::io::stdout().is_terminal() {
            let problem = "npy is binary: give --output FILE, or send standard output somewhere";
            return Err(Failure::Usage(problem.to_owned()));
        }
        Ok(Records { sink, format, texts, dimensions, written: 0 })
    }

    /// Writes what stands before the first vector.
    pub(crate) fn begin(&mut self, embedder: &Embedder, first: &Embedding) -> Outcome {
        match self.format {
            Format::Table => {
                let dimensions = self.dimensions;
                self.sink.write(format!("index  tokens  vector ({dimensions} values)\n").as_bytes())
            }
            Format::Json => {
                let prompt = &first.prompt;
                let head = json!({
                    "model": embedder.model(),
                    "device": embedder.device().name,
                    "dimensions": self.dimensions,
                    "prompt": prompt.text,
                    "prompt_source": prompt.source.to_string(),
                    "note": prompt.note.as_ref().map(ToString::to_string),
                });
                let head = head.to_string();
                let open = head.strip_suffix('}').unwrap_or(&head);
                self.sink.write(format!("{open},\"embeddings\":[\n").as_bytes())
            }
            Format::Jsonl => Ok(()),
            Format::Npy => self.sink.write(&npy_header(self.texts, self.dimensions)),
        }
    }

    /// Writes the next vectors.
    pub(crate) fn write(&mut self, embeddings: &[Embedding]) -> Outcome {
        for embedding in embeddings {
            let bytes = match self.format {
                Format::Table => table_row(self.written, embedding).into_bytes(),
                Format::Json => {
                    let comma = if self.written == 0 { "" } else { ",\n" };
                    format!("{comma}{}", json_record(self.written, embedding)).into_bytes()
                }
                Format::Jsonl => format!("{}\n", json_record(self.written, embedding)).into_bytes(),
                Format::Npy => embedding.vector.iter().flat_map(|value| value.to_le_bytes()).collect(),
            };
            self.sink.write(&bytes)?;
            self.written += 1;
        }
        Ok(())
    }

    /// Writes what stands after the last vector, and makes all of it appear.
    pub(crate) fn finish(mut self) -> Outcome {
        if self.format == Format::Json {
            self.sink.write(b"\n]}\n")?;
        }
        self.sink.finish()
    }
}

/// `{"index", "embedding", "tokens", "truncated"}`; numbers are the shortest that read back to the
/// same f32.
fn json_record(index: usize, embedding: &Embedding) -> String {
    let values: Vec<String> = embedding.vector.iter().map(|value| format!("{value:?}")).collect();
    let (tokens, truncated) = (embedding.tokens, embedding.truncated());
    format!(
        "{{\"index\":{index},\"embedding\":[{}],\"tokens\":{tokens},\"truncated\":{truncated}}}",
        values.join(",")
    )
}

fn table_row(index: usize, embedding: &Embedding) -> String {
    const SHOWN: usize = 8;
    let values: Vec<String> =
        embedding.vector.iter().take(SHOWN).map(|value| format!("{value:8.4}")).collect();
    let more = if embedding.vector.len() > SHOWN { " …" } else { "" };
    let cut = if embedding.truncated() {
        format!("  (cut from {} tokens)", embedding.untruncated_tokens)
    } else {
        String::new()
    };
    format!("{index:5}  {:6}  {}{more}{cut}\n", embedding.tokens, values.join(" "))
}

/// The header of a version 1.0 .npy file: a C-ordered array of little-endian f32.
///
/// Format: numpy.lib.format.
fn npy_header(rows: usize, columns: usize) -> Vec<u8> {
    const PREAMBLE: usize = 10; // magic, version, length
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let padded = (PREAMBLE + text.len() + 1).next_multiple_of(64);
    text.extend(std::iter::repeat_n(' ', padded - PREAMBLE - text.len() - 1));
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((text.len() as u16).to_le_bytes());
    header.extend(text.into_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npy_data_starts_on_a_multiple_of_64() {
        for (rows, columns) in [(1, 1), (3, 384), (1_000_000, 1024), (usize::MAX, usize::MAX)] {
            let header = npy_header(rows, columns);
            assert_eq!(header.len() % 64, 0);
            assert_eq!(usize::from(u16::from_le_bytes([header[8], header[9]])), header.len() - 10);
            assert_eq!(header.last(), Some(&b'\n'));
        }
    }
}
