//! Baseline hazards under which pseudo-patients have the events that the noisy marginals have.
//!
//! Answers to rounds say which patients have events sooner, and little about when: where many events share a time,
//! or an interval is long, a hazard that is constant on intervals explains them badly, and one fitted to the answers
//! can end anywhere. When events happen, and how many, was asked for itself: coefficients come from the answers,
//! the baseline from the marginals.

use super::population::Censoring;
use crate::marginals::OutcomeMarginal;
use crate::privacy::predictor::{Hazard, TimeGrid};

/// Least share of events in an interval, and the largest share of the events that an endless hazard would give.
const LEAST_EVENTS: f64 = 1e-9;
const MOST_OF_ALL: f64 = 0.999;
/// Largest absolute logarithm of the baseline's expected events in an interval, and halvings of its range.
const MOST_LOG_EVENTS: f64 = 60.0;
const HALVINGS: usize = 60;

/// A stretch of time within an interval of the grid and a bin of the marginals.
struct Piece {
    interval: usize,
    width: f64,
    /// Share of all patients who have their event in it.
    events: f64,
    /// Mean probability over it of not being censored before.
    seen: f64,
}

/// `hazard` with the baseline that gives patients of these hazard ratios, in the mean, the events of a noisy
/// `outcome` in each interval of the grid, under its censoring.
pub fn calibrated(
    mut hazard: Hazard,
    grid: &TimeGrid,
    hazard_ratio: &[f64],
    outcome: &OutcomeMarginal,
) -> Hazard {
    let pieces = pieces(grid, outcome);
    let mut free = vec![1.0; hazard_ratio.len()];
    let mut cumulative = 0.0;
    for interval in 0..grid.n_intervals() {
        let own: Vec<&Piece> = pieces.iter().filter(|piece| piece.interval == interval).collect();
        let width = grid.edges[interval + 1] - grid.edges[interval];
        let events = |log: f64| advance(&own, log.exp() / width, hazard_ratio, &mut free.clone());
        let wanted = own.iter().map(|piece| piece.events).sum::<f64>().max(LEAST_EVENTS);
        let wanted = wanted.min(MOST_OF_ALL * events(MOST_LOG_EVENTS));
        let (mut below, mut above) = (-MOST_LOG_EVENTS, MOST_LOG_EVENTS);
        for _ in 0..HALVINGS {
            let middle = 0.5 * (below + above);
            if events(middle) < wanted { below = middle } else { above = middle }
        }
        advance(&own, above.exp() / width, hazard_ratio, &mut free);
        hazard.log_hazard[interval] = above - width.ln();
        hazard.cumulative[interval] = cumulative;
        cumulative += above.exp();
    }
    hazard
}

/// Takes patients through pieces of time under a baseline `level`: `free` holds the probabilities to be free of
/// the event, at the start and then at the end. Returns the share of patients whose event is seen.
fn advance(pieces: &[&Piece], level: f64, hazard_ratio: &[f64], free: &mut [f64]) -> f64 {
    let mut events = 0.0;
    for piece in pieces {
        let mut passed = 0.0;
        for (free, ratio) in free.iter_mut().zip(hazard_ratio) {
            let after = *free * (-level * piece.width * ratio).exp();
            passed += *free - after;
            *free = after;
        }
        events += piece.seen * passed;
    }
    events / hazard_ratio.len() as f64
}

fn pieces(grid: &TimeGrid, outcome: &OutcomeMarginal) -> Vec<Piece> {
    let OutcomeMarginal::Survival { edges, event, .. } = outcome else { return Vec::new() };
    let (seen, last) = (Censoring::new(outcome).survival(), edges.len() - 1);
    let mut cuts: Vec<f64> = grid.edges.iter().chain(edges).copied().collect();
    cuts.sort_by(f64::total_cmp);
    cuts.dedup();
    let piece = |ends: &[f64]| {
        let (width, middle) = (ends[1] - ends[0], 0.5 * (ends[0] + ends[1]));
        let interval = grid.locate(middle).0;
        if middle < edges[0] {
            return Piece { interval, width, events: 0.0, seen: 1.0 };
        }
        let bin = edges[1..last].partition_point(|&edge| edge < middle);
        let of_bin = 1.0 / (edges[bin + 1] - edges[bin]);
        let into = (middle - edges[bin]) * of_bin;
        let seen = seen[bin] + into * (seen[bin + 1] - seen[bin]);
        Piece { interval, width, events: event[bin] * width * of_bin, seen }
    };
    cuts.windows(2).map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condense::population::draw_time;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// Of 40,000 drawn patients shares differ by .0025 in standard deviation; .015 is six of these.
    #[test]
    fn drawn_patients_have_the_events_of_the_marginals() {
        let edges: Vec<f64> = (0..=10).map(f64::from).collect();
        // Nearly all events share a bin, as where times are whole years.
        let event = vec![0.0, 0.3, 0.01, 0.02, 0.0, 0.01, 0.1, 0.0, 0.02, 0.01];
        let censored = vec![0.0, 0.01, 0.02, 0.1, 0.1, 0.0, 0.1, 0.1, 0.0, 0.1];
        let outcome = OutcomeMarginal::Survival { edges, censored, event: event.clone() };
        let grid = TimeGrid { edges: vec![0.0, 1.5, 2.0, 6.5, 10.0] };
        let spoilt =
            Hazard { coef: vec![1.0], log_hazard: vec![9.0, -9.0, 9.0, -9.0], cumulative: vec![0.0; 4] };
        let x: Vec<f64> = (0..400).map(|row| f64::from(row) / 100.0 - 2.0).collect();
        let ratio: Vec<f64> = x.iter().map(|x| x.exp()).collect();
        let found = calibrated(spoilt, &grid, &ratio, &outcome);
        let (censoring, mut generator) = (Censoring::new(&outcome), ChaCha8Rng::seed_from_u64(1));
        let mut shares = [0.0; 4];
        for _ in 0..100 {
            for x in &x {
                let (time, event) = draw_time(&found, &grid, &censoring, &[*x], &mut generator);
                shares[grid.locate(time).0] += f64::from(event) / 40_000.0;
            }
        }
        let wanted = [0.15, 0.15, 0.09, 0.08];
        for (share, wanted) in shares.iter().zip(wanted) {
            assert!((share - wanted).abs() < 0.015, "{shares:?} for {wanted:?}");
        }
    }
}
