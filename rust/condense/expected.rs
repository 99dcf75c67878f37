//! What a round is expected to answer if patients were as a model says: public arithmetic on pseudo-patients.
//!
//! The private half clips and sums; both can be done again on pseudo-patients whose outcomes follow a
//! model. So the expectation of a noisy answer is known for every model, clip included. Classes are all gone
//! through; of survival each pseudo-patient has one outcome, drawn by a first model and weighted for others
//! by its likelihood ratio.

use super::population::{Population, PseudoOutcome};
use crate::error::{Error, Result};
use crate::learner::linalg::dot;
use crate::privacy::predictor::{Hazard, Linear, MOST_ETA, Predictor, TimeGrid};
use crate::privacy::scoring::BlockOutcome;

/// Largest logarithm of a likelihood ratio.
const MOST_RATIO: f64 = 3.0;

/// Outcomes that pseudo-patients may have, and models of their probabilities.
///
/// A model is a vector: levels (log hazards of the grid's intervals; none for classes), then for each output
/// its coefficients, which for classes begin with the intercept.
#[derive(Debug)]
pub enum Outcomes<'a> {
    /// Number of classes.
    Classes(usize),
    /// Times and events drawn by a first model.
    Survival(Drawn<'a>),
}

/// Drawn outcomes.
#[derive(Debug)]
pub struct Drawn<'a> {
    grid: &'a TimeGrid,
    time: &'a [f64],
    event: &'a [f64],
    /// The model that they were drawn by, with the linear predictor of each pseudo-patient.
    first: Hazard,
    eta: Vec<f64>,
}

/// Probabilities of one pseudo-patient's outcomes, and how they change with the model.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Chances {
    /// One per outcome: of a class; or the likelihood ratio of the drawn outcome, 1 in the mean.
    pub probability: Vec<f64>,
    /// Derivative by each output's linear predictor, `n_outcomes × n_outputs`.
    pub by_output: Vec<f64>,
    /// Derivative by each level, `n_outcomes × n_levels`.
    pub by_level: Vec<f64>,
}

impl<'a> Outcomes<'a> {
    /// Outcomes of a population that `first` has labelled.
    ///
    /// # Errors
    /// [`Error::Fit`] when the model is of another task.
    pub fn new(population: &'a Population, grid: Option<&'a TimeGrid>, first: &Predictor) -> Result<Self> {
        match (&population.outcome, grid, first) {
            (PseudoOutcome::Probabilities(_, n_classes), _, Predictor::Linear(_)) => {
                Ok(Self::Classes(*n_classes))
            }
            (PseudoOutcome::Survival(time, event), Some(grid), Predictor::Hazard(first)) => {
                let width = first.coef.len();
                let rows = population.encoded(population.n_rows(), width).chunks_exact(width);
                let eta = rows.map(|x| dot(&first.coef, x)).collect();
                Ok(Self::Survival(Drawn { grid, time, event, first: first.clone(), eta }))
            }
            _ => Err(Error::Fit { reason: "the teacher is not of the schema's task" }),
        }
    }

    /// Outcomes of a pseudo-patient.
    pub fn n_outcomes(&self) -> usize {
        match self {
            Self::Classes(n) => *n,
            Self::Survival(_) => 1,
        }
    }

    /// Number of levels.
    pub fn n_levels(&self) -> usize {
        match self {
            Self::Classes(_) => 0,
            Self::Survival(drawn) => drawn.grid.n_intervals(),
        }
    }

    /// Number of linear predictors: one for two classes and for survival.
    pub fn n_outputs(&self) -> usize {
        match self {
            Self::Classes(n) if *n > 2 => *n,
            _ => 1,
        }
    }

    /// Coefficients of an output that come before those of the encoded features: the intercept of classes.
    pub fn n_intercepts(&self) -> usize {
        usize::from(matches!(self, Self::Classes(_)))
    }

    /// Outcome as the losses take it: class code, or time and event.
    pub fn outcome(&self, row: usize, index: usize) -> (f64, f64) {
        match self {
            Self::Classes(_) => (index as f64, f64::NAN),
            Self::Survival(drawn) => (drawn.time[row], drawn.event[row]),
        }
    }

