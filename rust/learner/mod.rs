//! Native learners: fitted on synthetic rows only.

use crate::privacy::predictor::TimeGrid;

/// Outcomes of the synthetic rows.
#[derive(Debug, Clone, Copy)]
pub enum Labels<'a> {
    /// Class codes `0..n_classes`, one per row.
    Classes {
        /// One per row.
        codes: &'a [u32],
        /// Number of classes in the schema; a class may be absent from `codes`.
        n_classes: usize,
    },
    /// Right-censored times.
    Survival {
        /// One per row, in the time column's unit, positive.
        time: &'a [f64],
        /// `true` where the event was seen.
        event: &'a [bool],
        /// Public cut points of the baseline hazard.
        grid: &'a TimeGrid,
    },
}

/// Encoded synthetic rows with their outcomes.
#[derive(Debug, Clone, Copy)]
pub struct Design<'a> {
    /// `n_rows × n_features`, row-major, standardised by the public scale.
    pub x: &'a [f64],
    /// Number of encoded features.
    pub n_features: usize,
    /// One outcome per row.
    pub labels: Labels<'a>,
}
