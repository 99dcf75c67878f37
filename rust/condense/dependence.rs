//! How the columns of pseudo-patients depend on each other.
//!
//! Independent columns make patients that nobody has: in a real cohort the markers of severe illness go
//! together. The teacher's rows tell how, at no cost: their mean latents differ between the classes (or
//! between events and censored rows). Pseudo-patients of a class are drawn around these means, with
//! one-way marginals that stay the noisy ones of the cohort: a Gaussian copula whose only factor is the
//! outcome.

use super::FixedOutcome;
use super::start::Rows;
use crate::learner::linalg::{add_scaled, dot};
use crate::marginals::codec::Codec;
use crate::marginals::{Marginals, OutcomeMarginal};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Largest shift of a class, in standard deviations of the normal scores.
const LARGEST_SHIFT: f64 = 1.5;
/// Least variance that is left to a column within a class.
const LEAST_VARIANCE: f64 = 0.2;
/// Latents up to which chance correlations are taken out: with more it would take seconds.
const MOST_DECORRELATED: usize = 500;

/// Shifts of the normal scores by class.
pub struct Dependence {
    /// Share of each class, adding up to 1.
    shares: Vec<f64>,
    /// `n_classes × n_latents`; their mean over the classes is 0.
    shift: Vec<f64>,
    /// Standard deviation within a class, one per latent.
    spread: Vec<f64>,
}

impl Dependence {
    /// The dependence that the teacher's rows show.
    pub fn new(codec: &Codec, marginals: &Marginals, teacher: &Rows) -> Self {
        let n_latents = codec.n_latents();
        let (groups, shares, n_shifted) = match (&teacher.outcome, &marginals.outcome) {
            (FixedOutcome::Classes { codes, .. }, OutcomeMarginal::Classes { weights }) => {
                (codes.iter().map(|&c| c as usize).collect(), weights.clone(), n_latents)
            }
            (FixedOutcome::Events { event }, OutcomeMarginal::Survival { .. }) => {
                let rate = marginals.event_rate().unwrap_or(0.5);
                // The last latent is the time: it is drawn from the teacher's hazard, not from here.
                (event.iter().map(|&e| usize::from(e)).collect(), vec![1.0 - rate, rate], n_latents - 1)
            }
            _ => (Vec::new(), vec![1.0], 0),
        };
        let whole: f64 = shares.iter().sum();
        let shares: Vec<f64> = shares.iter().map(|s| s / whole).collect();
        let mut shift = vec![0.0; shares.len() * n_latents];
        for (class, row) in shift.chunks_exact_mut(n_latents).enumerate() {
            shift_of(&teacher.latents, &groups, class, &mut row[..n_shifted]);
        }
        let mut spread = vec![1.0; n_latents];
        for (latent, sd) in spread.iter_mut().enumerate() {
            let column = || shares.iter().zip(shift.iter().skip(latent).step_by(n_latents));
            let mean: f64 = column().map(|(share, s)| share * s).sum();
            let between: f64 = column().map(|(share, s)| share * (s - mean).powi(2)).sum();
            *sd = (1.0 - between).max(LEAST_VARIANCE).sqrt();
            shift.iter_mut().skip(latent).step_by(n_latents).for_each(|s| *s -= mean);
        }
        Self { shares, shift, spread }
    }

    /// Latents of `n_rows` pseudo-patients, `n_rows × n_latents`.
    pub fn draw(&self, n_rows: usize, generator: &mut impl Rng) -> Vec<f64> {
        let n_latents = self.spread.len();
        let classes: Vec<usize> = (0..n_rows).map(|_| self.class(generator)).collect();
        let mut scores: Vec<f64> =
            (0..n_rows * n_latents).map(|_| generator.sample(StandardNormal)).collect();
        if n_rows >= 2 * n_latents && n_latents <= MOST_DECORRELATED {
            decorrelate(&mut scores, &classes, self.shares.len());
        }
        let mut latents = vec![0.0; n_rows * n_latents];
        for ((latent, score), sd) in scores.chunks_exact(n_rows.max(1)).enumerate().zip(&self.spread) {
            for (row, (z, class)) in score.iter().zip(&classes).enumerate() {
                let shifted = self.shift[class * n_latents + latent] + sd * z;
                latents[row * n_latents + latent] = 0.5 * libm::erfc(-shifted * FRAC_1_SQRT_2);
            }
        }
        stratify(&mut latents, n_latents, generator);
        latents
    }

    /// A class by chance.
    fn class(&self, generator: &mut impl Rng) -> usize {
        let mut left: f64 = generator.random();
        let passed = self.shares.iter().take_while(|&&share| {
            left -= share;
            left >= 0.0
        });
        passed.count().min(self.shares.len() - 1)
    }
}

/// Takes out what correlation chance leaves between normal scores (latent after latent), and between them and the
/// class, by Gram-Schmidt (Iman, Conover 1982, Communications in Statistics 11:311): a column that says nothing of the
/// outcome must not seem to through another one that does.
fn decorrelate(scores: &mut [f64], classes: &[usize], n_classes: usize) {
    let n_rows = classes.len();
    for column in scores.chunks_exact_mut(n_rows) {
        for class in 0..n_classes {
            let own = || classes.iter().enumerate().filter(|(_, c)| **c == class).map(|(row, _)| row);
            let mean = own().map(|row| column[row]).sum::<f64>() / own().count().max(1) as f64;
            own().for_each(|row| column[row] -= mean);
        }
    }
    for latent in 0..scores.len() / n_rows {
        let (done, rest) = scores.split_at_mut(latent * n_rows);
        let column = &mut rest[..n_rows];
        for other in done.chunks_exact(n_rows) {
            let slope = dot(column, other) / n_rows as f64;
            add_scaled(column, -slope, other);
        }
        let norm = dot(column, column).sqrt();
        let scale = if norm > 0.0 { (n_rows as f64).sqrt() / norm } else { 0.0 };
        column.iter_mut().for_each(|z| *z *= scale);
    }
}

/// Moves each latent into its own stratum, the order of the rows kept (Stein 1987, Technometrics 29:143): the
/// rows then have the noisy marginals, rare levels in their due number, and not what chance makes of them.
fn stratify(latents: &mut [f64], n_latents: usize, generator: &mut impl Rng) {
    let n_rows = latents.len() / n_latents.max(1);
    let mut order: Vec<usize> = (0..n_rows).collect();
    for latent in 0..n_latents {
        let at = |row: usize| row * n_latents + latent;
        order.sort_by(|&a, &b| latents[at(a)].total_cmp(&latents[at(b)]));
        for (stratum, &row) in order.iter().enumerate() {
            latents[at(row)] = (stratum as f64 + generator.random::<f64>()) / n_rows as f64;
        }
    }
}

/// Shift of a class's normal scores from the mean of its latents: `E Φ(Z + d) = Φ(d/√2)`, which is
/// `1/2 + d / (2√π)` to first order.
fn shift_of(latents: &[f64], groups: &[usize], class: usize, shift: &mut [f64]) {
    let n_latents = latents.len() / groups.len().max(1);
    let rows = || latents.chunks_exact(n_latents.max(1)).zip(groups).filter(|(_, g)| **g == class);
    let n = rows().count();
    if n == 0 {
        return;
    }
    for (latent, d) in shift.iter_mut().enumerate() {
        let mean = rows().map(|(row, _)| row[latent]).sum::<f64>() / n as f64;
        *d = (2.0 * PI.sqrt() * (mean - 0.5)).clamp(-LARGEST_SHIFT, LARGEST_SHIFT);
    }
}
