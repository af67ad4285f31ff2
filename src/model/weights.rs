//! The tensors of a model's files, found by name and checked.

use super::derived::{Derived, LowRank};
use super::pickle;
use super::tensor::{ElementType, Tensor, WeightFile};
use crate::error::{ModelError, ModelResult as Result};
use crate::source::ModelFiles;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Prefixes that some exports of a model put before all tensor names and others leave out.
const PREFIXES: [&str; 15] = [
    "",
    "model.",
    "bert.",
    "roberta.",
    "mpnet.",
    "distilbert.",
    "albert.",
    "electra.",
    "deberta.",
    "data2vec_text.",
    "nomic_bert.",
    "new.",
    "gte.",
    "transformer.",
    "language_model.",
];

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

/// The low-rank change that matrices are read with.
#[derive(Clone)]
pub(crate) enum Adapter {
    /// In the file itself.
    Stored(StoredAdapter),
    /// In another one.
    Other(Arc<dyn MatrixChange>),
}

/// A change of some of a model's matrices, by their names.
pub(crate) trait MatrixChange: Send + Sync {
    /// The matrix with its change, if it has one.
    fn apply(&self, stored: Tensor) -> Result<Tensor>;
}

/// One of the low-rank adapters that a file holds side by side for each of its matrices.
#[derive(Clone, Copy)]
pub(crate) struct StoredAdapter {
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
        let index = files.join(folder, "pytorch_model.bin.index.json")?;
        if !files.has(&single) && files.has(&index) {
            return Weights::open_sharded(files, folder, &index);
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
        let mut weights = Weights { path: files.path(name), entries: HashMap::new(), adapter: None };
        weights.add_pickled(files, name)?;
        Ok(weights)
    }

    fn add_pickled(&mut self, files: &ModelFiles, name: &str) -> Result<()> {
        let file = Arc::new(WeightFile { path: files.path(name), bytes: files.bytes(name)? });
        let tensors = pickle::tensors(&file.bytes)
            .map_err(|problem| ModelError::Pickle { path: file.path.clone(), problem })?;
        for tensor in tensors {
            // Elements that do not stand in a row are put into one.
            let (file, bytes) = match tensor.gathered(&file.bytes) {
                Some(gathered) => in_memory(&file, gathered),
                None => (file.clone(), tensor.bytes),
            };
            self.add(tensor.name, Entry { file, dtype: tensor.dtype, shape: tensor.shape, bytes })?;
        }
        Ok(())
    }

