//! The same search driven from Python, for models that Rust does not know.

use super::decoder::Rows;
use super::workers::on_workers;
use super::{lock, parse, slice};
use crate::condense::{FixedOutcome, start};
use crate::zeroth_order::{ZerothOrder, schedule::Schedule};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use std::sync::Mutex;

/// Zeroth-order search over synthetic rows. Public.
#[pyclass(frozen, module = "zodc._zodc")]
pub struct Search {
    inner: Mutex<ZerothOrder>,
    outcome: FixedOutcome,
}

#[pymethods]
impl Search {
    #[new]
    fn new(rows: &Rows, schedule: &str, directions: u64, seed: u64) -> PyResult<Self> {
        let schedule = parse::<Schedule>("schedule", schedule)?.checked()?;
        let search = ZerothOrder::new(rows.inner.latents.clone(), directions, seed, schedule)?;
        Ok(Self { inner: Mutex::new(search), outcome: rows.inner.outcome.clone() })
    }

    /// Rounds done.
    #[getter]
    fn round(&self) -> PyResult<u64> {
        Ok(lock(&self.inner)?.round())
    }

    /// L2 norm to which a patient's vector of this round is clipped.
    #[getter]
    fn clip_norm(&self) -> PyResult<f64> {
        Ok(lock(&self.inner)?.clip_norm())
    }

    /// Rows where the search stands.
    #[getter]
    fn rows(&self) -> PyResult<Rows> {
        Ok(self.with_outcome(lock(&self.inner)?.latents().to_vec()))
    }

    /// Candidate `2k` is `S + μU_k`, candidate `2k + 1` is `S − μU_k`.
    fn candidate(&self, index: usize) -> PyResult<Rows> {
        let (mut plus, mut minus) = (Vec::new(), Vec::new());
        lock(&self.inner)?.pair(index / 2, &mut plus, &mut minus);
        Ok(self.with_outcome(if index.is_multiple_of(2) { plus } else { minus }))
    }

    /// Steps by one answer per direction.
    fn update(&self, py: Python<'_>, answers: PyReadonlyArray1<'_, f64>) -> PyResult<()> {
        let search = &mut *lock(&self.inner)?;
        let answers = slice(&answers)?;
        Ok(on_workers(py, || search.update(answers))??)
    }
}

impl Search {
    fn with_outcome(&self, latents: Vec<f64>) -> Rows {
        Rows { inner: start::Rows { latents, outcome: self.outcome.clone() } }
    }
}
