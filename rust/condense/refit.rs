//! The teacher fitted once more, on all that was heard: post-processing of noisy answers.
//!
//! The rounds leave rows near the optimum, but each noisy answer says more than which way to step. Under a
//! model its expectation is known ([`super::expected`]), and so is its noise: the model that explains the
//! answers of the late rounds best, with a normal prior around the one fitted on the rows, is a
//! maximum a posteriori estimate. It uses every answer with its full weight, and a clip does not bias it.

use super::expected::{Chances, Outcomes, vector};
use super::population::{Population, dot};
use super::start::Rows;
use super::{Heard, Problem, teacher};
use crate::error::{Error, Result};
use crate::learner::linalg::{factorise, max_abs, solve};
use crate::marginals::Marginals;
use crate::privacy::mechanism::RADIUS;
use crate::privacy::plan::Plan;
use crate::privacy::predictor::Predictor;
use crate::privacy::scoring::{BLOCK, ScoringPack};
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// Pseudo-patients; more for survival, where each has one drawn outcome.
const N_PATIENTS: usize = 2048;
const N_SURVIVORS: usize = 4096;
/// Prior standard deviation of intercepts and log hazards.
const LEVEL_SD: f64 = 1.0;
/// How far the model of survival goes from the rows' to the one that explains the answers best: what is wrong
/// with either is not the same (docs/experiments.md, 29), so that their mean is nearer the truth.
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
    let n_patients = if problem.grid.is_some() { N_SURVIVORS } else { N_PATIENTS };
    let (codec, grid, first) = (problem.codec, problem.grid, teacher(&fitted)?);
    let population = Population::draw(codec, marginals, grid, (&rows, first), n_patients, seed)?;
    let outcomes = Outcomes::new(&population, grid, first)?;
    let (prior, width) = (vector(first), codec.width());
    let x = population.encoded(n_patients, width);
    let (n_levels, per_output) = (outcomes.n_levels(), outcomes.n_intercepts() + width);
    let is_level = |i: usize| i < n_levels || (i - n_levels) % per_output < outcomes.n_intercepts();
    let sd = |i: usize| if is_level(i) { LEVEL_SD } else { prior_sd };
    let precision = (0..prior.len()).map(|i| sd(i).powi(-2)).collect();
    let fit = Fit { heard, x, width, outcomes: &outcomes, asked, prior: &prior, precision, cancel };
    let best = fit.best()?;
    let share = if problem.grid.is_some() { SURVIVAL_SHARE } else { 1.0 };
    let mean: Vec<f64> = prior.iter().zip(&best).map(|(rows, best)| rows + share * (best - rows)).collect();
    Ok(outcomes.model(&mean))
}

/// Answers, pseudo-patients and outcomes that a model has to explain.
struct Fit<'a> {
    heard: &'a [Heard],
    /// Encoded pseudo-patients, `n × width`.
    x: &'a [f64],
    width: usize,
    outcomes: &'a Outcomes<'a>,
    asked: Asked,
    prior: &'a [f64],
    /// Inverse variance of the prior, one per number of the model.
    precision: Vec<f64>,
    cancel: &'a AtomicBool,
}

