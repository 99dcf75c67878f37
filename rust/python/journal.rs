//! The journal of a run, between its opening and the cohort that keeps it.

use super::lock;
use crate::privacy::journal;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::Mutex;

/// The journal of a run; a cohort takes it over. Public: it holds noisy answers only.
#[pyclass(frozen, module = "zodc._zodc")]
pub struct Journal {
    inner: Mutex<Option<journal::Journal>>,
    header: String,
}

impl Journal {
    fn wrap(inner: journal::Journal) -> Self {
        Self { header: inner.header().to_string(), inner: Mutex::new(Some(inner)) }
    }

    pub(super) fn take(&self) -> PyResult<journal::Journal> {
        lock(&self.inner)?.take().ok_or_else(|| PyRuntimeError::new_err("this journal is in use already"))
    }
}

#[pymethods]
impl Journal {
    #[staticmethod]
    fn create(path: PathBuf, header: &str, is_private: bool) -> PyResult<Self> {
        Ok(Self::wrap(journal::Journal::create(&path, header, is_private)?))
    }

    #[staticmethod]
    fn open(path: PathBuf) -> PyResult<Self> {
        Ok(Self::wrap(journal::Journal::open(&path)?))
    }

    /// Lets the file and its lock go, unless a cohort has taken them.
    fn close(&self) -> PyResult<()> {
        lock(&self.inner)?.take();
        Ok(())
    }

    /// The text with which the run began.
    #[getter]
    fn header(&self) -> &str {
        &self.header
    }
}
