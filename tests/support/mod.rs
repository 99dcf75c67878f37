//! Small cohorts for the Rust tests.
#![allow(dead_code)] // each test file uses its part

use _zodc::marginals::{Marginals, coarse_partitions, estimate};
use _zodc::privacy::cohort::{PrivateCohort, RawOutcome};
use _zodc::privacy::event::Neighbours;
use _zodc::privacy::noise::NoiseSource;
use _zodc::privacy::plan::{COARSE_BINS, Plan, PlanOptions};
use _zodc::schema::Schema;

pub const CLASSIFICATION: &str = r#"
[[column]]
name = "age"
kind = "continuous"
lower = 0
upper = 120
[[column]]
name = "creatinine"
kind = "continuous"
lower = 0
upper = 50
missing = "indicator"
[[column]]
name = "stage"
kind = "ordinal"
lower = 1
upper = 4
[[column]]
name = "site"
kind = "categorical"
categories = ["a", "b", "c"]
fallback = "c"
[[column]]
name = "death"
kind = "binary"
role = "target"
"#;

pub const SURVIVAL: &str = r#"
[[column]]
name = "age"
kind = "continuous"
lower = 0
upper = 120
[[column]]
name = "sex"
kind = "binary"
categories = ["f", "m"]
[[column]]
name = "days"
kind = "continuous"
role = "time"
lower = 0
upper = 4000
[[column]]
name = "death"
kind = "binary"
role = "event"
"#;

pub fn schema(text: &str) -> Schema {
    Schema::from_toml(text).unwrap()
}

pub fn with_patient_id(text: &str) -> String {
    format!("{text}\n[[column]]\nname = \"id\"\nkind = \"ordinal\"\nrole = \"patient_id\"\n")
}

/// A plan whose noise is a few lattice steps: answers show the sum beneath.
pub fn options(epsilon: f64) -> PlanOptions {
    PlanOptions {
        epsilon,
        delta: 1e-5,
        rounds: 4,
        directions: 3,
        marginal_share: 0.2,
        sampling_rate: None,
        expected_patients: None,
        neighbours: Neighbours::AddRemove,
    }
}

/// Deterministic numbers in `[0, 1)`.
pub fn uniforms(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        })
        .collect()
}

/// Cells of [`CLASSIFICATION`] and class codes; death follows age.
pub fn patients(n: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let u = uniforms(5 * n, seed);
    let mut cells = Vec::with_capacity(4 * n);
    let mut death = Vec::with_capacity(n);
    for row in u.chunks_exact(5) {
        let age = 40.0 + 50.0 * row[0];
        let creatinine = if row[1] < 0.1 { f64::NAN } else { 0.5 + 1.5 * row[1] * row[1] };
        cells.extend([age, creatinine, 1.0 + (4.0 * row[2]).floor(), (3.0 * row[3]).floor()]);
        death.push(f64::from(row[4] < (age - 40.0) / 60.0));
    }
    (cells, death)
}

pub fn cohort(text: &str, cells: &[f64], y: &[f64], options: &PlanOptions, seed: u64) -> PrivateCohort {
    let schema = schema(text);
    let plan = Plan::new(&schema, options).unwrap();
    let source = NoiseSource::seeded_for_tests(seed);
    PrivateCohort::new(&schema, cells, RawOutcome::Classes(y), None, plan, source).unwrap()
}

pub fn marginals(schema: &Schema, cohort: &mut PrivateCohort) -> Marginals {
    let asked = coarse_partitions(schema, COARSE_BINS).unwrap();
    let counted = cohort.noisy_counts(&asked).unwrap();
    let coarse = Some((&asked, &counted));
    let n_bins = cohort.plan().fine_bins(Some(estimate::noisy_count(&counted)));
    let fine = estimate::fine_partitions(schema, coarse, n_bins);
    let fine_counted = cohort.noisy_counts(&fine).unwrap();
    estimate::marginals(schema, coarse, (&fine, &fine_counted))
}
