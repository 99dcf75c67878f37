//! Noisy one-way marginals: their public form, their estimation from noisy counts, and the codec
//! between latents in `[0, 1]`, real units and the learners' encoded features.
//!
//! All of it is public: the counts come noisy out of the private half, the rest is post-processing.

mod check;
pub mod codec;
pub mod estimate;
pub mod shapes;

use crate::privacy::predictor::TimeGrid;
use crate::schema::{Kind, Role, Schema};
use serde::{Deserialize, Serialize};

/// How one histogram divides its column.
#[derive(Debug, Clone, PartialEq)]
pub enum Partition {
    /// Bins between ascending edges; bin `b` is `(edges[b], edges[b + 1]]`, the first one closed.
    Bins(Vec<f64>),
    /// One bin per level.
    Levels(usize),
}

impl Partition {
    /// Number of bins, without the one for missing values.
    pub fn n_bins(&self) -> usize {
        match self {
            Self::Bins(edges) => edges.len() - 1,
            Self::Levels(n) => *n,
        }
    }

    /// Bin of a canonical cell; the last one, `n_bins()`, takes missing values.
    pub fn bin_of(&self, cell: f64) -> usize {
        match self {
            _ if cell.is_nan() => self.n_bins(),
            Self::Bins(edges) => edges[1..edges.len() - 1].partition_point(|&edge| edge < cell),
            Self::Levels(n) => (cell as usize).min(n - 1),
        }
    }
}

/// Which histograms are asked together: one per feature (or `None`), and one of the outcome.
///
/// For survival the outcome's histogram has the time bins twice: censored first, then events.
#[derive(Debug, Clone, PartialEq)]
pub struct Partitions {
    /// One per feature column; `None` leaves the column out.
    pub features: Vec<Option<Partition>>,
    /// Classes, or bins of the time column; `None` leaves it out.
    pub outcome: Option<Partition>,
}

/// Noisy counts for one [`Partition`], in patients; the last one counts missing values.
pub type NoisyCounts = Vec<f64>;

/// Noisy distribution of one feature column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Marginal {
    /// Share of patients with a missing value, in `[0, 1]`.
    pub missing: f64,
    /// Ascending edges for a continuous column (in its unit), empty for a levelled one.
    pub edges: Vec<f64>,
    /// Share of each bin or level among the values that are there; sums to 1.
    pub weights: Vec<f64>,
}

/// Noisy distribution of the outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum OutcomeMarginal {
    /// Share of each class; sums to 1.
    Classes {
        /// One per class of the schema.
        weights: Vec<f64>,
    },
    /// Follow-up times of censored patients and of events; both lists together sum to 1.
    Survival {
        /// Ascending edges in the time column's unit.
        edges: Vec<f64>,
        /// Share of patients censored in each bin.
        censored: Vec<f64>,
        /// Share of patients with the event in each bin.
        event: Vec<f64>,
    },
}

/// All noisy marginals of a cohort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Marginals {
    /// Noisy number of patients, at least 1.
    pub count: f64,
    /// Standard deviation of the noise in the share of one level of a feature column.
    #[serde(default)]
    pub share_sd: f64,
    /// One per feature column, in the schema's order.
    pub features: Vec<Marginal>,
    /// The target, or time and event.
    pub outcome: OutcomeMarginal,
}

impl Marginals {
    /// Share of events among all patients; `None` for classification.
    pub fn event_rate(&self) -> Option<f64> {
        match &self.outcome {
            OutcomeMarginal::Survival { event, .. } => Some(event.iter().sum()),
            OutcomeMarginal::Classes { .. } => None,
        }
    }

    /// Grid of the piecewise-constant baseline hazard: equal shares of the noisy event times.
    pub fn time_grid(&self, n_intervals: usize) -> Option<TimeGrid> {
        let OutcomeMarginal::Survival { edges, event, .. } = &self.outcome else {
            return None;
        };
        let total: f64 = event.iter().sum();
        let weights: Vec<f64> = if total > 0.0 {
            event.iter().map(|w| w / total).collect()
        } else {
            vec![1.0 / event.len() as f64; event.len()]
        };
        let mut grid = vec![0.0];
        for b in 1..n_intervals {
            let time = codec::quantile(edges, &weights, b as f64 / n_intervals as f64);
            if time > grid[grid.len() - 1] {
                grid.push(time);
            }
        }
        let upper = edges[edges.len() - 1];
        if upper > grid[grid.len() - 1] {
            grid.push(upper);
        }
        Some(TimeGrid { edges: grid })
    }
}

/// The first, coarse question: equal bins within the public bounds of every continuous column.
/// Levelled columns wait for the second one; `None` when there is nothing to ask.
pub fn coarse_partitions(schema: &Schema, n_bins: usize) -> Option<Partitions> {
    let equal = |lower: f64, upper: f64| {
        let edge = |b| lower + (upper - lower) * b as f64 / n_bins as f64;
        Partition::Bins((0..=n_bins).map(edge).collect())
    };
    let bounds = |c: &crate::schema::Column| Some(equal(c.lower?, c.upper?));
    let features: Vec<_> =
        schema.features().map(|c| (c.kind == Kind::Continuous).then(|| bounds(c)).flatten()).collect();
    let outcome = schema.column(Role::Time).and_then(bounds);
    (outcome.is_some() || features.iter().any(Option::is_some)).then_some(Partitions { features, outcome })
}
