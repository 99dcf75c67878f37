//! Logistic regression, binary and multinomial, with scikit-learn's objective:
//! `½ ‖coef‖² + c Σ loss`, intercepts unpenalised but for a trace that keeps that of an absent class finite.

use super::linalg::{combine, dot, gram, padded, zeroed};
use super::newton::{self, Objective, Start, tolerance};
use crate::error::{Error, Result};
use crate::privacy::predictor::{Linear, Predictor};
use serde::{Deserialize, Serialize};

/// Options of the logistic regression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogisticOptions {
    /// Inverse strength of the L2 penalty, as in scikit-learn.
    pub c: f64,
}

impl Default for LogisticOptions {
    fn default() -> Self {
        Self { c: 1.0 }
    }
}

/// Ridge on the intercepts as a fraction of `c · n_rows`: keeps the intercept of an absent class
/// finite (about ±22), and moves the others by less than 1e-6 of a standard error.
const INTERCEPT_RIDGE: f64 = 1e-11;

/// The product of the losses' exponentials is logged before it can overflow.
const LARGE: f64 = 1e200;

/// Reusable memory of a fit.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub newton: newton::Buffers,
    columns: Vec<f64>,
    rows: RowBuffers,
}

/// What an objective keeps for each row.
#[derive(Debug, Default)]
struct RowBuffers {
    /// Codes, or ±1 for two classes; padded.
    target: Vec<f64>,
    /// One padded column per output: logits, then residuals.
    logit: Vec<f64>,
    /// One padded column per output: probability (multinomial), or curvature (binary).
    weight: Vec<f64>,
    pair: Vec<f64>,
    weighted: Vec<f64>,
    block: Vec<f64>,
}

/// Fits `codes` on the rows of `x` (row-major).
pub(crate) fn fit(
    options: &LogisticOptions,
    x: &[f64],
    n_features: usize,
    codes: &[u32],
    n_classes: usize,
    warm: Option<Start<Linear>>,
    buffers: &mut Buffers,
) -> Result<Predictor> {
    let n_outputs = if n_classes > 2 { n_classes } else { 1 };
    let dim = n_features + 1;
    let stride = padded(codes.len());
    with_ones(x, n_features, codes.len(), &mut buffers.columns);
    let warm =
        warm.filter(|w| w.model.intercept.len() == n_outputs && w.model.coef.len() == n_outputs * n_features);
    let factor = warm.as_ref().and_then(|w| w.factor);
    start(warm.as_ref().map(|w| w.model), n_features, n_outputs, &mut buffers.newton.point);
    let tolerance = tolerance(warm.is_some());
    let rows = &mut buffers.rows;
    rows.target.clear();
    zeroed(&mut rows.logit, n_outputs * stride);
    zeroed(&mut rows.weight, n_outputs * stride);
    let ridge = INTERCEPT_RIDGE * options.c * codes.len() as f64;
    let problem = Problem { columns: &buffers.columns, stride, dim, c: options.c, ridge, rows };
    if n_outputs == 1 {
        problem.rows.target.extend(codes.iter().map(|&code| if code == 1 { 1.0 } else { -1.0 }));
        newton::minimise(&mut Binary(problem), &mut buffers.newton, factor, tolerance);
    } else {
        problem.rows.target.extend(codes.iter().map(|&code| f64::from(code)));
        newton::minimise(&mut Multinomial { problem, n_classes }, &mut buffers.newton, factor, tolerance);
    }
    linear(&buffers.newton.point, dim, n_outputs)
}

/// Padded columns of `x`, then a column of ones for the intercept.
fn with_ones(x: &[f64], n_features: usize, n_rows: usize, columns: &mut Vec<f64>) {
    let stride = padded(n_rows);
    zeroed(columns, (n_features + 1) * stride);
    super::transpose(x, n_features, stride, columns);
    columns[n_features * stride..][..n_rows].fill(1.0);
}

/// Coefficients and intercept of each output in turn.
fn start(warm: Option<&Linear>, n_features: usize, n_outputs: usize, point: &mut Vec<f64>) {
    point.clear();
    match warm {
        Some(warm) => {
            for (output, &intercept) in warm.intercept.iter().enumerate() {
                point.extend_from_slice(&warm.coef[output * n_features..][..n_features]);
                point.push(intercept);
            }
        }
        None => point.resize(n_outputs * (n_features + 1), 0.0),
    }
}

fn linear(point: &[f64], dim: usize, n_outputs: usize) -> Result<Predictor> {
    if point.iter().any(|x| !x.is_finite()) {
        return Err(Error::Fit { reason: "the logistic regression overflowed" });
    }
    let mut coef = Vec::with_capacity(n_outputs * (dim - 1));
    let mut intercept = Vec::with_capacity(n_outputs);
    for output in point.chunks_exact(dim) {
        coef.extend_from_slice(&output[..dim - 1]);
        intercept.push(output[dim - 1]);
    }
    Ok(Predictor::Linear(Linear { coef, intercept }))
}

/// What the binary and the multinomial objective share.
struct Problem<'a> {
    columns: &'a [f64],
    stride: usize,
    /// Features and the intercept.
    dim: usize,
    c: f64,
    /// On the intercepts.
    ridge: f64,
    rows: &'a mut RowBuffers,
}

