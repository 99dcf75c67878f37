//! The loop: propose → fit → answer → update. The one place that uses every room.
//!
//! A [`Respondent`] answers a round: the private cohort with clip and noise, a public
//! pseudo-population exactly. The loop is the same.

pub mod dependence;
pub mod expected;
pub mod labels;
mod levels;
pub mod population;
pub mod refit;
pub mod scored;
pub mod start;
mod sums;
pub mod times;

use self::population::Population;
use crate::error::{Error, Result};
use crate::learner::{Base, Design, Labels, Learner, Scratch};
use crate::marginals::codec::Codec;
use crate::privacy::answer::Round;
use crate::privacy::cohort::PrivateCohort;
use crate::privacy::predictor::{Predictor, TimeGrid};
use crate::privacy::scoring::Candidate;
use crate::zeroth_order::ZerothOrder;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};

/// Outcomes of the synthetic rows that stay fixed while the latents move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum FixedOutcome {
    /// Class codes.
    Classes {
        /// One per row.
        codes: Vec<u32>,
        /// Number of classes in the schema.
        n_classes: usize,
    },
    /// Whether each row is an event; its time is a latent.
    Events {
        /// One per row.
        event: Vec<bool>,
    },
}

impl FixedOutcome {
    /// Number of synthetic rows.
    pub fn n_rows(&self) -> usize {
        match self {
            Self::Classes { codes, .. } => codes.len(),
            Self::Events { event } => event.len(),
        }
    }
}

/// A learner with its weight in the objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Weighted {
    /// Above 0.
    pub weight: f64,
    /// Native learner.
    pub learner: Learner,
}

/// What stays the same over the rounds.
#[derive(Clone, Copy)]
pub struct Problem<'a> {
    /// Public decoder.
    pub codec: &'a Codec,
    /// Grid of the baseline hazard, for survival.
    pub grid: Option<&'a TimeGrid>,
    /// Mixture of learners.
    pub learners: &'a [Weighted],
    /// Labels or events of the synthetic rows.
    pub outcome: &'a FixedOutcome,
}

/// Who answers a round.
pub trait Respondent {
    /// Sums (or means) over patients of the loss differences, one per direction.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when `cancel` is set; for a private cohort also when the plan is spent.
    fn answer(
        &mut self,
        problem: &Problem<'_>,
        candidates: &[Candidate],
        clip_norm: f64,
        cancel: &AtomicBool,
    ) -> Result<Vec<f64>>;

    /// The answer to this round if it is on record, so that nothing has to be fitted for it.
    ///
    /// # Errors
    /// [`Error::Journal`] when the record does not fit to the round.
    fn recorded(&mut self, _clip_norm: f64) -> Result<Option<Vec<f64>>> {
        Ok(None)
    }
}

impl Respondent for PrivateCohort {
    fn answer(
        &mut self,
        problem: &Problem<'_>,
        candidates: &[Candidate],
        clip_norm: f64,
        cancel: &AtomicBool,
    ) -> Result<Vec<f64>> {
        let Problem { codec, grid, .. } = *problem;
        PrivateCohort::answer(self, &Round { candidates, codec, grid, clip_norm }, cancel)
    }

    fn recorded(&mut self, clip_norm: f64) -> Result<Option<Vec<f64>>> {
        self.recorded_round(clip_norm)
    }
}

/// Memory of one thread: nothing is allocated inside a candidate but the fitted model itself.
#[derive(Default)]
struct Workspace {
    latents: Vec<f64>,
    cells: Vec<f64>,
    x: Vec<f64>,
    time: Vec<f64>,
    fit: Scratch,
}

