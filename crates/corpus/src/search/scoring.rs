//! Queries in the form that stored vectors of a type are compared with.

use super::file::VectorFile;
use super::stored::Values;
use crate::error::{CorpusError, Result};
use serde_json::Value;
use taskvec::{OutputType, Ranges, Similarity, quantize};
use taskvec_kernels::{Isa, dots, dots_of_bytes, dots_of_halves, dots_of_unaligned, hamming_distances};

/// Queries, ready to be compared.
pub(super) struct Scoring {
    dimensions: usize,
    /// `[queries, dimensions]`: the query, or what it is worth for a step of 8 bits.
    weights: Vec<f32>,
    /// What is added to each query's products: what the middle of step 0 is worth.
    offsets: Vec<f32>,
    /// Of vectors of bits: each query's bits, `[queries, width]`.
    bits: Option<Vec<Vec<u8>>>,
    /// Whether products are divided by the length of the stored vector.
    by_length: bool,
}

impl Scoring {
    pub(super) fn new<Q: AsRef<[f32]>>(file: &VectorFile, by: Similarity, queries: &[Q]) -> Result<Scoring> {
        let dimensions = file.dimensions;
        let wrong = |problem: String| Err(CorpusError::Options(problem));
        if let Some(query) = queries.iter().find(|query| query.as_ref().len() != dimensions) {
            return wrong(format!(
                "a query has {} values, and the stored vectors {dimensions}",
                query.as_ref().len()
            ));
        }
        if !matches!(by, Similarity::Cosine | Similarity::Dot) {
            return wrong(format!("search goes by cosine or dot product, not by {by}"));
        }
        let is_unit = file.about["unit_length"].as_bool() == Some(true);
        let by_length = by == Similarity::Cosine && !is_unit;
        let is_float = matches!(file.layout.output_type, OutputType::F32 | OutputType::F16);
        if by_length && !is_float {
            return wrong(format!(
                "vectors of {} that had no unit length before cannot be searched by cosine; search by dot product, or write them with --normalize yes",
                file.layout.output_type
            ));
        }
        let mut scoring =
            Scoring { dimensions, weights: Vec::new(), offsets: Vec::new(), bits: None, by_length };
        for query in queries {
            let query = scaled(query.as_ref(), by);
            scoring.add(file, &query)?;
        }
        Ok(scoring)
    }

    fn add(&mut self, file: &VectorFile, query: &[f32]) -> Result<()> {
        match file.layout.output_type {
            OutputType::Int8 | OutputType::Uint8 => {
                let ranges = ranges_of(&file.about).ok_or_else(|| {
                    CorpusError::file(
                        &file.layout.path,
                        "it does not say which ranges its 8-bit values lie between",
                    )
                })?;
                // Bytes are signed when they are compared: step 0 is -128.
                let steps = ranges.min.iter().zip(&ranges.max).map(|(min, max)| (max - min) / 255.0);
                let middles = ranges.min.iter().zip(steps.clone()).map(|(min, step)| min + 128.5 * step);
                let worth = |(q, m): (&f32, f32)| f64::from(*q) * f64::from(m);
                self.offsets.push(query.iter().zip(middles).map(worth).sum::<f64>() as f32);
                self.weights.extend(query.iter().zip(steps).map(|(q, step)| q * step));
            }
            OutputType::Binary | OutputType::Ubinary => {
                let bits = quantize(query, OutputType::Ubinary, None)?.to_bytes();
                self.bits.get_or_insert_default().push(bits);
                self.weights.extend(query);
            }
            _ => {
                self.offsets.push(0.0);
                self.weights.extend(query);
            }
        }
        Ok(())
    }

    pub(super) fn is_of_bits(&self) -> bool {
        self.bits.is_some()
    }

