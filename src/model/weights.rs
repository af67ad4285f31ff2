//! The tensors of a model, memory-mapped: found by name, checked, read as f32.

use super::derived::{Derived, LowRank, RowMap};
use super::files::ModelFiles;
use super::mmap::Bytes;
use super::pickle;
use crate::error::{Error, Result};
use half::slice::HalfFloatSliceExt;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Prefixes that some exports of a model put before all tensor names and others leave out.
const PREFIXES: [&str; 11] = [
    "",
    "model.",
    "bert.",
    "roberta.",
    "mpnet.",
    "distilbert.",
    "albert.",
    "new.",
    "gte.",
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
#[derive(Clone)]
pub(crate) struct Weights {
    /// The file to name when a tensor is missing: the only one, or the index of the shards.
    path: PathBuf,
    entries: HashMap<String, Entry>,
    /// The task adapter that matrices are read with.
    adapter: Option<Adapter>,
}

/// One of the low-rank adapters that a file holds side by side for each of its matrices.
#[derive(Clone, Copy)]
pub(crate) struct Adapter {
    /// Which.
    pub(crate) index: usize,
    /// How many there are.
    pub(crate) count: usize,
    /// Their rank.
    pub(crate) rank: usize,
    /// Multiplies what they add.
    pub(crate) scale: f32,
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
        let pickled = files.join(folder, "pytorch_model.bin")?;
        if !files.has(&single) && files.has(&pickled) {
            return Weights::open_pickled(files, &pickled);
        }
        Weights::open_file(files, &single)
    }

    /// Maps one safetensors file.
    pub(crate) fn open_file(files: &ModelFiles, name: &str) -> Result<Weights> {
        let mut weights = Weights { path: files.path(name), entries: HashMap::new(), adapter: None };
        weights.add_file(files, name)?;
        Ok(weights)
    }

    /// Maps a file that PyTorch saved, such as pytorch_model.bin: for models that are published
    /// without safetensors.
    pub(crate) fn open_pickled(files: &ModelFiles, name: &str) -> Result<Weights> {
        let file = Arc::new(WeightFile { path: files.path(name), bytes: files.bytes(name)? });
        let tensors = pickle::tensors(&file.bytes)
            .map_err(|problem| Error::Pickle { path: file.path.clone(), problem })?;
        let entry = |tensor: pickle::StoredTensor| {
            let (file, shape) = (file.clone(), tensor.shape);
            (tensor.name, Entry { file, dtype: tensor.dtype, shape, bytes: tensor.bytes })
        };
        let entries = tensors.into_iter().map(entry).collect();
        Ok(Weights { path: file.path.clone(), entries, adapter: None })
    }

    fn open_sharded(files: &ModelFiles, folder: &str, index: &str) -> Result<Weights> {
        let json = files.json(index)?;
        let map = json.get("weight_map").and_then(Value::as_object);
        let map = map.ok_or_else(|| {
            json.error("`weight_map` is missing, expected an object of tensor and file names")
        })?;
        let mut weights = Weights { path: json.path.clone(), entries: HashMap::new(), adapter: None };
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

    /// The same tensors, with the matrices that have adapters read with this one.
    pub(crate) fn with_adapter(&self, adapter: Adapter) -> Weights {
        Weights { adapter: Some(adapter), ..self.clone() }
    }

    /// The shape of the tensor `name`, if there is one.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.find(name).map(|(_, entry)| entry.shape.as_slice())
    }

    /// The tensor `name`, which must have the shape `expected`; `because` says where in the
    /// configuration that shape comes from.
    pub(crate) fn tensor(&self, name: &str, expected: &[usize], because: &str) -> Result<Tensor> {
        if let Some(stem) = name.strip_suffix(".weight").filter(|_| self.find(name).is_none()) {
            let adapted = format!("{stem}.{ADAPTED}original");
            if self.find(&adapted).is_some() {
                let stored = self.stored_tensor(&adapted, expected, because)?;
                return self.adapt(stem, stored);
            }
        }
        self.stored_tensor(name, expected, because)
    }

    fn stored_tensor(&self, name: &str, expected: &[usize], because: &str) -> Result<Tensor> {
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
        Ok(Tensor { file, name: name.into(), element, shape, bytes, derived: None, first_row: 0 })
    }

    /// Whole numbers, one a row (I32 or I64).
    pub(crate) fn integers(&self, name: &str, count: usize, because: &str) -> Result<Vec<i64>> {
        let Some((name, entry)) = self.find(name) else {
            return Err(Error::MissingTensor { path: self.path.clone(), name: name.to_owned() });
        };
        let path = entry.file.path.clone();
        if entry.shape != [count] {
            let (found, expected, because) = (entry.shape.clone(), vec![count], because.to_owned());
            return Err(Error::TensorShape { path, name, found, expected, because });
        }
        let bytes = &entry.file.bytes[entry.bytes.clone()];
        match entry.dtype {
            Dtype::I64 => Ok(bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
            Dtype::I32 => Ok(bytes.as_chunks().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect()),
            other => Err(Error::TensorDtype {
                path,
                name,
                found: format!("{other:?} (a list of rows: I64 or I32)"),
            }),
        }
    }

    /// `stored + scale · L · R` by the chosen adapter, or `stored` by itself.
    ///
    /// The two factors are `lora_A` and `lora_B`, with one slice an adapter. A linear layer's are
    /// A `[rank, inputs]` and B `[outputs, rank]`; an embedding's are A `[rows, rank]` and
    /// B `[rank, columns]`: which of the two is L shows in the shapes.
    fn adapt(&self, stem: &str, stored: Tensor) -> Result<Tensor> {
        let Some(Adapter { index, count, rank, scale }) = self.adapter else {
            return Ok(stored);
        };
        let (rows, columns) = (stored.rows(), stored.columns());
        let names = ["A", "B"].map(|which| format!("{stem}.{ADAPTED}0.lora_{which}"));
        let is_left = |name: &String| self.shape(name) == Some(&[count, rows, rank][..]);
        let left_first = is_left(&names[0]) && self.shape(&names[1]) == Some(&[count, rank, columns][..]);
        let [left, right] = if left_first { [&names[0], &names[1]] } else { [&names[1], &names[0]] };
        let because = "the number of lora_adaptations, lora_rank and the size of the adapted matrix";
        let slice = |name: &str, rows: usize, columns: usize| {
            let all = self.stored_tensor(name, &[count, rows, columns], because)?;
            let mut one = all.element_range(index * rows * columns..(index + 1) * rows * columns);
            one.shape = vec![rows, columns];
            Ok(one)
        };
        let (left, right) = (slice(left, rows, rank)?, slice(right, rank, columns)?);
        let low_rank = LowRank { left, right: right.to_vec()?, scale };
        Ok(Tensor { derived: Some(Derived::LowRank(Arc::new(low_rank))), ..stored })
    }
}

/// What stands in the name of a matrix with adapters between its layer's name and its part.
pub(crate) const ADAPTED: &str = "parametrizations.weight.";

/// A tensor of one or two dimensions in a mapped file. Cloning it copies no elements.
#[derive(Clone)]
pub(crate) struct Tensor {
    file: Arc<WeightFile>,
    name: Arc<str>,
    element: ElementType,
    shape: Vec<usize>,
    bytes: Range<usize>,
    /// How its rows follow from the stored ones, where they are not those.
    derived: Option<Derived>,
    /// The row of the whole derived tensor that is this one's first.
    first_row: usize,
}

impl Tensor {
    /// A matrix whose row i is `map.scale[i]` times this one's row `map.rows[i]`.
    ///
    /// # Panics
    /// If a row is not there.
    pub(crate) fn mapped(self, map: RowMap) -> Tensor {
        assert!(map.rows.iter().all(|&row| (row as usize) < self.rows()));
        let shape = vec![map.rows.len(), self.columns()];
        Tensor { shape, derived: Some(Derived::Mapped(Arc::new(map))), ..self }
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
        Err(Error::NonFiniteWeight { path, name, index: first + at, value: out[at] })
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
            Some(Derived::Mapped(_)) => self.clone(), // its rows may be stored anywhere
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