impl Problem<'_> {
    /// Fits every learner of the mixture on the decoded rows.
    ///
    /// # Errors
    /// [`Error::Fit`] when a learner refuses the rows.
    pub fn fit(&self, latents: &[f64]) -> Result<Candidate> {
        Ok(self.weighted(&self.base(latents)?))
    }

    /// The mixture of fitted models.
    fn weighted(&self, base: &[Base]) -> Candidate {
        self.learners.iter().map(|w| w.weight).zip(base.iter().map(|b| b.predictor().clone())).collect()
    }

    /// The fits at the unperturbed rows, from which those of the candidates start.
    fn base(&self, latents: &[f64]) -> Result<Vec<Base>> {
        let mut workspace = Workspace { latents: latents.to_vec(), ..Workspace::default() };
        self.fit_each(&mut workspace, |_, learner, design, fit| learner.base(design, fit))
    }

    fn fit_each<T>(
        &self,
        workspace: &mut Workspace,
        fit_one: impl Fn(usize, &Learner, &Design<'_>, &mut Scratch) -> Result<T>,
    ) -> Result<Vec<T>> {
        let Workspace { latents, cells, x, time, fit } = workspace;
        self.decode(latents, cells, x, time);
        let labels = match (self.outcome, self.grid) {
            (FixedOutcome::Classes { codes, n_classes }, _) => {
                Labels::Classes { codes, n_classes: *n_classes }
            }
            (FixedOutcome::Events { event }, Some(grid)) => Labels::Survival { time, event, grid },
            (FixedOutcome::Events { .. }, None) => {
                return Err(Error::Fit { reason: "survival rows without a time grid" });
            }
        };
        let design = Design { x, n_features: self.codec.width(), labels };
        self.learners.iter().enumerate().map(|(i, w)| fit_one(i, &w.learner, &design, fit)).collect()
    }

    fn decode(&self, latents: &[f64], cells: &mut Vec<f64>, x: &mut Vec<f64>, time: &mut Vec<f64>) {
        self.codec.decode_rows(latents, cells);
        self.codec.encode_rows(cells, x);
        time.clear();
        if let FixedOutcome::Events { event } = self.outcome {
            let rows = latents.chunks_exact(self.codec.n_latents()).zip(event);
            time.extend(rows.filter_map(|(row, &event)| self.codec.decode_time(row, event)));
        }
    }

    /// All candidates of the current round, fitted in parallel from the unperturbed fit.
    fn candidates(&self, search: &ZerothOrder, cancel: &AtomicBool) -> Result<Vec<Candidate>> {
        let base = self.base(search.latents())?;
        let pairs: Result<Vec<[Candidate; 2]>> = (0..search.n_directions())
            .into_par_iter()
            .map_init(Default::default, |(workspace, minus): &mut (Workspace, Vec<f64>), direction| {
                if cancel.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                search.pair(direction, &mut workspace.latents, minus);
                let plus = self.fit_near(workspace, &base);
                std::mem::swap(&mut workspace.latents, minus);
                heard_or_silent(plus, self.fit_near(workspace, &base), || self.weighted(&base))
            })
            .collect();
        Ok(pairs?.into_iter().flatten().collect())
    }

    fn fit_near(&self, workspace: &mut Workspace, base: &[Base]) -> Result<Candidate> {
        self.fit_each(workspace, |i, learner, design, fit| {
            Ok((self.learners[i].weight, learner.fit_near(design, &base[i], fit)?))
        })
    }
}

/// The two sides of a direction. One whose rows cannot be fitted says nothing: both sides are then the same
/// model, since a paid round must not end for it.
fn heard_or_silent<T>(plus: Result<T>, minus: Result<T>, same: impl Fn() -> T) -> Result<[T; 2]> {
    match (plus, minus) {
        (Err(Error::Fit { .. }), _) | (_, Err(Error::Fit { .. })) => Ok([same(), same()]),
        (plus, minus) => Ok([plus?, minus?]),
    }
}

/// A round as the public side knows it: what was proposed, and what was answered.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Plus and minus of every direction.
    pub candidates: Vec<Candidate>,
    /// One per direction.
    pub answers: Vec<f64>,
    /// L2 norm to which a patient's vector was clipped.
    pub clip_norm: f64,
}

