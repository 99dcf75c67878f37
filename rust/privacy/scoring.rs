//! Per-row losses of fitted models: the one arithmetic on patients' features.
//!
//! A loss of a row depends on that row and the model alone. Cox's partial likelihood does not (it
//! couples rows through risk sets), so survival uses the full likelihood with the baseline hazard of
//! the synthetic rows: `ℓ = H₀(t)·exp(η) − δ·(η + log h₀(t))`.

use super::predictor::{Hazard, Linear, Node, Predictor, TimeGrid, Tree};
use ndarray::{ArrayView2, ArrayViewMut2, linalg::general_mat_mul};

/// Rows scored at once. Blocks are always full (padded with zeros), so that the bits of a row's loss
/// do not depend on its neighbours, its place or the number of threads.
pub const BLOCK: usize = 256;

/// One candidate: its fitted models with their weights in the objective.
pub type Candidate = Vec<(f64, Predictor)>;

/// Outcomes of a block of rows.
#[derive(Debug, Clone, Copy)]
pub enum BlockOutcome<'a> {
    /// Class codes; NaN where missing.
    Classes(&'a [f64]),
    /// Class probabilities, `rows × n_classes`, row-major (public pseudo-populations only).
    Probabilities(&'a [f64], usize),
    /// Times, and events as 0 or 1; NaN where missing.
    Survival(&'a [f64], &'a [f64], &'a TimeGrid),
}

/// All candidates of a round, with the linear parts packed for one matrix product.
pub struct ScoringPack<'a> {
    candidates: &'a [Candidate],
    n_features: usize,
    /// `n_outputs × n_features`: coefficients of all linear predictors.
    coef: Vec<f64>,
    intercept: Vec<f64>,
}

/// Working memory of one thread.
pub struct Scratch {
    eta: Vec<f64>,
}

impl<'a> ScoringPack<'a> {
    /// Packs the candidates of a round; `n_features` is the encoded width.
    pub fn new(candidates: &'a [Candidate], n_features: usize) -> Self {
        let (mut coef, mut intercept) = (Vec::new(), Vec::new());
        for (_, model) in candidates.iter().flatten() {
            match model {
                Predictor::Linear(Linear { coef: c, intercept: i }) => {
                    coef.extend_from_slice(c);
                    intercept.extend_from_slice(i);
                }
                Predictor::Hazard(hazard) => {
                    coef.extend_from_slice(&hazard.coef);
                    intercept.push(0.0);
                }
                Predictor::Tree(_) => {}
            }
        }
        Self { candidates, n_features, coef, intercept }
    }

    /// Number of candidates.
    pub fn n_candidates(&self) -> usize {
        self.candidates.len()
    }

    /// Working memory for [`Self::losses`].
    pub fn scratch(&self) -> Scratch {
        Scratch { eta: vec![0.0; BLOCK * self.intercept.len()] }
    }

    /// Losses of the first `n_rows` rows of a block (`BLOCK × n_features`, zero-padded) under every
    /// candidate, into `out` (`n_rows × n_candidates`).
    pub fn losses(
        &self,
        x: &[f64],
        n_rows: usize,
        outcome: BlockOutcome<'_>,
        scratch: &mut Scratch,
        out: &mut [f64],
    ) {
        out.fill(0.0);
        self.linear_parts(x, scratch);
        let n_outputs = self.intercept.len();
        let mut first = 0;
        for (c, candidate) in self.candidates.iter().enumerate() {
            for (weight, model) in candidate {
                let eta = |row: usize, n: usize| &scratch.eta[row * n_outputs + first..][..n];
                let n = match model {
                    Predictor::Linear(linear) => linear.intercept.len(),
                    Predictor::Hazard(_) => 1,
                    Predictor::Tree(_) => 0,
                };
                for row in 0..n_rows {
                    let features = &x[row * self.n_features..][..self.n_features];
                    let loss = match (model, outcome) {
                        (Predictor::Hazard(h), BlockOutcome::Survival(time, event, grid)) => {
                            hazard_loss(h, eta(row, 1)[0], time[row], event[row], grid)
                        }
                        (Predictor::Linear(_), BlockOutcome::Classes(y)) => linear_loss(eta(row, n), y[row]),
                        (Predictor::Linear(_), BlockOutcome::Probabilities(p, k)) => {
                            soft_linear_loss(eta(row, n), &p[row * k..][..k])
                        }
                        (Predictor::Tree(tree), BlockOutcome::Classes(y)) => {
                            tree_loss(tree, features, y[row])
                        }
                        (Predictor::Tree(tree), BlockOutcome::Probabilities(p, k)) => {
                            let log_prob = leaf(tree, features);
                            -log_prob.iter().zip(&p[row * k..][..k]).map(|(l, p)| l * p).sum::<f64>()
                        }
                        _ => f64::NAN,
                    };
                    out[row * self.candidates.len() + c] += weight * loss;
                }
                first += n;
            }
        }
    }

    fn linear_parts(&self, x: &[f64], scratch: &mut Scratch) {
        let n_outputs = self.intercept.len();
        if n_outputs == 0 {
            return;
        }
        for row in scratch.eta.chunks_exact_mut(n_outputs) {
            row.copy_from_slice(&self.intercept);
        }
        let views = (
            ArrayView2::from_shape((BLOCK, self.n_features), x),
            ArrayView2::from_shape((n_outputs, self.n_features), &self.coef),
            ArrayViewMut2::from_shape((BLOCK, n_outputs), &mut scratch.eta),
        );
        if let (Ok(x), Ok(coef), Ok(mut eta)) = views {
            general_mat_mul(1.0, &x, &coef.t(), 1.0, &mut eta);
        } else {
            scratch.eta.fill(f64::NAN);
        }
    }
}

/// `log(1 + exp(x))` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn log_sum_exp(eta: &[f64]) -> f64 {
    let largest = eta.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + eta.iter().map(|e| (e - largest).exp()).sum::<f64>().ln()
}

