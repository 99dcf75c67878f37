//! What does not belong together, or is no distribution, is refused where it comes in.

mod support;

use _zodc::Error;
use _zodc::condense::population::Population;
use _zodc::condense::start::{Rows, labelled, uniform};
use _zodc::condense::{FixedOutcome, Problem, Weighted};
use _zodc::marginals::codec::Codec;
use _zodc::marginals::{Marginal, Marginals, OutcomeMarginal};
use _zodc::privacy::predictor::{Hazard, Linear, Predictor};
use _zodc::zeroth_order::ZerothOrder;
use _zodc::zeroth_order::schedule::{Anneal, Schedule};
use std::sync::atomic::AtomicBool;
use support::{CLASSIFICATION, SURVIVAL, cohort, marginals, options, patients, schema};

fn classes(epsilon: f64, n: usize, seed: u64) -> Marginals {
    let (cells, y) = patients(n, 1);
    marginals(&schema(CLASSIFICATION), &mut cohort(CLASSIFICATION, &cells, &y, &options(epsilon), seed))
}

fn survival() -> Marginals {
    let age = Marginal { missing: 0.0, edges: vec![0.0, 60.0, 120.0], weights: vec![0.5, 0.5] };
    let sex = Marginal { missing: 0.0, edges: vec![], weights: vec![0.5, 0.5] };
    let outcome = OutcomeMarginal::Survival {
        edges: vec![0.0, 1000.0, 4000.0],
        censored: vec![0.2, 0.3],
        event: vec![0.3, 0.2],
    };
    Marginals { count: 500.0, share_sd: 0.0, features: vec![age, sex], outcome }
}

type Spoil = fn(&mut Marginals);

#[test]
fn marginals_that_no_cohort_has_are_refused() {
    let spoilt: [(&str, Spoil); 15] = [
        ("marginals", |m| m.count = 0.5),
        ("marginals", |m| m.count = f64::INFINITY),
        ("marginals", |m| m.share_sd = f64::NAN),
        ("marginals", |m| m.features.truncate(3)),
        ("age", |m| m.features[0].missing = 1.5),
        ("age", |m| m.features[0].missing = f64::NAN),
        ("age", |m| *m.features[0].edges.last_mut().unwrap() = 1e6),
        ("age", |m| m.features[0].edges[0] = -1.0),
        ("age", |m| m.features[0].edges[1] = f64::NAN),
        ("age", |m| m.features[0].edges.swap(3, 4)),
        ("creatinine", |m| m.features[1].weights[0] = -0.1),
        ("creatinine", |m| m.features[1].weights[0] = f64::NAN),
        ("stage", |m| m.features[2].weights = vec![2.0, 2.0, 2.0, 2.0]),
        ("site", |m| m.features[3].weights.truncate(2)),
        ("outcome", |m| m.outcome = OutcomeMarginal::Classes { weights: vec![1.5, -0.5] }),
    ];
    let schema = schema(CLASSIFICATION);
    let whole = classes(1.0, 1000, 9);
    assert!(Codec::new(&schema, &whole).is_ok());
    for (i, (column, spoil)) in spoilt.iter().enumerate() {
        let mut found = whole.clone();
        spoil(&mut found);
        let Err(refusal) = Codec::new(&schema, &found) else { panic!("{i} is taken") };
        assert!(matches!(&refusal, Error::Data { column: c, .. } if c == column), "{i}: {refusal}");
    }
}

#[test]
fn survival_times_beyond_the_bounds_are_refused() {
    let schema = schema(SURVIVAL);
    assert!(Codec::new(&schema, &survival()).is_ok());
    for spoilt in [[0.0, 1000.0, 4001.0], [0.0, 4000.0, 1000.0], [-1.0, 1000.0, 4000.0]] {
        let mut found = survival();
        if let OutcomeMarginal::Survival { edges, .. } = &mut found.outcome {
            *edges = spoilt.to_vec();
        }
        let Err(refusal) = Codec::new(&schema, &found) else { panic!("{spoilt:?} are taken") };
        assert!(matches!(&refusal, Error::Data { column, .. } if column == "days"), "{refusal}");
    }
}

/// What the private half can say, however much noise there is, has to be taken; also as a release holds it.
#[test]
fn marginals_of_any_noise_are_taken() {
    let schema = schema(CLASSIFICATION);
    for epsilon in [1e-4, 1e-2, 0.3, 3.0, 1e3] {
        for (n, seed) in [(1, 1), (3, 2), (50, 3), (400, 4), (400, 5)] {
            let found = classes(epsilon, n, seed);
            Codec::new(&schema, &found).unwrap();
            let text = serde_json::to_string(&found).unwrap();
            Codec::new(&schema, &serde_json::from_str(&text).unwrap()).unwrap();
        }
    }
}

/// Times must never be taken for class codes.
#[test]
fn survival_without_a_time_grid_has_no_loss() {
    let found = survival();
    let codec = Codec::new(&schema(SURVIVAL), &found).unwrap();
    let grid = found.time_grid(2).unwrap();
    let coef = vec![0.0; codec.width()];
    let model = Predictor::Hazard(Hazard { coef, log_hazard: vec![-7.0; 2], cumulative: vec![0.0, 0.5] });
    let rows = uniform(&codec, &found, 20, 1);
    let drawn = Population::draw(&codec, &found, Some(&grid), (&rows, &model), 100, 1).unwrap();
    let learners: [Weighted; 0] = [];
    let problem = |grid| Problem { codec: &codec, grid, learners: &learners, outcome: &rows.outcome };
    let candidates = [vec![(1.0, model.clone())]];
    let never = AtomicBool::new(false);
    assert!(drawn.mean_losses(&problem(Some(&grid)), &candidates, &never).unwrap()[0].is_finite());
    let refusal = drawn.mean_losses(&problem(None), &candidates, &never).unwrap_err();
    assert!(matches!(refusal, Error::Fit { .. }), "{refusal}");
}

#[test]
fn pseudo_patients_of_another_task_or_none_are_not_labelled() {
    let found = classes(1.0, 1000, 9);
    let codec = Codec::new(&schema(CLASSIFICATION), &found).unwrap();
    let teacher = Predictor::Linear(Linear { coef: vec![0.0; codec.width()], intercept: vec![0.0] });
    let rows: Rows = uniform(&codec, &found, 20, 1);
    let draw = |n| Population::draw(&codec, &found, None, (&rows, &teacher), n, 1).unwrap();
    let drawn = labelled(&codec, &found, &draw(50), 30, 1.0).unwrap();
    assert!(matches!(drawn.outcome, FixedOutcome::Classes { codes, .. } if codes.len() == 30));
    for (marginals, n) in [(survival(), 50), (found.clone(), 0)] {
        let refusal = labelled(&codec, &marginals, &draw(n), 30, 1.0).unwrap_err();
        assert!(matches!(refusal, Error::Fit { .. }), "{refusal}");
    }
}

#[test]
fn more_directions_than_a_round_has_streams_are_refused() {
    let constant = Anneal { start: 0.1, end: 0.1 };
    let schedule = Schedule { rounds: 2, radius: constant, step: constant, clip: constant, momentum: 0.9 };
    let search = |n| ZerothOrder::new(vec![0.5; 4], n, 1, schedule).map(|_| ());
    assert_eq!(search(1 << 16), Ok(()));
    for n in [0, (1 << 16) + 1] {
        let refusal = search(n).unwrap_err();
        assert!(matches!(&refusal, Error::Option { got, .. } if *got == n.to_string()), "{refusal}");
    }
}
