//! The public side: synthetic rows, pseudo-populations, and the loop over native learners.

use super::cohort::Cohort;
use super::{interruptible, json, lock, matrix, parse, slice2};
use crate::condense::refit::{Asked, Evidence, refit};
use crate::condense::{self, FixedOutcome, Heard, Problem, Record, Weighted, population, start};
use crate::error::Error;
use crate::marginals::codec::Codec;
use crate::marginals::{Marginals, OutcomeMarginal};
use crate::privacy::predictor::{Predictor, TimeGrid};
use crate::schema::Schema;
use crate::zeroth_order::{ZerothOrder, schedule::Schedule};
use numpy::{PyArray1, PyArray2, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

/// Synthetic rows as latents in [0, 1] with the outcome that stays fixed. Public.
#[pyclass(frozen, module = "zodc._zodc")]
pub struct Rows {
    pub(super) inner: start::Rows,
}

#[pymethods]
impl Rows {
    #[new]
    fn new(latents: PyReadonlyArray2<'_, f64>, outcome: &str) -> PyResult<Self> {
        let outcome: FixedOutcome = parse("outcome", outcome)?;
        let latents = slice2(&latents)?.to_vec();
        if outcome.n_rows() == 0 || latents.len() % outcome.n_rows() != 0 {
            return Err(
                Error::data("rows", "latents and outcome differ in length", "take both as saved").into()
            );
        }
        Ok(Self { inner: start::Rows { latents, outcome } })
    }

    #[getter]
    fn latents(&self, py: Python<'_>) -> PyResult<Py<PyArray2<f64>>> {
        let n_latents = self.inner.latents.len() / self.inner.outcome.n_rows();
        matrix(py, self.inner.latents.clone(), n_latents)
    }

    #[getter]
    fn outcome(&self) -> PyResult<String> {
        json(&self.inner.outcome)
    }

    fn __len__(&self) -> usize {
        self.inner.outcome.n_rows()
    }
}

/// Pseudo-patients drawn from the noisy marginals and labelled by the teacher. Public.
#[pyclass(frozen, module = "zodc._zodc")]
pub struct Population {
    inner: population::Population,
}

#[pymethods]
impl Population {
    /// Log hazard ratio of each pseudo-patient by the teacher; empty for classification.
    #[getter]
    fn log_risk<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        PyArray1::from_vec(py, self.inner.log_risk())
    }
}

/// Noisy answers of late rounds, with what was proposed and how it was asked. Public.
#[pyclass(frozen, module = "zodc._zodc")]
pub struct Answers {
    heard: Vec<Heard>,
    asked: Asked,
}

/// Cells, missing flags, and outcome of a table.
type Table = (Py<PyArray2<f64>>, Py<PyArray2<f64>>, Py<PyArray2<f64>>);

/// Everything public that decodes latents: the schema, its noisy marginals, the hazard's grid.
#[pyclass(frozen, module = "zodc._zodc")]
pub struct Decoder {
    schema: Schema,
    marginals: Marginals,
    pub(super) codec: Codec,
    pub(super) grid: Option<TimeGrid>,
}

impl Decoder {
    /// Refuses rows of another schema, task or classes than this decoder's.
    fn check(&self, rows: &Rows) -> crate::Result<()> {
        let outcome_fits = match (&rows.inner.outcome, &self.marginals.outcome) {
            (FixedOutcome::Classes { codes, n_classes }, OutcomeMarginal::Classes { weights }) => {
                *n_classes == weights.len() && codes.iter().all(|&code| (code as usize) < *n_classes)
            }
            (FixedOutcome::Events { .. }, OutcomeMarginal::Survival { .. }) => true,
            _ => false,
        };
        let n_latents = rows.inner.outcome.n_rows() * self.codec.n_latents();
        belongs("rows", outcome_fits && rows.inner.latents.len() == n_latents)
    }

    /// Refuses pseudo-patients of another schema, task or classes than this decoder's.
    fn check_population(&self, population: &Population) -> crate::Result<()> {
        belongs("population", population.inner.fits(&self.codec, &self.marginals.outcome))
    }

