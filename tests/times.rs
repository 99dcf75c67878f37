//! Survival outcomes of the public phase: rows exchange them until sums agree with the teacher's hazard.

use _zodc::condense::times::balanced;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const COEF: [f64; 3] = [0.8, -0.5, 0.0];

struct Rows {
    x: Vec<f64>,
    time: Vec<f64>,
    event: Vec<bool>,
}

/// Exponential times with the hazard `exp(COEF · x)`, censored at random.
fn drawn(n_rows: usize, seed: u64) -> Rows {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let x: Vec<f64> = (0..n_rows * COEF.len()).map(|_| generator.random::<f64>() * 3.0 - 1.5).collect();
    let mut exponential = || -(1.0 - generator.random::<f64>()).ln();
    let (time, event) = x
        .chunks_exact(COEF.len())
        .map(|row| {
            let eta: f64 = row.iter().zip(COEF).map(|(x, b)| x * b).sum();
            let (death, censoring) = (exponential() / eta.exp(), 2.0 * exponential());
            (death.min(censoring), death <= censoring)
        })
        .unzip();
    Rows { x, time, event }
}

/// Score of the partial likelihood at `COEF` for each column, by its definition (no ties).
fn score(rows: &Rows) -> Vec<f64> {
    let row = |i: usize| &rows.x[i * COEF.len()..][..COEF.len()];
    let risk = |i: usize| row(i).iter().zip(COEF).map(|(x, b)| x * b).sum::<f64>().exp();
    let mut score = vec![0.0; COEF.len()];
    for i in (0..rows.time.len()).filter(|&i| rows.event[i]) {
        let at_risk: Vec<usize> = (0..rows.time.len()).filter(|&j| rows.time[j] >= rows.time[i]).collect();
        let whole: f64 = at_risk.iter().map(|&j| risk(j)).sum();
        for (column, s) in score.iter_mut().enumerate() {
            *s += row(i)[column] - at_risk.iter().map(|&j| risk(j) * row(j)[column]).sum::<f64>() / whole;
        }
    }
    score
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn sorted(time: &[f64], event: &[bool]) -> Vec<(u64, bool)> {
    let mut pairs: Vec<_> = time.iter().map(|t| t.to_bits()).zip(event.iter().copied()).collect();
    pairs.sort_unstable();
    pairs
}

#[test]
fn the_score_equations_hold_where_chance_left_them_open() {
    for seed in 0..5 {
        let mut rows = drawn(300, seed);
        let before = norm(&score(&rows));
        balanced(&rows.x, &COEF, 0.0, &mut rows.time, &mut rows.event);
        let after = norm(&score(&rows));
        assert!(after < 0.05 * before, "seed {seed}: {before} became {after}");
    }
}

#[test]
fn a_ridge_leaves_the_score_that_it_pulls_against() {
    let (n_rows, penalizer) = (300, 0.1);
    let mut rows = drawn(n_rows, 9);
    balanced(&rows.x, &COEF, penalizer, &mut rows.time, &mut rows.event);
    for (column, (score, coef)) in score(&rows).iter().zip(COEF).enumerate() {
        let values: Vec<f64> = rows.x.iter().skip(column).step_by(COEF.len()).copied().collect();
        let mean = values.iter().sum::<f64>() / n_rows as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n_rows as f64;
        let wanted = n_rows as f64 * penalizer * variance * coef;
        assert!((score - wanted).abs() < 0.6, "column {column}: {score} for {wanted}");
    }
}

proptest! {
    #[test]
    fn outcomes_are_handed_round_and_stay_the_same_as_a_whole(
        n_rows in 0_usize..80,
        seed in any::<u64>(),
        coef in prop::collection::vec(-50.0_f64..50.0, 3),
        steps in 1_u32..6,
        all in any::<bool>(),
    ) {
        let mut rows = drawn(n_rows, seed);
        // Few different times, so that many tie, and cohorts without an event.
        rows.time.iter_mut().for_each(|t| *t = (*t * f64::from(steps)).ceil());
        rows.event.iter_mut().for_each(|e| *e &= all);
        let before = sorted(&rows.time, &rows.event);
        balanced(&rows.x, &coef, 0.03, &mut rows.time, &mut rows.event);
        prop_assert_eq!(sorted(&rows.time, &rows.event), before);
    }
}
