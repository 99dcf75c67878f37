//! Damped Newton descent for the convex objectives of the linear learners.

use super::linalg::{add_scaled, dot, factorise, max_abs, solve};

/// A convex function with its first two derivatives.
pub(crate) trait Objective {
    /// Value at `point`; writes the gradient there, and keeps what [`Objective::hessian`] needs.
    fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> f64;

    /// Lower triangle of the Hessian at the point evaluated last, row-major.
    fn hessian(&mut self, out: &mut [f64]);
}

/// A fitted model to start from, with the factor of its Hessian if it is known.
pub(crate) struct Start<'a, M> {
    pub model: &'a M,
    pub factor: Option<&'a [f64]>,
}

/// Largest change of any coordinate in the last step, relative to `1 + max |point|`: cold, and from a fitted model.
const TOLERANCE: f64 = 1e-9;
const WARM_TOLERANCE: f64 = 1e-6;
/// Most steps.
const MAX_ITER: usize = 100;

/// The tolerance of a fit that starts from a fitted model, or from none.
pub(crate) fn tolerance(is_warm: bool) -> f64 {
    if is_warm { WARM_TOLERANCE } else { TOLERANCE }
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
    secants: Secants,
}

/// Steps made since the factor was built, with the changes of the gradient: L-BFGS on top of the
/// factor (Nocedal 1980, Math. Comput. 35:773).
#[derive(Debug, Default)]
struct Secants {
    /// Step, then change of the gradient, for each pair.
    pairs: Vec<f64>,
    /// Product of step and change.
    curvature: Vec<f64>,
    weight: Vec<f64>,
}

impl Secants {
    fn clear(&mut self) {
        self.pairs.clear();
        self.curvature.clear();
    }

    /// Adds a pair, unless rounding has eaten its curvature.
    fn push(&mut self, from: (&[f64], &[f64]), to: (&[f64], &[f64])) {
        let (length, n) = (self.pairs.len(), from.0.len());
        self.pairs.extend(to.0.iter().zip(from.0).map(|(to, from)| to - from));
        self.pairs.extend(to.1.iter().zip(from.1).map(|(to, from)| to - from));
        let (step, change) = self.pairs[length..].split_at(n);
        let curvature = dot(step, change);
        if curvature > ROUNDING * (dot(step, step) * dot(change, change)).sqrt() {
            self.curvature.push(curvature);
        } else {
            self.pairs.truncate(length);
        }
    }

    /// Turns a gradient into the step to subtract.
    fn apply(&mut self, factor: &[f64], vector: &mut [f64]) {
        let n = vector.len();
        self.weight.clear();
        for (pair, curvature) in self.pairs.chunks_exact(2 * n).zip(&self.curvature).rev() {
            let weight = dot(&pair[..n], vector) / curvature;
            add_scaled(vector, -weight, &pair[n..]);
            self.weight.push(weight);
        }
        solve(factor, vector);
        for ((pair, curvature), weight) in
            self.pairs.chunks_exact(2 * n).zip(&self.curvature).zip(self.weight.iter().rev())
        {
            let back = dot(&pair[n..], vector) / curvature;
            add_scaled(vector, weight - back, &pair[..n]);
        }
    }
}

/// A factor is worth one more step after a full step no longer than this.
const REUSE_BELOW: f64 = 0.5;
/// A factor from nearby rows serves for a step per this many coordinates, however slowly the steps contract: a
/// Hessian costs about as much as so many steps, and secants make up for it before that.
const STEPS_PER_HESSIAN: usize = 4;
/// A factor is rebuilt when a step is longer than this fraction of the one before.
const CONTRACTION: f64 = 0.5;
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

/// Copies a factor of the right size; says whether there was one.
fn take(factor: Option<&[f64]>, n: usize, into: &mut Vec<f64>) -> bool {
    let Some(factor) = factor.filter(|factor| factor.len() == n * n) else { return false };
    into.clear();
    into.extend_from_slice(factor);
    true
}

/// Minimises from `buffers.point`; `factor`, of the Hessian at a nearby minimum, is tried first.
///
/// A factor serves, corrected by secants, while it still contracts the steps well: near the
/// minimum that saves the Hessian, which is the cost.
pub(crate) fn minimise(
    objective: &mut impl Objective,
    buffers: &mut Buffers,
    factor: Option<&[f64]>,
    tolerance: f64,
) {
    let n = buffers.point.len();
    let mut usable = take(factor, n, &mut buffers.factor);
    let mut steps_left = if usable { n / STEPS_PER_HESSIAN } else { 0 };
    buffers.resize(n);

    let mut value = objective.evaluate(&buffers.point, &mut buffers.gradient);
    if !value.is_finite() {
        buffers.point.fill(0.0);
        value = objective.evaluate(&buffers.point, &mut buffers.gradient);
    }
    buffers.secants.clear();
    let mut previous = f64::INFINITY;
    for _ in 0..MAX_ITER {
        let fresh = !usable;
        if fresh {
            steps_left = 0;
            objective.hessian(&mut buffers.factor);
            factorise(&mut buffers.factor, n);
            buffers.secants.clear();
        }
        buffers.step.copy_from_slice(&buffers.gradient);
        buffers.secants.apply(&buffers.factor, &mut buffers.step);
        let size = max_abs(&buffers.step);
        if size <= tolerance * (1.0 + max_abs(&buffers.point)) {
            add_scaled(&mut buffers.point, -1.0, &buffers.step);
            return;
        }
        let (fraction, reached) = search(objective, buffers, value);
        if fraction > 0.0 {
            let Buffers { point, gradient, trial, trial_gradient, secants, .. } = &mut *buffers;
            secants.push((point, gradient), (trial, trial_gradient));
            std::mem::swap(&mut buffers.point, &mut buffers.trial);
            std::mem::swap(&mut buffers.gradient, &mut buffers.trial_gradient);
            value = reached;
        } else if fresh {
            return;
        } else {
            objective.evaluate(&buffers.point, &mut buffers.gradient);
        }
        usable = fraction == 1.0 && (size <= CONTRACTION * previous || fresh && size <= REUSE_BELOW)
            || fraction > 0.0 && steps_left > 0;
        steps_left = steps_left.saturating_sub(1);
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
        // Too long a step may reach minus infinity: where every risk underflows, so does what is at risk.
        if reached.is_finite() && reached <= value - ARMIJO * fraction * slope + ROUNDING * value.abs() {
            return (fraction, reached);
        }
        fraction *= 0.5;
    }
    (0.0, value)
}
