//! The unit of privacy: a patient's rows and their cap, and what counts as neighbours.

mod support;

use _zodc::Error;
use _zodc::marginals::codec::Codec;
use _zodc::privacy::answer::Round;
use _zodc::privacy::cohort::{PrivateCohort, RawOutcome};
use _zodc::privacy::event::Neighbours;
use _zodc::privacy::mechanism::RADIUS;
use _zodc::privacy::noise::NoiseSource;
use _zodc::privacy::plan::{Plan, PlanOptions};
use _zodc::privacy::predictor::{Linear, Predictor};
use _zodc::schema::{Role, Schema};
use std::sync::atomic::AtomicBool;
use support::{CLASSIFICATION, marginals, options, patients, schema, uniforms, with_patient_id};

const LITTLE_NOISE: f64 = 1e12;

fn capped(max_rows: usize) -> Schema {
    let text = with_patient_id(CLASSIFICATION);
    schema(&text.replace("role = \"patient_id\"", &format!("role = \"patient_id\"\nmax_rows = {max_rows}")))
}

/// Rows in any order, with their patients.
struct Rows {
    cells: Vec<f64>,
    y: Vec<f64>,
    ids: Vec<i64>,
}

impl Rows {
    fn new(n_rows: usize, n_patients: i64, seed: u64) -> Self {
        let (cells, y) = patients(n_rows, seed);
        Self { cells, y, ids: (0..n_rows as i64).map(|row| row % n_patients).collect() }
    }

    fn take(&self, order: impl Iterator<Item = usize>) -> Self {
        let order: Vec<usize> = order.collect();
        Self {
            cells: order.iter().flat_map(|&r| &self.cells[4 * r..4 * r + 4]).copied().collect(),
            y: order.iter().map(|&r| self.y[r]).collect(),
            ids: order.iter().map(|&r| self.ids[r]).collect(),
        }
    }
}

fn cohort(schema: &Schema, rows: &Rows) -> PrivateCohort {
    let plan = Plan::new(schema, &options(LITTLE_NOISE)).unwrap();
    let source = NoiseSource::seeded_for_tests(3);
    PrivateCohort::new(schema, &rows.cells, RawOutcome::Classes(&rows.y), Some(&rows.ids), plan, source)
        .unwrap()
}

/// Marginals and an answer under seeded noise: equal bits mean equal sums.
fn answers(schema: &Schema, rows: &Rows, epsilon: f64) -> (String, Vec<f64>) {
    let plan = Plan::new(schema, &options(epsilon)).unwrap();
    let source = NoiseSource::seeded_for_tests(3);
    let outcome = RawOutcome::Classes(&rows.y);
    let mut cohort = PrivateCohort::new(schema, &rows.cells, outcome, Some(&rows.ids), plan, source).unwrap();
    let found = marginals(schema, &mut cohort);
    let codec = Codec::new(schema, &found).unwrap();
    let linear = |u: &[f64]| Linear { coef: u.iter().map(|u| 4.0 * u - 2.0).collect(), intercept: vec![0.1] };
    let coefficients = uniforms(6 * codec.width(), 9);
    let candidates: Vec<_> =
        coefficients.chunks_exact(codec.width()).map(|u| vec![(1.0, Predictor::Linear(linear(u)))]).collect();
    let round = Round { candidates: &candidates, codec: &codec, grid: None, clip_norm: 100.0 };
    let answer = cohort.answer(&round, &AtomicBool::new(false)).unwrap();
    (serde_json::to_string(&found).unwrap(), answer)
}

/// Which rows stay depends on the patient's rows alone: not on the file's order, nor on other patients.
#[test]
fn the_cap_keeps_the_same_rows_of_a_patient_wherever_they_stand() {
    let (schema, rows) = (capped(3), Rows::new(300, 30, 1));
    let whole = answers(&schema, &rows, 1.0);
    assert_eq!(whole, answers(&schema, &rows.take((0..300).rev()), 1.0));
    let shuffled = rows.take((0..300).map(|row| 7 * row % 300));
    assert_eq!(whole, answers(&schema, &shuffled, 1.0));
    // What patient 5 adds to a sum is the same alone and beside patients 0 to 4.
    let sum_of = |kept: &dyn Fn(i64) -> bool| {
        let rows = rows.take((0..300).filter(|&row| kept(rows.ids[row])));
        let differences: Vec<f64> = rows.cells.chunks_exact(4).flat_map(|row| [row[0], 0.0, 0.0]).collect();
        cohort(&schema, &rows).answer_differences(&differences, 1000.0).unwrap()[0]
    };
    let (alone, beside, without) = (sum_of(&|id| id == 5), sum_of(&|id| id <= 5), sum_of(&|id| id < 5));
    assert!((alone - (beside - without)).abs() < 0.1, "{alone} {beside} {without}");
    assert!(alone > 3.0 * 40.0 && alone < 3.0 * 90.0, "{alone}");
}

