//! What was done to the patients' rows, in the terms that an accountant understands.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The neighbouring relation: which two cohorts must be hard to tell apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Neighbours {
    /// One unit (a patient) is added or removed.
    #[default]
    AddRemove,
    /// One unit is replaced by another; the number of units is no secret.
    ReplaceOne,
}

/// One use of a mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mechanism", deny_unknown_fields)]
#[non_exhaustive]
pub enum Event {
    /// Every unit contributes.
    Gaussian {
        /// Standard deviation of the noise over the L2 sensitivity.
        noise_multiplier: f64,
    },
    /// Each unit contributes with probability `sampling_rate`, independently of the others.
    PoissonGaussian {
        /// Probability that a unit takes part.
        sampling_rate: f64,
        /// Standard deviation of the noise over the L2 sensitivity.
        noise_multiplier: f64,
    },
}

impl Event {
    /// Probability that a unit takes part.
    pub fn sampling_rate(&self) -> f64 {
        match *self {
            Self::Gaussian { .. } => 1.0,
            Self::PoissonGaussian { sampling_rate, .. } => sampling_rate,
        }
    }

    /// Standard deviation of the noise over the L2 sensitivity.
    pub fn noise_multiplier(&self) -> f64 {
        match *self {
            Self::Gaussian { noise_multiplier } | Self::PoissonGaussian { noise_multiplier, .. } => {
                noise_multiplier
            }
        }
    }

    /// Refuses what no mechanism can have done.
    ///
    /// # Errors
    /// [`Error::Option`] naming the field.
    pub fn check(&self) -> Result<()> {
        let (rate, noise) = (self.sampling_rate(), self.noise_multiplier());
        if !(0.0..=1.0).contains(&rate) {
            return Err(Error::option("sampling_rate", "a number from 0 to 1", rate));
        }
        if !noise.is_finite() || noise < 0.0 {
            return Err(Error::option("noise_multiplier", "a finite number of at least 0", noise));
        }
        Ok(())
    }
}

/// An event, how often it happened, and what for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// What was done.
    pub event: Event,
    /// How many times.
    pub count: u64,
    /// What it was done for, in words for the manifest (`"marginals"`, `"rounds"`).
    pub what: String,
}
