//! Logistic regression against an objective written independently, scikit-learn, and degenerate rows.

use _zodc::error::Error;
use _zodc::learner::logistic::LogisticOptions;
use _zodc::learner::{Design, Labels, Learner, Scratch};
use _zodc::privacy::predictor::{Linear, Predictor};
use proptest::prelude::*;

mod reference;

fn learner(c: f64) -> Learner {
    Learner::Logistic(LogisticOptions { c })
}

fn design<'a>(x: &'a [f64], n_features: usize, codes: &'a [u32], n_classes: usize) -> Design<'a> {
    Design { x, n_features, labels: Labels::Classes { codes, n_classes } }
}

fn fit(learner: &Learner, design: &Design, warm: Option<&Predictor>) -> Linear {
    match learner.fit(design, warm, &mut Scratch::default()) {
        Ok(Predictor::Linear(model)) => model,
        other => panic!("{other:?}"),
    }
}

/// `½ ‖w‖² + c Σ −ln p(own class)`, written plainly.
fn objective(model: &Linear, c: f64, x: &[f64], n_features: usize, codes: &[u32]) -> f64 {
    let mut value = 0.5 * model.coef.iter().map(|w| w * w).sum::<f64>();
    for (row, &code) in x.chunks(n_features).zip(codes) {
        let mut logits: Vec<f64> = model
            .intercept
            .iter()
            .zip(model.coef.chunks(n_features))
            .map(|(b, w)| b + w.iter().zip(row).map(|(w, x)| w * x).sum::<f64>())
            .collect();
        if logits.len() == 1 {
            logits.insert(0, 0.0);
        }
        let total: f64 = logits.iter().map(|z| z.exp()).sum();
        value += c * (total.ln() - logits[code as usize]);
    }
    value
}

fn parameter(model: &mut Linear, k: usize) -> &mut f64 {
    let n = model.coef.len();
    if k < n { &mut model.coef[k] } else { &mut model.intercept[k - n] }
}

fn gradient_by_differences(model: &Linear, value: impl Fn(&Linear) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    (0..model.coef.len() + model.intercept.len())
        .map(|k| {
            let [mut up, mut down] = [model.clone(), model.clone()];
            *parameter(&mut up, k) += STEP;
            *parameter(&mut down, k) -= STEP;
            (value(&up) - value(&down)) / (2.0 * STEP)
        })
        .collect()
}

prop_compose! {
    fn problem(n_classes: u32)(n_rows in 6_usize..40, n_features in 1_usize..8)(
        x in prop::collection::vec(-2.0..2.0, n_rows * n_features),
        codes in prop::collection::vec(0..n_classes, n_rows),
        n_features in Just(n_features),
    ) -> (Vec<f64>, usize, Vec<u32>) {
        (x, n_features, codes)
    }
}

fn check_minimum(x: &[f64], n_features: usize, codes: &[u32], n_classes: usize, c: f64) {
    let model = fit(&learner(c), &design(x, n_features, codes, n_classes), None);
    let gradient = gradient_by_differences(&model, |m| objective(m, c, x, n_features, codes));
    let most = gradient.iter().fold(0.0_f64, |most, g| most.max(g.abs()));
    // The intercept's trace of a ridge leaves up to 1e-11 · c · rows · 22 of the loss's gradient.
    assert!(most < 1e-6 * (1.0 + c * codes.len() as f64), "gradient {gradient:?}");
}

proptest! {
    #[test]
    fn binary_gradient_is_zero((x, n_features, codes) in problem(2), log_c in -3.0..2.0_f64) {
        check_minimum(&x, n_features, &codes, 2, log_c.exp());
    }

    #[test]
    fn multinomial_gradient_is_zero((x, n_features, codes) in problem(4), log_c in -3.0..2.0_f64) {
        check_minimum(&x, n_features, &codes, 4, log_c.exp());
    }

    #[test]
    fn warm_start_does_not_change_the_answer(
        (x, n_features, codes) in problem(3),
        noise in prop::collection::vec(-0.1..0.1, 400),
    ) {
        for n_classes in [2_usize, 3] {
            let codes: Vec<u32> = codes.iter().map(|&code| code.min(n_classes as u32 - 1)).collect();
            let near: Vec<f64> = x.iter().zip(noise.iter().cycle()).map(|(x, e)| x + e).collect();
            let base = Predictor::Linear(fit(&learner(1.0), &design(&near, n_features, &codes, n_classes), None));
            let near_base = learner(1.0)
                .base(&design(&near, n_features, &codes, n_classes), &mut Scratch::default())
                .expect("fits");
            let design = design(&x, n_features, &codes, n_classes);
            let quick = learner(1.0).fit_near(&design, &near_base, &mut Scratch::default()).expect("fits");
            let Predictor::Linear(quick) = quick else { panic!("not linear") };
            let cold = fit(&learner(1.0), &design, None);
            let warm = fit(&learner(1.0), &design, Some(&base));
            // An intercept that runs off to the ridge alone has next to no curvature.
            for (a, b) in cold.coef.iter().chain(&cold.intercept).zip(warm.coef.iter().chain(&warm.intercept)) {
                prop_assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{a} {b}");
            }
            for (a, b) in cold.coef.iter().chain(&cold.intercept).zip(quick.coef.iter().chain(&quick.intercept)) {
                prop_assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{a} {b}");
            }
        }
    }
}

