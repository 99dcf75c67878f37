//! Zeroth-order optimisation of latents in `[0, 1]`: public, so it may be seeded, logged and replayed.

pub mod directions;
pub mod schedule;

use crate::error::{Error, Result};
use directions::{CHUNK, DIRECTIONS_PER_ROUND, Directions};
use rayon::prelude::*;
use schedule::Schedule;

/// Decay of the running mean of squared gradients.
const RMS_DECAY: f64 = 0.9;

/// State of the search: the latents and what the update remembers.
#[derive(Debug, Clone)]
pub struct ZerothOrder {
    latents: Vec<f64>,
    velocity: Vec<f64>,
    mean_square: f64,
    round: u64,
    n_directions: u64,
    directions: Directions,
    schedule: Schedule,
}

impl ZerothOrder {
    /// Starts at `latents`; `seed` is public and fixes the directions.
    ///
    /// # Errors
    /// [`Error::Option`] when the directions of a round would be none, or repeat those of the next.
    pub fn new(latents: Vec<f64>, n_directions: u64, seed: u64, schedule: Schedule) -> Result<Self> {
        if !(1..=DIRECTIONS_PER_ROUND).contains(&n_directions) {
            let requirement = format!("a whole number from 1 to {DIRECTIONS_PER_ROUND}");
            return Err(Error::option("directions", requirement, n_directions));
        }
        let velocity = vec![0.0; latents.len()];
        let directions = Directions::new(seed);
        Ok(Self { latents, velocity, mean_square: 0.0, round: 0, n_directions, directions, schedule })
    }

    /// Where the search stands.
    pub fn latents(&self) -> &[f64] {
        &self.latents
    }

    /// Rounds done.
    pub fn round(&self) -> u64 {
        self.round
    }

    /// L2 norm `C_t·√K` to which a patient's vector of this round is clipped.
    pub fn clip_norm(&self) -> f64 {
        self.schedule.clip(self.round) * (self.n_directions as f64).sqrt()
    }

    /// Number K of directions of a round.
    pub fn n_directions(&self) -> usize {
        self.n_directions as usize
    }

    /// The pair `S + μU_k` and `S − μU_k`, both projected on `[0, 1]`.
    pub fn pair(&self, direction: usize, plus: &mut Vec<f64>, minus: &mut Vec<f64>) {
        let radius = self.schedule.radius(self.round);
        plus.resize(self.latents.len(), 0.0);
        minus.resize(self.latents.len(), 0.0);
        self.directions.fill(self.round, direction as u64, plus);
        for ((p, m), s) in plus.iter_mut().zip(minus).zip(&self.latents) {
            let move_by = radius * *p;
            *p = (s + move_by).clamp(0.0, 1.0);
            *m = (s - move_by).clamp(0.0, 1.0);
        }
    }

    /// Steps against `ĝ = Σ_k a_k U_k` with momentum, in units of its running RMS: only the direction
    /// and the relative size of the answers matter, so no patient count is needed.
    ///
    /// # Errors
    /// [`Error::Data`] when there is not one answer per direction.
    pub fn update(&mut self, answers: &[f64]) -> Result<()> {
        if answers.len() as u64 != self.n_directions || answers.iter().any(|a| !a.is_finite()) {
            return Err(Error::data(
                "answers",
                "they are not one finite number per direction",
                "pass them all",
            ));
        }
        let mut gradient = vec![0.0; self.latents.len()];
        let (round, directions) = (self.round, self.directions);
        gradient.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, sum)| {
            let mut u = [0.0; CHUNK];
            for (k, answer) in answers.iter().enumerate() {
                directions.fill_chunk(round, k as u64, chunk, &mut u[..sum.len()]);
                sum.iter_mut().zip(&u).for_each(|(g, u)| *g += answer * u);
            }
        });
        self.step(&gradient);
        self.round += 1;
        Ok(())
    }

    fn step(&mut self, gradient: &[f64]) {
        let square = gradient.iter().map(|g| g * g).sum::<f64>() / gradient.len().max(1) as f64;
        self.mean_square = RMS_DECAY * self.mean_square + (1.0 - RMS_DECAY) * square;
        let unbiased = self.mean_square / (1.0 - RMS_DECAY.powf(self.round as f64 + 1.0));
        let scale = if unbiased > 0.0 { 1.0 / unbiased.sqrt() } else { 0.0 };
        let (step, momentum) = (self.schedule.step(self.round), self.schedule.momentum);
        for ((s, v), g) in self.latents.iter_mut().zip(&mut self.velocity).zip(gradient) {
            *v = momentum * *v + (1.0 - momentum) * g * scale;
            *s = (*s - step * *v).clamp(0.0, 1.0);
        }
    }
}
