//! The teacher fitted once more, on all that was heard: post-processing of noisy answers.
//!
//! The rounds leave rows near the optimum, but each noisy answer says more than which way to step. Under a
//! model its expectation is known ([`super::expected`]), and so is its noise: the model that explains the
//! answers of the late rounds best, with a normal prior around the one fitted on the rows, is a
//! maximum a posteriori estimate. It uses every answer with its full weight, and a clip does not bias it.

use super::expected::{Outcomes, vector};
use super::levels::calibrated;
use super::population::Population;
use super::scored::{Asking, Scored, told};
use super::start::Rows;
use super::{FixedOutcome, Heard, Problem, teacher};
use crate::error::{Error, Result};
use crate::learner::linalg::dot;
use crate::learner::linalg::{factorise, max_abs, solve};
use crate::marginals::Marginals;
use crate::privacy::mechanism::RADIUS;
use crate::privacy::plan::Plan;
use crate::privacy::predictor::{MOST_ETA, Predictor};
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// Pseudo-patients, at most and at least.
const N_PATIENTS: usize = 2048;
const LEAST_PATIENTS: usize = 512;
/// Clipped differences that are kept, at most: 56 MB, single precision.
const MOST_KEPT: usize = 14_000_000;
/// Rounds whose expectations are in memory at once.
const AT_ONCE: usize = 16;
/// Prior standard deviation of intercepts and log hazards.
const LEVEL_SD: f64 = 1.0;
/// How far the model of survival goes from the rows' to the one that explains the answers best: what is wrong
/// with either is not the same (docs/experiments.md, 31), so that their mean is nearer the truth.
const SURVIVAL_SHARE: f64 = 0.5;
/// Most Gauss-Newton steps, most halvings of one, and the largest change that counts as none.
const STEPS: usize = 6;
const HALVINGS: usize = 3;
const TOLERANCE: f64 = 1e-3;

/// What is public about the answers.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Patients in a round: the noisy count times the sampling rate.
    pub patients: f64,
    /// Standard deviation of the noise of an answer, in clip norms.
    pub noise: f64,
}

impl Asked {
    /// By the plan, with the noisy count of patients.
    pub fn new(plan: &Plan, count: f64) -> Self {
        let noise = plan.round_noise_scale as f64 / RADIUS as f64;
        Self { patients: count * plan.sampling_rate, noise }
    }
}

/// What a refit rests on: all of it public.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Late rounds.
    pub heard: &'a [Heard],
    /// How patients were asked.
    pub asked: Asked,
    /// Noisy marginals.
    pub marginals: &'a Marginals,
    /// Draws the pseudo-patients.
    pub seed: u64,
}

/// Half the squared distance from answers and prior at a model, with its Gauss-Newton derivatives.
struct Normal {
    value: f64,
    /// Gradient, turned round.
    descent: Vec<f64>,
    /// Lower triangle, row-major.
    hessian: Vec<f64>,
}

/// Fits the model of the rows `latents` again. `prior_sd` is the standard deviation by which a coefficient of a
/// standardised feature may depart from it.
///
/// # Errors
/// [`Error::Fit`] when the learner refuses the rows, [`Error::Interrupted`].
pub fn refit(
    problem: &Problem<'_>,
    latents: &[f64],
    evidence: Evidence<'_>,
    prior_sd: f64,
    cancel: &AtomicBool,
) -> Result<Predictor> {
    let fitted = problem.fit(latents)?;
    let Evidence { heard, asked, marginals, seed } = evidence;
    let rows = Rows { latents: latents.to_vec(), outcome: problem.outcome.clone() };
    let n_patients = n_patients(heard, problem.outcome);
    let (codec, grid, first) = (problem.codec, problem.grid, teacher(&fitted)?);
    let population = Population::draw(codec, marginals, grid, (&rows, first), n_patients, seed)?;
    let outcomes = Outcomes::new(&population, grid, first)?;
    let (prior, width) = (vector(first), codec.width());
    let (n_levels, per_output) = (outcomes.n_levels(), outcomes.n_intercepts() + width);
    let is_level = |i: usize| i < n_levels || (i - n_levels) % per_output < outcomes.n_intercepts();
    let sd = |i: usize| if is_level(i) { LEVEL_SD } else { prior_sd };
    let precision = (0..prior.len()).map(|i| sd(i).powi(-2)).collect();
    let asking = Asking { x: population.encoded(n_patients, width), width, outcomes: &outcomes };
    let scored: Result<Vec<Scored>> =
        heard.par_iter().map(|heard| asking.scored(heard, asked, cancel)).collect();
    let best = Fit { heard, scored: scored?, asking, prior: &prior, precision, cancel }.best()?;
    let share = if grid.is_some() { SURVIVAL_SHARE } else { 1.0 };
    let mean: Vec<f64> = prior.iter().zip(&best).map(|(rows, best)| rows + share * (best - rows)).collect();
    let model = outcomes.model(&mean);
    let (Predictor::Hazard(hazard), Some(grid)) = (&model, grid) else { return Ok(model) };
    let rows = population.encoded(n_patients, width).chunks_exact(width);
    let ratio: Vec<f64> = rows.map(|x| dot(&hazard.coef, x).clamp(-MOST_ETA, MOST_ETA).exp()).collect();
    Ok(Predictor::Hazard(calibrated(hazard.clone(), grid, &ratio, &marginals.outcome)))
}

