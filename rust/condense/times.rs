//! Outcomes that say as much of the teacher's hazard as those of a few hundred rows can.
//!
//! Times and events drawn from the hazard hold the chance of a few hundred draws, and that is most of what a
//! Cox regression on them gets wrong. Here rows exchange their outcomes until the martingale residuals
//! `M_i = δ_i − H(t_i)·exp(η_i)` (Therneau, Grambsch, Fleming 1990, Biometrika 77:147), with Breslow's
//! `H` of the rows themselves, have those sums over the features for which the teacher's coefficients solve
//! the score equations of a Cox regression. The outcomes as a whole stay what they are.

use super::sums::{Features, LANES, columns_of, reach, standard_deviation, standardised, steps};
use crate::learner::linalg::dot;
use crate::privacy::predictor::MOST_ETA;

/// Rows above which each is compared with fewer partners.
const WHOLE_WINDOW: usize = 500;
/// Root mean square excess of the sums that counts as none, over the root of the rows: a thousandth of what
/// chance leaves.
const TOLERANCE: f64 = 1e-3;
/// Passes over all rows, at most, for one baseline hazard; and the share of the squared excess that a pass has to
/// take off for another to follow.
const PASSES: usize = 12;
const WORTH_A_PASS: f64 = 0.1;
/// Times that the baseline hazard is estimated again from the outcomes' new places.
const BASELINES: usize = 6;
/// Weight of the log risk against the encoded features, which have weight 1.
const RISK_WEIGHT: f64 = 3.0;
/// That of steps of a feature: they must not keep the sums over the features themselves from being met.
const STEP_WEIGHT: f64 = 0.1;

/// Exchanges the outcomes of rows with encoded features `x` (`n_rows × coef.len()`) until a Cox regression
/// with this `penalizer` (as in lifelines) would find `coef`.
pub fn balanced(x: &[f64], coef: &[f64], penalizer: f64, time: &mut [f64], event: &mut [bool]) {
    let n_rows = time.len();
    if n_rows < 2 || coef.is_empty() {
        return;
    }
    let eta: Vec<f64> =
        x.chunks_exact(coef.len()).map(|row| dot(coef, row).clamp(-MOST_ETA, MOST_ETA)).collect();
    let mean = eta.iter().sum::<f64>() / n_rows as f64;
    let risk: Vec<f64> = eta.iter().map(|e| (e - mean).exp()).collect();
    let (features, wanted) = features_of(x, coef, &eta, penalizer);
    let mut order: Vec<usize> = (0..n_rows).collect();
    order.sort_by(|&a, &b| eta[a].total_cmp(&eta[b]));
    for _ in 0..BASELINES {
        let hazard = breslow(time, event, &risk);
        let mut places = Places::new(&features, &wanted, &risk, &hazard, event);
        if !places.improve(&order) {
            return;
        }
        let (old_time, old_event) = (time.to_vec(), event.to_vec());
        for (row, &outcome) in places.held.iter().enumerate() {
            (time[row], event[row]) = (old_time[outcome], old_event[outcome]);
        }
    }
}

/// What the residuals are summed over, and what each sum should be: the ridge's `n · penalizer · coef` for
/// a standardised feature; for a step, as much of its feature's as goes with it.
fn features_of(x: &[f64], coef: &[f64], eta: &[f64], penalizer: f64) -> (Features, Vec<f64>) {
    let n_rows = eta.len();
    let pull = n_rows as f64 * penalizer;
    let (mut columns, mut wanted): (Vec<Vec<f64>>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut add = |column: &[f64], weight: f64, sum: f64| {
        let Some(own) = standardised(column, 1.0) else { return };
        for step in steps(column) {
            wanted.push(STEP_WEIGHT * sum * dot(&step, &own) / n_rows as f64);
            columns.push(step.iter().map(|value| STEP_WEIGHT * value).collect());
        }
        wanted.push(weight * sum);
        columns.push(own.iter().map(|value| weight * value).collect());
    };
    let mut of_risk = 0.0;
    for (column, coef) in columns_of(x, n_rows).zip(coef) {
        let standard = coef * standard_deviation(&column);
        add(&column, 1.0, pull * standard);
        of_risk += pull * standard * standard;
    }
    let spread = standard_deviation(eta);
    add(eta, RISK_WEIGHT, if spread > 0.0 { of_risk / spread } else { 0.0 });
    wanted.resize(wanted.len().next_multiple_of(LANES), 0.0);
    (Features::new(&columns, n_rows), wanted)
}

/// Breslow's cumulative baseline hazard at each row's time, events of that time included.
fn breslow(time: &[f64], event: &[bool], risk: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..time.len()).collect();
    order.sort_by(|&a, &b| time[b].total_cmp(&time[a]));
    let tied = || order.chunk_by(|&a, &b| time[a] == time[b]);
    // From the latest time on: risks taken off their sum would leave its rounding where few rows are left.
    let mut at_risk = 0.0;
    let step = |rows: &[usize]| {
        at_risk += rows.iter().map(|&row| risk[row]).sum::<f64>();
        rows.iter().filter(|&&row| event[row]).count() as f64 / at_risk.max(f64::MIN_POSITIVE)
    };
    let steps: Vec<f64> = tied().map(step).collect();
    let (mut sum, mut hazard) = (0.0, vec![0.0; time.len()]);
    for (rows, step) in tied().rev().zip(steps.iter().rev()) {
        sum += step;
        rows.iter().for_each(|&row| hazard[row] = sum);
    }
    hazard
}

