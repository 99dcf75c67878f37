//! Losses of many candidates at once are those of each alone, written out.

use _zodc::privacy::predictor::{Hazard, Predictor, TimeGrid};
use _zodc::privacy::scoring::{BLOCK, BlockOutcome, Candidate, ScoringPack};
use proptest::prelude::*;

const EDGES: [f64; 4] = [0.0, 1.0, 2.5, 6.0];
const N_FEATURES: usize = 3;

fn hazard() -> impl Strategy<Value = Hazard> {
    let three = || prop::collection::vec(-2.0..2.0_f64, N_FEATURES);
    (three(), three()).prop_map(|(coef, log_hazard)| {
        let mut cumulative = vec![0.0];
        for b in 0..2 {
            cumulative.push(cumulative[b] + log_hazard[b].exp() * (EDGES[b + 1] - EDGES[b]));
        }
        Hazard { coef, log_hazard, cumulative }
    })
}

/// `H₀(t)·exp(η) − δ·(η + log h₀(t))`.
fn naive(hazard: &Hazard, x: &[f64], time: f64, event: f64) -> f64 {
    if time.is_nan() || event.is_nan() {
        return 0.0;
    }
    let eta: f64 = hazard.coef.iter().zip(x).map(|(c, x)| c * x).sum();
    let mut cumulative = 0.0;
    let mut log_rate = hazard.log_hazard[0];
    for b in (0..3).filter(|&b| b == 0 || time > EDGES[b]) {
        cumulative += hazard.log_hazard[b].exp() * (time.min(EDGES[b + 1]) - EDGES[b]);
        log_rate = hazard.log_hazard[b];
    }
    cumulative * eta.exp() - event * (eta + log_rate)
}

/// A number as a rule, missing now and then.
fn cell(of: impl Strategy<Value = f64> + 'static) -> impl Strategy<Value = f64> {
    prop_oneof![9 => of, 1 => Just(f64::NAN)]
}

proptest! {
    #[test]
    fn hazards_side_by_side_score_as_each_alone(
        mixtures in prop::collection::vec(prop::collection::vec((0.1..2.0_f64, hazard()), 1..3), 1..6),
        rows in prop::collection::vec(
            (prop::collection::vec(-2.0..2.0_f64, N_FEATURES), cell(0.0..6.0_f64), cell((0..2).prop_map(f64::from))),
            1..=BLOCK,
        ),
    ) {
        let candidates: Vec<Candidate> = mixtures
            .iter()
            .map(|m| m.iter().map(|(weight, hazard)| (*weight, Predictor::Hazard(hazard.clone()))).collect())
            .collect();
        let grid = TimeGrid { edges: EDGES.to_vec() };
        let mut x: Vec<f64> = rows.iter().flat_map(|(x, ..)| x.iter().copied()).collect();
        x.resize(BLOCK * N_FEATURES, 0.0);
        let (time, event): (Vec<f64>, Vec<f64>) = rows.iter().map(|(_, time, event)| (*time, *event)).unzip();
        let pack = ScoringPack::new(&candidates, N_FEATURES);
        let mut losses = vec![f64::NAN; BLOCK * candidates.len()];
        let outcome = BlockOutcome::Survival(&time, &event, &grid);
        pack.losses(&x, rows.len(), outcome, &mut pack.scratch(), &mut losses);
        for ((x, time, event), losses) in rows.iter().zip(losses.chunks_exact(candidates.len())) {
            for (mixture, loss) in mixtures.iter().zip(losses) {
                let expected: f64 = mixture.iter().map(|(w, hazard)| w * naive(hazard, x, *time, *event)).sum();
                prop_assert!((loss - expected).abs() <= 1e-9 * (1.0 + expected.abs()), "{loss} {expected}");
            }
        }
    }
}
