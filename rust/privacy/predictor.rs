//! Fitted models as plain public numbers.
//!
//! A model trained on synthetic rows enters the private half as one of these records, so that no
//! learner's code runs on patients' rows: the private half does the scoring itself. (In direct mode a
//! Python model scores them outside, and hands over loss differences.)

use serde::{Deserialize, Serialize};

/// Cut points of the piecewise-constant baseline hazard: public, ascending, from 0 to the upper
/// bound of the time column (`n_intervals + 1` numbers, in the time column's unit).
#[derive(Debug, Clone, PartialEq)]
pub struct TimeGrid {
    /// Ascending edges; interval `b` is `(edges[b], edges[b + 1]]`.
    pub edges: Vec<f64>,
}

impl TimeGrid {
    /// Number of intervals on which the hazard is constant.
    pub fn n_intervals(&self) -> usize {
        self.edges.len() - 1
    }

    /// Interval that holds `time`, and how far into it (same unit as the edges); clamped to the grid.
    pub fn locate(&self, time: f64) -> (usize, f64) {
        let inner = &self.edges[1..self.edges.len() - 1];
        let interval = inner.partition_point(|&edge| edge < time);
        let width = self.edges[interval + 1] - self.edges[interval];
        (interval, (time - self.edges[interval]).clamp(0.0, width))
    }
}

/// Logistic regression: logit `c` of row `x` is `intercept[c] + coef[c] · x`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Linear {
    /// `n_outputs × n_features`, row-major; one output for two classes, else one per class.
    pub coef: Vec<f64>,
    /// One per output.
    pub intercept: Vec<f64>,
}

/// One node of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Node {
    /// Rows with `x[feature] <= threshold` go to `left`, the others to `right`.
    Split {
        /// Encoded feature.
        feature: u32,
        /// Midpoint between two synthetic values.
        threshold: f64,
        /// Index of the left child in `nodes`.
        left: u32,
        /// Index of the right child in `nodes`.
        right: u32,
    },
    /// Index of a row of `log_prob`.
    Leaf(u32),
}

/// A classification tree; `nodes[0]` is the root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// Root first; children always after their parent.
    pub nodes: Vec<Node>,
    /// `n_leaves × n_classes`, row-major: log of the smoothed class probabilities.
    pub log_prob: Vec<f64>,
    /// Number of classes.
    pub n_classes: usize,
}

/// Largest absolute linear predictor of a hazard that counts where risks are summed or outcomes drawn: e³⁰ is beyond
/// any hazard ratio of patients, and more, as of rows that a fit separates, leaves nothing of other rows in a sum.
pub const MOST_ETA: f64 = 30.0;

/// Proportional hazards with a piecewise-constant baseline:
/// `h(t | x) = exp(log_hazard[b(t)] + coef · x)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hazard {
    /// One per encoded feature.
    pub coef: Vec<f64>,
    /// Log baseline hazard in each interval of the grid (events per unit of time).
    pub log_hazard: Vec<f64>,
    /// Baseline cumulative hazard at the left edge of each interval.
    pub cumulative: Vec<f64>,
}

/// A fitted model of any native learner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Predictor {
    /// Logistic regression.
    Linear(Linear),
    /// Classification tree.
    Tree(Tree),
    /// Cox regression with baseline.
    Hazard(Hazard),
}
