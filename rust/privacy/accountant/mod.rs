//! What a list of charges costs: (ε, δ) for adding or removing one unit.
//!
//! Two accountants, both upper bounds. [`gdp`] is exact when every unit takes part in every event. [`rdp`] also profits from
//! Poisson subsampling. [`epsilon`] reports the smaller of the two: a subsampled Gaussian is a post-processing of the same Gaussian
//! without subsampling (with probability 1 − q throw its output away and draw from the noise alone), so the figure of
//! `gdp` with every sampling rate put at 1 always holds, and the cost grows with the sampling rate right up to 1.

pub mod gdp;
pub mod rdp;

use serde::{Deserialize, Serialize};

use crate::privacy::event::Charge;
use crate::{Error, Result};

/// Which calculation gave the figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Accountant {
    /// Gaussian differential privacy.
    Gdp,
    /// Rényi differential privacy.
    Rdp,
}

/// What was spent at the δ asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Never below the true cost; infinite when an event had no noise.
    pub epsilon: f64,
    /// Which calculation gave the figure.
    pub accountant: Accountant,
}

/// Refuses a δ outside (0, 1).
///
/// # Errors
/// [`Error::Option`].
pub fn check_delta(delta: f64) -> Result<()> {
    if delta > 0.0 && delta < 1.0 {
        return Ok(());
    }
    Err(Error::option("delta", "a number above 0 and below 1", delta))
}

/// ε of all charges together at `delta`.
///
/// # Errors
/// [`Error::Option`] for a `delta`, a sampling rate or a noise multiplier out of range.
pub fn epsilon(charges: &[Charge], delta: f64) -> Result<Spent> {
    check_delta(delta)?;
    for charge in charges {
        charge.event.check()?;
    }
    let paid: Vec<&Charge> =
        charges.iter().filter(|c| c.count > 0 && c.event.sampling_rate() > 0.0).collect();
    let mu = paid.iter().map(|c| c.count as f64 * c.event.noise_multiplier().powi(-2)).sum::<f64>().sqrt();
    let full = Spent { epsilon: gdp::epsilon(mu, delta), accountant: Accountant::Gdp };
    if paid.iter().all(|c| c.event.sampling_rate() == 1.0) {
        return Ok(full);
    }
    let renyi = Spent { epsilon: rdp::epsilon(charges, delta)?, accountant: Accountant::Rdp };
    Ok(if renyi.epsilon <= full.epsilon { renyi } else { full })
}
