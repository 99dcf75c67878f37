//! The full survival likelihood with a piecewise-constant baseline, `ℓ = H₀(t)·exp(η) − δ·(η + log h₀(t))`, of one
//! row under all hazards of a round side by side: whatever depends on the row alone is looked up once.

use super::exp::exp_all;
use super::predictor::Hazard;
use super::scoring::{BLOCK, BlockOutcome};
use ndarray::{ArrayView2, ArrayViewMut2, linalg::general_mat_mul};

/// All hazards of a round, in order of their candidates.
#[derive(Debug, Default)]
pub(super) struct Hazards {
    /// Candidate and weight of each.
    owners: Vec<(usize, f64)>,
    /// `n_hazards × n_features`.
    coef: Vec<f64>,
    /// Baseline in each interval, `n_intervals × n_hazards` each.
    cumulative: Vec<f64>,
    rate: Vec<f64>,
    log_hazard: Vec<f64>,
}

/// Working memory of one thread.
#[derive(Debug)]
pub(super) struct Scratch {
    /// Linear predictors, `BLOCK × n_hazards`.
    eta: Vec<f64>,
    /// Of one row.
    risk: Vec<f64>,
}

/// Outcome of a row: the interval of its time, how far into it, and 1 for an event.
struct Seen {
    interval: usize,
    into: f64,
    event: f64,
}

impl Hazards {
    /// Packs hazards that share a grid, each with its candidate's number and its weight.
    pub fn new(hazards: &[(usize, f64, &Hazard)]) -> Self {
        let n_intervals = hazards.first().map_or(0, |(.., hazard)| hazard.log_hazard.len());
        let by_interval = |of: fn(&Hazard) -> &[f64]| -> Vec<f64> {
            (0..n_intervals).flat_map(|b| hazards.iter().map(move |(.., hazard)| of(hazard)[b])).collect()
        };
        let log_hazard = by_interval(|hazard| &hazard.log_hazard);
        let mut rate = log_hazard.clone();
        exp_all(&mut rate);
        Self {
            owners: hazards.iter().map(|&(candidate, weight, _)| (candidate, weight)).collect(),
            coef: hazards.iter().flat_map(|(.., hazard)| hazard.coef.iter().copied()).collect(),
            cumulative: by_interval(|hazard| &hazard.cumulative),
            rate,
            log_hazard,
        }
    }

    /// Working memory for [`Self::add`].
    pub fn scratch(&self) -> Scratch {
        let n = self.owners.len();
        Scratch { eta: vec![0.0; BLOCK * n], risk: vec![0.0; n] }
    }

    /// Adds the weighted losses of the first `n_rows` rows of a block to `out` (`BLOCK × n_candidates`); a row
    /// without an outcome has none.
    pub fn add(
        &self,
        x: &[f64],
        n_rows: usize,
        outcome: BlockOutcome<'_>,
        n_candidates: usize,
        scratch: &mut Scratch,
        out: &mut [f64],
    ) {
        let n = self.owners.len();
        if n == 0 {
            return;
        }
        let BlockOutcome::Survival(time, event, grid) = outcome else { return out.fill(f64::NAN) };
        let seen = time[..n_rows].iter().zip(event).map(|(&time, &event)| {
            let (interval, into) = grid.locate(time);
            (!time.is_nan() && !event.is_nan()).then_some(Seen { interval, into, event })
        });
        let n_features = self.coef.len() / n;
        let views = (
            ArrayView2::from_shape((BLOCK, n_features), x),
            ArrayView2::from_shape((n, n_features), &self.coef),
            ArrayViewMut2::from_shape((BLOCK, n), &mut scratch.eta),
        );
        let (Ok(x), Ok(coef), Ok(mut eta)) = views else { return out.fill(f64::NAN) };
        general_mat_mul(1.0, &x, &coef.t(), 0.0, &mut eta);
        let rows = scratch.eta.chunks_exact(n).zip(out.chunks_exact_mut(n_candidates));
        for ((eta, out), seen) in rows.zip(seen) {
            let Some(seen) = seen else { continue };
            scratch.risk.copy_from_slice(eta);
            exp_all(&mut scratch.risk);
            self.turn_into_losses(&seen, eta, &mut scratch.risk);
            for (&(candidate, weight), loss) in self.owners.iter().zip(&scratch.risk) {
                out[candidate] += weight * loss;
            }
        }
    }

    /// Losses of one row in place of its risks.
    fn turn_into_losses(&self, seen: &Seen, eta: &[f64], risk: &mut [f64]) {
        let at = seen.interval * risk.len()..(seen.interval + 1) * risk.len();
        let [cumulative, rate, log] =
            [&self.cumulative, &self.rate, &self.log_hazard].map(|t| &t[at.clone()]);
        let baseline = cumulative.iter().zip(rate).zip(log);
        for ((risk, eta), ((cumulative, rate), log_hazard)) in risk.iter_mut().zip(eta).zip(baseline) {
            *risk = (cumulative + seen.into * rate) * *risk - seen.event * (eta + log_hazard);
        }
    }
}