    /// Cells as a cohort is given, mapped into the schema.
    fn canonical(&self, cells: &PyReadonlyArray2<'_, f64>) -> PyResult<Vec<f64>> {
        let map = |row: &[f64]| -> Vec<f64> {
            self.schema.features().zip(row).map(|(column, &cell)| column.canonical(cell)).collect()
        };
        Ok(self.columns(cells)?.chunks_exact(self.codec.n_columns()).flat_map(map).collect())
    }

    /// Values of an array that has one column per feature.
    fn columns<'a>(&self, cells: &'a PyReadonlyArray2<'_, f64>) -> PyResult<&'a [f64]> {
        if cells.shape()[1] != self.codec.n_columns() {
            return Err(Error::data("features", "their number is not the schema's", "pass them all").into());
        }
        slice2(cells)
    }

    pub(super) fn problem<'a>(&'a self, learners: &'a [Weighted], outcome: &'a FixedOutcome) -> Problem<'a> {
        Problem { codec: &self.codec, grid: self.grid.as_ref(), learners, outcome }
    }

    /// Reads a model, and refuses one that is not of this schema.
    fn model(&self, text: &str) -> PyResult<Predictor> {
        let model: Predictor = parse("teacher model", text)?;
        let n_classes = match &self.marginals.outcome {
            OutcomeMarginal::Classes { weights } => weights.len(),
            OutcomeMarginal::Survival { .. } => 0,
        };
        let width = self.codec.width();
        let fits = match (&model, &self.grid) {
            (Predictor::Linear(linear), None) => {
                let n_outputs = if n_classes == 2 { 1 } else { n_classes };
                linear.intercept.len() == n_outputs && linear.coef.len() == n_outputs * width
            }
            (Predictor::Hazard(hazard), Some(grid)) => {
                let n = grid.n_intervals();
                hazard.coef.len() == width && hazard.log_hazard.len() == n && hazard.cumulative.len() == n
            }
            _ => false,
        };
        let problem = "it is not of this schema";
        let fault = || Error::data("teacher model", problem, "take it and the rows from the same release");
        Ok(if fits { model } else { return Err(fault().into()) })
    }

    fn encoded(&self, py: Python<'_>, canonical: &[f64]) -> PyResult<Py<PyArray2<f64>>> {
        let mut x = Vec::new();
        self.codec.encode_rows(canonical, &mut x);
        matrix(py, x, self.codec.width())
    }

    fn cells(&self, py: Python<'_>, mut cells: Vec<f64>) -> PyResult<[Py<PyArray2<f64>>; 2]> {
        let n_columns = self.codec.n_columns();
        let missing = cells.iter().map(|c| f64::from(c.is_nan())).collect();
        cells.chunks_exact_mut(n_columns).for_each(|row| self.codec.impute_row(row));
        Ok([matrix(py, cells, n_columns)?, matrix(py, missing, n_columns)?])
    }
}

fn belongs(what: &str, fits: bool) -> crate::Result<()> {
    let fault = || Error::data(what, "they do not belong to this schema", "take both from the same release");
    if fits { Ok(()) } else { Err(fault()) }
}

#[pymethods]
impl Decoder {
    #[new]
    fn new(schema: &str, marginals: &str, n_intervals: usize) -> PyResult<Self> {
        let schema = Schema::from_json(schema)?;
        let marginals: Marginals = parse("marginals", marginals)?;
        let codec = Codec::new(&schema, &marginals)?;
        let grid = marginals.time_grid(n_intervals);
        Ok(Self { schema, marginals, codec, grid })
    }

    /// Edges of the baseline hazard's intervals, for survival.
    #[getter]
    fn time_grid(&self) -> Option<Vec<f64>> {
        self.grid.as_ref().map(|g| g.edges.clone())
    }

    /// The start of the private phase: uniform latents, outcomes at the noisy prevalence.
    fn uniform_rows(&self, n_rows: usize, seed: u64) -> PyResult<Rows> {
        if n_rows == 0 {
            return Err(Error::option("n_rows", "at least 1", n_rows).into());
        }
        Ok(Rows { inner: start::uniform(&self.codec, &self.marginals, n_rows, seed) })
    }

