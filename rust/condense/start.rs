//! Where the synthetic rows start.

use super::FixedOutcome;
use super::population::{Population, PseudoOutcome};
use super::{labels, times};
use crate::error::{Error, Result};
use crate::marginals::codec::Codec;
use crate::marginals::{Marginals, OutcomeMarginal};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Fewest rows of a class, or events: a learner must see each of them.
const FEWEST: usize = 2;

/// Ridge of the Cox regression that finds the teacher's coefficients in labelled rows: between none, with which
/// it finds them a little larger, and the 0.1 that suits real rows, with which it finds them a little smaller.
const PENALIZER: f64 = 0.03;

/// Synthetic rows: latents and the outcome that stays fixed.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// `n_rows × n_latents`, in `[0, 1]`.
    pub latents: Vec<f64>,
    /// One outcome per row.
    pub outcome: FixedOutcome,
}

/// Rows per class that add up to `n_rows`: largest remainders of the noisy shares, two at least.
pub fn quotas(shares: &[f64], n_rows: usize) -> Vec<usize> {
    let fewest = FEWEST.min(n_rows / shares.len());
    let total: f64 = shares.iter().sum();
    let ideal = |share: &f64| if total > 0.0 { share / total * n_rows as f64 } else { 0.0 };
    let ideals: Vec<f64> = shares.iter().map(ideal).collect();
    let mut quota: Vec<usize> = ideals.iter().map(|i| (*i as usize).max(fewest)).collect();
    let gap = |quota: &[usize], class: usize| ideals[class] - quota[class] as f64;
    while quota.iter().sum::<usize>() < n_rows {
        let best = (0..quota.len()).max_by(|&a, &b| gap(&quota, a).total_cmp(&gap(&quota, b)));
        quota[best.unwrap_or(0)] += 1;
    }
    while quota.iter().sum::<usize>() > n_rows {
        let largest = (0..quota.len()).max_by_key(|&c| quota[c]);
        quota[largest.unwrap_or(0)] -= 1;
    }
    quota
}

/// Uniform latents with outcomes at the noisy prevalence, in random order: the start of the private
/// phase, which knows nothing of the dependence between columns yet.
pub fn uniform(codec: &Codec, marginals: &Marginals, n_rows: usize, seed: u64) -> Rows {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let (outcome, groups) = match &marginals.outcome {
        OutcomeMarginal::Classes { weights } => {
            let codes = shuffled(&quotas(weights, n_rows), &mut generator);
            (FixedOutcome::Classes { codes: codes.clone(), n_classes: weights.len() }, codes)
        }
        OutcomeMarginal::Survival { .. } => {
            let rate = marginals.event_rate().unwrap_or(0.5);
            let codes = shuffled(&quotas(&[1.0 - rate, rate], n_rows), &mut generator);
            (FixedOutcome::Events { event: codes.iter().map(|&c| c == 1).collect() }, codes)
        }
    };
    Rows { latents: stratified(codec.n_latents(), &groups, &mut generator), outcome }
}

fn shuffled(quota: &[usize], generator: &mut ChaCha8Rng) -> Vec<u32> {
    let mut codes: Vec<u32> =
        quota.iter().enumerate().flat_map(|(c, &n)| std::iter::repeat_n(c as u32, n)).collect();
    codes.shuffle(generator);
    codes
}

/// A Latin hypercube in each group (McKay, Beckman, Conover 1979): every group has the marginals of the
/// whole, so that a linear model fitted on the start is near zero, with no chance effects to unlearn.
fn stratified(n_latents: usize, groups: &[u32], generator: &mut ChaCha8Rng) -> Vec<f64> {
    let mut latents = vec![0.0; groups.len() * n_latents];
    for group in 0..=groups.iter().copied().max().unwrap_or(0) {
        let mut rows: Vec<usize> = (0..groups.len()).filter(|&row| groups[row] == group).collect();
        for latent in 0..n_latents {
            rows.shuffle(generator);
            for (stratum, row) in rows.iter().enumerate() {
                let within: f64 = generator.random();
                latents[row * n_latents + latent] = (stratum as f64 + within) / rows.len() as f64;
            }
        }
    }
    latents
}

/// Rows of the pseudo-population with balanced labels at the noisy prevalence, or balanced times and events:
/// the start of the public phase. Uses the first `n_rows` pseudo-patients; `sharpness` is that of
/// [`labels::balanced`].
///
/// # Errors
/// [`Error::Fit`] when there are no pseudo-patients, or they are of another task than the marginals.
pub fn labelled(
    codec: &Codec,
    marginals: &Marginals,
    population: &Population,
    n_rows: usize,
    sharpness: f64,
) -> Result<Rows> {
    let n_rows = n_rows.min(population.n_rows());
    if n_rows == 0 {
        return Err(Error::Fit { reason: "there are no rows" });
    }
    let mut latents = population.latents[..n_rows * codec.n_latents()].to_vec();
    let outcome = match (&population.outcome, &marginals.outcome) {
        (PseudoOutcome::Probabilities(p, n_classes), OutcomeMarginal::Classes { weights }) => {
            let x = population.encoded(n_rows, codec.width());
            let p = &p[..n_rows * n_classes];
            let codes = labels::balanced(x, p, &quotas(weights, n_rows), sharpness);
            FixedOutcome::Classes { codes, n_classes: *n_classes }
        }
        (PseudoOutcome::Survival(time, event), _) => {
            let x = population.encoded(n_rows, codec.width());
            let (mut time, mut event) = decodable(codec, &time[..n_rows], &event[..n_rows]);
            see_both(&time, &mut event);
            times::balanced(x, &population.coef, PENALIZER, &mut time, &mut event);
            for ((row, &event), &time) in latents.chunks_exact_mut(codec.n_latents()).zip(&event).zip(&time) {
                if let (Some(last), Some(u)) = (row.last_mut(), codec.encode_time(time, event)) {
                    *last = u;
                }
            }
            FixedOutcome::Events { event }
        }
        (PseudoOutcome::Probabilities(..), OutcomeMarginal::Survival { .. }) => {
            return Err(Error::Fit { reason: "the pseudo-patients are not of the schema's task" });
        }
    };
    Ok(Rows { latents, outcome })
}

/// Times as rows can hold them: each the nearest that its latent decodes to; and their events.
fn decodable(codec: &Codec, time: &[f64], event: &[f64]) -> (Vec<f64>, Vec<bool>) {
    let mut row = vec![0.5; codec.n_latents()];
    let mut nearest = |(&time, &event): (&f64, &f64)| {
        let event = event == 1.0;
        if let (Some(last), Some(u)) = (row.last_mut(), codec.encode_time(time, event)) {
            *last = u;
        }
        (codec.decode_time(&row, event).unwrap_or(time), event)
    };
    time.iter().zip(event).map(&mut nearest).unzip()
}

/// Sees to it that some rows have an event and some have none: of the others those with the longest times change.
fn see_both(time: &[f64], event: &mut [bool]) {
    let mut longest: Vec<usize> = (0..time.len()).collect();
    longest.sort_by(|&a, &b| time[b].total_cmp(&time[a]));
    for wanted in [true, false] {
        let found = event.iter().filter(|&&e| e == wanted).count();
        let missing = FEWEST.min(time.len() / 2).saturating_sub(found);
        let others: Vec<usize> = longest.iter().copied().filter(|&row| event[row] != wanted).collect();
        others.into_iter().take(missing).for_each(|row| event[row] = wanted);
    }
}
