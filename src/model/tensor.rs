//! One tensor of a mapped file, read as f32.

use super::derived::{Derived, RowMap};
use crate::error::{ModelError, ModelResult as Result};
use crate::source::Bytes;
use half::slice::HalfFloatSliceExt;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// How a tensor's elements are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ElementType {
    /// IEEE single precision
    F32,
    /// IEEE half precision
    F16,
    /// The upper half of a single-precision number
    Bf16,
}

impl ElementType {
    /// Bytes of an element.
    pub(crate) fn bytes(self) -> usize {
        match self {
            ElementType::F32 => 4,
            ElementType::F16 | ElementType::Bf16 => 2,
        }
    }
}

/// One file of weights.
pub(super) struct WeightFile {
    pub(super) path: PathBuf,
    pub(super) bytes: Bytes,
}

/// A tensor of one or two dimensions in a mapped file. Cloning it copies no elements.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(super) file: Arc<WeightFile>,
    pub(super) name: Arc<str>,
    pub(super) element: ElementType,
    pub(super) shape: Vec<usize>,
    /// Where its elements are in the file.
    pub(super) bytes: Range<usize>,
    /// How its rows follow from the stored ones, where they are not those.
    pub(super) derived: Option<Derived>,
    /// The row of the whole derived tensor that is this one's first.
    pub(super) first_row: usize,
}

/// Its name and its form, and what is done to what is stored; not what is stored, nor where.
impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {:?}", self.name(), self.element_type(), self.shape())?;
        self.derived.as_ref().map_or(Ok(()), |derived| write!(f, " {derived:?} from {}", self.first_row))
    }
}

impl Tensor {
    /// A matrix whose row i is `map.scale[i]` times this one's row `map.rows[i]`.
    ///
    /// # Panics
    /// If the tensor has no such row.
    pub(crate) fn mapped(self, map: RowMap) -> Tensor {
        assert!(map.rows.iter().all(|&row| (row as usize) < self.rows()));
        let shape = vec![map.rows.len(), self.columns()];
        Tensor { shape, derived: Some(Derived::Mapped(Arc::new(map))), ..self }
    }

    /// A matrix of one row: this one's row `row` less its row `other`.
    ///
    /// # Panics
    /// If the tensor has no such rows, or is derived itself.
    pub(crate) fn difference(self, row: usize, other: usize) -> Tensor {
        assert!(row < self.rows() && other < self.rows() && self.derived.is_none());
        let shape = vec![1, self.columns()];
        Tensor { shape, derived: Some(Derived::Difference([row, other])), ..self }
    }

    /// Its name in the file.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where its elements are: no two tensors have the same place.
    pub(crate) fn place(&self) -> (*const u8, usize) {
        (self.file.bytes.as_ptr(), self.bytes.start)
    }

    /// Its shape: `[rows, columns]`, or `[columns]`.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How its elements are stored.
    pub(crate) fn element_type(&self) -> ElementType {
        self.element
    }

    /// Number of rows; a vector is one row.
    pub(crate) fn rows(&self) -> usize {
        if self.shape.len() < 2 { 1 } else { self.shape[0] }
    }

    /// Elements of a row.
    pub(crate) fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Its elements as they are stored.
    pub(crate) fn stored(&self) -> &[u8] {
        &self.file.bytes[self.bytes.clone()]
    }

    /// Bytes that it takes in the file.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Reads `rows` as f32, row after row, into `out`. Values may be NaN or infinite.
    ///
    /// # Panics
    /// If there are no such rows, or `out` has another size.
    pub(crate) fn read_rows(&self, rows: Range<usize>, out: &mut [f32]) {
        let columns = self.columns();
        assert!(rows.start <= rows.end && rows.end <= self.rows() && out.len() == rows.len() * columns);
        let derived = self.first_row + rows.start..self.first_row + rows.end;
        match &self.derived {
            None => self.read_stored(rows.start, out),
            Some(Derived::LowRank(low_rank)) => {
                self.read_stored(rows.start, out);
                low_rank.add(derived, columns, out);
            }
            Some(Derived::Difference([row, other])) => {
                let mut less = vec![0.0; out.len()];
                self.read_stored(*row, out);
                self.read_stored(*other, &mut less);
                out.iter_mut().zip(&less).for_each(|(value, less)| *value -= less);
            }
            Some(Derived::Mapped(map)) => {
                for (row, out) in derived.zip(out.chunks_exact_mut(columns)) {
                    self.read_stored(map.rows[row] as usize, out);
                    map.scale_row(row, out);
                }
            }
        }
    }

    /// Stored rows from `first` on.
    fn read_stored(&self, first: usize, out: &mut [f32]) {
        let size = self.element.bytes();
        let start = self.bytes.start + first * self.columns() * size;
        widen(self.element, &self.file.bytes[start..start + out.len() * size], out);
    }

    /// [`Tensor::read_rows`], with an error where a value is not finite.
    pub(crate) fn read_finite_rows(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let first = rows.start * self.columns();
        self.read_rows(rows, out);
        // Without a branch in the loop, so that it costs next to nothing.
        if out.iter().fold(true, |finite, v| finite & v.is_finite()) {
            return Ok(());
        }
        let at = out.iter().position(|v| !v.is_finite()).unwrap_or(0);
        let (path, name) = (self.file.path.clone(), self.name.to_string());
        Err(ModelError::NonFiniteWeight { path, name, index: first + at, value: out[at] })
    }