    /// A pseudo-population labelled by `model`, or by the learner fitted on the teacher rows.
    #[pyo3(signature = (teacher, learner, n_rows, seed, model=None))]
    fn population(
        &self,
        py: Python<'_>,
        teacher: &Rows,
        learner: &str,
        n_rows: usize,
        seed: u64,
        model: Option<&str>,
    ) -> PyResult<Population> {
        self.check(teacher)?;
        let model = model.map(|text| self.model(text)).transpose()?;
        let learners: Vec<Weighted> = parse("teacher", learner)?;
        let inner = py.detach(|| -> crate::Result<_> {
            let model = match model {
                Some(model) => model,
                None => {
                    let problem = self.problem(&learners, &teacher.inner.outcome);
                    condense::teacher(&problem.fit(&teacher.inner.latents)?)?.clone()
                }
            };
            let (grid, teacher) = (self.grid.as_ref(), (&teacher.inner, &model));
            population::Population::draw(&self.codec, &self.marginals, grid, teacher, n_rows, seed)
        })?;
        Ok(Population { inner })
    }

    /// The start of the public phase: the first pseudo-patients with balanced labels.
    fn labelled_rows(
        &self,
        py: Python<'_>,
        population: &Population,
        n_rows: usize,
        sharpness: f64,
    ) -> PyResult<Rows> {
        self.check_population(population)?;
        if !(sharpness.is_finite() && sharpness > 0.0) {
            return Err(Error::option("sharpness", "a finite number above 0", sharpness).into());
        }
        let (codec, marginals, population) = (&self.codec, &self.marginals, &population.inner);
        let inner = py.detach(|| start::labelled(codec, marginals, population, n_rows, sharpness))?;
        Ok(Rows { inner })
    }

    /// Runs the loop on patients. Returns the rows, the noisy trace, and what a refit rests on, if it `keeps`
    /// the later half of the rounds.
    #[pyo3(signature = (cohort, rows, learners, schedule, directions, seed, progress=None, keeps=false))]
    #[allow(clippy::too_many_arguments)]
    fn condense_private(
        &self,
        py: Python<'_>,
        cohort: &Cohort,
        rows: &Rows,
        learners: &str,
        schedule: &str,
        directions: u64,
        seed: u64,
        progress: Option<Py<PyAny>>,
        keeps: bool,
    ) -> PyResult<(Rows, Vec<f64>, Answers)> {
        self.check(rows)?;
        let learners: Vec<Weighted> = parse("learner", learners)?;
        let schedule = parse::<Schedule>("schedule", schedule)?.checked()?;
        let respondent = &mut *lock(&cohort.inner)?;
        let asked = Asked::new(respondent.plan(), self.marginals.count);
        let problem = self.problem(&learners, &rows.inner.outcome);
        let mut search = ZerothOrder::new(rows.inner.latents.clone(), directions, seed, schedule)?;
        let mut record = if keeps { Record::from(schedule.rounds / 2) } else { Record::nothing() };
        let trace = interruptible(py, progress.as_ref(), |cancel, report| {
            let rounds = schedule.rounds;
            condense::run(&problem, &mut search, respondent, rounds, &mut record, cancel, report)
        })?;
        let outcome = rows.inner.outcome.clone();
        let rows = Rows { inner: start::Rows { latents: search.latents().to_vec(), outcome } };
        Ok((rows, trace, Answers { heard: record.heard, asked }))
    }

    /// The model of the teacher's rows, fitted again on the noisy answers. Returns it as JSON.
    fn refit(
        &self,
        py: Python<'_>,
        teacher: &Rows,
        learner: &str,
        answers: &Answers,
        prior_sd: f64,
        seed: u64,
    ) -> PyResult<String> {
        self.check(teacher)?;
        let learners: Vec<Weighted> = parse("teacher", learner)?;
        let problem = self.problem(&learners, &teacher.inner.outcome);
        let Answers { heard, asked } = answers;
        let evidence = Evidence { heard, asked: *asked, marginals: &self.marginals, seed };
        let model = interruptible(py, None, |cancel, _| {
            refit(&problem, &teacher.inner.latents, evidence, prior_sd, cancel)
        })?;
        json(&model)
    }

