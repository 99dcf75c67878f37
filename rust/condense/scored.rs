//! What pseudo-patients answer to a round, scored once: their clipped differences of losses do not depend on
//! the model that is sought, only the chances of their outcomes do. Expected answers and their derivatives
//! are then one matrix product.

use super::Heard;
use super::expected::Outcomes;
use super::refit::Asked;
use crate::error::{Error, Result};
use crate::learner::linalg::dot;
use crate::privacy::scoring::{BLOCK, ScoringPack, Scratch};
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Pseudo-patients whose answers a model has to explain.
#[derive(Debug)]
pub struct Asking<'a> {
    /// Encoded features, `n_rows × width`.
    pub x: &'a [f64],
    /// Number of encoded features.
    pub width: usize,
    /// Outcomes that they may have.
    pub outcomes: &'a Outcomes<'a>,
}

/// One round as the pseudo-patients answer it.
#[derive(Debug)]
pub struct Scored {
    /// Standard deviation of each answer from what the right model expects: that of its noise, and where
    /// outcomes are drawn that of a mean over so many pseudo-patients, which at large ε is the larger.
    pub errors: Vec<f64>,
    /// Patients for each pseudo-patient.
    scale: f64,
    /// Sum of the answers if all had the first class; 0 for survival.
    base: Vec<f64>,
    /// What another outcome adds to it, `n_pairs × K`: single precision, because there are many, and far
    /// finer than the noise.
    differences: Vec<f32>,
}

impl Asking<'_> {
    fn n_rows(&self) -> usize {
        self.x.len() / self.width
    }

    fn told(&self) -> Range<usize> {
        told(self.outcomes.n_outcomes())
    }

    /// Chances of the told outcomes under a model, with their derivatives: `n_pairs × (1 + model.len())`, where
    /// a pair is a pseudo-patient and one of its outcomes.
    pub fn chances(&self, model: &[f64]) -> Vec<f32> {
        let (n_levels, n_intercepts) = (self.outcomes.n_levels(), self.outcomes.n_intercepts());
        let (per_output, n_columns) = (n_intercepts + self.width, 1 + model.len());
        let mut table = vec![0.0; self.n_rows() * self.told().len() * n_columns];
        let lines = table.par_chunks_exact_mut(self.told().len() * n_columns);
        self.x.par_chunks_exact(self.width).zip(lines).enumerate().for_each(|(row, (x, lines))| {
            let output = |o: &[f64]| o[..n_intercepts].iter().sum::<f64>() + dot(&o[n_intercepts..], x);
            let eta: Vec<f64> = model[n_levels..].chunks_exact(per_output).map(output).collect();
            let chances = self.outcomes.chances(model, row, &eta);
            for (outcome, line) in self.told().zip(lines.chunks_exact_mut(n_columns)) {
                line[0] = chances.probability[outcome] as f32;
                let (levels, outputs) = line[1..].split_at_mut(n_levels);
                let by_level = &chances.by_level[outcome * n_levels..];
                levels.iter_mut().zip(by_level).for_each(|(l, by)| *l = *by as f32);
                let by_output = &chances.by_output[outcome * eta.len()..];
                for (line, by) in outputs.chunks_exact_mut(per_output).zip(by_output) {
                    let (intercept, coef) = line.split_at_mut(n_intercepts);
                    intercept.fill(*by as f32);
                    coef.iter_mut().zip(x).for_each(|(c, x)| *c = (by * x) as f32);
                }
            }
        });
        table
    }

    /// What every pseudo-patient answers to a round with each of its outcomes.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn scored(&self, heard: &Heard, asked: Asked, cancel: &AtomicBool) -> Result<Scored> {
        let (k, n_rows, told) = (heard.answers.len(), self.n_rows(), self.told());
        let mut round = RoundOfBlocks::new(heard, self.width, self.outcomes.n_outcomes());
        let (mut base, mut squares) = (vec![0.0; k], vec![0.0; k]);
        let mut differences = Vec::with_capacity(n_rows * told.len() * k);
        for start in (0..n_rows).step_by(BLOCK) {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let rows = start..(start + BLOCK).min(n_rows);
            round.score(self, rows.clone());
            for at in 0..rows.len() {
                let first = (told.start > 0).then(|| round.vector(at, 0));
                if let Some(first) = first {
                    base.iter_mut().zip(first).for_each(|(sum, v)| *sum += v);
                }
                for vector in told.clone().map(|outcome| round.vector(at, outcome)) {
                    squares.iter_mut().zip(vector).for_each(|(sum, v)| *sum += v * v);
                    let less = |(k, v): (usize, &f64)| (v - first.map_or(0.0, |first| first[k])) as f32;
                    differences.extend(vector.iter().enumerate().map(less));
                }
            }
        }
        let (noise, scale) = (asked.noise * heard.clip_norm, asked.patients / n_rows as f64);
        // Classes are all gone through: their expectation has no error of drawing.
        let spread = |sum: &f64| if told.start == 0 { scale * sum.sqrt() } else { 0.0 };
        let errors = squares.iter().map(|sum| noise.hypot(spread(sum))).collect();
        Ok(Scored { errors, scale, base, differences })
    }
}

