//! From noisy counts to marginals: post-processing, no patient in sight.

use super::codec::quantile;
use super::shapes::{Seen, shrink};
use super::{Marginal, Marginals, NoisyCounts, OutcomeMarginal, Partition, Partitions};
use crate::schema::{Column, Kind, Schema, Task};
use std::f64::consts::SQRT_2;

/// Share of the mass that is spread evenly over the bounds when fine bins are cut, so that a part of
/// the range that the noisy coarse counts call empty still gets a bin.
const EVEN_SHARE: f64 = 0.05;

/// A continuous column is trusted when this many patients have a value, in standard deviations of a count's noise, and
/// not at all at one less: shapes find a peak of two in noise alone.
const PRESENT: f64 = 3.5;

/// Present values of a column of levels are trusted when they add up to this many standard deviations of noise.
const TRUSTED: f64 = 4.0;

/// Levels from which a scale of numbers is taken for a continuous column: years of schooling, with fewer, have peaks.
const MANY_LEVELS: usize = 20;

/// Noisy counts of one question, with the noise that each cell carries.
#[derive(Debug, Clone)]
pub struct Counted {
    /// One per feature column that was asked.
    pub features: Vec<Option<NoisyCounts>>,
    /// The outcome's counts.
    pub outcome: Option<NoisyCounts>,
    /// Standard deviation of the noise of a feature's count, in patients.
    pub feature_sd: f64,
    /// Standard deviation of the noise of an outcome's count, in patients.
    pub outcome_sd: f64,
}

/// Inverse-variance mean over the histograms of their totals; at least 1.
pub fn noisy_count(counted: &Counted) -> f64 {
    let totals = counted
        .features
        .iter()
        .flatten()
        .map(|c| (c, counted.feature_sd))
        .chain(counted.outcome.iter().map(|c| (c, counted.outcome_sd)));
    let (mut sum, mut precision) = (0.0, 0.0);
    for (counts, sd) in totals {
        let weight = 1.0 / (counts.len() as f64 * sd * sd);
        sum += weight * counts.iter().sum::<f64>();
        precision += weight;
    }
    (sum / precision).max(1.0)
}

/// Euclidean projection of noisy counts on `{x >= 0, Σx = total}` (Duchi et al. 2008): it takes the
/// positive half of the noise off the empty bins.
pub fn project(counts: &[f64], total: f64) -> Vec<f64> {
    let mut sorted = counts.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut shift) = (0.0, sorted[0] - total);
    for (i, value) in sorted.iter().enumerate() {
        sum += value;
        let candidate = (sum - total) / (i + 1) as f64;
        if value - candidate > 0.0 {
            shift = candidate;
        }
    }
    counts.iter().map(|c| (c - shift).max(0.0)).collect()
}

/// Shares of the bins among present values, and the share of missing ones.
fn shares(counts: &[f64], total: f64) -> (Vec<f64>, f64) {
    let projected = project(counts, total);
    let (bins, missing) = projected.split_at(projected.len() - 1);
    let present: f64 = bins.iter().sum();
    let even = 1.0 / bins.len() as f64;
    let weights = bins.iter().map(|b| if present > 0.0 { b / present } else { even }).collect();
    // What noise far above the total leaves of its digits may round above 1.
    (weights, (missing[0] / total).min(1.0))
}

