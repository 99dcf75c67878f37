//! Damped Newton descent for the convex objectives of the linear learners.

use super::linalg::{add_scaled, dot, factorise, max_abs, solve};

/// A convex function with its first two derivatives.
pub(crate) trait Objective {
    /// Value at `point`; writes the gradient there, and keeps what [`Objective::hessian`] needs.
    fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> f64;

    /// Lower triangle of the Hessian at the point evaluated last, row-major.
    fn hessian(&mut self, out: &mut [f64]);
}

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stop {
    /// Largest change of any coordinate in the last step, relative to `1 + max |point|`.
    pub tolerance: f64,
    /// Most steps.
    pub max_iter: usize,
}

/// Reusable memory of [`minimise`]; `point` holds the start, then the minimum.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// Start, then minimum.
    pub point: Vec<f64>,
    gradient: Vec<f64>,
    step: Vec<f64>,
    trial: Vec<f64>,
    trial_gradient: Vec<f64>,
    /// Cholesky factor of the Hessian in use.
    pub factor: Vec<f64>,
}

/// A factor is worth one more step after a full step no longer than this.
const REUSE_BELOW: f64 = 0.5;
/// A factor is rebuilt when a step is longer than this fraction of the one before.
const CONTRACTION: f64 = 0.2;
/// Sufficient decrease of Armijo's rule.
const ARMIJO: f64 = 1e-4;
/// Rounding error of the value, relative.
const ROUNDING: f64 = 1e-13;
/// Shortest fraction of a step tried.
const SHORTEST: f64 = 1e-9;

impl Buffers {
    fn resize(&mut self, n: usize) {
        for vector in [&mut self.gradient, &mut self.step, &mut self.trial, &mut self.trial_gradient] {
            vector.resize(n, 0.0);
        }
        self.factor.resize(n * n, 0.0);
    }
}

/// Minimises from `buffers.point`; with `factored`, `buffers.factor` already holds a factor to try first.
///
/// A factor serves while it still contracts the steps well (the chord method): near the minimum
/// that saves the Hessian, which is the cost.
pub(crate) fn minimise(objective: &mut impl Objective, buffers: &mut Buffers, factored: bool, stop: Stop) {
    let n = buffers.point.len();
    buffers.resize(n);
    let mut value = objective.evaluate(&buffers.point, &mut buffers.gradient);
    if !value.is_finite() {
        buffers.point.fill(0.0);
        value = objective.evaluate(&buffers.point, &mut buffers.gradient);
    }
    let mut usable = factored;
    let mut previous = f64::INFINITY;
    for _ in 0..stop.max_iter {
        let fresh = !usable;
        if fresh {
            objective.hessian(&mut buffers.factor);
            factorise(&mut buffers.factor, n);
        }
        buffers.step.copy_from_slice(&buffers.gradient);
        solve(&buffers.factor, &mut buffers.step);
        let size = max_abs(&buffers.step);
        if size <= stop.tolerance * (1.0 + max_abs(&buffers.point)) {
            add_scaled(&mut buffers.point, -1.0, &buffers.step);
            return;
        }
        let (fraction, reached) = search(objective, buffers, value);
        if fraction > 0.0 {
            std::mem::swap(&mut buffers.point, &mut buffers.trial);
            std::mem::swap(&mut buffers.gradient, &mut buffers.trial_gradient);
            value = reached;
        } else if fresh {
            return;
        } else {
            objective.evaluate(&buffers.point, &mut buffers.gradient);
        }
        usable = fraction == 1.0 && (size <= CONTRACTION * previous || fresh && size <= REUSE_BELOW);
        previous = if fresh && !usable { f64::INFINITY } else { size };
    }
}

/// Halves the step until the value falls enough; returns the fraction taken (0 if none) and the value there.
fn search(objective: &mut impl Objective, buffers: &mut Buffers, value: f64) -> (f64, f64) {
    let slope = dot(&buffers.step, &buffers.gradient);
    let mut fraction = 1.0;
    while fraction > SHORTEST {
        buffers.trial.copy_from_slice(&buffers.point);
        add_scaled(&mut buffers.trial, -fraction, &buffers.step);
        let reached = objective.evaluate(&buffers.trial, &mut buffers.trial_gradient);
        if reached <= value - ARMIJO * fraction * slope + ROUNDING * value.abs() {
            return (fraction, reached);
        }
        fraction *= 0.5;
    }
    (0.0, value)
}
