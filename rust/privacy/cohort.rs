//! The patients' rows, and the meter that lets only planned questions through.
//!
//! Fields are private to this folder, and the type has no `Debug`, `Clone` or `Serialize`: rows cannot
//! be read, printed or copied from outside. Even their number stays inside.

use super::journal::Journal;
use super::mechanism::MOST_UNITS;
use super::noise::NoiseSource;
use super::plan::Plan;
use crate::error::{Error, Result};
use crate::schema::{MAX_ROWS, Role, Schema, Task};

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
    /// Place of each stored row in the caller's order, and how many rows the caller has.
    pub(super) caller_row: Vec<usize>,
    pub(super) n_caller_rows: usize,
    pub(super) plan: Plan,
    pub(super) source: NoiseSource,
    /// Questions answered so far, of those that the plan has charged.
    pub(super) marginals_asked: usize,
    pub(super) rounds_asked: u64,
    /// Where answers are kept before they are used, if the run has one.
    pub(super) journal: Option<Journal>,
    /// Process that took the rows in: a fork copies the meter, which one charge pays for once.
    process: u32,
}

impl PrivateCohort {
    /// Takes the rows in: `cells` is `n_rows × n_columns` in the order of the schema's features.
    /// Cells are mapped into the schema (clipped, or made missing) without a word.
    /// `patient` gives rows of one patient the same number, and rows above the schema's `max_rows` are
    /// dropped, also without a word; without it each row is a unit.
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
        let most = schema.column(Role::PatientId).and_then(|c| c.max_rows).unwrap_or(MAX_ROWS);
        let patient = patient.map(|ids| (ids, most));
        let (caller_row, unit_start) = units(cells, n_columns, outcome, patient);
        if unit_start.len() as u64 > MOST_UNITS {
            return Err(Error::Overflow { most_rows: MOST_UNITS });
        }
        let columns: Vec<_> = schema.features().collect();
        let mut canonical = Vec::with_capacity(caller_row.len() * n_columns);
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
            n_caller_rows: n_rows,
            plan,
            source,
            marginals_asked: 0,
            rounds_asked: 0,
            journal: None,
            process: std::process::id(),
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

    /// Answers nothing from here on, and lets the journal and its lock go.
    pub fn end(&mut self) {
        (self.marginals_asked, self.rounds_asked) = (self.plan.marginals.len(), self.plan.rounds);
        self.journal = None;
    }

    /// Refuses in the child of a fork, which would answer what the parent answers, too.
    pub(super) fn check_process(&self) -> Result<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        Err(Error::Budget {
            problem: "this process was forked from the one that the plan was charged in".into(),
            remedy: "let that one end the run, or start one of its own after the fork".into(),
        })
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

/// Rows of a unit side by side, at most `most` of each; then where each unit starts.
///
/// Which rows of a patient stay, and their order, follows from that patient's rows alone: by a fixed hash
/// of a row's content, which favours no column's low or high values, then by the content itself. So
/// neither the file's order nor any other patient matters.
fn units(
    cells: &[f64],
    n_columns: usize,
    outcome: RawOutcome<'_>,
    patient: Option<(&[i64], usize)>,
) -> (Vec<usize>, Vec<usize>) {
    let n_rows = cells.len() / n_columns;
    let mut order: Vec<usize> = (0..n_rows).collect();
    let Some((ids, most)) = patient else {
        return (order, (0..=n_rows).collect());
    };
    let content = |r: usize| {
        let (last, event) = match outcome {
            RawOutcome::Classes(y) => (y[r], None),
            RawOutcome::Survival(time, event) => (time[r], Some(event[r])),
        };
        cells[r * n_columns..][..n_columns].iter().copied().chain([last]).chain(event)
    };
    let hashes: Vec<u64> = order.iter().map(|&r| content(r).fold(0, mixed)).collect();
    order.sort_by(|&a, &b| {
        let by_content = || {
            let mut pairs = content(a).zip(content(b)).map(|(x, y)| x.total_cmp(&y));
            pairs.find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
        };
        ids[a].cmp(&ids[b]).then_with(|| hashes[a].cmp(&hashes[b])).then_with(by_content)
    });
    let (mut kept, mut start) = (Vec::with_capacity(n_rows), vec![]);
    for rows in order.chunk_by(|&a, &b| ids[a] == ids[b]) {
        start.push(kept.len());
        kept.extend(&rows[..rows.len().min(most)]);
    }
    start.push(kept.len());
    (kept, start)
}

/// One step of a fixed public hash (the finaliser of SplitMix64).
fn mixed(hash: u64, value: f64) -> u64 {
    let mut h = (hash ^ value.to_bits()).wrapping_add(0x9E37_79B9_7F4A_7C15);
    h = (h ^ (h >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    h ^ (h >> 31)
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
            let mut events: Vec<f64> = take(event, Role::Event);
            // What happens after the upper bound is not seen: the patient is censored there.
            if let Some(upper) = schema.column(Role::Time).and_then(|column| column.upper) {
                let late = events.iter_mut().zip(order).filter(|(e, row)| **e == 1.0 && time[**row] > upper);
                late.for_each(|(event, _)| *event = 0.0);
            }
            Outcome::Survival { time: take(time, Role::Time), event: events }
        }
    }
}