/// Rounds that are kept, those numbered `from` and later.
#[derive(Debug)]
pub struct Record {
    /// First round that is kept.
    pub from: u64,
    /// The rounds kept so far.
    pub heard: Vec<Heard>,
}

impl Record {
    /// Keeps rounds from number `from` on.
    pub fn from(from: u64) -> Self {
        Self { from, heard: Vec::new() }
    }

    /// Keeps nothing.
    pub fn nothing() -> Self {
        Self::from(u64::MAX)
    }
}

/// Runs `rounds` rounds; `progress` hears the number done, a public number.
///
/// Returns the root mean square of each round's answers, for the public trace.
///
/// # Errors
/// Those of the respondent and of the learners.
pub fn run(
    problem: &Problem<'_>,
    search: &mut ZerothOrder,
    respondent: &mut impl Respondent,
    rounds: u64,
    record: &mut Record,
    cancel: &AtomicBool,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<f64>> {
    let mut trace = Vec::with_capacity(rounds as usize);
    for _ in 0..rounds {
        let (clip_norm, is_kept) = (search.clip_norm(), search.round() >= record.from);
        let (answers, candidates) = match respondent.recorded(clip_norm)? {
            Some(answers) if is_kept => (answers, problem.candidates(search, cancel)?),
            Some(answers) => (answers, Vec::new()),
            None => {
                let candidates = problem.candidates(search, cancel)?;
                (respondent.answer(problem, &candidates, clip_norm, cancel)?, candidates)
            }
        };
        search.update(&answers)?;
        trace.push((answers.iter().map(|a| a * a).sum::<f64>() / answers.len() as f64).sqrt());
        // A round whose answer was lost counts as zero, which is no answer.
        if is_kept && answers.iter().any(|a| *a != 0.0) {
            record.heard.push(Heard { candidates, answers, clip_norm });
        }
        progress(search.round());
    }
    Ok(trace)
}

/// Runs `rounds` free rounds on a pseudo-population and keeps the latents with the lowest mean loss
/// seen at the start and after every `every` rounds: choosing is free here, no patient is asked.
///
/// Returns the best latents and the mean losses that were compared.
///
/// # Errors
/// Those of the learners, and [`Error::Interrupted`].
pub fn run_public(
    problem: &Problem<'_>,
    search: &mut ZerothOrder,
    mut population: &Population,
    (rounds, every): (u64, u64),
    cancel: &AtomicBool,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut losses = Vec::new();
    let mut best = (f64::INFINITY, search.latents().to_vec());
    loop {
        let candidate = [problem.fit(search.latents())?];
        let loss = population.mean_losses(problem, &candidate, cancel)?[0];
        losses.push(loss);
        if loss < best.0 {
            best = (loss, search.latents().to_vec());
        }
        if search.round() >= rounds {
            return Ok((best.1, losses));
        }
        let next = every.clamp(1, rounds - search.round());
        run(problem, search, &mut population, next, &mut Record::nothing(), cancel, progress)?;
    }
}

/// A model's prediction used as a teacher: the mixture's first model.
pub fn teacher(candidate: &Candidate) -> Result<&Predictor> {
    candidate.first().map(|(_, model)| model).ok_or(Error::Fit { reason: "no learner was given" })
}

#[cfg(test)]
mod tests {
    use super::heard_or_silent;
    use crate::error::Error;

    #[test]
    fn a_direction_that_cannot_be_fitted_is_silent() {
        let lost = || Err(Error::Fit { reason: "overflow" });
        assert_eq!(heard_or_silent(Ok(1), Ok(2), || 0), Ok([1, 2]));
        for (plus, minus) in [(lost(), Ok(2)), (Ok(1), lost()), (lost(), lost())] {
            assert_eq!(heard_or_silent(plus, minus, || 0), Ok([0, 0]));
        }
        assert_eq!(heard_or_silent(Ok(1), Err(Error::Interrupted), || 0), Err(Error::Interrupted));
    }
}