    /// Runs free rounds on a pseudo-population. Returns the best rows and the losses compared.
    #[pyo3(signature = (population, rows, learners, schedule, directions, seed, every, progress=None))]
    #[allow(clippy::too_many_arguments)]
    fn condense_public(
        &self,
        py: Python<'_>,
        population: &Population,
        rows: &Rows,
        learners: &str,
        schedule: &str,
        directions: u64,
        seed: u64,
        every: u64,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<(Rows, Vec<f64>)> {
        self.check(rows)?;
        self.check_population(population)?;
        let learners: Vec<Weighted> = parse("learner", learners)?;
        let schedule = parse::<Schedule>("schedule", schedule)?.checked()?;
        let problem = self.problem(&learners, &rows.inner.outcome);
        let mut search = ZerothOrder::new(rows.inner.latents.clone(), directions, seed, schedule)?;
        let (latents, losses) = interruptible(py, progress.as_ref(), |cancel, report| {
            condense::run_public(
                &problem,
                &mut search,
                &population.inner,
                (schedule.rounds, every),
                cancel,
                report,
            )
        })?;
        let outcome = rows.inner.outcome.clone();
        Ok((Rows { inner: start::Rows { latents, outcome } }, losses))
    }

    /// Synthetic rows in real units: cells (missing ones imputed) and missing flags, both
    /// `n_rows × n_columns`, and the outcome: `n_rows × 1` class codes, or `n_rows × 2` times, events.
    fn table(&self, py: Python<'_>, rows: &Rows) -> PyResult<Table> {
        self.check(rows)?;
        let mut cells = Vec::new();
        self.codec.decode_rows(&rows.inner.latents, &mut cells);
        let [cells, missing] = self.cells(py, cells)?;
        let outcome = match &rows.inner.outcome {
            FixedOutcome::Classes { codes, .. } => {
                matrix(py, codes.iter().map(|&c| f64::from(c)).collect(), 1)?
            }
            FixedOutcome::Events { event } => {
                let latents = rows.inner.latents.chunks_exact(self.codec.n_latents());
                let pair = |(s, &e): (&[f64], &bool)| {
                    [self.codec.decode_time(s, e).unwrap_or(f64::NAN), f64::from(e)]
                };
                matrix(py, latents.zip(event).flat_map(pair).collect(), 2)?
            }
        };
        Ok((cells, missing, outcome))
    }

    /// Pseudo-patients in real units, as [`Self::table`]; the outcome has one column of probabilities
    /// per class, or times and events.
    fn population_table(&self, py: Python<'_>, population: &Population) -> PyResult<Table> {
        self.check_population(population)?;
        let inner = &population.inner;
        let [cells, missing] = self.cells(py, inner.cells.clone())?;
        let outcome = match &inner.outcome {
            population::PseudoOutcome::Probabilities(p, k) => matrix(py, p.clone(), *k)?,
            population::PseudoOutcome::Survival(time, event) => {
                matrix(py, time.iter().zip(event).flat_map(|(&t, &e)| [t, e]).collect(), 2)?
            }
        };
        Ok((cells, missing, outcome))
    }

    /// Cells as a [`Self::table`] has them, from cells as a cohort is given: clipped to the schema,
    /// missing ones imputed, with their flags.
    fn tabulate(&self, cells: PyReadonlyArray2<'_, f64>) -> PyResult<[Py<PyArray2<f64>>; 2]> {
        self.cells(cells.py(), self.canonical(&cells)?)
    }

    /// Encoded features (`n_rows × width`) of cells as a cohort is given.
    fn encode(&self, py: Python<'_>, cells: PyReadonlyArray2<'_, f64>) -> PyResult<Py<PyArray2<f64>>> {
        self.encoded(py, &self.canonical(&cells)?)
    }

    /// Encoded features of a table's cells and flags.
    fn encode_table(
        &self,
        py: Python<'_>,
        cells: PyReadonlyArray2<'_, f64>,
        missing: PyReadonlyArray2<'_, f64>,
    ) -> PyResult<Py<PyArray2<f64>>> {
        let flagged = |(&cell, &flag): (&f64, &f64)| if flag == 1.0 { f64::NAN } else { cell };
        if cells.shape() != missing.shape() {
            return Err(Error::data("missing", "it has another shape than the cells", "pass both").into());
        }
        let cells: Vec<f64> = self.columns(&cells)?.iter().zip(slice2(&missing)?).map(flagged).collect();
        self.encoded(py, &cells)
    }
}
