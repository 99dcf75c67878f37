//! The Python boundary: few coarse calls on contiguous arrays. Those that draw, fit, sum or take in a cohort release
//! the interpreter; those that go through a table once hold it. PyO3 is named in this folder only. Every class is
//! public data but `Cohort`, which nothing can be read from.

mod cohort;
mod decoder;
mod journal;
mod models;
mod search;
mod workers;

use crate::error::Error;
use crate::privacy::accountant;
use crate::privacy::event::{Charge, Neighbours};
use crate::privacy::plan::{Plan, PlanOptions};
use crate::schema::Schema;
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError, PyOverflowError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use serde::de::DeserializeOwned;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

pyo3::create_exception!(_zodc, SchemaError, PyValueError, "The public schema is wrong.");
pyo3::create_exception!(_zodc, DataError, PyValueError, "The data do not fit the schema.");
pyo3::create_exception!(
    _zodc,
    JournalError,
    PyValueError,
    "The journal of a run cannot be trusted or resumed."
);
pyo3::create_exception!(_zodc, BudgetError, PyValueError, "The privacy budget cannot pay for this.");

/// Ctrl-C is looked for this often.
const POLL: Duration = Duration::from_millis(50);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Schema { .. } => SchemaError::new_err(text),
            Error::Data { .. } => DataError::new_err(text),
            Error::Budget { .. } | Error::NotPlanned { .. } => BudgetError::new_err(text),
            Error::Journal { errno: Some(errno), path, problem, remedy } => {
                PyOSError::new_err((errno, format!("{problem}; {remedy}"), path))
            }
            Error::Journal { errno: None, .. } => JournalError::new_err(text),
            Error::Option { .. } => PyValueError::new_err(text),
            Error::Overflow { .. } => PyOverflowError::new_err(text),
            Error::Interrupted => PyKeyboardInterrupt::new_err(()),
            Error::Entropy | Error::Fit { .. } => PyRuntimeError::new_err(text),
        }
    }
}

fn parse<T: DeserializeOwned>(what: &'static str, json: &str) -> PyResult<T> {
    serde_json::from_str(json).map_err(|e| Error::option(what, format!("valid ({e})"), "another form").into())
}

fn json<T: serde::Serialize>(value: &T) -> PyResult<String> {
    serde_json::to_string(value).map_err(|e| PyRuntimeError::new_err(e.to_string()))
}

fn slice<'a>(array: &'a PyReadonlyArray1<'_, f64>) -> PyResult<&'a [f64]> {
    array.as_slice().map_err(|_| Error::data("array", "it is not contiguous", "copy it first").into())
}

fn slice2<'a>(array: &'a PyReadonlyArray2<'_, f64>) -> PyResult<&'a [f64]> {
    array.as_slice().map_err(|_| Error::data("array", "it is not C-contiguous", "copy it first").into())
}

fn matrix(py: Python<'_>, values: Vec<f64>, n_columns: usize) -> PyResult<Py<PyArray2<f64>>> {
    let n_rows = values.len() / n_columns.max(1);
    Ok(PyArray1::from_vec(py, values).reshape([n_rows, n_columns])?.unbind())
}

fn lock<T>(mutex: &Mutex<T>) -> PyResult<MutexGuard<'_, T>> {
    mutex.try_lock().map_err(|_| {
        PyRuntimeError::new_err("another thread is using this object, or a fault ended its last use")
    })
}

