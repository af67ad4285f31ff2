//! The tensors of a model, memory-mapped: found by name, checked, read as f32.

use super::files::ModelFiles;
use super::mmap::Bytes;
use crate::error::{Error, Result};
use half::slice::HalfFloatSliceExt;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Prefixes that some exports of a model put before all tensor names and others leave out.
const PREFIXES: [&str; 10] = [
    "",
    "model.",
    "bert.",
    "roberta.",
    "mpnet.",
    "distilbert.",
    "albert.",
    "new.",
    "transformer.",
    "language_model.",
];

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

/// One safetensors file.
struct WeightFile {
    path: PathBuf,
    bytes: Bytes,
}

/// What a safetensors header says of a tensor.
#[derive(Clone)]
struct Entry {
    file: Arc<WeightFile>,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

/// All tensors of a model, by name.
pub(crate) struct Weights {
    /// The file to name when a tensor is missing: the only one, or the index of the shards.
    path: PathBuf,
    entries: HashMap<String, Entry>,
}

impl Weights {
    /// Maps `model.safetensors`, or the shards that `model.safetensors.index.json` lists, in
    /// `folder` (a path inside the model's files), and checks their headers.
    pub(crate) fn open(files: &ModelFiles, folder: &str) -> Result<Weights> {
        let single = files.join(folder, "model.safetensors")?;
        let index = files.join(folder, "model.safetensors.index.json")?;
        if !files.has(&single) && files.has(&index) {
            return Weights::open_sharded(files, folder, &index);
        }
        let mut weights = Weights { path: files.path(&single), entries: HashMap::new() };
        weights.add_file(files, &single)?;
        Ok(weights)
    }

    fn open_sharded(files: &ModelFiles, folder: &str, index: &str) -> Result<Weights> {
        let json = files.json(index)?;
        let map = json.get("weight_map").and_then(Value::as_object);
        let map = map.ok_or_else(|| {
            json.error("`weight_map` is missing, expected an object of tensor and file names")
        })?;
        let mut weights = Weights { path: json.path.clone(), entries: HashMap::new() };
        let mut shards = BTreeSet::new();
        for (tensor, shard) in map {
            let shard = shard
                .as_str()
                .ok_or_else(|| json.error(format!("the file of `{tensor}` is not a string")))?;
            shards.insert(shard);
        }
        for shard in shards {
            weights.add_file(files, &files.join(folder, shard)?)?;
        }
        match map.keys().find(|name| !weights.entries.contains_key(*name)) {
            Some(name) => Err(Error::MissingTensor { path: weights.path, name: name.clone() }),
            None => Ok(weights),
        }
    }

    fn add_file(&mut self, files: &ModelFiles, name: &str) -> Result<()> {
        let file = Arc::new(WeightFile { path: files.path(name), bytes: files.bytes(name)? });
        let invalid = |problem: String| Error::Safetensors { path: file.path.clone(), problem };
        let tensors = SafeTensors::deserialize(&file.bytes).map_err(|e| invalid(e.to_string()))?;
        let base = file.bytes.as_ptr() as usize;
        for (name, view) in tensors.iter() {
            let start = view.data().as_ptr() as usize - base;
            let bytes = start..start + view.data().len();
            let entry =
                Entry { file: file.clone(), dtype: view.dtype(), shape: view.shape().to_vec(), bytes };
            if self.entries.insert(name.to_owned(), entry).is_some() {
                return Err(invalid(format!("tensor `{name}` is in another file of the model too")));
            }
        }
        Ok(())
    }

    /// Whether the model has a tensor of this name, with or without a known prefix.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The names of all tensors.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The file, or the index of a sharded model.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn find(&self, name: &str) -> Option<(String, &Entry)> {
        PREFIXES.iter().find_map(|prefix| {
            let name = format!("{prefix}{name}");
            self.entries.get(&name).map(|entry| (name, entry))
        })
    }

    /// The tensor `name`, which must have the shape `expected`; `because` says where in the
    /// configuration that shape comes from.
    pub(crate) fn tensor(&self, name: &str, expected: &[usize], because: &str) -> Result<Tensor> {
        let Some((name, entry)) = self.find(name) else {
            return Err(Error::MissingTensor { path: self.path.clone(), name: name.to_owned() });
        };
        let path = || entry.file.path.clone();
        if entry.shape != expected {
            let (found, expected, because) = (entry.shape.clone(), expected.to_vec(), because.to_owned());
            return Err(Error::TensorShape { path: path(), name, found, expected, because });
        }
        let element = match entry.dtype {
            Dtype::F32 => ElementType::F32,
            Dtype::F16 => ElementType::F16,
            Dtype::BF16 => ElementType::Bf16,
            other => return Err(Error::TensorDtype { path: path(), name, found: format!("{other:?}") }),
        };
        let (file, bytes, shape) = (entry.file.clone(), entry.bytes.clone(), entry.shape.clone());
        Ok(Tensor { file, name: name.into(), element, shape, bytes })
    }
}

/// A tensor of one or two dimensions in a mapped file. Cloning it copies no elements.
#[derive(Clone)]
pub(crate) struct Tensor {
    file: Arc<WeightFile>,
    name: Arc<str>,
    element: ElementType,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

impl Tensor {
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
        let size = self.element.bytes();
        let start = self.bytes.start + rows.start * columns * size;
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
        Err(Error::NonFiniteWeight { path, name, index: first + at, value: out[at] })
    }

    /// The rows `rows` of a matrix, as a tensor of its own.
    ///
    /// # Panics
    /// If there are no such rows.
    pub(crate) fn row_range(&self, rows: Range<usize>) -> Tensor {
        let columns = self.columns();
        let mut part = self.element_range(rows.start * columns..rows.end * columns);
        part.shape = vec![rows.len(), columns];
        part
    }

    /// The elements `range`, as a vector of its own.
    ///
    /// # Panics
    /// If there are no such elements.
    pub(crate) fn element_range(&self, range: Range<usize>) -> Tensor {
        assert!(range.start <= range.end && range.end <= self.rows() * self.columns());
        let size = self.element.bytes();
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
    pub(crate) fn first_non_finite(&self) -> Option<Error> {
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
