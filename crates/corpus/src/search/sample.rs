//! Stored vectors as numbers, for whoever wants to look at them.

use super::file::VectorFile;
use super::hit::Hit;
use super::scoring::ranges_of;
use super::stored::Values;
use crate::error::{CorpusError, Result};
use std::collections::BTreeSet;
use taskvec::{OutputType, Ranges};

/// Some vectors of an [`Index`](crate::Index), as numbers.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Sample {
    /// Where each is from; the scores are zero.
    pub hits: Vec<Hit>,
    /// `[hits, dimensions]`: of 8-bit steps their middles, of bits -1 and 1.
    pub values: Vec<f32>,
}

/// At most so many of the vectors, evenly spread over the rows that may be found.
pub(super) fn take(files: &[VectorFile], allowed: &[Vec<bool>], most: usize) -> Result<Sample> {
    let is_allowed =
        |file: usize, row: u64| allowed.get(file).is_none_or(|rows| rows.get(row as usize) == Some(&true));
    let rows =
        files.iter().enumerate().flat_map(|(file, opened)| (0..opened.rows).map(move |row| (file, row)));
    let all = rows.filter(|(file, row)| is_allowed(*file, *row));
    let total = all.clone().count() as u128;
    let count = total.min(most as u128);
    // Every so many.
    let wanted: BTreeSet<(usize, u64)> =
        (0u128..).zip(all).filter(|(i, _)| i * count % total < count).map(|(_, place)| place).collect();
    let mut sample = Sample { hits: Vec::new(), values: Vec::new() };
    for (place, file) in files.iter().enumerate() {
        let decoder = Decoder::of(file)?;
        for group in 0..file.groups() {
            file.each_block(group, &mut |start, values| {
                let end = start + (values.len() / file.layout.width) as u64;
                for &(_, row) in wanted.range((place, start)..(place, end)) {
                    decoder.add(values, (row - start) as usize, &mut sample.values);
                    sample.hits.push(Hit { score: 0.0, file: place, row });
                }
            })?;
        }
    }
    Ok(sample)
}

/// What stored values are worth.
struct Decoder {
    dimensions: usize,
    width: usize,
    ranges: Option<Ranges>,
}

impl Decoder {
    fn of(file: &VectorFile) -> Result<Decoder> {
        let ranges = match file.layout.output_type {
            OutputType::Int8 | OutputType::Uint8 => Some(ranges_of(&file.about).ok_or_else(|| {
                let problem = "it does not say which ranges its 8-bit values lie between";
                CorpusError::file(&file.layout.path, problem)
            })?),
            _ => None,
        };
        Ok(Decoder { dimensions: file.dimensions, width: file.layout.width, ranges })
    }

    /// Adds a row of a block.
    fn add(&self, values: Values<'_>, row: usize, to: &mut Vec<f32>) {
        let place = row * self.width..(row + 1) * self.width;
        match (values, &self.ranges) {
            (Values::F32(values), _) => to.extend(&values[place]),
            (Values::Unaligned(values), _) => {
                to.extend(values[place].iter().map(|bytes| f32::from_le_bytes(*bytes)))
            }
            (Values::F16(values), _) => {
                to.extend(values[place].iter().map(|bits| half::f16::from_bits(*bits).to_f32()));
            }
            (Values::Bytes(values), Some(Ranges { min, max, .. })) => {
                // Bytes are signed here: step 0 is -128.
                let value = |((byte, min), max): ((&i8, &f32), &f32)| {
                    min + (f32::from(*byte) + 128.5) * (max - min) / 255.0
                };
                to.extend(values[place].iter().zip(min).zip(max).map(value));
            }
            (Values::Bytes(values), None) => {
                let bytes = &values[place];
                let bit =
                    |i: usize| if bytes[i / 8].cast_unsigned() >> (7 - i % 8) & 1 == 1 { 1.0 } else { -1.0 };
                to.extend((0..self.dimensions).map(bit));
            }
        }
    }
}
