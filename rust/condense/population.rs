//! A public pseudo-population: drawn from the noisy marginals, labelled by the teacher.
//! It answers a round exactly, as often as one likes: post-processing of what the private half said.

use super::dependence::Dependence;
use super::start::Rows;
use super::{Problem, Respondent, times};
use crate::error::{Error, Result};
use crate::learner::linalg::dot;
use crate::marginals::codec::Codec;
use crate::marginals::{Marginals, OutcomeMarginal};
use crate::privacy::predictor::{Hazard, MOST_ETA, Predictor, TimeGrid};
use crate::privacy::scoring::{BLOCK, BlockOutcome, Candidate, ScoringPack, leaf};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// Outcomes of the pseudo-patients.
#[derive(Debug, Clone, PartialEq)]
pub enum PseudoOutcome {
    /// Class probabilities by the teacher, `n_rows × n_classes`.
    Probabilities(Vec<f64>, usize),
    /// Times and events (0 or 1) drawn from the teacher's hazard and the noisy censoring.
    Survival(Vec<f64>, Vec<f64>),
}

/// Pseudo-patients: rows of latents, decoded cells and outcomes.
#[derive(Debug, Clone, PartialEq)]
pub struct Population {
    /// `n_rows × n_latents`.
    pub latents: Vec<f64>,
    /// `n_rows × n_columns` canonical cells; NaN where missing.
    pub cells: Vec<f64>,
    /// One outcome per row.
    pub outcome: PseudoOutcome,
    /// Coefficients of the hazard that survival outcomes were drawn from; else empty.
    pub coef: Vec<f64>,
    /// `n_blocks × BLOCK × width`; zeros fill the last block.
    x: Vec<f64>,
    n_rows: usize,
}

impl Population {
    /// Draws `n_rows` pseudo-patients whose columns depend on each other as in `teacher_rows`; `seed` is
    /// public.
    ///
    /// # Errors
    /// [`Error::Fit`] when the teacher is of another task than the marginals.
    pub fn draw(
        codec: &Codec,
        marginals: &Marginals,
        grid: Option<&TimeGrid>,
        (teacher_rows, teacher): (&Rows, &Predictor),
        n_rows: usize,
        seed: u64,
    ) -> Result<Self> {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let width = codec.width();
        let latents = Dependence::new(codec, marginals, teacher_rows).draw(n_rows, &mut generator);
        let (mut cells, mut x) = (Vec::new(), Vec::new());
        codec.decode_rows(&latents, &mut cells);
        codec.encode_rows(&cells, &mut x);
        x.resize(n_rows.next_multiple_of(BLOCK) * width, 0.0);
        let rows = x.chunks_exact(width).take(n_rows);
        let outcome = match (&marginals.outcome, teacher, grid) {
            (OutcomeMarginal::Classes { weights }, Predictor::Linear(_) | Predictor::Tree(_), _) => {
                let n_classes = weights.len();
                let all = rows.flat_map(|row| probabilities(teacher, row, n_classes)).collect();
                PseudoOutcome::Probabilities(all, n_classes)
            }
            (OutcomeMarginal::Survival { .. }, Predictor::Hazard(hazard), Some(grid)) => {
                let censoring = Censoring::new(&marginals.outcome);
                let draw = |row: &[f64]| draw_time(hazard, grid, &censoring, row, &mut generator);
                let (mut time, mut event): (Vec<f64>, Vec<bool>) = rows.map(draw).unzip();
                times::balanced(&x[..n_rows * width], &hazard.coef, 0.0, &mut time, &mut event);
                PseudoOutcome::Survival(time, event.into_iter().map(f64::from).collect())
            }
            _ => return Err(Error::Fit { reason: "the teacher is not of the schema's task" }),
        };
        let coef = match teacher {
            Predictor::Hazard(hazard) => hazard.coef.clone(),
            _ => Vec::new(),
        };
        Ok(Self { latents, cells, outcome, coef, x, n_rows })
    }

