//! An embedding model.

use crate::calls::call;
use crate::errors::raised;
use crate::open::How;
use crate::options::Options;
use crate::texts::Texts;
use numpy::{IntoPyArray, PyArray1, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use taskvec::{
    CancelToken, EmbedOptions, Embedder, Error, Fingerprint, Output, OutputType, Quantized, Ranges, Request,
    SparseVector, TokenVectors, Value, quantize,
};

/// Texts and bytes up to which a call is short: some milliseconds on a CPU.
const FEW: usize = 8;
const SHORT: usize = 8 << 10;

/// An embedding model, open.
#[pyclass(frozen, module = "taskvec._taskvec")]
pub(crate) struct Engine {
    embedder: Embedder,
}

/// The texts of a call.
struct Call {
    texts: Texts,
    titles: Option<Texts>,
    options: Arc<EmbedOptions>,
}

impl Call {
    fn read(items: &Bound<'_, PyAny>, titles: Option<&Bound<'_, PyAny>>, options: Options) -> PyResult<Call> {
        let texts = Texts::all(items, "text")?;
        let titles = titles.map(|titles| Texts::some(titles, "title")).transpose()?;
        if let Some(titles) = titles.as_ref().filter(|titles| titles.len() != texts.len()) {
            return Err(PyValueError::new_err(format!(
                "there are {} texts and {} titles; expected a title, or None, for each text",
                texts.len(),
                titles.len()
            )));
        }
        let options = Arc::new(options.read(items.py())?);
        Ok(Call { texts, titles, options })
    }

    fn requests(&self) -> impl Iterator<Item = Request<'_>> {
        let titles = self.titles.iter().flat_map(Texts::iter).chain(std::iter::repeat(None));
        self.texts.iter().flatten().zip(titles).map(|(text, title)| {
            let request = Request::new(text).options(self.options.clone());
            match title {
                Some(title) => request.title(title),
                None => request,
            }
        })
    }

    fn is_short(&self) -> bool {
        self.texts.len() <= FEW && self.texts.bytes() <= SHORT
    }
}

impl Engine {
    /// What the model gives for each text; `progress` is told how many are done.
    fn values<T: Value>(
        &self,
        py: Python<'_>,
        texts: &Call,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<T>> {
        let mut values = Vec::with_capacity(texts.texts.len());
        values.resize_with(texts.texts.len(), || None);
        let values = Mutex::new(values);
        let is_short = texts.is_short() && progress.is_none();
        call(py, is_short, |cancel: &CancelToken| {
            let failed: Mutex<Option<Error>> = Mutex::new(None);
            let stream = self.embedder.stream_of(texts.requests()).stop_at_first_error().cancel(cancel);
            let stream = stream.on_progress(|done| {
                if let Some(progress) = &progress {
                    // What a bar has to say is not worth an end of the call.
                    let _ = Python::attach(|py| progress.call1(py, (done.texts,)));
                }
            });
            // In any order: larger parts are taken together than where each waits for its turn.
            let ended = stream.for_each_ready(|text, output: taskvec::Result<Output<T>>| match output {
                Ok(output) => {
                    values.lock().unwrap_or_else(PoisonError::into_inner)[text] = Some(output.value);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    ControlFlow::Break(())
                }
            });
            match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
                Some(error) => Err(error),
                None => ended,
            }
        })?;
        let values = values.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(values.into_iter().flatten().collect())
    }
}

#[pymethods]
impl Engine {
    #[new]
    fn new(py: Python<'_>, how: How) -> PyResult<Engine> {
        let embedder = how.open(py, Embedder::builder(), |builder| builder.builtin())?;
        Ok(Engine { embedder })
    }

