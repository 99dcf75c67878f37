//! Random cohorts, and for each a neighbour that lacks a unit or has another in its place.

use crate::support;
use _zodc::privacy::cohort::{PrivateCohort, RawOutcome};
use _zodc::privacy::event::Neighbours;
use _zodc::privacy::noise::NoiseSource;
use _zodc::privacy::plan::{Plan, PlanOptions};
use _zodc::schema::{Role, Schema};
use proptest::prelude::*;

pub const ROUNDS: u64 = 3;

/// Cells, and class or time and event.
type Row = (Vec<f64>, (f64, f64));

/// One random cohort with all that is public about it.
#[derive(Debug, Clone)]
pub struct Case {
    pub schema: String,
    /// Rows of cells, of any bits.
    pub cells: Vec<Vec<f64>>,
    /// Class, or time and event.
    pub outcome: Vec<(f64, f64)>,
    /// Patient of each row; empty without a patient_id.
    pub patient: Vec<i64>,
    /// What the removed unit's rows become when it is replaced.
    pub replacement: Option<Vec<Row>>,
    /// Which unit the neighbour lacks: the last one under Poisson sampling, so that the others keep their draws.
    pub removed: usize,
    pub rate: Option<f64>,
    pub learners: String,
    pub directions: u64,
    pub clip: f64,
    pub seed: u64,
}

pub fn cell() -> impl Strategy<Value = f64> {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, -1e308, 5e-324, -0.0, -1.0];
    prop_oneof![3 => (0..4_u8).prop_map(f64::from), 3 => -2.0..60.0_f64, 1 => prop::sample::select(odd.to_vec()),
        1 => any::<u64>().prop_map(f64::from_bits)]
}

fn column() -> impl Strategy<Value = String> {
    let missing = prop::sample::select(vec!["impute", "indicator"]);
    let kind = prop::sample::select(vec![
        "kind = \"continuous\"\nlower = 0\nupper = 50",
        "kind = \"continuous\"\nlower = -1e6\nupper = 1e9",
        "kind = \"ordinal\"\nlower = 1\nupper = 4",
        "kind = \"ordinal\"\ncategories = [\"I\", \"II\", \"III\"]",
        "kind = \"categorical\"\ncategories = [\"a\", \"b\", \"c\"]\nfallback = \"c\"",
        "kind = \"binary\"",
    ]);
    (kind, missing).prop_map(|(kind, missing)| format!("{kind}\nmissing = \"{missing}\"\n"))
}

pub fn case() -> impl Strategy<Value = Case> {
    let shape = (prop::collection::vec(column(), 1..5), 0..3_usize, any::<bool>(), 2..14_usize);
    shape.prop_flat_map(|(columns, task, has_patients, n_rows)| {
        let rows = prop::collection::vec(prop::collection::vec(cell(), columns.len()), n_rows);
        let outcome = prop::collection::vec((cell(), cell()), n_rows);
        let patient = prop::collection::vec(0..5_i64, if has_patients { n_rows } else { 0 });
        let learner = prop::sample::select(learners(task));
        let schema = schema_text(&columns, task, has_patients);
        let rate = prop::option::of(prop::sample::select(vec![0.05, 0.5, 0.9]));
        let row = (prop::collection::vec(cell(), columns.len()), (cell(), cell()));
        let replacement = prop::option::weighted(0.4, prop::collection::vec(row, n_rows));
        let more =
            (rate, learner, 1..5_u64, -3.0..2.0_f64, any::<u64>(), any::<prop::sample::Index>(), replacement);
        (rows, outcome, patient, more).prop_map(move |(cells, outcome, patient, more)| {
            let (rate, learners, directions, log_clip, seed, removed, replacement) = more;
            // Samples are accounted for under addition and removal only.
            let rate = if replacement.is_some() { None } else { rate };
            let n_units = units(&patient, n_rows).len();
            let removed = if rate.is_some() { n_units - 1 } else { removed.index(n_units) };
            let clip = 10_f64.powf(log_clip);
            let schema = schema.clone();
            Case {
                schema,
                cells,
                outcome,
                patient,
                replacement,
                removed,
                rate,
                learners,
                directions,
                clip,
                seed,
            }
        })
    })
}