/// Log loss of a class; one output means two classes.
fn linear_loss(eta: &[f64], class: f64) -> f64 {
    match (eta, class.is_nan()) {
        (_, true) => f64::NAN,
        ([eta], _) => softplus(*eta) - class * eta,
        _ => log_sum_exp(eta) - eta[class as usize],
    }
}

fn soft_linear_loss(eta: &[f64], probability: &[f64]) -> f64 {
    match eta {
        [eta] => softplus(*eta) - probability[1] * eta,
        _ => log_sum_exp(eta) - eta.iter().zip(probability).map(|(e, p)| e * p).sum::<f64>(),
    }
}

/// Log class probabilities of the leaf that a row falls into.
pub fn leaf<'t>(tree: &'t Tree, features: &[f64]) -> &'t [f64] {
    let mut at = 0;
    loop {
        match tree.nodes[at] {
            Node::Leaf(index) => return &tree.log_prob[index as usize * tree.n_classes..][..tree.n_classes],
            Node::Split { feature, threshold, left, right } => {
                at = if features[feature as usize] <= threshold { left } else { right } as usize;
            }
        }
    }
}

fn tree_loss(tree: &Tree, features: &[f64], class: f64) -> f64 {
    if class.is_nan() { f64::NAN } else { -leaf(tree, features)[class as usize] }
}

/// Full survival likelihood with a piecewise-constant baseline.
fn hazard_loss(hazard: &Hazard, eta: f64, time: f64, event: f64, grid: &TimeGrid) -> f64 {
    if time.is_nan() || event.is_nan() {
        return f64::NAN;
    }
    let (interval, into) = grid.locate(time);
    let log_hazard = hazard.log_hazard[interval];
    let cumulative = hazard.cumulative[interval] + into * log_hazard.exp();
    cumulative * eta.exp() - event * (eta + log_hazard)
}