#[test]
fn rows_above_the_cap_count_for_nothing() {
    let rows = Rows::new(240, 20, 2);
    let all = answers(&capped(12), &rows, LITTLE_NOISE);
    assert_eq!(all, answers(&capped(13), &rows, LITTLE_NOISE), "nobody has more than 12 rows");
    let three = answers(&capped(3), &rows, LITTLE_NOISE);
    assert_ne!(all, three);
    // The losses of a quarter of the rows, where a patient's vector is not clipped.
    let size = |answer: &[f64]| answer.iter().map(|a| a * a).sum::<f64>().sqrt();
    assert!(size(&three.1) < 0.6 * size(&all.1), "{:?} {:?}", three.1, all.1);
}

#[test]
fn losses_of_dropped_rows_are_given_but_not_used() {
    let (schema, rows) = (capped(2), Rows::new(100, 10, 3));
    let mut cohort = cohort(&schema, &rows);
    let answer = cohort.answer_differences(&[1.0; 300], 1e6).unwrap();
    // Ten patients with two rows each; a lattice step is 1e6 / 2^20.
    assert!(answer.iter().all(|a| (a - 20.0).abs() < 20.0), "{answer:?}");
    assert!(matches!(cohort.answer_differences(&[1.0; 60], 1e6), Err(Error::Data { .. })));
}

#[test]
fn the_cap_has_a_default_and_limits() {
    let id = |schema: &Schema| schema.column(Role::PatientId).unwrap().max_rows;
    let text = with_patient_id(CLASSIFICATION);
    assert_eq!(id(&schema(&text)), Some(32));
    assert_eq!(id(&schema(&schema(&text).to_toml().unwrap())), Some(32));
    for bad in ["0", "4097", "-1"] {
        let stated = text.replace("\"patient_id\"", &format!("\"patient_id\"\nmax_rows = {bad}"));
        assert!(matches!(Schema::from_toml(&stated), Err(Error::Schema { .. })), "{bad}");
    }
    let elsewhere = text.replace("name = \"age\"", "name = \"age\"\nmax_rows = 3");
    let message = Schema::from_toml(&elsewhere).unwrap_err().to_string();
    assert!(message.contains("'age'") && message.contains("max_rows"), "{message}");
}

fn replacing(epsilon: f64) -> PlanOptions {
    PlanOptions { neighbours: Neighbours::ReplaceOne, ..options(epsilon) }
}

#[test]
fn replacing_a_unit_doubles_the_noise_of_rounds_and_takes_the_diagonal_for_histograms() {
    let schema = schema(CLASSIFICATION);
    let (add, replace) = (options(1.0), replacing(1.0));
    let (add, replace) = (Plan::new(&schema, &add).unwrap(), Plan::new(&schema, &replace).unwrap());
    assert_eq!(replace.round_sensitivity, 2 * RADIUS as u64);
    let ratio = replace.round_noise_scale as f64 / add.round_noise_scale as f64;
    assert!((ratio - 2.0).abs() < 1e-5, "{ratio}");
    for (a, r) in add.marginals.iter().zip(&replace.marginals) {
        assert!((r.sensitivity / a.sensitivity - 2_f64.sqrt()).abs() < 1e-12);
        assert!(r.noise_scale as f64 / r.sensitivity >= a.noise_scale as f64 / a.sensitivity * (1.0 - 1e-4));
    }
    assert!(replace.spent.epsilon <= 1.0 && replace.spent.epsilon > 0.999);
    replace.check(&schema).unwrap();
}

#[test]
fn a_plan_cannot_change_its_neighbours() {
    let schema = schema(CLASSIFICATION);
    let replace = Plan::new(&schema, &replacing(1.0)).unwrap();
    let add = Plan::new(&schema, &options(1.0)).unwrap();
    let refused = |plan: Plan| matches!(plan.check(&schema), Err(Error::Budget { .. }));
    assert!(refused(Plan { neighbours: Neighbours::ReplaceOne, ..add.clone() }));
    assert!(refused(Plan { neighbours: Neighbours::AddRemove, ..replace.clone() }));
    assert!(refused(Plan { round_sensitivity: RADIUS as u64, ..replace.clone() }));
    let sampled = PlanOptions { sampling_rate: Some(0.5), ..options(1.0) };
    let sampled = Plan::new(&schema, &sampled).unwrap();
    assert!(refused(Plan { neighbours: Neighbours::ReplaceOne, ..sampled.clone() }));
    // Also with the sensitivities of the relation, and with the charges that go with them.
    let forged = Plan { sampling_rate: sampled.sampling_rate, charges: sampled.charges, ..replace };
    assert!(refused(forged));
}

#[test]
fn samples_are_refused_where_a_unit_is_replaced() {
    let schema = schema(CLASSIFICATION);
    let half = PlanOptions { sampling_rate: Some(0.5), ..replacing(1.0) };
    let message = Plan::new(&schema, &half).unwrap_err().to_string();
    assert!(message.contains("'sampling_rate'") && message.contains("replace_one"), "{message}");
    let many = PlanOptions { expected_patients: Some(1_000_000), ..replacing(1.0) };
    assert_eq!(Plan::new(&schema, &many).unwrap().sampling_rate, 1.0);
}