    /// Number of pseudo-patients.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Whether a codec made the rows, with outcomes of the task and the classes of these marginals.
    pub fn fits(&self, codec: &Codec, outcome: &OutcomeMarginal) -> bool {
        let outcome_fits = match (&self.outcome, outcome) {
            (PseudoOutcome::Probabilities(_, n_classes), OutcomeMarginal::Classes { weights }) => {
                *n_classes == weights.len()
            }
            (PseudoOutcome::Survival(..), OutcomeMarginal::Survival { .. }) => true,
            _ => false,
        };
        outcome_fits
            && self.latents.len() == self.n_rows * codec.n_latents()
            && self.cells.len() == self.n_rows * codec.n_columns()
            && self.x.len() == self.n_rows.next_multiple_of(BLOCK) * codec.width()
    }

    /// Encoded features of the first `n_rows` pseudo-patients, `n_rows × width`.
    pub fn encoded(&self, n_rows: usize, width: usize) -> &[f64] {
        &self.x[..n_rows * width]
    }

    /// Logarithm of each pseudo-patient's hazard ratio to a patient whose features are all 0; empty for classes.
    pub fn log_risk(&self) -> Vec<f64> {
        let width = self.coef.len();
        if width == 0 {
            return Vec::new();
        }
        self.encoded(self.n_rows, width).chunks_exact(width).map(|x| dot(&self.coef, x)).collect()
    }

    /// Mean loss of each candidate.
    ///
    /// # Errors
    /// [`Error::Interrupted`]; [`Error::Fit`] for survival without a time grid.
    pub fn mean_losses(
        &self,
        problem: &Problem<'_>,
        candidates: &[Candidate],
        cancel: &AtomicBool,
    ) -> Result<Vec<f64>> {
        let width = problem.codec.width();
        let pack = ScoringPack::new(candidates, width);
        let sums: Result<Vec<Vec<f64>>> = self
            .x
            .par_chunks(BLOCK * width)
            .enumerate()
            .map(|(block, x)| {
                if cancel.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                let first = block * BLOCK;
                let n_rows = BLOCK.min(self.n_rows - first);
                let mut losses = vec![0.0; BLOCK * candidates.len()];
                let outcome = self.block(problem, first, n_rows)?;
                pack.losses(x, n_rows, outcome, &mut pack.scratch(), &mut losses);
                let mut sums = vec![0.0; candidates.len()];
                for losses in losses.chunks_exact(sums.len()).take(n_rows) {
                    sums.iter_mut().zip(losses).for_each(|(sum, loss)| *sum += loss);
                }
                Ok(sums)
            })
            .collect();
        let mut mean = vec![0.0; candidates.len()];
        for sum in sums? {
            mean.iter_mut().zip(&sum).for_each(|(m, s)| *m += s / self.n_rows as f64);
        }
        Ok(mean)
    }

    fn block<'a>(&'a self, problem: &Problem<'a>, first: usize, n_rows: usize) -> Result<BlockOutcome<'a>> {
        let part = first..first + n_rows;
        match (&self.outcome, problem.grid) {
            (PseudoOutcome::Survival(time, event), Some(grid)) => {
                Ok(BlockOutcome::Survival(&time[part.clone()], &event[part], grid))
            }
            (PseudoOutcome::Survival(..), None) => {
                Err(Error::Fit { reason: "survival rows without a time grid" })
            }
            (PseudoOutcome::Probabilities(p, k), _) => {
                Ok(BlockOutcome::Probabilities(&p[part.start * k..part.end * k], *k))
            }
        }
    }
}

impl Respondent for &Population {
    fn answer(
        &mut self,
        problem: &Problem<'_>,
        candidates: &[Candidate],
        _clip_norm: f64,
        cancel: &AtomicBool,
    ) -> Result<Vec<f64>> {
        let losses = self.mean_losses(problem, candidates, cancel)?;
        // A model that gives one pseudo-patient an infinite loss says nothing about the direction.
        let difference = |pair: &[f64]| Some(pair[0] - pair[1]).filter(|d| d.is_finite()).unwrap_or(0.0);
        Ok(losses.chunks_exact(2).map(difference).collect())
    }
}

