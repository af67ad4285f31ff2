//! Model folders made for a test: copied from a fixture and changed, or random.

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A model folder that is removed at the end of the test.
pub struct ModelFolder(TempDir);

/// A tensor as it stands in a file.
#[derive(Clone)]
pub struct RawTensor {
    /// Type of its elements.
    pub dtype: Dtype,
    /// `[rows, columns]`
    pub shape: Vec<usize>,
    /// Its bytes.
    pub data: Vec<u8>,
}

impl RawTensor {
    /// Of these values.
    pub fn from_f32(shape: &[usize], values: &[f32]) -> RawTensor {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        RawTensor { dtype: Dtype::F32, shape: shape.to_vec(), data }
    }
}

impl safetensors::View for &RawTensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.data.as_slice().into()
    }
    fn data_len(&self) -> usize {
        self.data.len()
    }
}

impl ModelFolder {
    /// Without files.
    pub fn empty() -> ModelFolder {
        ModelFolder(TempDir::new().unwrap())
    }

    /// A copy of a fixture.
    pub fn copy_of(fixture: &Path) -> ModelFolder {
        let folder = ModelFolder::empty();
        copy(fixture, folder.path());
        folder
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Where a file of it is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::create_dir_all(self.file(name).parent().unwrap()).unwrap();
        std::fs::write(self.file(name), contents).unwrap();
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.file(name)).unwrap();
    }

    /// Changes a JSON file.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut value: Value = serde_json::from_slice(&std::fs::read(self.file(name)).unwrap()).unwrap();
        change(&mut value);
        self.write(name, value.to_string());
    }

    /// The tensors of a safetensors file.
    pub fn tensors(&self, name: &str) -> BTreeMap<String, RawTensor> {
        let bytes = std::fs::read(self.file(name)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let raw = |view: safetensors::tensor::TensorView<'_>| RawTensor {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            data: view.data().to_vec(),
        };
        file.iter().map(|(name, view)| (name.to_owned(), raw(view))).collect()
    }

    /// Writes a safetensors file.
    pub fn write_tensors(&self, name: &str, tensors: &BTreeMap<String, RawTensor>) {
        self.write(name, safetensors::serialize(tensors, None).unwrap());
    }

    /// Changes the tensors of model.safetensors.
    pub fn edit_tensors(&self, change: impl FnOnce(&mut BTreeMap<String, RawTensor>)) {
        let mut tensors = self.tensors("model.safetensors");
        change(&mut tensors);
        self.write_tensors("model.safetensors", &tensors);
    }
}

/// Copies a folder with all that is in it.
///
/// # Panics
/// If it cannot.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}
