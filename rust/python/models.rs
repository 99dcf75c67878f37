//! Native learners on plain arrays: judges of drawn rows, and what tests compare with scikit-learn and lifelines.

use super::{matrix, parse, slice, slice2};
use crate::condense::population::probabilities;
use crate::condense::{Weighted, teacher};
use crate::error::Error;
use crate::learner::{Design, Labels, Scratch};
use crate::privacy::predictor::{Predictor, TimeGrid};
use crate::privacy::scoring::{BLOCK, BlockOutcome, Candidate, ScoringPack};
use numpy::{PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

/// A mixture of native learners fitted on encoded rows.
#[pyclass(frozen, module = "zodc._zodc")]
pub struct FittedModels {
    models: Candidate,
    n_features: usize,
    n_classes: usize,
    grid: Option<TimeGrid>,
}

#[pymethods]
impl FittedModels {
    /// Fits on `x` and class codes, or on times and events with a grid.
    #[new]
    #[pyo3(signature = (learners, x, outcome, *, n_classes=0, event=None, time_grid=None))]
    fn new(
        py: Python<'_>,
        learners: &str,
        x: PyReadonlyArray2<'_, f64>,
        outcome: PyReadonlyArray1<'_, f64>,
        n_classes: usize,
        event: Option<PyReadonlyArray1<'_, f64>>,
        time_grid: Option<Vec<f64>>,
    ) -> PyResult<Self> {
        let learners: Vec<Weighted> = parse("learner", learners)?;
        let n_features = x.shape()[1];
        if n_features == 0 {
            return Err(Error::data("x", "it has no columns", "pass one per encoded feature").into());
        }
        let (x, outcome) = (slice2(&x)?, slice(&outcome)?);
        let event = event.as_ref().map(slice).transpose()?;
        let grid = time_grid.map(|edges| TimeGrid { edges });
        check_outcome(outcome, event, grid.as_ref(), n_classes)?;
        if grid.is_none() && outcome.iter().any(|code| code.is_nan()) {
            return Err(Error::data("outcome", "a class code is missing", "fit rows that have one").into());
        }
        let codes: Vec<u32> = outcome.iter().map(|&code| code as u32).collect();
        let event: Vec<bool> = event.unwrap_or_default().iter().map(|&event| event == 1.0).collect();
        let labels = match &grid {
            Some(grid) => Labels::Survival { time: outcome, event: &event, grid },
            None => Labels::Classes { codes: &codes, n_classes },
        };
        let design = Design { x, n_features, labels };
        let fit = |w: &Weighted| Ok((w.weight, w.learner.fit(&design, None, &mut Scratch::default())?));
        let models: Candidate = py.detach(|| learners.iter().map(fit).collect::<crate::Result<_>>())?;
        teacher(&models)?;
        Ok(Self { models, n_features, n_classes, grid })
    }

    /// Coefficients of the first model (`n_outputs × n_features`); empty for a tree.
    fn coef(&self, py: Python<'_>) -> PyResult<Py<PyArray2<f64>>> {
        let coef = match &self.models[0].1 {
            Predictor::Linear(linear) => linear.coef.clone(),
            Predictor::Hazard(hazard) => hazard.coef.clone(),
            Predictor::Tree(_) => Vec::new(),
        };
        matrix(py, coef, self.n_features)
    }

    /// Class probabilities of the first model, `n_rows × n_classes`.
    fn predict_proba(&self, py: Python<'_>, x: PyReadonlyArray2<'_, f64>) -> PyResult<Py<PyArray2<f64>>> {
        let rows = self.features(&x)?.chunks_exact(self.n_features);
        let all = rows.flat_map(|row| probabilities(&self.models[0].1, row, self.n_classes)).collect();
        matrix(py, all, self.n_classes)
    }

    /// Loss of each row under the weighted mixture, as the private half computes it.
    #[pyo3(signature = (x, outcome, event=None))]
    fn losses<'py>(
        &self,
        py: Python<'py>,
        x: PyReadonlyArray2<'_, f64>,
        outcome: PyReadonlyArray1<'_, f64>,
        event: Option<PyReadonlyArray1<'_, f64>>,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let outcome = slice(&outcome)?;
        let event = event.as_ref().map(slice).transpose()?;
        check_outcome(outcome, event, self.grid.as_ref(), self.n_classes)?;
        let features = self.features(&x)?;
        if outcome.len() != x.shape()[0] {
            return Err(Error::data("outcome", "it does not have one value per row", "pass them all").into());
        }
        let candidates = [self.models.clone()];
        let pack = ScoringPack::new(&candidates, self.n_features);
        let mut losses = vec![0.0; outcome.len()];
        let mut block = vec![0.0; BLOCK * self.n_features];
        let mut own = vec![0.0; BLOCK];
        for (b, x) in features.chunks(BLOCK * self.n_features).enumerate() {
            block[..x.len()].copy_from_slice(x);
            let rows = b * BLOCK..(b * BLOCK + x.len() / self.n_features);
            let view = match (&self.grid, event) {
                (Some(grid), Some(event)) => {
                    BlockOutcome::Survival(&outcome[rows.clone()], &event[rows.clone()], grid)
                }
                _ => BlockOutcome::Classes(&outcome[rows.clone()]),
            };
            pack.losses(&block, rows.len(), view, &mut pack.scratch(), &mut own);
            losses[rows.clone()].copy_from_slice(&own[..rows.len()]);
        }
        Ok(PyArray1::from_vec(py, losses))
    }
}

impl FittedModels {
    /// Values of an array that is as wide as the rows fitted.
    fn features<'a>(&self, x: &'a PyReadonlyArray2<'_, f64>) -> PyResult<&'a [f64]> {
        if x.shape()[1] != self.n_features {
            return Err(Error::data("x", "it has another width than the fit", "encode it alike").into());
        }
        slice2(x)
    }
}

/// Refuses outcomes that are not times with events for a grid, or class codes (NaN where missing) without one.
fn check_outcome(
    outcome: &[f64],
    event: Option<&[f64]>,
    grid: Option<&TimeGrid>,
    n_classes: usize,
) -> crate::Result<()> {
    let is_code = |code: &f64| code.is_nan() || code.fract() == 0.0 && (0.0..n_classes as f64).contains(code);
    match (event, grid) {
        (Some(event), Some(_)) if event.len() == outcome.len() => Ok(()),
        (None, None) if outcome.iter().all(is_code) => Ok(()),
        (None, None) => Err(Error::data(
            "outcome",
            format!("it has a code that is none of {n_classes} classes"),
            "mend it",
        )),
        _ => Err(Error::data("event", "it is not one per time, with a time grid", "pass both, or neither")),
    }
}
