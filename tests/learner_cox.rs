//! Cox regression against a naive twin of Efron's likelihood, lifelines, and degenerate rows.

use _zodc::learner::cox::CoxOptions;
use _zodc::learner::{Design, Labels, Learner, Scratch};
use _zodc::privacy::predictor::{Hazard, Predictor, TimeGrid};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

mod reference;

#[derive(Debug)]
struct Cohort {
    x: Vec<f64>,
    n_features: usize,
    time: Vec<f64>,
    event: Vec<bool>,
    grid: TimeGrid,
}

impl Cohort {
    fn design(&self) -> Design<'_> {
        let labels = Labels::Survival { time: &self.time, event: &self.event, grid: &self.grid };
        Design { x: &self.x, n_features: self.n_features, labels }
    }

    fn eta(&self, coef: &[f64], row: usize) -> f64 {
        self.x[row * self.n_features..][..self.n_features].iter().zip(coef).map(|(x, b)| x * b).sum()
    }
}

fn grid(last: f64, n: usize) -> TimeGrid {
    TimeGrid { edges: (0..=n).map(|k| last * k as f64 / n as f64).collect() }
}

fn learner(penalizer: f64) -> Learner {
    Learner::Cox(CoxOptions { penalizer, ..CoxOptions::default() })
}

fn fit(learner: &Learner, cohort: &Cohort, warm: Option<&Predictor>) -> Hazard {
    match learner.fit(&cohort.design(), warm, &mut Scratch::default()) {
        Ok(Predictor::Hazard(model)) => model,
        other => panic!("{other:?}"),
    }
}

/// Minus Efron's log partial likelihood by its definition, with lifelines' ridge.
fn objective(cohort: &Cohort, coef: &[f64], penalizer: f64) -> f64 {
    let n = cohort.time.len();
    let eta: Vec<f64> = (0..n).map(|row| cohort.eta(coef, row)).collect();
    let mut value = 0.0;
    for first in 0..n {
        let dead = |row: usize| cohort.event[row] && cohort.time[row] == cohort.time[first];
        if !cohort.event[first] || (0..first).any(dead) {
            continue;
        }
        let dying: Vec<usize> = (0..n).filter(|&row| dead(row)).collect();
        let risk: f64 =
            (0..n).filter(|&row| cohort.time[row] >= cohort.time[first]).map(|row| eta[row].exp()).sum();
        let tied: f64 = dying.iter().map(|&row| eta[row].exp()).sum();
        for (k, &row) in dying.iter().enumerate() {
            value += (risk - k as f64 / dying.len() as f64 * tied).ln() - eta[row];
        }
    }
    for (j, coef) in coef.iter().enumerate() {
        let column: Vec<f64> = cohort.x.iter().skip(j).step_by(cohort.n_features).copied().collect();
        let mean = column.iter().sum::<f64>() / n as f64;
        let variance = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n as f64 - 1.0);
        value += 0.5 * penalizer * n as f64 * variance * coef * coef;
    }
    value
}

/// Events and weighted exposure of interval `b`, by the definition.
fn naive_log_hazard(cohort: &Cohort, coef: &[f64]) -> Vec<f64> {
    let edges = &cohort.grid.edges;
    let n_intervals = edges.len() - 1;
    let (mut events, mut exposure) = (vec![0.0; n_intervals], vec![0.0; n_intervals]);
    for row in 0..cohort.time.len() {
        for b in 0..n_intervals {
            let time = cohort.time[row].min(edges[n_intervals]);
            exposure[b] += (time.min(edges[b + 1]) - edges[b]).max(0.0) * cohort.eta(coef, row).exp();
            if cohort.event[row] && time > edges[b] && time <= edges[b + 1] {
                events[b] += 1.0;
            }
        }
    }
    let overall = events.iter().sum::<f64>().max(0.5) / exposure.iter().sum::<f64>();
    (0..n_intervals).map(|b| ((events[b] + 0.5) / (exposure[b] + 0.5 / overall)).ln()).collect()
}

fn assert_finite(model: &Hazard) {
    let all = model.coef.iter().chain(&model.log_hazard).chain(&model.cumulative);
    assert!(all.clone().all(|v| v.is_finite()), "{model:?}");
    assert!(model.cumulative.is_sorted() && model.cumulative[0] == 0.0);
}

prop_compose! {
    fn cohort()(n_rows in 4_usize..30, n_features in 1_usize..5)(
        x in prop::collection::vec(-2.0..2.0, n_rows * n_features),
        // Whole numbers tie often.
        time in prop::collection::vec(1_u8..12, n_rows),
        event in prop::collection::vec(prop::bool::weighted(0.6), n_rows),
        n_features in Just(n_features),
    ) -> Cohort {
        Cohort { x, n_features, time: time.into_iter().map(f64::from).collect(), event, grid: grid(10.0, 6) }
    }
}

