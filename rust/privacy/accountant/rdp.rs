//! Rényi differential privacy of Poisson-subsampled Gaussian mechanisms.
//!
//! Mironov, Talwar and Zhang, "Rényi differential privacy of the sampled Gaussian mechanism", arXiv 1908.10530: with
//! z ~ N(0, σ²) and likelihood ratio L(z) = exp((2z − 1)/(2σ²)), adding or removing one unit costs at order α
//!
//! ε_α = ln A_α / (α − 1),  A_α = E[(1 − q + q·L)^α].
//!
//! Everything here computes A_α − 1, as a sum of positive terms, so that a cost of 1e-18 a round keeps its digits
//! through a million rounds. Because `E[L] = 1`,
//!
//! A_α − 1 = E[g(q(L − 1))],  g(u) = (1 + u)^α − 1 − αu ≥ 0.
//!
//! *Integer orders* are the binomial sum (their equation for integer α) without its first two terms. *Fractional orders* are the
//! integral over z by the trapezoidal rule, whose error for an analytic integrand is exponentially small. Their alternating series (section 3.3),
//! as `dp-accounting` sums it without the signs, overstates ε by up to 1 % and stops converging at low orders.

use crate::Result;
use crate::privacy::event::{Charge, Event};

use super::check_delta;

/// Allowance for rounding, as a relative error of A_α − 1 and of the terms of ε; always added.
const ROUNDING: f64 = 1e-10;

/// Fractional orders 1.1, 1.2, …, 10.9 (the integers among them apart).
const TENTHS: std::ops::RangeInclusive<u32> = 11..=109;

/// Above the tenths: every integer from 11 to 63, then these. All as in `dp-accounting`.
const HIGH_ORDERS: [u32; 4] = [128, 256, 512, 1024];

/// Noise multiplier below which fractional orders are interpolated: ε is in the hundreds there, and the integrand too narrow.
const LEAST_INTEGRATED_NOISE: f64 = 0.1;

/// Larger noise multipliers are priced as this one, so that their squares stay finite.
const MOST_NOISE: f64 = 1e12;

/// Half-width of the range of integration beyond its two peaks 0 and α, in standard deviations.
const REACH: f64 = 12.0;

/// Below this |u| the function g is summed as a power series.
const SERIES_LIMIT: f64 = 0.05;
/// Terms of that series: the last is below 1e-17 of the first for every order integrated.
const SERIES_TERMS: usize = 17;

/// Orders α at which the costs are computed.
pub fn orders() -> impl Iterator<Item = f64> {
    let high = (11..=63).chain(HIGH_ORDERS).map(f64::from);
    TENTHS.map(|tenths| f64::from(tenths) / 10.0).chain(high)
}

/// ln(e^a + e^b).
fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if high.is_infinite() { high } else { high + (low - high).exp().ln_1p() }
}

/// ln(e^x − 1) for x > 0.
fn log_exp_m1(x: f64) -> f64 {
    if x > 40.0 { x } else { x.exp_m1().ln() }
}

/// ln A from ln(A − 1), rounded up.
fn log_a_from_excess(log_excess: f64) -> f64 {
    let log_excess = log_excess + ROUNDING;
    let log_a = if log_excess > 40.0 { log_excess * (1.0 + ROUNDING) } else { log_excess.exp().ln_1p() };
    log_a.max(f64::MIN_POSITIVE)
}

/// ln A_α for an integer order: A − 1 = Σ_{i ≥ 2} C(α, i) (1 − q)^{α−i} q^i (exp((i² − i)/(2σ²)) − 1).
fn log_a_integer(rate: f64, noise: f64, order: u32) -> f64 {
    let (log_rate, log_rest) = (rate.ln(), (-rate).ln_1p());
    let alpha = f64::from(order);
    let mut log_binomial = alpha.ln();
    let mut log_excess = f64::NEG_INFINITY;
    for step in 2..=order {
        let i = f64::from(step);
        log_binomial += ((alpha - i + 1.0) / i).ln();
        let exponent = 0.5 * (i * i - i) / (noise * noise);
        let log_term = log_binomial + i * log_rate + (alpha - i) * log_rest + log_exp_m1(exponent);
        log_excess = log_add(log_excess, log_term);
    }
    log_a_from_excess(log_excess)
}