/// Class probabilities of one encoded row.
pub fn probabilities(model: &Predictor, x: &[f64], n_classes: usize) -> Vec<f64> {
    match model {
        Predictor::Linear(linear) => {
            let mut eta: Vec<f64> = linear
                .coef
                .chunks_exact(x.len())
                .zip(&linear.intercept)
                .map(|(coef, intercept)| intercept + dot(coef, x))
                .collect();
            if eta.len() == 1 {
                eta.insert(0, 0.0);
            }
            let largest = eta.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let exp: Vec<f64> = eta.iter().map(|e| (e - largest).exp()).collect();
            let sum: f64 = exp.iter().sum();
            exp.iter().map(|e| e / sum).collect()
        }
        Predictor::Tree(tree) => leaf(tree, x).iter().map(|l| l.exp()).collect(),
        Predictor::Hazard(_) => vec![f64::NAN; n_classes],
    }
}

/// Censoring distribution from the noisy marginals: the reverse Kaplan-Meier estimate on their bins.
pub(super) struct Censoring {
    edges: Vec<f64>,
    /// Conditional probability of censoring in each bin, given still at risk.
    hazard: Vec<f64>,
}

impl Censoring {
    pub(super) fn new(marginal: &OutcomeMarginal) -> Self {
        let OutcomeMarginal::Survival { edges, censored, event } = marginal else {
            return Self { edges: vec![0.0, f64::INFINITY], hazard: vec![1.0] };
        };
        let mut at_risk: f64 = censored.iter().chain(event).sum();
        let mut hazard = Vec::with_capacity(censored.len());
        for (c, e) in censored.iter().zip(event) {
            hazard.push(if at_risk > 1e-12 { (c / (at_risk - 0.5 * e).max(*c)).min(1.0) } else { 1.0 });
            at_risk -= c + e;
        }
        Self { edges: edges.clone(), hazard }
    }

    /// Probability of no censoring up to each edge.
    pub(super) fn survival(&self) -> Vec<f64> {
        let mut left = 1.0;
        let after = self.hazard.iter().map(|hazard| {
            left *= 1.0 - hazard;
            left
        });
        std::iter::once(1.0).chain(after).collect()
    }

    fn draw(&self, generator: &mut impl Rng) -> f64 {
        for (bin, hazard) in self.hazard.iter().enumerate() {
            if hazard.is_finite() && generator.random::<f64>() < *hazard {
                let share: f64 = generator.random();
                return self.edges[bin] + share * (self.edges[bin + 1] - self.edges[bin]);
            }
        }
        self.edges[self.edges.len() - 1]
    }
}

/// Observed time of one pseudo-patient, and whether it is of an event.
pub(super) fn draw_time(
    hazard: &Hazard,
    grid: &TimeGrid,
    censoring: &Censoring,
    x: &[f64],
    generator: &mut impl Rng,
) -> (f64, bool) {
    let eta = dot(&hazard.coef, x).clamp(-MOST_ETA, MOST_ETA);
    let exponential = -(1.0 - generator.random::<f64>()).ln();
    let event_time = inverse_cumulative(hazard, grid, exponential / eta.exp());
    let censoring_time = censoring.draw(generator);
    let floor = 1e-6 * grid.edges[grid.edges.len() - 1];
    (event_time.min(censoring_time).max(floor), event_time <= censoring_time)
}

/// Time at which the baseline cumulative hazard reaches `target`; infinite beyond the grid.
fn inverse_cumulative(hazard: &Hazard, grid: &TimeGrid, target: f64) -> f64 {
    for interval in 0..grid.n_intervals() {
        let rate = hazard.log_hazard[interval].exp();
        let width = grid.edges[interval + 1] - grid.edges[interval];
        if hazard.cumulative[interval] + rate * width >= target {
            return grid.edges[interval] + ((target - hazard.cumulative[interval]) / rate).max(0.0);
        }
    }
    f64::INFINITY
}