    /// The scores of a block, `[rows, queries]`.
    pub(super) fn score(&self, isa: Isa, values: Values<'_>, scores: &mut Vec<f32>) {
        if let Some(queries) = &self.bits {
            return self.distances(isa, values, queries, scores);
        }
        let (dimensions, weights) = (self.dimensions, &self.weights[..]);
        scores.clear();
        scores.resize(values.len() / dimensions * self.offsets.len(), 0.0);
        match values {
            Values::F32(rows) => {
                dots(isa, rows, weights, dimensions, scores);
                if self.by_length {
                    self.divide(scores, rows.chunks_exact(dimensions), |row, square| {
                        dots(isa, row, row, dimensions, square);
                    });
                }
            }
            Values::Unaligned(rows) => {
                dots_of_unaligned(isa, rows, weights, dimensions, scores);
                if self.by_length {
                    self.divide(scores, rows.chunks_exact(dimensions), |row, square| {
                        let row: Vec<f32> = row.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
                        dots(isa, &row, &row, dimensions, square);
                    });
                }
            }
            Values::F16(rows) => {
                dots_of_halves(isa, rows, weights, dimensions, scores);
                if self.by_length {
                    self.divide(scores, rows.chunks_exact(dimensions), |row, square| {
                        let row: Vec<f32> =
                            row.iter().map(|bits| half::f16::from_bits(*bits).to_f32()).collect();
                        dots(isa, &row, &row, dimensions, square);
                    });
                }
            }
            Values::Bytes(rows) => dots_of_bytes(isa, rows, weights, dimensions, scores),
        }
        if self.offsets.iter().any(|offset| *offset != 0.0) {
            for scores in scores.chunks_exact_mut(self.offsets.len()) {
                scores.iter_mut().zip(&self.offsets).for_each(|(score, offset)| *score += offset);
            }
        }
    }

    /// Divides each row's scores by its length.
    fn divide<'r, E: 'r>(
        &self,
        scores: &mut [f32],
        rows: impl Iterator<Item = &'r [E]>,
        square_of: impl Fn(&'r [E], &mut [f32]),
    ) {
        for (row, scores) in rows.zip(scores.chunks_exact_mut(self.offsets.len())) {
            let mut square = [0.0];
            square_of(row, &mut square);
            let scale = if square[0] > 0.0 { 1.0 / square[0].sqrt() } else { 0.0 };
            scores.iter_mut().for_each(|score| *score *= scale);
        }
    }

    /// Minus the number of bits that differ, `[rows, queries]`.
    fn distances(&self, isa: Isa, values: Values<'_>, queries: &[Vec<u8>], scores: &mut Vec<f32>) {
        let Values::Bytes(rows) = values else { return };
        let rows: &[u8] = bytemuck::cast_slice(rows);
        let count = rows.len() / queries.first().map_or(1, Vec::len).max(1);
        scores.clear();
        scores.resize(count * queries.len(), 0.0);
        let mut distances = vec![0; count];
        for (q, query) in queries.iter().enumerate() {
            hamming_distances(isa, rows, query, &mut distances);
            for (row, distance) in distances.iter().enumerate() {
                scores[row * queries.len() + q] = -(*distance as f32);
            }
        }
    }

    /// The product of a query with stored bits as -1 and 1.
    pub(super) fn product_with_bits(&self, query: usize, bits: &[u8]) -> f32 {
        let query = &self.weights[query * self.dimensions..][..self.dimensions];
        let signed = query.iter().enumerate().map(|(i, value)| match bits[i / 8] >> (7 - i % 8) & 1 {
            1 => f64::from(*value),
            _ => -f64::from(*value),
        });
        signed.sum::<f64>() as f32
    }
}

/// At unit length, if that counts.
fn scaled(query: &[f32], by: Similarity) -> Vec<f32> {
    let length = query.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    match by {
        Similarity::Cosine if length > 0.0 && (length - 1.0).abs() > 1e-6 => {
            query.iter().map(|value| (f64::from(*value) / length) as f32).collect()
        }
        _ => query.to_vec(),
    }
}

/// What the ranges of 8-bit steps are, as the file says.
pub(super) fn ranges_of(about: &Value) -> Option<Ranges> {
    Ranges::from_json(about.get("ranges")?.as_str()?).ok()
}