/// One node of the trapezoidal rule.
struct Point {
    /// −z²/(2σ²).
    log_weight: f64,
    /// u = q(L(z) − 1); infinite where L overflows.
    gain: f64,
    /// ln(1 + u).
    log_ratio: f64,
}

/// The integrand of A_α − 1 at every node, apart from the order α.
struct Integral {
    points: Vec<Point>,
    /// Logarithm of spacing times density's constant.
    log_spacing: f64,
}

impl Integral {
    /// Nodes for every order up to `most_order`.
    ///
    /// The rule's relative error is exp(−2π²σ²/h²) from the Gaussian factor and exp(−2π²σ²/h) from the branch
    /// points of ln(1 + u), at height πσ²: with three nodes to min(σ, σ²) both are below 1e-22.
    fn new(rate: f64, noise: f64, most_order: f64) -> Self {
        let variance = noise * noise;
        let spacing = noise.min(variance) / 3.0;
        let (low, high) = (-REACH * noise, most_order + REACH * noise);
        let count = ((high - low) / spacing).ceil() as usize;
        let points = (0..=count)
            .map(|index| {
                let z = low + spacing * index as f64;
                let log_likelihood = (z - 0.5) / variance;
                let gain = rate * log_likelihood.exp_m1();
                let log_ratio = if log_likelihood > 40.0 {
                    log_add(log_likelihood + rate.ln(), (-rate).ln_1p())
                } else {
                    gain.ln_1p()
                };
                Point { log_weight: -0.5 * z * z / variance, gain, log_ratio }
            })
            .collect();
        let log_spacing = (spacing / noise).ln() - 0.5 * (2.0 * std::f64::consts::PI).ln();
        Self { points, log_spacing }
    }

    /// ln A_α.
    fn log_a(&self, alpha: f64) -> f64 {
        let series = series(alpha);
        let log_scale = self
            .points
            .iter()
            .map(|p| p.log_weight + alpha * p.log_ratio.max(0.0))
            .fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.points.iter().map(|p| p.term(alpha, &series, log_scale)).sum();
        log_a_from_excess(sum.ln() + log_scale + self.log_spacing)
    }
}

impl Point {
    /// g(u)·exp(log_weight − log_scale), without overflow.
    fn term(&self, alpha: f64, series: &[f64; SERIES_TERMS], log_scale: f64) -> f64 {
        let (u, power) = (self.gain, alpha * self.log_ratio);
        let weight = self.log_weight - log_scale;
        if weight + power.max(0.0) < -700.0 {
            return 0.0;
        }
        if u.abs() < SERIES_LIMIT {
            return weight.exp() * u * u * series.iter().rev().fold(0.0, |sum, c| sum * u + c);
        }
        if power < 300.0 {
            return weight.exp() * (power.exp_m1() - alpha * u);
        }
        // (1 + αu)/(1 + u)^α with αu = α(1 + u) − α.
        let rest = alpha * ((1.0 - alpha) * self.log_ratio).exp() - (alpha - 1.0) * (-power).exp();
        (weight + power).exp() * (1.0 - rest)
    }
}

/// Binomial coefficients C(α, 2), C(α, 3), …: g(u) = u²·Σ C(α, j + 2) u^j.
fn series(alpha: f64) -> [f64; SERIES_TERMS] {
    let mut coefficient = alpha;
    std::array::from_fn(|index| {
        let k = (index + 2) as f64;
        coefficient *= (alpha - k + 1.0) / k;
        coefficient
    })
}

/// ln A_α is convex in α and 0 at α = 1, so the chord between two integer orders lies above it.
fn log_a_chord(alpha: f64, at_integer: impl Fn(u32) -> f64) -> f64 {
    let floor = alpha.floor();
    let part = alpha - floor;
    (1.0 - part) * at_integer(floor as u32) + part * at_integer(floor as u32 + 1)
}

/// ε_α of one event at every order of [`orders`].
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    costs: Vec<f64>,
}