/// Minus the log likelihood of a piecewise-constant hazard by its definition, with half a pseudo-event in each
/// interval at the overall hazard.
fn full_likelihood(cohort: &Cohort, coef: &[f64], log_hazard: &[f64]) -> f64 {
    let edges = &cohort.grid.edges;
    let (mut value, mut events, mut exposure) = (0.0, 0.0, 0.0);
    for row in 0..cohort.time.len() {
        let (time, eta) = (cohort.time[row].min(edges[edges.len() - 1]), cohort.eta(coef, row));
        for (edge, log_hazard) in edges.windows(2).zip(log_hazard) {
            let at_risk = (time.min(edge[1]) - edge[0]).max(0.0) * eta.exp();
            value += at_risk * log_hazard.exp();
            exposure += at_risk;
            if cohort.event[row] && time > edge[0] && time <= edge[1] {
                value -= eta + log_hazard;
                events += 1.0;
            }
        }
    }
    let overall = f64::max(events, 0.5) / exposure;
    value + log_hazard.iter().map(|l| 0.5 * (l.exp() / overall - l)).sum::<f64>()
}

proptest! {
    #[test]
    fn gradient_of_the_naive_likelihood_is_zero(cohort in cohort(), penalizer in 0.01..1.0_f64) {
        let model = fit(&learner(penalizer), &cohort, None);
        const STEP: f64 = 1e-5;
        for j in 0..cohort.n_features {
            let shifted = |by: f64| {
                let mut coef = model.coef.clone();
                coef[j] += by;
                objective(&cohort, &coef, penalizer)
            };
            let slope = (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP);
            prop_assert!(slope.abs() < 1e-5, "slope {slope}");
        }
    }

    #[test]
    fn baseline_is_events_over_exposure(cohort in cohort()) {
        let model = fit(&learner(0.1), &cohort, None);
        assert_finite(&model);
        let expected = naive_log_hazard(&cohort, &model.coef);
        let mut cumulative = 0.0;
        for (b, expected) in expected.into_iter().enumerate() {
            prop_assert!((model.log_hazard[b] - expected).abs() < 1e-9);
            prop_assert!((model.cumulative[b] - cumulative).abs() < 1e-9 * (1.0 + cumulative));
            cumulative += model.log_hazard[b].exp() * (cohort.grid.edges[b + 1] - cohort.grid.edges[b]);
        }
    }

    #[test]
    fn the_full_likelihood_is_flat_at_the_baseline(cohort in cohort()) {
        let model = fit(&learner(0.1), &cohort, None);
        const STEP: f64 = 1e-5;
        for b in 0..model.log_hazard.len() {
            let at = |by: f64| {
                let mut log_hazard = model.log_hazard.clone();
                log_hazard[b] += by;
                full_likelihood(&cohort, &model.coef, &log_hazard)
            };
            let slope = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            prop_assert!(slope.abs() < 1e-4, "interval {b}: {slope}");
        }
    }

    #[test]
    fn a_base_from_far_away_costs_time_and_nothing_else(
        seed in any::<u64>(),
        n_rows in 20_usize..60,
        penalizer in prop::sample::select(vec![1e-6, 1e-4, 1e-2]),
    ) {
        // The base separates events from survivors, so that its Hessian is nearly the ridge alone: on other rows
        // the first step leads to where every risk underflows.
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let mut x = || (0..n_rows * 2).map(|_| generator.random::<f64>() * 4.0 - 2.0).collect::<Vec<_>>();
        let (near, far) = (x(), x());
        let event: Vec<bool> = (0..n_rows).map(|row| row % 3 == 0).collect();
        let order = |x: &[f64], sign: f64| (0..n_rows).map(|row| 3.0 + sign * x[2 * row]).collect();
        let cohort = |x: Vec<f64>, time: Vec<f64>| {
            Cohort { x, n_features: 2, time, event: event.clone(), grid: grid(5.0, 4) }
        };
        let (near_time, far_time) = (order(&near, -1.0), order(&far, 1.0));
        let (near, far) = (cohort(near, near_time), cohort(far, far_time));
        let (learner, mut scratch) = (learner(penalizer), Scratch::default());
        let base = learner.base(&near.design(), &mut scratch).expect("fits");
        let quick = learner.fit_near(&far.design(), &base, &mut scratch);
        let Ok(Predictor::Hazard(quick)) = quick else { panic!("{quick:?}") };
        assert_finite(&quick);
        let cold = fit(&learner, &far, None);
        let value = |coef: &[f64]| objective(&far, coef, penalizer);
        assert_finite(&cold);
        // With less of a ridge both stop far out, where the likelihood is flat.
        let close = (value(&quick.coef) - value(&cold.coef)).abs() < 1e-3 * (1.0 + value(&cold.coef));
        prop_assert!(close || penalizer < 1e-5);
    }

    #[test]
    fn warm_start_does_not_change_the_answer(mut cohort in cohort(), noise in prop::collection::vec(-0.1..0.1, 150)) {
        let cold = fit(&learner(0.1), &cohort, None);
        cohort.x.iter_mut().zip(&noise).for_each(|(x, e)| *x += e);
        let near = Predictor::Hazard(fit(&learner(0.1), &cohort, None));
        let base = learner(0.1).base(&cohort.design(), &mut Scratch::default()).expect("fits");
        cohort.x.iter_mut().zip(&noise).for_each(|(x, e)| *x -= e);
        let quick = learner(0.1).fit_near(&cohort.design(), &base, &mut Scratch::default()).expect("fits");
        let Predictor::Hazard(quick) = quick else { panic!("not a hazard") };
        for (a, b) in cold.coef.iter().zip(&quick.coef) {
            prop_assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        let warm = fit(&learner(0.1), &cohort, Some(&near));
        for (a, b) in cold.coef.iter().zip(&warm.coef) {
            prop_assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}

#[test]
fn agrees_with_lifelines() {
    for case in reference::load().survival {
        let last = case.time.iter().fold(0.0_f64, |a, &b| a.max(b));
        let cohort = Cohort {
            x: case.x,
            n_features: case.n_features,
            time: case.time,
            event: case.event,
            grid: grid(last, 10),
        };
        for expected in &case.cox {
            let model = fit(&learner(expected.penalizer), &cohort, None);
            for (ours, theirs) in model.coef.iter().zip(&expected.coef) {
                assert!(
                    (ours - theirs).abs() < 1e-6,
                    "{} {}: {ours} {theirs}",
                    case.name,
                    expected.penalizer
                );
            }
        }
    }
}

fn degenerate(x: Vec<f64>, time: Vec<f64>, event: Vec<bool>) -> Vec<Hazard> {
    let n_features = x.len() / time.len();
    let cohort = Cohort { x, n_features, time, event, grid: grid(10.0, 4) };
    [0.0, 0.1]
        .into_iter()
        .map(|penalizer| fit(&learner(penalizer), &cohort, None))
        .inspect(assert_finite)
        .collect()
}

#[test]
fn one_row() {
    for event in [false, true] {
        for model in degenerate(vec![0.4, -2.0], vec![3.0], vec![event]) {
            assert_eq!(model.coef, [0.0, 0.0]);
        }
    }
}

#[test]
fn no_events() {
    for model in degenerate(vec![0.1, 0.5, -0.9, 1.4], vec![1.0, 2.0, 3.0, 12.0], vec![false; 4]) {
        assert_eq!(model.coef, [0.0]);
        assert!(model.cumulative[3] < 0.5);
    }
}

#[test]
fn all_events_at_one_time() {
    degenerate(vec![0.1, 0.5, -0.9, 1.4], vec![5.0; 4], vec![true; 4]);
}

#[test]
fn constant_and_collinear_columns() {
    let x = (0..8).flat_map(|k| [5.0, f64::from(k % 3), 2.0 * f64::from(k % 3)]).collect();
    let time = (1..9).map(f64::from).collect();
    for model in degenerate(x, time, vec![true, false, true, true, true, false, true, true]) {
        assert_eq!(model.coef[0], 0.0);
        assert!((model.coef[1] - 2.0 * model.coef[2]).abs() < 1e-4, "{model:?}");
    }
}

#[test]
fn monotone_likelihood() {
    let x = (0..8).map(f64::from).collect();
    let time = (0..8).map(|k| 9.0 - f64::from(k)).collect();
    degenerate(x, time, vec![true; 8]);
}

#[test]
fn times_at_zero_and_far_features() {
    degenerate(vec![1e6, 2e6, -3e6], vec![0.0; 3], vec![true; 3]);
}

#[test]
fn survival_outcomes_are_refused_by_classifiers() {
    let cohort =
        Cohort { x: vec![0.0], n_features: 1, time: vec![1.0], event: vec![true], grid: grid(1.0, 1) };
    let logistic = Learner::Logistic(Default::default());
    assert!(logistic.fit(&cohort.design(), None, &mut Scratch::default()).is_err());
}

#[test]
fn infinite_feature_is_refused() {
    let cohort = Cohort {
        x: vec![f64::INFINITY],
        n_features: 1,
        time: vec![1.0],
        event: vec![true],
        grid: grid(1.0, 1),
    };
    assert!(learner(0.1).fit(&cohort.design(), None, &mut Scratch::default()).is_err());
}
