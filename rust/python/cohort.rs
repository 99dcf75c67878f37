//! Patients' rows behind their plan.

use super::journal::Journal;
use super::workers::on_workers;
use super::{json, lock, parse, slice, slice2};
use crate::error::Error;
use crate::marginals::estimate::{fine_partitions, marginals, noisy_count};
use crate::marginals::{Marginals, coarse_partitions};
use crate::privacy::cohort::{PrivateCohort, RawOutcome};
use crate::privacy::noise::NoiseSource;
use crate::privacy::plan::{COARSE_BINS, Plan};
use crate::schema::Schema;
use numpy::{PyArray1, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use std::sync::{Mutex, TryLockError};

/// Patients' rows behind a plan. Nothing can be read from it, and it cannot be pickled.
#[pyclass(frozen, module = "zodc._zodc")]
pub struct Cohort {
    pub(super) inner: Mutex<PrivateCohort>,
    schema: Schema,
}

#[pymethods]
impl Cohort {
    #[new]
    #[pyo3(signature = (schema, plan, cells, outcome, event=None, patient=None, test_seed=None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        schema: &str,
        plan: &str,
        cells: PyReadonlyArray2<'_, f64>,
        outcome: PyReadonlyArray1<'_, f64>,
        event: Option<PyReadonlyArray1<'_, f64>>,
        patient: Option<PyReadonlyArray1<'_, i64>>,
        test_seed: Option<u64>,
    ) -> PyResult<Self> {
        let schema = Schema::from_json(schema)?;
        let plan: Plan = parse("plan", plan)?;
        if cells.shape()[1] != schema.features().count() {
            return Err(Error::data("features", "their number is not the schema's", "pass them all").into());
        }
        let patient = patient.as_ref().map(|p| p.as_slice()).transpose()?;
        let outcome = match &event {
            Some(event) => RawOutcome::Survival(slice(&outcome)?, slice(event)?),
            None => RawOutcome::Classes(slice(&outcome)?),
        };
        let source = test_seed.map_or(NoiseSource::OperatingSystem, NoiseSource::seeded_for_tests);
        let cells = slice2(&cells)?;
        let inner = py.detach(|| PrivateCohort::new(&schema, cells, outcome, patient, plan, source))?;
        Ok(Self { inner: Mutex::new(inner), schema })
    }

    /// Asks for all marginals that the plan holds; returns them as JSON.
    fn marginals(&self, py: Python<'_>) -> PyResult<String> {
        let cohort = &mut *lock(&self.inner)?;
        let schema = &self.schema;
        let found = on_workers(py, || -> crate::Result<Marginals> {
            let coarse = match coarse_partitions(schema, COARSE_BINS) {
                Some(asked) => Some((cohort.noisy_counts(&asked)?, asked)),
                None => None,
            };
            let coarse = coarse.as_ref().map(|(counted, asked)| (asked, counted));
            let n_bins = cohort.plan().fine_bins(coarse.map(|(_, counted)| noisy_count(counted)));
            let asked = fine_partitions(schema, coarse, n_bins);
            let counted = cohort.noisy_counts(&asked)?;
            Ok(marginals(schema, coarse, (&asked, &counted)))
        })??;
        json(&found)
    }

    /// Keeps this journal, and takes what is on record there for those questions.
    fn keep_journal(&self, journal: &Journal) -> PyResult<()> {
        Ok(lock(&self.inner)?.keep_journal(journal.take()?)?)
    }

    /// Answers nothing from here on, and lets the journal go, whoever still holds this object.
    fn end(&self) {
        match self.inner.try_lock() {
            Ok(mut cohort) => cohort.end(),
            Err(TryLockError::Poisoned(fault)) => fault.into_inner().end(),
            Err(TryLockError::WouldBlock) => (),
        }
    }

    /// Answer to the next round if the journal has it.
    fn recorded_round<'py>(
        &self,
        py: Python<'py>,
        clip_norm: f64,
    ) -> PyResult<Option<Bound<'py, PyArray1<f64>>>> {
        let answer = lock(&self.inner)?.recorded_round(clip_norm)?;
        Ok(answer.map(|answer| PyArray1::from_vec(py, answer)))
    }

    /// Noisy answer to a round from loss differences (`n_rows × K`) of a Python model.
    fn answer_differences<'py>(
        &self,
        py: Python<'py>,
        differences: PyReadonlyArray2<'_, f64>,
        clip_norm: f64,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let cohort = &mut *lock(&self.inner)?;
        let values = slice2(&differences)?;
        let answer = on_workers(py, || cohort.answer_differences(values, clip_norm))??;
        Ok(PyArray1::from_vec(py, answer))
    }

    /// Whether the noise comes from the operating system.
    #[getter]
    fn is_private(&self) -> PyResult<bool> {
        Ok(lock(&self.inner)?.is_private())
    }

    fn __repr__(&self) -> &'static str {
        "Cohort(<private>)"
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a Cohort holds patients' rows and cannot be pickled or copied"))
    }
}