pub fn learners(task: usize) -> Vec<String> {
    let tree = r#"{"kind": "tree", "max_depth": 3, "min_samples_leaf": 1, "smoothing": 1.0}"#;
    let (logistic, cox) = (r#"{"kind": "logistic", "c": 1.0}"#, r#"{"kind": "cox", "penalizer": 0.1}"#);
    let one = |learner| format!(r#"[{{"weight": 1.0, "learner": {learner}}}]"#);
    let mixture =
        format!(r#"[{{"weight": 0.5, "learner": {tree}}}, {{"weight": 0.5, "learner": {logistic}}}]"#);
    if task == 2 { vec![one(cox)] } else { vec![one(tree), one(logistic), mixture] }
}

pub fn schema_text(columns: &[String], task: usize, has_patients: bool) -> String {
    let mut text: String =
        columns.iter().enumerate().map(|(j, c)| format!("[[column]]\nname = \"x{j}\"\n{c}")).collect();
    text += match task {
        0 => "[[column]]\nname = \"y\"\nkind = \"binary\"\nrole = \"target\"\n",
        1 => {
            "[[column]]\nname = \"y\"\nkind = \"categorical\"\nrole = \"target\"\ncategories = [\"a\", \"b\", \"c\"]\n"
        }
        _ => {
            "[[column]]\nname = \"t\"\nkind = \"continuous\"\nrole = \"time\"\nlower = 0\nupper = 40\n[[column]]\nname = \"e\"\nkind = \"binary\"\nrole = \"event\"\n"
        }
    };
    if has_patients { support::with_patient_id(&text) } else { text }
}

/// Units in the private half's order: patients by number, or rows.
fn units(patient: &[i64], n_rows: usize) -> Vec<i64> {
    let mut units: Vec<i64> =
        if patient.is_empty() { (0..n_rows as i64).collect() } else { patient.to_vec() };
    units.sort_unstable();
    units.dedup();
    units
}

impl Case {
    fn neighbours(&self) -> Neighbours {
        if self.replacement.is_some() { Neighbours::ReplaceOne } else { Neighbours::AddRemove }
    }

    fn unit(&self, row: usize) -> i64 {
        self.patient.get(row).copied().unwrap_or(row as i64)
    }

    /// Rows of D, or of the neighbour, with what stands in them.
    pub fn rows(&self, is_neighbour: bool) -> Vec<(usize, &[f64], (f64, f64))> {
        let removed = units(&self.patient, self.cells.len())[self.removed];
        let own = |row: usize| (row, self.cells[row].as_slice(), self.outcome[row]);
        let of_neighbour = |row: usize| match &self.replacement {
            _ if self.unit(row) != removed => Some(own(row)),
            Some(others) => Some((row, others[row].0.as_slice(), others[row].1)),
            None => None,
        };
        let all = 0..self.cells.len();
        if is_neighbour { all.filter_map(of_neighbour).collect() } else { all.map(own).collect() }
    }

    pub fn options(&self) -> PlanOptions {
        PlanOptions {
            epsilon: 8.0,
            delta: 1e-3,
            rounds: ROUNDS,
            directions: self.directions,
            marginal_share: 0.3,
            sampling_rate: self.rate,
            expected_patients: None,
            neighbours: self.neighbours(),
        }
    }

    /// The cohort D, or its neighbour; both with the same seed of noise.
    pub fn cohort(&self, schema: &Schema, plan: &Plan, is_neighbour: bool) -> Option<PrivateCohort> {
        let rows = self.rows(is_neighbour);
        let cells: Vec<f64> = rows.iter().flat_map(|(_, cells, _)| cells.to_vec()).collect();
        let (first, second): (Vec<f64>, Vec<f64>) = rows.iter().map(|(_, _, outcome)| *outcome).unzip();
        let patient: Vec<i64> = rows.iter().map(|(row, ..)| self.unit(*row)).collect();
        let patient = (!self.patient.is_empty()).then_some(patient.as_slice());
        let outcome = if schema.column(Role::Time).is_some() {
            RawOutcome::Survival(&first, &second)
        } else {
            RawOutcome::Classes(&first)
        };
        let source = NoiseSource::seeded_for_tests(self.seed);
        let made = PrivateCohort::new(schema, &cells, outcome, patient, plan.clone(), source);
        // An empty table is a fault of the file, told before any budget is spent.
        if rows.is_empty() { None } else { Some(made.unwrap()) }
    }
}