/// Which outcome each row holds, and what the residuals then sum to.
struct Places<'a> {
    features: &'a Features,
    risk: &'a [f64],
    hazard: &'a [f64],
    event: &'a [bool],
    held: Vec<usize>,
    /// `Σ_rows M · features`, less what is wanted.
    excess: Vec<f64>,
}

impl<'a> Places<'a> {
    fn new(
        features: &'a Features,
        wanted: &[f64],
        risk: &'a [f64],
        hazard: &'a [f64],
        event: &'a [bool],
    ) -> Self {
        let excess = wanted.iter().map(|w| -w).collect();
        let mut places = Self { features, risk, hazard, event, held: (0..risk.len()).collect(), excess };
        for row in 0..risk.len() {
            places.add(row, places.residual(row, row));
        }
        places
    }

    /// Exchanges outcomes while the squared excess falls; whether any were.
    fn improve(&mut self, order: &[usize]) -> bool {
        let n_rows = order.len();
        let reach = reach(n_rows, WHOLE_WINDOW);
        let mut is_changed = false;
        for _ in 0..PASSES {
            let (mut is_better, before) = (false, dot(&self.excess, &self.excess));
            for place in 0..n_rows {
                if self.is_met() {
                    return is_changed | is_better;
                }
                let window = place.saturating_sub(reach)..(place + reach + 1).min(n_rows);
                let row = order[place];
                let change = |&other: &usize| self.change(row, other);
                let best = order[window].iter().map(|j| (*j, change(j))).min_by(|a, b| a.1.total_cmp(&b.1));
                if let Some((other, _)) = best.filter(|(_, change)| *change < -1e-9) {
                    let [own, others] = self.moves(row, other);
                    self.add(row, own);
                    self.add(other, others);
                    self.held.swap(row, other);
                    is_better = true;
                }
            }
            is_changed |= is_better;
            if dot(&self.excess, &self.excess) > (1.0 - WORTH_A_PASS) * before {
                break;
            }
        }
        is_changed
    }

    fn is_met(&self) -> bool {
        let least = TOLERANCE * TOLERANCE * (self.held.len() * self.excess.len()) as f64;
        dot(&self.excess, &self.excess) <= least
    }

    /// Martingale residual of a row with an outcome.
    fn residual(&self, row: usize, outcome: usize) -> f64 {
        f64::from(u8::from(self.event[outcome])) - self.hazard[outcome] * self.risk[row]
    }

    /// How the residuals of two rows change when they exchange their outcomes.
    fn moves(&self, row: usize, other: usize) -> [f64; 2] {
        let change = |row, from, to| self.residual(row, to) - self.residual(row, from);
        let (own, others) = (self.held[row], self.held[other]);
        [change(row, own, others), change(other, others, own)]
    }

    /// How the squared excess changes then.
    fn change(&self, row: usize, other: usize) -> f64 {
        let [u, v] = self.moves(row, other);
        let pair =
            self.features.row(row).chunks_exact(LANES).zip(self.features.row(other).chunks_exact(LANES));
        let mut sums = [0.0; LANES];
        for ((a, b), excess) in pair.zip(self.excess.chunks_exact(LANES)) {
            for lane in 0..LANES {
                let step = u * a[lane] + v * b[lane];
                sums[lane] += step * (2.0 * excess[lane] + step);
            }
        }
        sums.iter().sum()
    }

    fn add(&mut self, row: usize, residual: f64) {
        self.excess.iter_mut().zip(self.features.row(row)).for_each(|(e, f)| *e += residual * f);
    }
}

#[cfg(test)]
mod tests {
    use super::breslow;

    /// Few and small risks are left at the end: they must not be what rounding leaves of all.
    #[test]
    fn the_hazard_is_exact_where_little_is_at_risk() {
        let n = 200;
        let time: Vec<f64> = (0..n).map(|row| f64::from(row / 2)).collect();
        let event: Vec<bool> = (0..n).map(|row| row % 3 > 0).collect();
        let risk: Vec<f64> = (0..n).map(|row| (30.0 - 0.3 * f64::from(row)).exp()).collect();
        let rows = || time.iter().zip(&event).zip(&risk);
        let at_risk = |from: f64| rows().rev().filter(|((t, _), _)| **t >= from).map(|(_, r)| r).sum::<f64>();
        for (at, hazard) in time.iter().zip(breslow(&time, &event, &risk)) {
            let before = rows().filter(|((t, event), _)| *t <= at && **event);
            let exact: f64 = before.map(|((t, _), _)| 1.0 / at_risk(*t)).sum();
            assert!((hazard - exact).abs() <= 1e-12 * exact, "at {at}: {hazard} for {exact}");
        }
    }
}
