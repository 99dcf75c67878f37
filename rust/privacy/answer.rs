//! Second exit: the noisy answer to a round of candidate models.

use super::cohort::{Outcome, PrivateCohort};
use super::journal::Query;
use super::mechanism::{RADIUS, add, clip_to_lattice};
use super::scoring::{BLOCK, BlockOutcome, Candidate, ScoringPack};
use crate::error::{Error, Result};
use crate::marginals::codec::Codec;
use crate::privacy::predictor::TimeGrid;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Units summed by one task; fixed, so that the work does not depend on the number of threads.
const UNITS_PER_TASK: usize = 256;

/// The question of a round.
pub struct Round<'a> {
    /// Candidates in pairs: `S + μU_k` at `2k`, `S − μU_k` at `2k + 1`.
    pub candidates: &'a [Candidate],
    /// Public map from cells to encoded features.
    pub codec: &'a Codec,
    /// Grid of the baseline hazard, for survival.
    pub grid: Option<&'a TimeGrid>,
    /// L2 norm to which a patient's vector of loss differences is clipped.
    pub clip_norm: f64,
}

impl PrivateCohort {
    /// Noisy sums over patients of `ℓ(z; S + μU_k) − ℓ(z; S − μU_k)`, clipped, one per direction.
    ///
    /// # Errors
    /// [`Error::NotPlanned`] when all planned rounds are spent, [`Error::Interrupted`],
    /// [`Error::Entropy`]. A round that fails stays spent.
    pub fn answer(&mut self, round: &Round<'_>, cancel: &AtomicBool) -> Result<Vec<f64>> {
        let n_directions = round.candidates.len() / 2;
        self.spend_round(n_directions)?;
        self.release(round.clip_norm, |this| {
            let pack = ScoringPack::new(round.candidates, round.codec.width());
            let batch = this.batch()?;
            let this = &*this;
            sum_over_units(&batch, n_directions, cancel, |units, sums| {
                this.sum_units(units, round, &pack, sums, cancel)
            })
        })
    }