    /// Outcomes of a block as the losses take them.
    pub fn view<'b>(&'b self, first: &'b [f64], event: &'b [f64]) -> BlockOutcome<'b> {
        match self {
            Self::Classes(_) => BlockOutcome::Classes(first),
            Self::Survival(drawn) => BlockOutcome::Survival(first, event, drawn.grid),
        }
    }

    /// The model of a vector.
    pub fn model(&self, vector: &[f64]) -> Predictor {
        match self {
            Self::Classes(_) => {
                let outputs = vector.chunks_exact(vector.len() / self.n_outputs());
                let intercept = outputs.clone().map(|o| o[0]).collect();
                let coef = outputs.flat_map(|o| &o[1..]).copied().collect();
                Predictor::Linear(Linear { coef, intercept })
            }
            Self::Survival(drawn) => {
                let (log_hazard, coef) = vector.split_at(self.n_levels());
                let edges = &drawn.grid.edges;
                let widths = edges.windows(2).map(|edge| edge[1] - edge[0]);
                let mut passed = 0.0;
                let cumulative = widths
                    .zip(log_hazard)
                    .map(|(width, l)| {
                        let before = passed;
                        passed += width * l.exp();
                        before
                    })
                    .collect();
                let (coef, log_hazard) = (coef.to_vec(), log_hazard.to_vec());
                Predictor::Hazard(Hazard { coef, log_hazard, cumulative })
            }
        }
    }

    /// Chances of the outcomes of pseudo-patient `row` under a model whose linear predictors are `eta`.
    pub fn chances(&self, model: &[f64], row: usize, eta: &[f64]) -> Chances {
        match self {
            Self::Classes(_) => class_chances(eta),
            Self::Survival(drawn) => drawn.chances(&model[..self.n_levels()], row, eta[0]),
        }
    }
}

/// A fitted model as a vector.
pub fn vector(model: &Predictor) -> Vec<f64> {
    match model {
        Predictor::Linear(linear) => {
            let outputs = linear.coef.chunks_exact(linear.coef.len() / linear.intercept.len());
            let pairs = linear.intercept.iter().zip(outputs);
            pairs.flat_map(|(intercept, coef)| std::iter::once(intercept).chain(coef)).copied().collect()
        }
        Predictor::Hazard(hazard) => [hazard.log_hazard.as_slice(), &hazard.coef].concat(),
        Predictor::Tree(_) => Vec::new(),
    }
}

fn class_chances(eta: &[f64]) -> Chances {
    if let [eta] = eta {
        let p = 1.0 / (1.0 + (-eta).exp());
        let slope = p * (1.0 - p);
        return Chances { probability: vec![1.0 - p, p], by_output: vec![-slope, slope], by_level: vec![] };
    }
    let top = eta.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut probability: Vec<f64> = eta.iter().map(|e| (e - top).exp()).collect();
    let whole: f64 = probability.iter().sum();
    probability.iter_mut().for_each(|p| *p /= whole);
    let slope = |(class, output): (usize, usize)| {
        probability[class] * (f64::from(u8::from(class == output)) - probability[output])
    };
    let n = eta.len();
    let by_output = (0..n * n).map(|i| slope((i / n, i % n))).collect();
    Chances { probability, by_output, by_level: vec![] }
}

impl Drawn<'_> {
    /// Ratio of the densities `h(t)^δ · exp(−H(t))`; what censors is the same for both.
    fn chances(&self, levels: &[f64], row: usize, eta: f64) -> Chances {
        let (time, event) = (self.time[row], self.event[row]);
        let (last, _) = self.grid.locate(time);
        let log_density = |levels: &[f64], eta: f64, by_level: &mut dyn FnMut(usize, f64)| {
            let risk = eta.clamp(-MOST_ETA, MOST_ETA).exp();
            let mut cumulative = 0.0;
            for (interval, level) in levels.iter().enumerate().take(last + 1) {
                let (from, to) = (self.grid.edges[interval], self.grid.edges[interval + 1]);
                let expected = risk * level.exp() * (time.min(to) - from).max(0.0);
                cumulative += expected;
                by_level(interval, if interval == last { event } else { 0.0 } - expected);
            }
            (event * (eta + levels[last]) - cumulative, event - cumulative)
        };
        let (then, _) = log_density(&self.first.log_hazard, self.eta[row], &mut |_, _| ());
        let mut by_level = vec![0.0; levels.len()];
        let (now, by_eta) = log_density(levels, eta, &mut |interval, slope| by_level[interval] = slope);
        let ratio = (now - then).clamp(-MOST_RATIO, MOST_RATIO).exp();
        by_level.iter_mut().for_each(|slope| *slope *= ratio);
        Chances { probability: vec![ratio], by_output: vec![ratio * by_eta], by_level }
    }
}
