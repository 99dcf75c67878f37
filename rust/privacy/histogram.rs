//! First exit: noisy counts for the marginals.

use super::cohort::{Outcome, PrivateCohort};
use super::event::Neighbours;
use super::journal::Query;
use crate::error::{Error, Result};
use crate::marginals::estimate::Counted;
use crate::marginals::{Partition, Partitions};

/// Lattice units that a patient adds to one feature's histogram.
pub const FEATURE_UNITS: i64 = 1 << 12;

/// Weight of the outcome's histogram against the `n_features` feature histograms: a fifth of the
/// squared sensitivity, since prevalence and event rate matter more than any one column.
pub(super) fn outcome_units(n_features: usize) -> i64 {
    (FEATURE_UNITS as f64 * (n_features as f64 / 4.0).sqrt().max(1.0)) as i64
}

/// L2 sensitivity of a question in lattice units, rounded up: a patient adds at most one histogram's
/// units to one bin of each. Two patients' vectors have no negative entry, so that the squared norm of
/// their difference is at most the sum of their squared norms.
pub(super) fn sensitivity(
    n_features_asked: usize,
    outcome_asked: bool,
    n_features: usize,
    neighbours: Neighbours,
) -> f64 {
    let outcome = if outcome_asked { outcome_units(n_features) } else { 0 };
    let squared = n_features_asked as f64 * (FEATURE_UNITS as f64).powi(2) + (outcome as f64).powi(2);
    let patients = if neighbours == Neighbours::ReplaceOne { 2.0 } else { 1.0 };
    (patients * squared).sqrt().next_up()
}

impl PrivateCohort {
    /// Answers the next planned question for histograms with noisy counts, in patients.
    ///
    /// A patient with `k` rows adds a `k`-th of a unit per row, so that each patient counts once.
    ///
    /// # Errors
    /// [`Error::NotPlanned`] when the plan has no such question left, [`Error::Entropy`].
    pub fn noisy_counts(&mut self, partitions: &Partitions) -> Result<Counted> {
        let query = "marginals";
        let planned = self.plan.marginals.len();
        let stage = self.plan.marginals.get(self.marginals_asked).cloned();
        let stage = stage.ok_or(Error::NotPlanned { query, planned: planned as u64 })?;
        let n_asked = partitions.features.iter().flatten().count();
        let same = n_asked == stage.n_features && partitions.outcome.is_some() == stage.outcome;
        if !same || partitions.features.len() != self.n_columns {
            return Err(Error::NotPlanned { query, planned: planned as u64 });
        }
        // Spent from here on, whatever happens next.
        self.marginals_asked += 1;
        let outcome_units = outcome_units(self.n_columns);
        let outcome_size = partitions.outcome.as_ref().map_or(0, |p| outcome_bin(&self.outcome, p).0);
        let bins: usize = partitions.features.iter().flatten().map(|p| p.n_bins() + 1).sum();
        let sums = self.disclose(Query::Marginals, bins + outcome_size, stage.noise_scale, |this| {
            Ok(this.sums(partitions, outcome_units))
        })?;
        let mut rest = sums.as_slice();
        let mut counts = |size: usize, units: i64| -> Vec<f64> {
            let (these, others) = rest.split_at(size);
            rest = others;
            these.iter().map(|&s| s as f64 / units as f64).collect()
        };
        let features = partitions.features.iter().map(|p| {
            let size = p.as_ref()?.n_bins() + 1;
            Some(counts(size, FEATURE_UNITS))
        });
        let features = features.collect();
        let outcome = partitions.outcome.as_ref().map(|_| counts(outcome_size, outcome_units));
        Ok(Counted {
            features,
            outcome,
            feature_sd: stage.noise_scale as f64 / FEATURE_UNITS as f64,
            outcome_sd: stage.noise_scale as f64 / outcome_units as f64,
        })
    }

    /// Exact histograms of what is asked, side by side; the outcome's last.
    fn sums(&self, partitions: &Partitions, outcome_units: i64) -> Vec<i64> {
        let mut sums = Vec::new();
        for (j, partition) in partitions.features.iter().enumerate() {
            let Some(p) = partition else { continue };
            let column = |row: usize| self.cells[row * self.n_columns + j];
            sums.extend(sum_bins(&self.unit_start, p.n_bins() + 1, FEATURE_UNITS, |row| {
                p.bin_of(column(row))
            }));
        }
        if let Some(p) = &partitions.outcome {
            let (n_bins, bin) = outcome_bin(&self.outcome, p);
            sums.extend(sum_bins(&self.unit_start, n_bins, outcome_units, bin));
        }
        sums
    }
}

/// Integer histogram in which each unit (patient) adds at most `units` in all.
fn sum_bins(unit_start: &[usize], n_bins: usize, units: i64, bin: impl Fn(usize) -> usize) -> Vec<i64> {
    let mut sums = vec![0_i64; n_bins];
    for unit in unit_start.windows(2) {
        let n_rows = (unit[1] - unit[0]) as i64;
        let (share, rest) = (units / n_rows, units % n_rows);
        for (i, row) in (unit[0]..unit[1]).enumerate() {
            // At most MOST_UNITS times 2^20 in all: no overflow.
            sums[bin(row)] += share + i64::from((i as i64) < rest);
        }
    }
    sums
}

/// Number of bins of the outcome's histogram with the missing one last, and the bin of a row.
fn outcome_bin<'a>(
    outcome: &'a Outcome,
    partition: &'a Partition,
) -> (usize, Box<dyn Fn(usize) -> usize + 'a>) {
    let n = partition.n_bins();
    match outcome {
        Outcome::Classes(y) => (n + 1, Box::new(move |row| partition.bin_of(y[row]))),
        Outcome::Survival { time, event } => {
            let bin = move |row: usize| match (time[row].is_nan(), event[row]) {
                (false, 0.0) => partition.bin_of(time[row]),
                (false, 1.0) => n + partition.bin_of(time[row]),
                _ => 2 * n,
            };
            (2 * n + 1, Box::new(bin))
        }
    }
}