    /// The 16 bits that its elements are, if the file has them so and they are read as they are.
    pub(crate) fn half_type(&self) -> Option<ElementType> {
        let is_half = self.element != ElementType::F32 && self.derived.is_none();
        is_half.then_some(self.element)
    }

    /// The bytes of a row, if it is read as it is stored; else none.
    ///
    /// # Panics
    /// If there is no such row.
    pub(crate) fn stored_row(&self, row: usize) -> &[u8] {
        let row_bytes = self.element.bytes() * self.columns();
        match self.derived {
            None => &self.stored()[row * row_bytes..][..row_bytes],
            Some(_) => &[],
        }
    }

    /// A row's 16-bit values as numbers of this machine, and their type, if the file has them so and they lie as
    /// this machine's do.
    ///
    /// # Panics
    /// If there is no such row.
    pub(crate) fn halves(&self, row: usize) -> Option<(ElementType, &[u16])> {
        assert!(row < self.rows());
        let element = self.half_type().filter(|_| cfg!(target_endian = "little"))?;
        let halves = bytemuck::try_cast_slice(self.stored_row(row)).ok()?;
        Some((element, halves))
    }

    /// A row of a tensor that has a [`Tensor::half_type`], little-endian, or an error where a value is not finite.
    ///
    /// # Panics
    /// If there is no such row.
    pub(crate) fn finite_halves(&self, row: usize) -> Result<&[[u8; 2]]> {
        assert!(self.half_type().is_some() && row < self.rows());
        let columns = self.columns();
        let halves = self.stored_row(row).as_chunks().0;
        let exponent = if self.element == ElementType::F16 { 0x7c00 } else { 0x7f80 };
        let is_finite = |bytes: &[u8; 2]| u16::from_le_bytes(*bytes) & exponent != exponent;
        if !halves.iter().fold(true, |finite, half| finite & is_finite(half)) {
            self.read_finite_rows(row..row + 1, &mut vec![0.0; columns])?; // has the error
        }
        Ok(halves)
    }

    /// The rows `rows` of a matrix, as a tensor of its own.
    ///
    /// # Panics
    /// If there are no such rows.
    pub(crate) fn row_range(&self, rows: Range<usize>) -> Tensor {
        let columns = self.columns();
        let mut part = match self.derived {
            Some(Derived::Mapped(_) | Derived::Difference(_)) => self.clone(), // its rows may be stored anywhere
            _ => self.element_range(rows.start * columns..rows.end * columns),
        };
        part.name = format!("{}[{}..{}]", self.name, rows.start * columns, rows.end * columns).into();
        part.shape = vec![rows.len(), columns];
        part.first_row = self.first_row + rows.start;
        part
    }

    /// The elements `range`, as a vector of its own.
    ///
    /// # Panics
    /// If there are no such elements.
    pub(crate) fn element_range(&self, range: Range<usize>) -> Tensor {
        let size = self.element.bytes();
        assert!(range.start <= range.end && range.end * size <= self.bytes.len());
        let bytes = self.bytes.start + range.start * size..self.bytes.start + range.end * size;
        let name = format!("{}[{}..{}]", self.name, range.start, range.end).into();
        Tensor { name, bytes, shape: vec![range.len()], ..self.clone() }
    }

    /// All elements as f32, all finite.
    pub(crate) fn to_vec(&self) -> Result<Vec<f32>> {
        let mut values = vec![0.0; self.rows() * self.columns()];
        self.read_finite_rows(0..self.rows(), &mut values)?;
        Ok(values)
    }

    /// The error that names this tensor's first value that is not finite, if it has one.
    pub(crate) fn first_non_finite(&self) -> Option<ModelError> {
        let mut row = vec![0.0; self.columns()];
        (0..self.rows()).find_map(|r| self.read_finite_rows(r..r + 1, &mut row).err())
    }
}

/// Reads little-endian elements as f32.
fn widen(element: ElementType, bytes: &[u8], out: &mut [f32]) {
    match element {
        ElementType::F32 => {
            for (value, bytes) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
        }
        ElementType::Bf16 => {
            for (value, bytes) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *value = f32::from_bits(u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) << 16);
            }
        }
        ElementType::F16 => match bytemuck::try_cast_slice::<u8, half::f16>(bytes) {
            // Eight at a time where the CPU has F16C.
            Ok(halves) if cfg!(target_endian = "little") => halves.convert_to_f32_slice(out),
            _ => {
                for (value, bytes) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *value = half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
                }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_precision_number_is_read_exactly_aligned_or_not() {
        let mut bytes = vec![0u8];
        (0..=u16::MAX).for_each(|bits| bytes.extend(bits.to_le_bytes()));
        for (element, exact) in [
            (ElementType::F16, (|bits| half::f16::from_bits(bits).to_f32()) as fn(u16) -> f32),
            (ElementType::Bf16, |bits| half::bf16::from_bits(bits).to_f32()),
        ] {
            let mut out = vec![0.0; 1 << 16];
            let mut aligned = bytes[1..].to_vec();
            for source in [&bytes[1..], &mut aligned] {
                widen(element, source, &mut out);
                for bits in 0..=u16::MAX {
                    let (got, want) = (out[usize::from(bits)], exact(bits));
                    let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
                    assert!(same, "{element:?} {bits:#06x}: {got} not {want}");
                }
            }
        }
    }
}
