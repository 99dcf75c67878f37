//! The patients' rows, and the meter that lets only planned questions through.
//!
//! Fields are private to this folder, and the type has no `Debug`, `Clone` or `Serialize`: rows cannot
//! be read, printed or copied from outside. Even their number stays inside.

use super::mechanism::MOST_UNITS;
use super::noise::NoiseSource;
use super::plan::Plan;
use crate::error::{Error, Result};
use crate::schema::{Role, Schema, Task};

/// Outcomes as the caller hands them over: codes of the classes, or times and events.
#[derive(Clone, Copy)]
pub enum RawOutcome<'a> {
    /// Class codes; NaN where missing or unknown.
    Classes(&'a [f64]),
    /// Times in their unit, and event codes 0 or 1; NaN where missing.
    Survival(&'a [f64], &'a [f64]),
}

/// Canonical outcomes.
pub(super) enum Outcome {
    Classes(Vec<f64>),
    Survival { time: Vec<f64>, event: Vec<f64> },
}

/// A cohort behind its plan.
pub struct PrivateCohort {
    /// `n_rows × n_columns`, row-major canonical cells; NaN where missing.
    pub(super) cells: Vec<f64>,
    pub(super) n_columns: usize,
    pub(super) outcome: Outcome,
    /// Rows of unit `u` are `unit_start[u]..unit_start[u + 1]`.
    pub(super) unit_start: Vec<usize>,
    /// Place of each stored row in the caller's order.
    pub(super) caller_row: Vec<usize>,
    pub(super) plan: Plan,
    pub(super) source: NoiseSource,
    /// Questions answered so far, of those that the plan has charged.
    pub(super) marginals_asked: usize,
    pub(super) rounds_asked: u64,
}

impl PrivateCohort {
    /// Takes the rows in: `cells` is `n_rows × n_columns` in the order of the schema's features.
    /// Cells are mapped into the schema (clipped, or made missing) without a word.
    /// `patient` gives rows of one patient the same number; without it each row is a unit.
    ///
    /// # Errors
    /// [`Error::Budget`] when the plan is not an honest one for the schema, [`Error::Data`] when the shapes or the task disagree with the schema, [`Error::Overflow`] above
    /// `2^40` units.
    pub fn new(
        schema: &Schema,
        cells: &[f64],
        outcome: RawOutcome<'_>,
        patient: Option<&[i64]>,
        plan: Plan,
        source: NoiseSource,
    ) -> Result<Self> {
        let n_columns = schema.features().count();
        let n_rows = cells.len() / n_columns;
        plan.check(schema)?;
        check_shapes(schema, cells, n_rows, n_columns, outcome, patient)?;
        let (caller_row, unit_start) = units(cells, n_columns, n_rows, outcome, patient);
        if unit_start.len() as u64 > MOST_UNITS {
            return Err(Error::Overflow { most_rows: MOST_UNITS });
        }
        let columns: Vec<_> = schema.features().collect();
        let mut canonical = Vec::with_capacity(cells.len());
        for &row in &caller_row {
            let raw = &cells[row * n_columns..][..n_columns];
            canonical.extend(columns.iter().zip(raw).map(|(column, &cell)| column.canonical(cell)));
        }
        let outcome = canonical_outcome(schema, outcome, &caller_row);
        Ok(Self {
            cells: canonical,
            n_columns,
            outcome,
            unit_start,
            caller_row,
            plan,
            source,
            marginals_asked: 0,
            rounds_asked: 0,
        })
    }

    /// The plan under which this cohort answers.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether the noise comes from the operating system; `false` for the seeded test source.
    pub fn is_private(&self) -> bool {
        self.source.is_private()
    }

    pub(super) fn n_units(&self) -> usize {
        self.unit_start.len() - 1
    }
}

fn check_shapes(
    schema: &Schema,
    cells: &[f64],
    n_rows: usize,
    n_columns: usize,
    outcome: RawOutcome<'_>,
    patient: Option<&[i64]>,
) -> Result<()> {
    let fault = |column: &str, problem: &str| Err(Error::data(column, problem, "pass one row per record"));
    if cells.is_empty() || cells.len() != n_rows * n_columns {
        return fault("features", "the table is empty or has the wrong number of columns");
    }
    let lengths_agree = match (outcome, schema.task()) {
        (RawOutcome::Classes(y), Task::Classification { .. }) => y.len() == n_rows,
        (RawOutcome::Survival(t, e), Task::Survival) => t.len() == n_rows && e.len() == n_rows,
        _ => return fault("outcome", "it is not of the task that the schema declares"),
    };
    if !lengths_agree {
        return fault("outcome", "it does not have one value per row");
    }
    match (patient, schema.column(Role::PatientId)) {
        (Some(ids), Some(_)) if ids.len() == n_rows => Ok(()),
        (None, None) => Ok(()),
        _ => fault("patient_id", "it does not have one value per row, as the schema's role asks"),
    }
}

/// Rows of a unit side by side. Rows of a patient are ordered by their content, so that sums over them
/// do not depend on the file's order.
fn units(
    cells: &[f64],
    n_columns: usize,
    n_rows: usize,
    outcome: RawOutcome<'_>,
    patient: Option<&[i64]>,
) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..n_rows).collect();
    let Some(ids) = patient else {
        return (order, (0..=n_rows).collect());
    };
    let row = |r: usize| &cells[r * n_columns..][..n_columns];
    order.sort_by(|&a, &b| {
        let by_content = || {
            let mut pairs = row(a).iter().zip(row(b)).map(|(x, y)| x.total_cmp(y));
            let by_cells = pairs.find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal);
            by_cells.then_with(|| match outcome {
                RawOutcome::Classes(y) => y[a].total_cmp(&y[b]),
                RawOutcome::Survival(time, event) => {
                    time[a].total_cmp(&time[b]).then(event[a].total_cmp(&event[b]))
                }
            })
        };
        ids[a].cmp(&ids[b]).then_with(by_content)
    });
    let mut start: Vec<usize> =
        (0..n_rows).filter(|&i| i == 0 || ids[order[i]] != ids[order[i - 1]]).collect();
    start.push(n_rows);
    (order, start)
}

fn canonical_outcome(schema: &Schema, outcome: RawOutcome<'_>, order: &[usize]) -> Outcome {
    let take = |values: &[f64], role: Role| {
        let column = schema.column(role);
        let map = |&row: &usize| column.map_or(f64::NAN, |c| c.canonical(values[row]));
        order.iter().map(map).collect()
    };
    match outcome {
        RawOutcome::Classes(y) => Outcome::Classes(take(y, Role::Target)),
        RawOutcome::Survival(time, event) => {
            Outcome::Survival { time: take(time, Role::Time), event: take(event, Role::Event) }
        }
    }
}