impl Curve {
    /// The curve of nothing.
    pub fn zero() -> Self {
        Self { costs: orders().map(|_| 0.0).collect() }
    }

    /// The curve of one event.
    ///
    /// # Errors
    /// [`crate::Error::Option`] for a sampling rate or noise multiplier out of range.
    pub fn new(event: &Event) -> Result<Self> {
        event.check()?;
        let (rate, noise) = (event.sampling_rate(), event.noise_multiplier().min(MOST_NOISE));
        if rate == 0.0 {
            return Ok(Self::zero());
        }
        if noise == 0.0 {
            return Ok(Self { costs: orders().map(|_| f64::INFINITY).collect() });
        }
        if rate == 1.0 {
            return Ok(Self { costs: orders().map(|alpha| 0.5 * alpha / (noise * noise)).collect() });
        }
        Ok(Self::subsampled(rate, noise))
    }

    fn subsampled(rate: f64, noise: f64) -> Self {
        let at_integer = |order: u32| if order < 2 { 0.0 } else { log_a_integer(rate, noise, order) };
        let integral = (noise >= LEAST_INTEGRATED_NOISE)
            .then(|| Integral::new(rate, noise, f64::from(*TENTHS.end()) / 10.0));
        let cost = |alpha: f64| {
            let log_a = match &integral {
                _ if alpha.fract() == 0.0 => at_integer(alpha as u32),
                Some(integral) => integral.log_a(alpha),
                None => log_a_chord(alpha, at_integer),
            };
            log_a / (alpha - 1.0)
        };
        Self { costs: orders().map(cost).collect() }
    }

    /// Adds `count` uses of an event with curve `other`; Rényi costs add up at every order.
    pub fn add(&mut self, other: &Self, count: u64) {
        if count == 0 {
            return; // 0 · ∞
        }
        for (total, cost) in self.costs.iter_mut().zip(&other.costs) {
            *total += count as f64 * cost;
        }
    }

    /// Cost at every order of [`orders`].
    pub fn costs(&self) -> &[f64] {
        &self.costs
    }

    /// The smallest ε over all orders, and its order α (0 for ε = 0).
    ///
    /// # Errors
    /// [`crate::Error::Option`] for a `delta` out of range.
    pub fn epsilon(&self, delta: f64) -> Result<(f64, f64)> {
        check_delta(delta)?;
        let all = orders().zip(&self.costs).map(|(alpha, &cost)| (to_epsilon(alpha, cost, delta), alpha));
        let (epsilon, alpha) =
            all.fold((f64::INFINITY, 0.0), |best, next| if next.0 < best.0 { next } else { best });
        Ok((epsilon, if epsilon > 0.0 { alpha } else { 0.0 }))
    }
}

/// (α, `cost`)-Rényi to (ε, δ): Canonne, Kamath and Steinke, arXiv 2004.00010, proposition 12; 0 where
/// δ ≥ √(1 − exp(−KL)) bounds the total variation by itself (Bretagnolle and Huber; KL is at most the cost at any order above 1).
fn to_epsilon(alpha: f64, cost: f64, delta: f64) -> f64 {
    if delta * delta + (-cost).exp_m1() > 0.0 {
        return 0.0;
    }
    let gain = (-1.0 / alpha).ln_1p() - alpha.ln() / (alpha - 1.0);
    let price = -delta.ln() / (alpha - 1.0);
    let rounding = 4.0 * f64::EPSILON * (cost + price - gain);
    (cost + price + gain + rounding).max(0.0)
}

/// ε of all charges by Rényi accounting alone, subsampled or not.
///
/// # Errors
/// [`crate::Error::Option`] for a `delta`, a sampling rate or a noise multiplier out of range.
pub fn epsilon(charges: &[Charge], delta: f64) -> Result<f64> {
    let mut known: Vec<(Event, Curve)> = Vec::new();
    let mut total = Curve::zero();
    for charge in charges {
        let index = match known.iter().position(|(event, _)| *event == charge.event) {
            Some(index) => index,
            None => {
                known.push((charge.event, Curve::new(&charge.event)?));
                known.len() - 1
            }
        };
        total.add(&known[index].1, charge.count);
    }
    Ok(total.epsilon(delta)?.0)
}