#[test]
fn agrees_with_scikit_learn() {
    for case in &reference::load().classification {
        for expected in &case.logistic {
            let model = fit(
                &learner(expected.c),
                &design(&case.x, case.n_features, &case.codes, case.n_classes),
                None,
            );
            let expected_coef = expected.coef.concat();
            for (ours, theirs) in
                model.coef.iter().chain(&model.intercept).zip(expected_coef.iter().chain(&expected.intercept))
            {
                let scale = 1.0 + theirs.abs();
                assert!(
                    (ours - theirs).abs() < 1e-6 * scale,
                    "{} c={}: {ours} {theirs}",
                    case.name,
                    expected.c
                );
            }
        }
    }
}

#[test]
fn one_row_one_class_and_absent_class_are_finite() {
    for (n_classes, codes) in
        [(2, vec![1]), (2, vec![0, 0, 0]), (3, vec![1]), (4, vec![0, 0, 2, 2, 2]), (1, vec![0, 0])]
    {
        let x: Vec<f64> = (0..codes.len() * 2).map(|k| (k as f64 * 0.7).sin()).collect();
        let model = fit(&learner(1.0), &design(&x, 2, &codes, n_classes), None);
        assert!(
            model.coef.iter().chain(&model.intercept).all(|v| v.is_finite() && v.abs() < 25.0),
            "{model:?}"
        );
        let present: f64 = objective(&model, 1.0, &x, 2, &codes) / codes.len() as f64;
        assert!(present < 2.0);
    }
}

#[test]
fn constant_and_repeated_columns() {
    let codes = [0, 1, 0, 1, 1, 0];
    let x: Vec<f64> = (0..6).flat_map(|k| [3.0, f64::from(k), f64::from(k), 0.0]).collect();
    let model = fit(&learner(1e4), &design(&x, 4, &codes, 2), None);
    assert!((model.coef[1] - model.coef[2]).abs() < 1e-6);
    assert!(model.coef[3].abs() < 1e-9);
}

#[test]
fn separable_rows_are_finite() {
    let x: Vec<f64> = (0..20).map(|k| f64::from(k) - 9.5).collect();
    let codes: Vec<u32> = (0..20).map(|k| u32::from(k >= 10)).collect();
    let model = fit(&learner(1e6), &design(&x, 1, &codes, 2), None);
    assert!(model.coef[0].is_finite() && model.coef[0] > 5.0);
}

#[test]
fn a_warm_start_far_away_or_of_another_shape_is_survived() {
    let x = [0.1, -0.4, 0.3, 0.9, -1.2, 0.5];
    let codes = [0, 1, 1, 0, 1, 1];
    let design = design(&x, 1, &codes, 2);
    let cold = fit(&learner(1.0), &design, None);
    for coef in [vec![f64::NAN], vec![1e9], vec![-300.0], vec![1.0, 2.0]] {
        let warm = Predictor::Linear(Linear { coef, intercept: vec![-50.0] });
        let model = fit(&learner(1.0), &design, Some(&warm));
        assert!((model.coef[0] - cold.coef[0]).abs() < 1e-5, "{model:?} {cold:?}");
    }
}

#[test]
fn refuses_what_is_not_finite() {
    let refused = learner(1.0).fit(&design(&[f64::NAN], 1, &[0], 2), None, &mut Scratch::default());
    assert!(matches!(refused, Err(Error::Fit { .. })));
}

#[test]
fn scratch_leaves_no_trace() {
    let mut scratch = Scratch::default();
    let big: Vec<f64> = (0..60).map(|k| f64::from(k).cos()).collect();
    let codes: Vec<u32> = (0..20).map(|k| k % 3).collect();
    let first =
        learner(1.0).fit(&design(&big[..20], 2, &[0, 1, 1, 0, 1, 0, 0, 1, 1, 0], 2), None, &mut scratch);
    learner(1.0).fit(&design(&big, 3, &codes, 3), None, &mut scratch).expect("fits");
    let again =
        learner(1.0).fit(&design(&big[..20], 2, &[0, 1, 1, 0, 1, 0, 0, 1, 1, 0], 2), None, &mut scratch);
    assert_eq!(first, again);
}
