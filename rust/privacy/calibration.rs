//! How much noise a budget asks for. Every answer is on the private side: what is returned has itself been priced.

use crate::privacy::accountant::{self, check_delta, gdp};
use crate::privacy::event::Charge;
use crate::{Error, Result};

/// Largest noise multiplier tried; where it is not enough, something that does not depend on it has spent the budget.
pub const MOST_NOISE: f64 = 1e9;
/// Smallest noise multiplier returned.
pub const LEAST_NOISE: f64 = 1e-3;
/// Ratio of the bracket's ends at which bisection stops.
const PRECISION: f64 = 1.0 + 2e-7;

/// Refuses an ε that is not a finite number above 0.
///
/// # Errors
/// [`Error::Option`].
pub fn check_epsilon(epsilon: f64) -> Result<()> {
    if epsilon.is_finite() && epsilon > 0.0 {
        return Ok(());
    }
    Err(Error::option("epsilon", "a finite number above 0", epsilon))
}

/// The μ of μ-GDP that (ε, δ) pays for: Gaussian events without subsampling may have Σ 1/σ² up to its square.
///
/// # Errors
/// [`Error::Option`] for an `epsilon` or `delta` out of range.
pub fn gdp_budget(epsilon: f64, delta: f64) -> Result<f64> {
    check_epsilon(epsilon)?;
    check_delta(delta)?;
    Ok(gdp::mu(epsilon, delta))
}

/// The smallest noise multiplier (to 1e-6 relative, never too small) at which the charges cost at most
/// `target_epsilon` at `delta`. `charges_for` must cost less the larger its argument.
///
/// # Errors
/// [`Error::Option`] for an option out of range; [`Error::Budget`] if no noise multiplier up to [`MOST_NOISE`] is enough.
pub fn calibrate(target_epsilon: f64, delta: f64, charges_for: impl Fn(f64) -> Vec<Charge>) -> Result<f64> {
    check_epsilon(target_epsilon)?;
    check_delta(delta)?;
    let cost = |noise: f64| Ok::<f64, Error>(accountant::epsilon(&charges_for(noise), delta)?.epsilon);
    let least_cost = cost(MOST_NOISE)?;
    if !affordable(least_cost, target_epsilon) {
        return Err(Error::Budget {
            problem: format!(
                "epsilon {target_epsilon} at delta {delta} is out of reach: even with noise multiplier {MOST_NOISE:e} the plan costs {least_cost}"
            ),
            remedy: "raise epsilon or delta, or plan fewer rounds or less for what has a fixed share".into(),
        });
    }
    let (mut low, mut high) = bracket(target_epsilon, &cost)?;
    while high > low * PRECISION {
        let middle = (low * high).sqrt();
        if affordable(cost(middle)?, target_epsilon) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(high)
}

/// Whether `cost` is within `target`; false for NaN.
fn affordable(cost: f64, target: f64) -> bool {
    cost <= target
}

/// Noise multipliers (too small, large enough) within a factor of 2, or equal at [`LEAST_NOISE`]. The second has been priced.
fn bracket(target: f64, cost: &impl Fn(f64) -> Result<f64>) -> Result<(f64, f64)> {
    let mut high = 1.0;
    while high < MOST_NOISE && !affordable(cost(high)?, target) {
        high = (2.0 * high).min(MOST_NOISE);
    }
    if high > 1.0 {
        return Ok((0.5 * high, high));
    }
    while high > LEAST_NOISE {
        let low = (0.5 * high).max(LEAST_NOISE);
        if !affordable(cost(low)?, target) {
            return Ok((low, high));
        }
        high = low;
    }
    Ok((high, high))
}