    fn add(&mut self, name: String, entry: Entry) -> Result<()> {
        let path = entry.file.path.clone();
        match self.entries.insert(name.clone(), entry) {
            None => Ok(()),
            Some(_) => Err(ModelError::DuplicateTensor { path, name }),
        }
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
            let shard = files.join(folder, shard)?;
            match shard.ends_with(".bin") {
                true => weights.add_pickled(files, &shard)?,
                false => weights.add_file(files, &shard)?,
            }
        }
        match map.keys().find(|name| !weights.entries.contains_key(*name)) {
            Some(name) => Err(ModelError::MissingTensor { path: weights.path, name: name.clone() }),
            None => Ok(weights),
        }
    }

    fn add_file(&mut self, files: &ModelFiles, name: &str) -> Result<()> {
        let file = Arc::new(WeightFile { path: files.path(name), bytes: files.bytes(name)? });
        let invalid = |source| ModelError::Safetensors { path: file.path.clone(), source };
        let tensors = SafeTensors::deserialize(&file.bytes).map_err(invalid)?;
        let base = file.bytes.as_ptr() as usize;
        for (name, view) in tensors.iter() {
            let start = view.data().as_ptr() as usize - base;
            let bytes = start..start + view.data().len();
            let entry =
                Entry { file: file.clone(), dtype: view.dtype(), shape: view.shape().to_vec(), bytes };
            self.add(name.to_owned(), entry)?;
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
        let stored = self.stored_tensor(name, expected, because)?;
        match &self.adapter {
            Some(Adapter::Other(adapter)) => adapter.apply(stored),
            _ => Ok(stored),
        }
    }

    /// A table whose rows may be whole numbers of one byte: model2vec's, which mean what they say.
    pub(crate) fn table(&self, name: &str, expected: &[usize], because: &str) -> Result<Tensor> {
        match self.find(name) {
            Some((found, entry)) if entry.dtype == Dtype::I8 && entry.shape == expected => {
                let stored = &entry.file.bytes[entry.bytes.clone()];
                let values = stored.iter().flat_map(|byte| f32::from(byte.cast_signed()).to_le_bytes());
                let (file, bytes) = in_memory(&entry.file, values.collect());
                let (element, shape) = (ElementType::F32, entry.shape.clone());
                Ok(Tensor { file, name: found.into(), element, shape, bytes, derived: None, first_row: 0 })
            }
            _ => self.tensor(name, expected, because),
        }
    }

    fn stored_tensor(&self, name: &str, expected: &[usize], because: &str) -> Result<Tensor> {
        let Some((name, entry)) = self.find(name) else {
            return Err(ModelError::MissingTensor { path: self.path.clone(), name: name.to_owned() });
        };
        let path = || entry.file.path.clone();
        if entry.shape != expected {
            let (found, expected) = (entry.shape.as_slice().into(), expected.into());
            let because = because.to_owned();
            return Err(ModelError::TensorShape { path: path(), name, found, expected, because });
        }
        let (mut file, mut bytes) = (entry.file.clone(), entry.bytes.clone());
        let element = match entry.dtype {
            Dtype::F32 => ElementType::F32,
            Dtype::F16 => ElementType::F16,
            Dtype::BF16 => ElementType::Bf16,
            // What is computed in f32 is stored so.
            Dtype::F64 => {
                let stored = file.bytes[bytes.clone()].as_chunks().0.iter();
                let values = stored.flat_map(|eight| (f64::from_le_bytes(*eight) as f32).to_le_bytes());
                (file, bytes) = in_memory(&entry.file, values.collect());
                ElementType::F32
            }
            other => return Err(ModelError::TensorDtype { path: path(), name, found: format!("{other:?}") }),
        };
        let shape = entry.shape.clone();
        Ok(Tensor { file, name: name.into(), element, shape, bytes, derived: None, first_row: 0 })
    }

    /// Whole numbers, one a row (I32 or I64).
    pub(crate) fn integers(&self, name: &str, count: usize, because: &str) -> Result<Vec<i64>> {
        let Some((name, entry)) = self.find(name) else {
            return Err(ModelError::MissingTensor { path: self.path.clone(), name: name.to_owned() });
        };
        let path = entry.file.path.clone();
        if entry.shape != [count] {
            let (found, expected) = (entry.shape.as_slice().into(), [count].into());
            let because = because.to_owned();
            return Err(ModelError::TensorShape { path, name, found, expected, because });
        }
        let bytes = &entry.file.bytes[entry.bytes.clone()];
        match entry.dtype {
            Dtype::I64 => Ok(bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
            Dtype::I32 => Ok(bytes.as_chunks().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect()),
            other => Err(ModelError::TensorDtype {
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
        let Some(Adapter::Stored(StoredAdapter { index, count, rank, scale })) = self.adapter else {
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
        let low_rank = LowRank { rank, left: left.to_vec()?, right: right.to_vec()?, scale };
        Ok(Tensor { derived: Some(Derived::LowRank(Arc::new(low_rank))), ..stored })
    }
}

/// Elements that do not lie in a file as they are read: a file of their own, which is called as theirs.
fn in_memory(file: &WeightFile, elements: Vec<u8>) -> (Arc<WeightFile>, Range<usize>) {
    let bytes = 0..elements.len();
    (Arc::new(WeightFile { path: file.path.clone(), bytes: elements.into() }), bytes)
}

/// What stands in the name of a matrix with adapters between its layer's name and its part.
pub(crate) const ADAPTED: &str = "parametrizations.weight.";