/// Runs `work` on a second thread with the interpreter released; reports its progress and looks for
/// Ctrl-C on this one.
fn interruptible<T: Send>(
    py: Python<'_>,
    progress: Option<&Py<PyAny>>,
    work: impl FnOnce(&AtomicBool, &(dyn Fn(u64) + Sync)) -> crate::Result<T> + Send,
) -> PyResult<T> {
    let (cancel, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let report = |py: Python<'_>| match progress {
        Some(call) => call.call1(py, (rounds.load(Ordering::Relaxed),)).map(|_| ()),
        None => Ok(()),
    };
    let pool = workers::workers(py)?;
    py.detach(|| {
        std::thread::scope(|scope| {
            let work = || work(&cancel, &|round| rounds.store(round, Ordering::Relaxed));
            let handle = scope.spawn(|| pool.install(work));
            let mut stopped = Ok(());
            let mut last_look = Instant::now();
            while !handle.is_finished() {
                std::thread::sleep(Duration::from_millis(1));
                if stopped.is_ok() && last_look.elapsed() >= POLL {
                    stopped = Python::attach(|py| py.check_signals().and_then(|()| report(py)));
                    cancel.store(stopped.is_err(), Ordering::Relaxed);
                    last_look = Instant::now();
                }
            }
            let outcome = handle.join().map_err(|_| PyRuntimeError::new_err("the worker thread panicked"))?;
            stopped?;
            Python::attach(report)?;
            Ok(outcome?)
        })
    })
}

/// Checks a schema given as JSON and returns it with defaults filled in.
#[pyfunction]
fn check_schema(schema: &str) -> PyResult<String> {
    Ok(Schema::from_json(schema)?.to_json()?)
}

/// Reads a TOML schema; returns JSON.
#[pyfunction]
fn schema_from_toml(text: &str) -> PyResult<String> {
    Ok(Schema::from_toml(text)?.to_json()?)
}

/// Writes a JSON schema as TOML.
#[pyfunction]
fn schema_to_toml(schema: &str) -> PyResult<String> {
    Ok(Schema::from_json(schema)?.to_toml()?)
}

/// Fixes the noise of a run; reads no data. Returns the plan as JSON.
#[pyfunction]
#[pyo3(signature = (schema, *, epsilon, delta, rounds, directions, marginal_share, sampling_rate=None, expected_patients=None, neighbours="add_remove"))]
#[allow(clippy::too_many_arguments)] // keyword-only in Python
fn make_plan(
    schema: &str,
    epsilon: f64,
    delta: f64,
    rounds: u64,
    directions: u64,
    marginal_share: f64,
    sampling_rate: Option<f64>,
    expected_patients: Option<u64>,
    neighbours: &str,
) -> PyResult<String> {
    let neighbours = match neighbours {
        "add_remove" => Neighbours::AddRemove,
        "replace_one" => Neighbours::ReplaceOne,
        other => return Err(Error::option("neighbours", "'add_remove' or 'replace_one'", other).into()),
    };
    let options = PlanOptions {
        epsilon,
        delta,
        rounds,
        directions,
        marginal_share,
        sampling_rate,
        expected_patients,
        neighbours,
    };
    json(&Plan::new(&Schema::from_json(schema)?, &options)?)
}

/// ε of a list of charges (JSON) at δ, and the accountant that found it.
#[pyfunction]
fn epsilon(charges: &str, delta: f64) -> PyResult<(f64, String)> {
    let charges: Vec<Charge> = parse("charges", charges)?;
    let spent = accountant::epsilon(&charges, delta)?;
    let accountant = json(&spent.accountant)?;
    Ok((spent.epsilon, accountant.trim_matches('"').to_string()))
}

/// Functions and classes of the extension module.
#[pymodule]
mod _zodc {
    #[pymodule_export]
    use super::cohort::Cohort;
    #[pymodule_export]
    use super::decoder::{Answers, Decoder, Population, Rows};
    #[pymodule_export]
    use super::journal::Journal;
    #[pymodule_export]
    use super::models::FittedModels;
    #[pymodule_export]
    use super::search::Search;
    #[pymodule_export]
    const LATTICE_RADIUS: i64 = crate::privacy::mechanism::RADIUS;
    #[pymodule_export]
    const FEATURE_UNITS: i64 = crate::privacy::histogram::FEATURE_UNITS;
    #[pymodule_export]
    use super::{
        BudgetError, DataError, JournalError, SchemaError, check_schema, epsilon, make_plan,
        schema_from_toml, schema_to_toml,
    };
}