impl Problem<'_> {
    /// Logits of each output at `point`, into `rows.logit`.
    fn logits(&mut self, point: &[f64]) {
        self.rows.logit.fill(0.0);
        for (logit, point) in self.rows.logit.chunks_exact_mut(self.stride).zip(point.chunks_exact(self.dim))
        {
            combine(self.columns, self.stride, point, logit);
        }
    }

    /// Gradient from the residuals in `rows.logit`, with the penalty; returns the penalty.
    fn penalised(&self, point: &[f64], gradient: &mut [f64]) -> f64 {
        let mut penalty = 0.0;
        let residuals = self.rows.logit.chunks_exact(self.stride);
        for ((residual, point), gradient) in
            residuals.zip(point.chunks_exact(self.dim)).zip(gradient.chunks_exact_mut(self.dim))
        {
            for (j, column) in self.columns.chunks_exact(self.stride).enumerate() {
                let strength = if j + 1 < self.dim { 1.0 } else { self.ridge };
                gradient[j] = dot(column, residual) + strength * point[j];
                penalty += 0.5 * strength * point[j] * point[j];
            }
        }
        penalty
    }
}

/// Two classes: the loss of a row is `ln(1 + exp(−y·logit))`, y = ±1.
struct Binary<'a>(Problem<'a>);

impl Objective for Binary<'_> {
    fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> f64 {
        let problem = &mut self.0;
        problem.logits(point);
        let c = problem.c;
        let rows = &mut *problem.rows;
        let (mut loss, mut product) = (0.0, 1.0);
        for ((logit, weight), y) in rows.logit.iter_mut().zip(&mut rows.weight).zip(&rows.target) {
            let margin = y * *logit;
            let e = (-margin.abs()).exp();
            let p = 1.0 / (1.0 + e);
            loss += (-margin).max(0.0);
            product *= 1.0 + e;
            if product > LARGE {
                loss += product.ln();
                product = 1.0;
            }
            *logit = -c * y * if margin >= 0.0 { e * p } else { p };
            *weight = c * e * p * p;
        }
        c * (loss + product.ln()) + problem.penalised(point, gradient)
    }

    fn hessian(&mut self, out: &mut [f64]) {
        let Problem { columns, stride, dim, ridge, .. } = self.0;
        gram(columns, Some(&self.0.rows.weight), stride, &mut self.0.rows.weighted, out);
        for j in 0..dim {
            out[j * dim + j] += if j + 1 < dim { 1.0 } else { ridge };
        }
    }
}

/// More classes: softmax with one output per class.
///
/// The loss does not change when all intercepts move together; a penalty on their sum picks the
/// solution that sums to zero, which scikit-learn's descent from zero also finds.
struct Multinomial<'a> {
    problem: Problem<'a>,
    n_classes: usize,
}

impl Multinomial<'_> {
    /// Turns logits into probabilities; returns the sum of the losses.
    fn softmax(&mut self) -> f64 {
        let stride = self.problem.stride;
        let RowBuffers { target, logit, weight, .. } = &mut *self.problem.rows;
        let (mut loss, mut product) = (0.0, 1.0);
        for (row, &code) in target.iter().enumerate() {
            let each = || (row..self.n_classes * stride).step_by(stride);
            let most = each().fold(f64::NEG_INFINITY, |most, at| logit[at].max(most));
            let mut sum = 0.0;
            for at in each() {
                weight[at] = (logit[at] - most).exp();
                sum += weight[at];
            }
            let own = row + code as usize * stride;
            loss += most - logit[own];
            product *= sum;
            if product > LARGE {
                loss += product.ln();
                product = 1.0;
            }
            for at in each() {
                weight[at] /= sum;
                logit[at] = self.problem.c * weight[at];
            }
            logit[own] -= self.problem.c;
        }
        loss + product.ln()
    }

    /// Strength of the penalty on the sum of the intercepts: any positive number gives the same answer.
    fn sum_strength(&self) -> f64 {
        self.problem.ridge / INTERCEPT_RIDGE
    }
}

impl Objective for Multinomial<'_> {
    fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> f64 {
        self.problem.logits(point);
        let loss = self.problem.c * self.softmax();
        let penalty = self.problem.penalised(point, gradient);
        let dim = self.problem.dim;
        let sum: f64 = point.iter().skip(dim - 1).step_by(dim).sum();
        let pull = self.sum_strength() * sum;
        gradient.iter_mut().skip(dim - 1).step_by(dim).for_each(|g| *g += pull);
        loss + penalty + 0.5 * pull * sum
    }

    fn hessian(&mut self, out: &mut [f64]) {
        let sum_strength = self.sum_strength();
        let Problem { columns, stride, dim, c, ridge, ref mut rows } = self.problem;
        let RowBuffers { weight, pair, weighted, block, .. } = &mut **rows;
        let n = dim * self.n_classes;
        zeroed(block, dim * dim);
        for a in 0..self.n_classes {
            for b in 0..=a {
                let same = if a == b { 1.0 } else { 0.0 };
                let (p, q) = (&weight[a * stride..][..stride], &weight[b * stride..][..stride]);
                pair.clear();
                pair.extend(p.iter().zip(q).map(|(p, q)| c * p * (same - q)));
                gram(columns, Some(pair), stride, weighted, block);
                block[dim * dim - 1] += sum_strength + same * ridge;
                for i in 0..dim {
                    for j in 0..=i {
                        let value = block[i * dim + j] + if i == j && i + 1 < dim { same } else { 0.0 };
                        out[(a * dim + i) * n + b * dim + j] = value;
                        out[(a * dim + j) * n + b * dim + i] = value;
                    }
                }
            }
        }
    }
}
