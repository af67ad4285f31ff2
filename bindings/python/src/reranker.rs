//! A cross-encoder.

use crate::calls::call;
use crate::open::How;
use crate::texts::Texts;
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use taskvec::Reranker;

/// A reranker, open.
#[pyclass(frozen, module = "taskvec._taskvec")]
pub(crate) struct RerankerEngine {
    reranker: Reranker,
}

#[pymethods]
impl RerankerEngine {
    #[new]
    fn new(py: Python<'_>, how: How) -> PyResult<RerankerEngine> {
        // There is no built-in one; the Python class asks for a model.
        let reranker = how.open(py, Reranker::builder(), |builder| builder.open(""))?;
        Ok(RerankerEngine { reranker })
    }

    /// How relevant each document is for a query.
    fn score<'py>(
        &self,
        py: Python<'py>,
        query: &str,
        documents: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let documents = Texts::all(documents, "document")?;
        let documents: Vec<&str> = documents.iter().flatten().collect();
        let scores = call(py, false, |cancel| self.reranker.score_cancellable(query, &documents, cancel))?;
        Ok(scores.into_iter().map(|score| score.value).collect::<Vec<f32>>().into_pyarray(py))
    }

    #[getter]
    fn max_tokens(&self) -> usize {
        self.reranker.max_tokens()
    }

    #[getter]
    fn device(&self) -> String {
        self.reranker.device().name
    }
}