/// Cuts each continuous column into bins of about equal noisy mass, for the second question.
pub fn fine_partitions(
    schema: &Schema,
    coarse: Option<(&Partitions, &Counted)>,
    n_bins: usize,
) -> Partitions {
    let total = coarse.map_or(1.0, |(_, counted)| noisy_count(counted));
    let cut = |partition: &Partition, counts: &[f64], sd: f64| match partition {
        Partition::Bins(edges) => {
            let (weights, _) = shares(&shrink(&[Seen { edges, counts, sd }], total).counts[0], total);
            let even = EVEN_SHARE / weights.len() as f64;
            let mixed: Vec<f64> = weights.iter().map(|w| w * (1.0 - EVEN_SHARE) + even).collect();
            let inner = (1..n_bins).map(|b| quantile(edges, &mixed, b as f64 / n_bins as f64));
            let ends = (edges[0], edges[edges.len() - 1]);
            let mut fine: Vec<f64> = std::iter::once(ends.0).chain(inner).chain([ends.1]).collect();
            fine.dedup_by(|next, last| *next <= *last);
            Partition::Bins(fine)
        }
        Partition::Levels(n) => Partition::Levels(*n),
    };
    let features = schema
        .features()
        .enumerate()
        .map(|(j, column)| match (column.n_levels(), coarse) {
            (Some(n), _) => Some(Partition::Levels(n)),
            (None, Some((asked, counted))) => {
                let (partition, counts) = (asked.features[j].as_ref()?, counted.features[j].as_ref()?);
                Some(cut(partition, counts, counted.feature_sd))
            }
            (None, None) => None,
        })
        .collect();
    let outcome = match (schema.task(), coarse) {
        (Task::Classification { n_classes }, _) => Some(Partition::Levels(n_classes)),
        (Task::Survival, Some((Partitions { outcome: Some(asked), .. }, counted))) => {
            // The two halves of the survival histogram share their time bins: cut by their sum.
            let folded = counted.outcome.as_ref().map(|c| fold(c));
            folded.map(|counts| cut(asked, &counts, counted.outcome_sd * SQRT_2))
        }
        (Task::Survival, _) => None,
    };
    Partitions { features, outcome }
}

/// Adds the censored and the event half of a survival histogram, keeping the missing bin.
fn fold(counts: &[f64]) -> NoisyCounts {
    let n = (counts.len() - 1) / 2;
    let mut folded: Vec<f64> = (0..n).map(|b| counts[b] + counts[n + b]).collect();
    folded.push(counts[2 * n]);
    folded
}

/// The marginals from both questions: shares from the fine one, and inside a fine bin the shape of
/// the coarse one, so that a wide last bin does not stretch a tail to the bound.
pub fn marginals(
    schema: &Schema,
    coarse: Option<(&Partitions, &Counted)>,
    fine: (&Partitions, &Counted),
) -> Marginals {
    let count = noisy_count(fine.1);
    let coarse_count = coarse.map_or(1.0, |(_, counted)| noisy_count(counted));
    let features = schema
        .features()
        .enumerate()
        .map(|(j, column)| {
            let counts = fine.1.features[j].as_deref().unwrap_or(&[1.0, 0.0]);
            let seen = coarse.and_then(|(asked, counted)| {
                let later = histogram(fine.0.features[j].as_ref(), Some(counts), fine.1.feature_sd)?;
                let first = histogram(
                    asked.features[j].as_ref(),
                    counted.features[j].as_deref(),
                    counted.feature_sd,
                )?;
                Some([later, first])
            });
            let sd = fine.1.feature_sd;
            seen.map_or_else(|| levelled(column, counts, count, sd), |seen| continuous(&seen, count))
        })
        .collect();
    Marginals {
        count,
        share_sd: (fine.1.feature_sd / count).min(0.5),
        features,
        outcome: outcome(coarse, fine, count, coarse_count),
    }
}

/// Bins of a continuous column with their counts.
fn histogram<'a>(partition: Option<&'a Partition>, counts: Option<&'a [f64]>, sd: f64) -> Option<Seen<'a>> {
    match (partition, counts) {
        (Some(Partition::Bins(edges)), Some(counts)) => Some(Seen { edges, counts, sd }),
        _ => None,
    }
}

