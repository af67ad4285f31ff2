//! Vectors at unit length.

use rayon::prelude::*;
use thiserror::Error;

/// Parts that rows are dealt into. Their number does not depend on the threads, so that sums over rows have the same bits
/// on every machine.
const PARTS: usize = 16;

/// What is wrong with vectors that are to be mapped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MapError {
    /// The values are not rows of the width that was given.
    #[error("{values} values are no rows of {width} each")]
    Width {
        /// How many values there are.
        values: usize,
        /// How many each row should have.
        width: usize,
    },
    /// A value is infinite or not a number.
    #[error("value {column} of row {row} is {value}, expected a finite number")]
    NotFinite {
        /// The row, from 0.
        row: usize,
        /// The place in the row, from 0.
        column: usize,
        /// The value.
        value: f32,
    },
}

/// Vectors of one width, each brought to unit length; one of zeros stays as it is.
#[derive(Clone, PartialEq, Debug)]
pub struct Vectors {
    /// `[rows, width]`
    values: Vec<f32>,
    width: usize,
}

impl Vectors {
    /// From their values, row after row.
    ///
    /// # Errors
    /// If the values are not whole rows, or one is not finite.
    pub fn new(mut values: Vec<f32>, width: usize) -> Result<Vectors, MapError> {
        if width == 0 || !values.len().is_multiple_of(width) {
            return Err(MapError::Width { values: values.len(), width });
        }
        if let Some(place) = values.iter().position(|value| !value.is_finite()) {
            let (row, column) = (place / width, place % width);
            return Err(MapError::NotFinite { row, column, value: values[place] });
        }
        values.par_chunks_exact_mut(width).for_each(|row| {
            let length = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            if length > 0.0 {
                row.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
            }
        });
        Ok(Vectors { values, width })
    }

    /// How many there are.
    pub fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// How many values each has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// `[rows, width]`
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..][..self.width]
    }

    /// Rows of a part.
    fn part_rows(&self) -> usize {
        self.rows().div_ceil(PARTS).max(1)
    }

    /// The parts, each with the place of its first row.
    pub(crate) fn parts(&self) -> impl IndexedParallelIterator<Item = (usize, &[f32])> {
        let rows = self.part_rows();
        self.values.par_chunks(rows * self.width).enumerate().map(move |(i, part)| (i * rows, part))
    }

    /// The sum over rows of what each part comes to, added up in the order of the rows.
    pub(crate) fn sum(&self, size: usize, of_part: impl Fn(usize, &[f32], &mut [f64]) + Sync) -> Vec<f64> {
        let mut sums = vec![0.0; size * PARTS];
        sums.par_chunks_exact_mut(size)
            .zip(self.parts())
            .for_each(|(sum, (first, part))| of_part(first, part, sum));
        let (total, others) = sums.split_at_mut(size);
        for sum in others.chunks_exact(size) {
            total.iter_mut().zip(sum).for_each(|(total, value)| *total += value);
        }
        sums.truncate(size);
        sums
    }
}

/// Numbers that look random, the same ones every time: the golden ratio's steps through SplitMix64's mixing (Steele,
/// Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    /// From 0 up to 1.
    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_unit_length() {
        let vectors = Vectors::new(vec![3.0, 4.0, 0.0, 0.0], 2).unwrap();
        assert_eq!(vectors.values(), [0.6, 0.8, 0.0, 0.0]);
        assert_eq!((vectors.rows(), vectors.width()), (2, 2));
    }

    #[test]
    fn what_is_no_vectors_is_an_error() {
        assert!(matches!(Vectors::new(vec![1.0; 3], 2), Err(MapError::Width { values: 3, width: 2 })));
        assert!(matches!(Vectors::new(vec![], 0), Err(MapError::Width { .. })));
        let error = Vectors::new(vec![1.0, 2.0, 3.0, f32::NAN], 2).unwrap_err();
        assert_eq!(error.to_string(), "value 1 of row 1 is NaN, expected a finite number");
    }
}