    /// The answer to the next round if the journal has it, without asking anybody.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub fn recorded_round(&mut self, clip_norm: f64) -> Result<Option<Vec<f64>>> {
        if !self.is_next_recorded() {
            return Ok(None);
        }
        self.spend_round(self.plan.directions as usize)?;
        // What is on record is not computed again; were it not, no patient would be in the sum.
        self.release(clip_norm, |this| Ok(vec![0; this.plan.directions as usize])).map(Some)
    }

    /// The same from loss differences that a Python model made: `n_rows × n_directions` in the caller's
    /// order of rows. Rows of a patient are summed; a non-finite entry makes a patient's vector zero.
    ///
    /// # Errors
    /// As [`Self::answer`]; [`Error::Data`] on a wrong shape.
    pub fn answer_differences(&mut self, differences: &[f64], clip_norm: f64) -> Result<Vec<f64>> {
        let n_directions = self.plan.directions as usize;
        if differences.len() != self.n_caller_rows * n_directions {
            return Err(Error::data(
                "losses",
                "they are not one row per record and one column per direction",
                "return one loss per record",
            ));
        }
        self.spend_round(n_directions)?;
        self.release(clip_norm, |this| this.sum_differences(differences, clip_norm))
    }

    fn sum_differences(&mut self, differences: &[f64], clip_norm: f64) -> Result<Vec<i64>> {
        let n_directions = self.plan.directions as usize;
        let batch = self.batch()?;
        let this = &*self;
        sum_over_units(&batch, n_directions, &AtomicBool::new(false), |units, sums| {
            let (mut vector, mut lattice) = (vec![0.0; n_directions], vec![0; n_directions]);
            for &unit in units {
                vector.fill(0.0);
                for row in this.rows(unit) {
                    let at = this.caller_row[row] * n_directions;
                    vector.iter_mut().zip(&differences[at..]).for_each(|(v, d)| *v += d);
                }
                clip_to_lattice(&vector, clip_norm, &mut lattice);
                sums.iter_mut().zip(&lattice).for_each(|(s, l)| *s += l);
            }
            Ok(())
        })
    }

    fn spend_round(&mut self, n_directions: usize) -> Result<()> {
        let planned = self.plan.rounds;
        if self.rounds_asked >= planned || n_directions as u64 != self.plan.directions {
            return Err(Error::NotPlanned { query: "round", planned });
        }
        self.rounds_asked += 1;
        Ok(())
    }

    fn release(
        &mut self,
        clip_norm: f64,
        sums: impl FnOnce(&mut Self) -> Result<Vec<i64>>,
    ) -> Result<Vec<f64>> {
        let (n_sums, scale) = (self.plan.directions as usize, self.plan.round_noise_scale);
        let sums = self.disclose(Query::Round, n_sums, scale, sums)?;
        let step = clip_norm / RADIUS as f64;
        Ok(sums.iter().map(|&s| s as f64 * step).collect())
    }

    fn rows(&self, unit: usize) -> Range<usize> {
        self.unit_start[unit]..self.unit_start[unit + 1]
    }

    /// Poisson sample of the units: each is in with the plan's rate, independently.
    fn batch(&mut self) -> Result<Vec<usize>> {
        let all = 0..self.n_units();
        if self.plan.sampling_rate >= 1.0 {
            return Ok(all.collect());
        }
        let threshold = super::plan::sampling_threshold(self.plan.sampling_rate);
        let mut words = vec![0_u32; all.len()];
        self.source.fill(&mut words)?;
        Ok(all.filter(|&unit| u64::from(words[unit]) < threshold).collect())
    }

    /// Adds the lattice vectors of some units, scoring their rows in full blocks.
    fn sum_units(
        &self,
        units: &[usize],
        round: &Round<'_>,
        pack: &ScoringPack<'_>,
        sums: &mut [i64],
        cancel: &AtomicBool,
    ) -> Result<()> {
        let (n_candidates, width) = (pack.n_candidates(), round.codec.width());
        let n_directions = n_candidates / 2;
        let mut x = vec![0.0; BLOCK * width];
        let mut scratch = pack.scratch();
        let mut losses = vec![0.0; BLOCK * n_candidates];
        let (mut vector, mut lattice) = (vec![0.0; n_directions], vec![0; n_directions]);
        let rows: Vec<(usize, bool)> = units
            .iter()
            .flat_map(|&unit| self.rows(unit).map(move |row| (row, row + 1 == self.unit_start[unit + 1])))
            .collect();
        for block in rows.chunks(BLOCK) {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            for (&(row, _), out) in block.iter().zip(x.chunks_exact_mut(width)) {
                round.codec.encode_row(&self.cells[row * self.n_columns..][..self.n_columns], out);
            }
            let outcome = self.gather(block);
            pack.losses(&x, block.len(), outcome.view(round.grid), &mut scratch, &mut losses);
            for (&(_, last), losses) in block.iter().zip(losses.chunks_exact(n_candidates)) {
                let pairs = losses.chunks_exact(2);
                vector.iter_mut().zip(pairs).for_each(|(v, pair)| *v += pair[0] - pair[1]);
                if last {
                    clip_to_lattice(&vector, round.clip_norm, &mut lattice);
                    sums.iter_mut().zip(&lattice).for_each(|(s, l)| *s += l);
                    vector.fill(0.0);
                }
            }
        }
        Ok(())
    }

    fn gather(&self, block: &[(usize, bool)]) -> Gathered {
        let take = |values: &[f64]| block.iter().map(|&(row, _)| values[row]).collect();
        match &self.outcome {
            Outcome::Classes(y) => Gathered(take(y), None),
            Outcome::Survival { time, event } => Gathered(take(time), Some(take(event))),
        }
    }
}

/// Outcomes of the rows of a block, side by side.
struct Gathered(Vec<f64>, Option<Vec<f64>>);

impl Gathered {
    fn view<'a>(&'a self, grid: Option<&'a TimeGrid>) -> BlockOutcome<'a> {
        match (&self.1, grid) {
            (Some(event), Some(grid)) => BlockOutcome::Survival(&self.0, event, grid),
            _ => BlockOutcome::Classes(&self.0),
        }
    }
}

/// Exact integer sum over tasks of a fixed size; the same bits for any number of threads.
fn sum_over_units(
    units: &[usize],
    n_directions: usize,
    cancel: &AtomicBool,
    sum_task: impl Fn(&[usize], &mut [i64]) -> Result<()> + Sync,
) -> Result<Vec<i64>> {
    let zero = || vec![0_i64; n_directions];
    units
        .par_chunks(UNITS_PER_TASK)
        .map(|task| {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let mut sums = zero();
            sum_task(task, &mut sums)?;
            Ok(sums)
        })
        .try_reduce(zero, |a, b| add(a, &b))
}