/// Of so many outcomes those whose chances are told: all but the first class, whose chance is what the others leave;
/// of survival the one there is.
pub fn told(n_outcomes: usize) -> Range<usize> {
    usize::from(n_outcomes > 1)..n_outcomes
}

/// Clipped vectors of a round, a block of pseudo-patients at a time.
struct RoundOfBlocks<'a> {
    pack: ScoringPack<'a>,
    clip_norm: f64,
    k: usize,
    scratch: Scratch,
    /// `BLOCK × width`.
    x: Vec<f64>,
    /// `BLOCK × 2K`.
    losses: Vec<f64>,
    /// `n_outcomes × BLOCK × K`.
    vectors: Vec<f64>,
}

impl<'a> RoundOfBlocks<'a> {
    fn new(heard: &'a Heard, width: usize, n_outcomes: usize) -> Self {
        let (pack, k) = (ScoringPack::new(&heard.candidates, width), heard.answers.len());
        let (scratch, losses) = (pack.scratch(), vec![0.0; 2 * k * BLOCK]);
        let (x, vectors) = (vec![0.0; BLOCK * width], vec![0.0; n_outcomes * BLOCK * k]);
        Self { pack, clip_norm: heard.clip_norm, k, scratch, x, losses, vectors }
    }

    fn score(&mut self, asking: &Asking<'_>, rows: Range<usize>) {
        let (width, outcomes) = (asking.width, asking.outcomes);
        self.x[..rows.len() * width].copy_from_slice(&asking.x[rows.start * width..rows.end * width]);
        for (outcome, vectors) in self.vectors.chunks_exact_mut(BLOCK * self.k).enumerate() {
            let (code, event): (Vec<f64>, Vec<f64>) =
                rows.clone().map(|row| outcomes.outcome(row, outcome)).unzip();
            let view = outcomes.view(&code, &event);
            self.pack.losses(&self.x, rows.len(), view, &mut self.scratch, &mut self.losses);
            for (at, vector) in vectors.chunks_exact_mut(self.k).take(rows.len()).enumerate() {
                clipped(&self.losses[at * 2 * self.k..][..2 * self.k], self.clip_norm, vector);
            }
        }
    }

    /// Of a row of the block with one of its outcomes.
    fn vector(&self, at: usize, outcome: usize) -> &[f64] {
        &self.vectors[(outcome * BLOCK + at) * self.k..][..self.k]
    }
}

/// Loss differences of the directions for one row, clipped as the private half clips a patient; 0 where a model
/// cannot say.
fn clipped(losses: &[f64], clip_norm: f64, vector: &mut [f64]) {
    vector.iter_mut().zip(losses.chunks_exact(2)).for_each(|(v, pair)| *v = pair[0] - pair[1]);
    let norm = dot(vector, vector).sqrt();
    let shrink = if norm.is_finite() { (clip_norm / norm).min(1.0) } else { 0.0 };
    // A product with 0 would not do: infinity times 0 is no number.
    vector.iter_mut().for_each(|v| *v = if shrink == 0.0 { 0.0 } else { shrink * *v });
}

impl Scored {
    /// Expected answers with their derivatives, `K × (1 + n)`, from [`Asking::chances`] with `n_columns` = 1 + n.
    pub fn expected(&self, chances: &[f32], n_columns: usize) -> Vec<f64> {
        let (k, n_pairs) = (self.base.len(), chances.len() / n_columns);
        let mut sums = vec![0.0; k * n_columns];
        let views = (
            ArrayView2::from_shape((n_pairs, k), &self.differences),
            ArrayView2::from_shape((n_pairs, n_columns), chances),
            ArrayViewMut2::from_shape((k, n_columns), &mut sums),
        );
        if let (Ok(differences), Ok(chances), Ok(mut sums)) = views {
            general_mat_mul(1.0, &differences.t(), &chances, 0.0, &mut sums);
        } else {
            sums.fill(f32::NAN);
        }
        let mut expected: Vec<f64> = sums.iter().map(|sum| self.scale * f64::from(*sum)).collect();
        let answers = expected.iter_mut().step_by(n_columns);
        answers.zip(&self.base).for_each(|(answer, base)| *answer += self.scale * base);
        expected
    }
}