    /// Dense vectors, `[texts, values]`.
    #[pyo3(signature = (items, titles, options, output_type, ranges, progress))]
    #[allow(clippy::too_many_arguments)] // Python's, by name
    fn encode<'py>(
        &self,
        py: Python<'py>,
        items: &Bound<'py, PyAny>,
        titles: Option<&Bound<'py, PyAny>>,
        options: Options,
        output_type: &str,
        ranges: Option<(Vec<f32>, Vec<f32>)>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let output_type: OutputType = output_type.parse().map_err(|e| raised(py, &e))?;
        let texts = Call::read(items, titles, options)?;
        let rows = texts.texts.len();
        let space = self.embedder.space_of::<Vec<f32>>(texts.options.clone()).map_err(|e| raised(py, &e))?;
        let vectors: Vec<Vec<f32>> = self.values(py, &texts, progress)?;
        if output_type == OutputType::F32 {
            let mut values: Vec<f32> = Vec::with_capacity(rows * space.dimensions());
            vectors.iter().for_each(|vector| values.extend(vector));
            return matrix(values.into_pyarray(py), rows, space.dimensions());
        }
        let ranges = ranges.map(|(min, max)| Ranges { min, max });
        let width = output_type.values(space.dimensions());
        let (mut halves, mut signed, mut unsigned) = (Vec::new(), Vec::new(), Vec::new());
        for vector in &vectors {
            match quantize(vector, output_type, ranges.as_ref()).map_err(|e| raised(py, &e))? {
                Quantized::F16(values) => halves.extend(values.iter().map(|value| value.to_bits())),
                Quantized::Int8(values) => signed.extend(values),
                Quantized::Uint8(values) => unsigned.extend(values),
                Quantized::F32(_) => {}
            }
        }
        match output_type {
            OutputType::F16 => {
                matrix(halves.into_pyarray(py), rows, width)?.call_method1("view", ("float16",))
            }
            OutputType::Int8 | OutputType::Binary => matrix(signed.into_pyarray(py), rows, width),
            _ => matrix(unsigned.into_pyarray(py), rows, width),
        }
    }

    /// Sparse vectors, as the parts of a CSR matrix: values, indices, where rows start, and the size of the vocabulary.
    #[pyo3(signature = (items, options, progress))]
    #[allow(clippy::type_complexity)]
    fn encode_sparse<'py>(
        &self,
        py: Python<'py>,
        items: &Bound<'py, PyAny>,
        options: Options,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<(Bound<'py, PyArray1<f32>>, Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>, usize)>
    {
        let texts = Call::read(items, None, options)?;
        let space =
            self.embedder.space_of::<SparseVector>(texts.options.clone()).map_err(|e| raised(py, &e))?;
        let vectors: Vec<SparseVector> = self.values(py, &texts, progress)?;
        let (mut values, mut indices, mut starts) = (Vec::new(), Vec::new(), vec![0i64]);
        for value in &vectors {
            values.extend(&value.values);
            indices.extend(value.indices.iter().map(|index| i64::from(*index)));
            starts.push(indices.len() as i64);
        }
        Ok((values.into_pyarray(py), indices.into_pyarray(py), starts.into_pyarray(py), space.dimensions()))
    }

    /// The vectors of each text's tokens, `[tokens, values]` each.
    #[pyo3(signature = (items, options, progress))]
    fn encode_tokens<'py>(
        &self,
        py: Python<'py>,
        items: &Bound<'py, PyAny>,
        options: Options,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let texts = Call::read(items, None, options)?;
        let vectors: Vec<TokenVectors> = self.values(py, &texts, progress)?;
        let array =
            |value: TokenVectors| matrix(value.values.into_pyarray(py), value.ids.len(), value.dimensions);
        vectors.into_iter().map(array).collect()
    }

    /// What the model sees of a text, as JSON.
    fn explain(&self, py: Python<'_>, text: &str, options: Options) -> PyResult<String> {
        let options = options.read(py)?;
        let explained = py.detach(|| self.embedder.explain(text, options)).map_err(|e| raised(py, &e))?;
        let tokens: Vec<serde_json::Value> = explained
            .tokens
            .iter()
            .map(|token| serde_json::json!({"id": token.id, "piece": token.piece, "pooled": token.pooled}))
            .collect();
        let prompt = &explained.prompt;
        let explained = serde_json::json!({
            "assembled": explained.assembled,
            "prompt": prompt.text,
            "suffix": prompt.suffix,
            "adapter": prompt.adapter,
            "source": prompt.source.to_string(),
            "note": prompt.note.as_ref().map(ToString::to_string),
            "tokens": tokens,
            "untruncated_tokens": explained.untruncated_tokens,
        });
        Ok(explained.to_string())
    }

    /// What each task does with the model, as JSON.
    fn tasks(&self, py: Python<'_>) -> PyResult<String> {
        let tasks = serde_json::to_string(&self.embedder.tasks());
        tasks.map_err(|e| crate::errors::exception(py, "TaskvecError", e.to_string()))
    }

    /// Which vectors may be compared with these.
    fn fingerprint(&self, py: Python<'_>, options: Options) -> PyResult<String> {
        let options = options.read(py)?;
        let fingerprint = py.detach(|| Ok(self.embedder.space(options)?.fingerprint().to_string()));
        fingerprint.map_err(|error: taskvec::Error| raised(py, &error))
    }

    /// An error if vectors of these fingerprints may not be compared.
    #[staticmethod]
    fn check_comparable(py: Python<'_>, one: &str, other: &str) -> PyResult<()> {
        let check = || -> Result<(), taskvec::Error> {
            let (one, other): (Fingerprint, Fingerprint) = (one.parse()?, other.parse()?);
            one.check_comparable(&other)
        };
        check().map_err(|error| raised(py, &error))
    }

    #[getter]
    fn dimensions(&self) -> usize {
        self.embedder.dimensions()
    }

    #[getter]
    fn max_tokens(&self) -> usize {
        self.embedder.max_tokens()
    }

    #[getter]
    fn device(&self) -> String {
        self.embedder.device().name
    }

    #[getter]
    fn similarity_function(&self) -> String {
        self.embedder.similarity_function().to_string()
    }

    #[getter]
    fn model(&self) -> String {
        self.embedder.model().display().to_string()
    }
}

/// An array of `[rows, columns]` over the memory of one of all values.
fn matrix<'py, T: numpy::Element>(
    values: Bound<'py, PyArray1<T>>,
    rows: usize,
    columns: usize,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(values.reshape([rows, columns])?.into_any())
}

/// How well a document's token vectors match a query's.
#[pyfunction]
pub(crate) fn maxsim(query: PyReadonlyArray2<'_, f32>, document: PyReadonlyArray2<'_, f32>) -> PyResult<f32> {
    let columns = query.shape()[1];
    if document.shape()[1] != columns {
        return Err(PyValueError::new_err(format!(
            "the query's vectors have {columns} values, and the document's {}",
            document.shape()[1]
        )));
    }
    let contiguous = |_| {
        PyValueError::new_err(
            "the vectors do not lie one after the other: pass numpy.ascontiguousarray(vectors)",
        )
    };
    let (query, document) = (query.as_slice().map_err(contiguous)?, document.as_slice().map_err(contiguous)?);
    Ok(taskvec::maxsim(query, document, columns))
}