/// As many pseudo-patients as memory holds.
fn n_patients(heard: &[Heard], outcome: &FixedOutcome) -> usize {
    let n_outcomes = match outcome {
        FixedOutcome::Classes { n_classes, .. } => *n_classes,
        FixedOutcome::Events { .. } => 1,
    };
    let of_each = told(n_outcomes).len() * heard.iter().map(|round| round.answers.len()).sum::<usize>();
    (MOST_KEPT / of_each.max(1)).clamp(LEAST_PATIENTS, N_PATIENTS)
}

/// Answers that a model has to explain, and what pseudo-patients say to the same rounds.
struct Fit<'a> {
    heard: &'a [Heard],
    /// One per round.
    scored: Vec<Scored>,
    asking: Asking<'a>,
    prior: &'a [f64],
    /// Inverse variance of the prior, one per number of the model.
    precision: Vec<f64>,
    cancel: &'a AtomicBool,
}

impl Fit<'_> {
    /// Gauss-Newton steps from the prior's mean, each halved until it gains.
    fn best(&self) -> Result<Vec<f64>> {
        let mut point = self.prior.to_vec();
        let mut here = self.normal(&point)?;
        for _ in 0..STEPS {
            let mut step = here.descent;
            factorise(&mut here.hessian, point.len());
            solve(&here.hessian, &mut step);
            let mut better = None;
            for _ in 0..HALVINGS {
                let trial: Vec<f64> = point.iter().zip(&step).map(|(p, s)| p + s).collect();
                let there = self.normal(&trial)?;
                if there.value < here.value {
                    better = Some((trial, there));
                    break;
                }
                step.iter_mut().for_each(|s| *s *= 0.5);
            }
            let Some((trial, there)) = better else { break };
            (point, here) = (trial, there);
            if max_abs(&step) < TOLERANCE {
                break;
            }
        }
        Ok(point)
    }

    fn normal(&self, point: &[f64]) -> Result<Normal> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let n = point.len();
        let away: Vec<f64> = self.prior.iter().zip(point).map(|(prior, p)| prior - p).collect();
        let descent: Vec<f64> = self.precision.iter().zip(&away).map(|(w, a)| w * a).collect();
        let mut hessian = vec![0.0; n * n];
        hessian.iter_mut().step_by(n + 1).zip(&self.precision).for_each(|(h, w)| *h = *w);
        let mut normal = Normal { value: 0.5 * dot(&descent, &away), descent, hessian };
        let chances = self.asking.chances(point);
        for (heard, scored) in self.heard.chunks(AT_ONCE).zip(self.scored.chunks(AT_ONCE)) {
            let expected: Vec<Vec<f64>> =
                scored.par_iter().map(|scored| scored.expected(&chances, 1 + n)).collect();
            // In the order of the rounds, so that the bits do not depend on the number of threads.
            for ((heard, scored), expected) in heard.iter().zip(scored).zip(&expected) {
                let answers = heard.answers.iter().zip(expected.chunks_exact(1 + n)).zip(&scored.errors);
                answers.for_each(|((answer, expected), sd)| normal.add(*answer, expected, *sd));
            }
        }
        Ok(normal)
    }
}

impl Normal {
    /// Adds an answer with its expectation, the derivatives of that, and its standard deviation.
    fn add(&mut self, answer: f64, expected: &[f64], sd: f64) {
        let (short, slope) = ((answer - expected[0]) / sd, &expected[1..]);
        self.value += 0.5 * short * short;
        let lines = self.hessian.chunks_exact_mut(slope.len());
        for (i, ((line, descent), s)) in lines.zip(&mut self.descent).zip(slope).enumerate() {
            let s = s / sd;
            *descent += short * s;
            line[..=i].iter_mut().zip(slope).for_each(|(h, other)| *h += s * other / sd);
        }
    }
}