impl Fit<'_> {
    /// Gauss-Newton steps from the prior's mean, each halved until it gains.
    fn best(&self) -> Result<Vec<f64>> {
        let mut point = self.prior.to_vec();
        let errors = self.errors(&point)?;
        let mut here = self.normal(&point, &errors)?;
        for _ in 0..STEPS {
            let mut step = here.descent;
            factorise(&mut here.hessian, point.len());
            solve(&here.hessian, &mut step);
            let mut better = None;
            for _ in 0..HALVINGS {
                let trial: Vec<f64> = point.iter().zip(&step).map(|(p, s)| p + s).collect();
                let there = self.normal(&trial, &errors)?;
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

    /// Standard deviation of each answer from what the right model expects: that of its noise, and where outcomes
    /// are drawn that of a mean over so many pseudo-patients, which at large ε is the larger.
    fn errors(&self, point: &[f64]) -> Result<Vec<Vec<f64>>> {
        let chances = self.chances(point);
        let of_round = |heard: &Heard| {
            let noise = self.asked.noise * heard.clip_norm;
            if self.outcomes.n_outcomes() > 1 {
                return Ok(vec![noise; heard.answers.len()]);
            }
            let spreads = self.expected(heard, &chances, point.len())?.spreads;
            Ok(spreads.iter().map(|spread| noise.hypot(*spread)).collect())
        };
        self.heard.par_iter().map(of_round).collect()
    }

    fn normal(&self, point: &[f64], errors: &[Vec<f64>]) -> Result<Normal> {
        let n = point.len();
        let chances = self.chances(point);
        let rounds: Result<Vec<Expected>> =
            self.heard.par_iter().map(|heard| self.expected(heard, &chances, n)).collect();
        let away: Vec<f64> = self.prior.iter().zip(point).map(|(prior, p)| prior - p).collect();
        let mut descent: Vec<f64> = self.precision.iter().zip(&away).map(|(w, a)| w * a).collect();
        let mut value: f64 = descent.iter().zip(&away).map(|(d, a)| d * a).sum();
        let mut hessian = vec![0.0; n * n];
        hessian.iter_mut().step_by(n + 1).zip(&self.precision).for_each(|(h, w)| *h = *w);
        // In the order of the rounds, so that the bits do not depend on the number of threads.
        for ((heard, errors), round) in self.heard.iter().zip(errors).zip(rounds?) {
            let answers = heard.answers.iter().zip(&round.answers).zip(errors);
            for (((answer, mean), sd), slope) in answers.zip(round.slopes.chunks_exact(n)) {
                let short = (answer - mean) / sd;
                value += short * short;
                for (i, s) in slope.iter().enumerate() {
                    let s = s / sd;
                    descent[i] += short * s;
                    let row = hessian[i * n..=i * n + i].iter_mut().zip(slope);
                    row.for_each(|(h, other)| *h += s * other / sd);
                }
            }
        }
        Ok(Normal { value: 0.5 * value, descent, hessian })
    }

    /// Chances of every pseudo-patient under a model.
    fn chances(&self, point: &[f64]) -> Vec<Chances> {
        let outputs = &point[self.outcomes.n_levels()..];
        let n_intercepts = self.outcomes.n_intercepts();
        let eta = |x: &[f64]| -> Vec<f64> {
            let output = |o: &[f64]| {
                let (intercept, coef) = o.split_at(n_intercepts);
                intercept.iter().sum::<f64>() + dot(coef, x)
            };
            outputs.chunks_exact(n_intercepts + self.width).map(output).collect()
        };
        let rows = self.x.par_chunks_exact(self.width).enumerate();
        rows.map(|(row, x)| self.outcomes.chances(point, row, &eta(x))).collect()
    }

    /// Expected answers of a round, and their derivatives by the model.
    fn expected(&self, heard: &Heard, chances: &[Chances], n: usize) -> Result<Expected> {
        let pack = ScoringPack::new(&heard.candidates, self.width);
        let (n_outcomes, k) = (self.outcomes.n_outcomes(), heard.answers.len());
        let (mut scratch, mut losses) = (pack.scratch(), vec![0.0; BLOCK * pack.n_candidates()]);
        let mut x = vec![0.0; BLOCK * self.width];
        let (mut first, mut event) = (vec![0.0; BLOCK], vec![0.0; BLOCK]);
        let mut sums = Sums::new(self, k, n);
        let pairs: Vec<(usize, usize)> =
            (0..chances.len()).flat_map(|row| (0..n_outcomes).map(move |o| (row, o))).collect();
        for block in pairs.chunks(BLOCK) {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            for (at, &(row, outcome)) in block.iter().enumerate() {
                x[at * self.width..][..self.width].copy_from_slice(&self.x[row * self.width..][..self.width]);
                (first[at], event[at]) = self.outcomes.outcome(row, outcome);
            }
            let view = self.outcomes.view(&first[..block.len()], &event[..block.len()]);
            pack.losses(&x, block.len(), view, &mut scratch, &mut losses);
            for (at, &(row, outcome)) in block.iter().enumerate() {
                let pairs = losses.chunks_exact(2 * BLOCK);
                sums.vector.iter_mut().zip(pairs).for_each(|(v, pair)| *v = pair[at] - pair[BLOCK + at]);
                sums.add(&chances[row], outcome, heard.clip_norm);
                if outcome + 1 == n_outcomes {
                    sums.finish(&self.x[row * self.width..][..self.width]);
                }
            }
        }
        let scale = self.asked.patients / chances.len() as f64;
        let Sums { mut answers, mut slopes, squares, .. } = sums;
        answers.iter_mut().chain(&mut slopes).for_each(|v| *v *= scale);
        Ok(Expected { answers, slopes, spreads: squares.iter().map(|sum| scale * sum.sqrt()).collect() })
    }
}

struct Expected {
    /// One per direction.
    answers: Vec<f64>,
    /// Their derivatives, `K × n`.
    slopes: Vec<f64>,
    /// Standard error of each, were its pseudo-patients drawn once more.
    spreads: Vec<f64>,
}

/// Sums over pseudo-patients and their outcomes.
struct Sums {
    answers: Vec<f64>,
    slopes: Vec<f64>,
    /// Of the squares of the clipped differences.
    squares: Vec<f64>,
    n: usize,
    n_levels: usize,
    n_intercepts: usize,
    /// Loss differences of one outcome.
    vector: Vec<f64>,
    /// `n_outputs × K`: sums over one pseudo-patient's outcomes.
    by_output: Vec<f64>,
}

impl Sums {
    fn new(fit: &Fit<'_>, k: usize, n: usize) -> Self {
        let outcomes = fit.outcomes;
        Self {
            answers: vec![0.0; k],
            slopes: vec![0.0; k * n],
            squares: vec![0.0; k],
            n,
            n_levels: outcomes.n_levels(),
            n_intercepts: outcomes.n_intercepts(),
            vector: vec![0.0; k],
            by_output: vec![0.0; outcomes.n_outputs() * k],
        }
    }

    /// Adds one outcome, clipped as the private half clips a patient.
    fn add(&mut self, chances: &Chances, outcome: usize, clip_norm: f64) {
        let norm = self.vector.iter().map(|v| v * v).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return;
        }
        let shrink = (clip_norm / norm).min(1.0);
        let k = self.vector.len();
        let weight = shrink * chances.probability[outcome];
        self.answers.iter_mut().zip(&self.vector).for_each(|(a, v)| *a += weight * v);
        self.squares.iter_mut().zip(&self.vector).for_each(|(sum, v)| *sum += weight * shrink * v * v);
        let own = &chances.by_output[outcome * self.by_output.len() / k..];
        for (sums, slope) in self.by_output.chunks_exact_mut(k).zip(own) {
            sums.iter_mut().zip(&self.vector).for_each(|(s, v)| *s += shrink * slope * v);
        }
        let own = &chances.by_level[outcome * self.n_levels..][..self.n_levels];
        for (slopes, v) in self.slopes.chunks_exact_mut(self.n).zip(&self.vector) {
            slopes.iter_mut().zip(own).for_each(|(s, slope)| *s += shrink * slope * v);
        }
    }

    /// All outcomes of a pseudo-patient are in: their slopes by its coefficients follow.
    fn finish(&mut self, x: &[f64]) {
        let (k, per_output) = (self.vector.len(), self.n_intercepts + x.len());
        for (output, sums) in self.by_output.chunks_exact_mut(k).enumerate() {
            let start = self.n_levels + output * per_output;
            for (slopes, sum) in self.slopes.chunks_exact_mut(self.n).zip(sums.iter()) {
                let (intercept, coef) = slopes[start..start + per_output].split_at_mut(self.n_intercepts);
                intercept.iter_mut().for_each(|s| *s += sum);
                coef.iter_mut().zip(x).for_each(|(s, x)| *s += sum * x);
            }
            sums.fill(0.0);
        }
    }
}
