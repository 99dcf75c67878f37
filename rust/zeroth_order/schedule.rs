//! Public schedules of the smoothing radius, the step and the clip.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Start and end of a quantity that falls geometrically over the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Anneal {
    /// In the first round.
    pub start: f64,
    /// In the last round.
    pub end: f64,
}

/// What changes from round to round; all of it fixed before data are read.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Number of rounds T.
    pub rounds: u64,
    /// Smoothing radius μ, as a share of the patients (latents live in `[0, 1]`).
    pub radius: Anneal,
    /// Step, in latents.
    pub step: Anneal,
    /// Clip of one loss difference, in nats; a patient's K-vector is clipped to `C·√K`.
    pub clip: Anneal,
    /// Momentum in `[0, 1)`.
    pub momentum: f64,
}

impl Schedule {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Option`] naming the option.
    pub fn checked(self) -> Result<Self> {
        for (name, anneal) in [("radius", self.radius), ("step", self.step), ("clip", self.clip)] {
            for value in [anneal.start, anneal.end] {
                if !(value.is_finite() && value > 0.0) {
                    return Err(Error::option(name, "a finite number above 0", value));
                }
            }
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(Error::option("momentum", "a number of at least 0 and below 1", self.momentum));
        }
        Ok(self)
    }

    /// Smoothing radius of a round.
    pub fn radius(&self, round: u64) -> f64 {
        self.at(self.radius, round)
    }

    /// Step of a round.
    pub fn step(&self, round: u64) -> f64 {
        self.at(self.step, round)
    }

    /// Clip of one loss difference in a round.
    pub fn clip(&self, round: u64) -> f64 {
        self.at(self.clip, round)
    }

    fn at(&self, anneal: Anneal, round: u64) -> f64 {
        let done = round.min(self.rounds) as f64 / (self.rounds.max(2) - 1) as f64;
        anneal.start * (anneal.end / anneal.start).powf(done.min(1.0))
    }
}
