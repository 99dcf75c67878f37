//! Gaussian differential privacy: the exact cost of Gaussian mechanisms without subsampling.
//!
//! Gaussian events with noise multipliers σᵢ compose to one with μ² = Σ 1/σᵢ² (Dong, Roth and Su, JRSS B 84(1), 2022, corollary 3.3), and
//!
//! δ(ε) = Φ(−a) − e^ε Φ(−b),  a = ε/μ − μ/2,  b = ε/μ + μ/2.
//!
//! As e^ε = φ(a)/φ(b), with Mills' ratio R(x) = (1 − Φ(x))/φ(x) this is φ(a)·(R(a) − R(b)), which has neither overflow
//! nor a lost tail. Since R′(x) = x·R(x) − 1, it is also φ(a)·∫ₐᵇ (1 − x·R(x)) dx, which does not cancel when μ is small.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Allowance for rounding in [`log_delta`], as a relative error of δ; every inverse below stays on the private side of it.
const ROUNDING: f64 = 2e-12;

/// From here Laplace's continued fraction has converged to full precision after [`FRACTION_DEPTH`] steps.
const FAR: f64 = 4.0;
const FRACTION_DEPTH: u32 = 50;

/// Nodes and weights of Gauss and Legendre on (−1, 1), eight points, positive half.
const GAUSS_LEGENDRE: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_29),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_47),
    (0.960_289_856_497_536_2, 0.101_228_536_290_376_26),
];

/// t with R(x) = 1/(x + t): Laplace's continued fraction 1/(x + 2/(x + 3/(x + …))).
fn laplace_tail(x: f64) -> f64 {
    (1..=FRACTION_DEPTH).rev().fold(0.0, |tail, step| f64::from(step) / (x + tail))
}

/// Logarithm of the standard normal density.
fn log_density(x: f64) -> f64 {
    -0.5 * (x * x + (2.0 * PI).ln())
}

/// 1 − Φ(x).
fn upper_tail(x: f64) -> f64 {
    0.5 * libm::erfc(x * FRAC_1_SQRT_2)
}

/// Mills' ratio R(x) for x above −[`FAR`].
fn mills(x: f64) -> f64 {
    if x < FAR { upper_tail(x) / log_density(x).exp() } else { 1.0 / (x + laplace_tail(x)) }
}

/// −R′(x) = 1 − x·R(x), positive.
fn mills_descent(x: f64) -> f64 {
    if x < FAR {
        return 1.0 - x * mills(x);
    }
    let tail = laplace_tail(x);
    tail / (x + tail)
}

/// R(a) − R(b) for a, b = middle ∓ width/2 close together.
fn mills_drop(middle: f64, width: f64) -> f64 {
    let at = |node: f64| mills_descent(middle + 0.5 * width * node);
    0.5 * width * GAUSS_LEGENDRE.iter().map(|&(node, weight)| weight * (at(node) + at(-node))).sum::<f64>()
}

/// ln δ(ε) of μ-GDP, for ε ≥ 0 and μ ≥ 0; −∞ for δ = 0.
pub fn log_delta(epsilon: f64, mu: f64) -> f64 {
    if mu == 0.0 {
        return f64::NEG_INFINITY;
    }
    if mu == f64::INFINITY {
        return 0.0;
    }
    let (a, b) = (epsilon / mu - 0.5 * mu, epsilon / mu + 0.5 * mu);
    if a > 1e150 {
        return f64::NEG_INFINITY; // its square would overflow
    }
    if mu < 0.5 {
        return log_density(a) + mills_drop(epsilon / mu, mu).ln();
    }
    if a <= 0.0 {
        return (upper_tail(a) - log_density(a).exp() * mills(b)).ln().min(0.0);
    }
    log_density(a) + (mills(a) - mills(b)).ln()
}

/// The point where `holds` turns from false to true, from its true side.
fn bisect(mut fails: f64, mut holds: f64, condition: impl Fn(f64) -> bool) -> f64 {
    // Halving reaches neighbouring floats from any bracket below in at most this many steps.
    for _ in 0..1100 {
        let middle = 0.5 * (fails + holds);
        if middle == fails || middle == holds {
            break;
        }
        if condition(middle) {
            holds = middle;
        } else {
            fails = middle;
        }
    }
    holds
}

/// The smallest ε at which μ-GDP gives δ(ε) ≤ `delta`, rounded up; `delta` in (0, 1).
pub fn epsilon(mu: f64, delta: f64) -> f64 {
    let holds = |epsilon: f64| log_delta(epsilon, mu) <= delta.ln() - ROUNDING;
    if mu == f64::INFINITY {
        return f64::INFINITY;
    }
    if holds(0.0) {
        return 0.0;
    }
    let mut upper = 1.0;
    while !holds(upper) {
        upper *= 2.0;
        if upper == f64::INFINITY {
            return upper;
        }
    }
    bisect(0.0, upper, holds)
}

/// The largest μ with δ(ε; μ) ≤ `delta`, rounded down; ε above 0 and finite, `delta` in (0, 1).
///
/// Rounded further than [`epsilon`](fn@epsilon) rounds, so that noise multipliers computed from this μ cost at most ε when
/// `epsilon` adds them up again.
pub fn mu(epsilon: f64, delta: f64) -> f64 {
    let holds = |mu: f64| log_delta(epsilon, mu) <= delta.ln() - 5.0 * ROUNDING;
    let mut lower = 1.0;
    while !holds(lower) {
        lower *= 0.5; // ends: μ = 0 costs nothing
    }
    let mut upper = 2.0 * lower;
    while holds(upper) {
        upper *= 2.0; // ends: μ = ∞ has δ = 1
    }
    bisect(upper, lower, holds)
}