/// Marginal of a continuous column: the later counts, and the shape of the first ones inside their bins. A peak that may
/// be one of the noise's is spread evenly over the bounds: a wrong narrow one would make every patient an outlier.
fn continuous(seen: &[Seen<'_>; 2], total: f64) -> Marginal {
    let shrunk = shrink(seen, total);
    let (weights, missing) = shares(&shrunk.counts[0], total);
    let shape = (seen[1].edges, shares(&shrunk.counts[1], total).0);
    let (edges, parts) = refine(seen[0].edges, &[&weights], Some(shape));
    let range = edges[edges.len() - 1] - edges[0];
    let even: Vec<f64> = edges.windows(2).map(|bin| (bin[1] - bin[0]) / range).collect();
    let doubt = (PRESENT - shrunk.present / seen[0].sd).clamp(0.0, 1.0);
    Marginal { missing, edges, weights: mix(&parts[0], &even, doubt) }
}

/// Marginal of a column of levels: what is in doubt is spread evenly. Many levels that are numbers have counts like
/// the bins of a continuous column, and as noisy: what noise leaves far from the others would be a tail.
fn levelled(column: &Column, counts: &[f64], total: f64, sd: f64) -> Marginal {
    let is_scale = column.kind == Kind::Ordinal && column.categories.is_empty();
    let edges: Vec<f64> = (0..counts.len()).map(|level| level as f64).collect();
    let n_levels = counts.len() - 1;
    let shrunk = if is_scale && n_levels >= MANY_LEVELS {
        shrink(&[Seen { edges: &edges, counts, sd }], total).counts.swap_remove(0)
    } else {
        counts.to_vec()
    };
    let (weights, missing) = shares(&shrunk, total);
    let even = vec![1.0 / weights.len() as f64; weights.len()];
    Marginal { missing, edges: Vec::new(), weights: mix(&weights, &even, doubt(counts, total, sd)) }
}

/// Weights of which `share` gives way to `other`.
fn mix(weights: &[f64], other: &[f64], share: f64) -> Vec<f64> {
    weights.iter().zip(other).map(|(w, o)| w * (1.0 - share) + o * share).collect()
}

/// How little the noisy counts of a column's levels say, in `[0, 1]`: 0 where they add up to [`TRUSTED`] standard
/// deviations of their noise.
fn doubt(counts: &[f64], total: f64, sd: f64) -> f64 {
    let n_bins = counts.len() - 1;
    let present: f64 = project(counts, total)[..n_bins].iter().sum();
    (1.0 - present / (TRUSTED * sd * (n_bins as f64).sqrt())).max(0.0)
}

fn outcome(
    coarse: Option<(&Partitions, &Counted)>,
    fine: (&Partitions, &Counted),
    count: f64,
    coarse_count: f64,
) -> OutcomeMarginal {
    let (weights, _) = shares(fine.1.outcome.as_deref().unwrap_or(&[1.0, 0.0]), count);
    let (Some(Partition::Bins(edges)), Some((asked, counted))) = (&fine.0.outcome, coarse) else {
        return OutcomeMarginal::Classes { weights };
    };
    let (censored, event) = weights.split_at(weights.len() / 2);
    let folded = counted.outcome.as_ref().map(|c| fold(c));
    let shape = coarse_shape(&asked.outcome, folded.as_deref(), coarse_count);
    let (edges, mut parts) = refine(edges, &[censored, event], shape);
    let event = parts.swap_remove(1);
    OutcomeMarginal::Survival { edges, censored: parts.swap_remove(0), event }
}

/// Edges and projected shares of a coarse histogram.
fn coarse_shape<'a>(
    partition: &'a Option<Partition>,
    counts: Option<&[f64]>,
    total: f64,
) -> Option<(&'a [f64], Vec<f64>)> {
    match (partition, counts) {
        (Some(Partition::Bins(edges)), Some(counts)) => Some((edges, shares(counts, total).0)),
        _ => None,
    }
}

/// Splits fine bins at the coarse edges, sharing each bin's weight by the coarse mass of its pieces.
fn refine(
    fine_edges: &[f64],
    weights: &[&[f64]],
    coarse: Option<(&[f64], Vec<f64>)>,
) -> (Vec<f64>, Vec<Vec<f64>>) {
    let Some((coarse_edges, shape)) = coarse else {
        return (fine_edges.to_vec(), weights.iter().map(|w| w.to_vec()).collect());
    };
    let mut edges: Vec<f64> = fine_edges.iter().chain(coarse_edges).copied().collect();
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    let within = |outer: &[f64], x: f64| outer[1..outer.len() - 1].partition_point(|&e| e < x);
    let pieces: Vec<(usize, f64)> = edges
        .windows(2)
        .map(|piece| {
            let (middle, width) = (0.5 * (piece[0] + piece[1]), piece[1] - piece[0]);
            let bin = within(coarse_edges, middle);
            let coarse_width = coarse_edges[bin + 1] - coarse_edges[bin];
            // The floor keeps a fine bin proper where the coarse counts saw nothing at all.
            (within(fine_edges, middle), (shape[bin] + 1e-9) * width / coarse_width)
        })
        .collect();
    let mut mass = vec![0.0; fine_edges.len() - 1];
    pieces.iter().for_each(|&(bin, m)| mass[bin] += m);
    let split = |w: &&[f64]| pieces.iter().map(|&(bin, m)| w[bin] * m / mass[bin]).collect();
    (edges, weights.iter().map(split).collect())
}
