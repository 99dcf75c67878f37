//! Native learners: fitted on synthetic rows only.

mod baseline;
pub mod cox;
pub(crate) mod linalg;
pub mod logistic;
mod newton;
pub mod tree;

use crate::error::{Error, Result};
use crate::privacy::predictor::{Predictor, TimeGrid};
use newton::Start;
use serde::{Deserialize, Serialize};

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

/// A learner with its options; in JSON `{"kind": "logistic", "c": 1.0}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Learner {
    /// Classification tree.
    Tree(tree::TreeOptions),
    /// Logistic regression.
    Logistic(logistic::LogisticOptions),
    /// Cox regression.
    Cox(cox::CoxOptions),
}

/// Reusable memory of the fits: after the first fit of a shape, only the returned [`Predictor`] is allocated.
#[derive(Debug, Default)]
pub struct Scratch {
    tree: tree::Buffers,
    logistic: logistic::Buffers,
    cox: cox::Buffers,
}

/// A model fitted on the unperturbed rows, with what makes the fits on nearby rows cheap.
#[derive(Debug, Clone, PartialEq)]
pub struct Base {
    predictor: Predictor,
    /// Cholesky factor of the Hessian at the minimum; empty for a tree.
    factor: Vec<f64>,
}

impl Base {
    /// The fitted model.
    pub fn predictor(&self) -> &Predictor {
        &self.predictor
    }
}

impl Learner {
    /// Fits the synthetic rows.
    ///
    /// `warm` is a model of the same learner fitted on nearby rows, as a start for Newton's method;
    /// it never changes the answer beyond the tolerance. One of another shape is not used.
    pub fn fit(&self, design: &Design, warm: Option<&Predictor>, scratch: &mut Scratch) -> Result<Predictor> {
        self.fit_from(design, warm, None, scratch)
    }

    /// Fits the unperturbed rows, for [`Learner::fit_near`].
    pub fn base(&self, design: &Design, scratch: &mut Scratch) -> Result<Base> {
        let first = self.fit(design, None, scratch)?;
        let factor: fn(&Scratch) -> &[f64] = match self {
            Self::Tree(_) => return Ok(Base { predictor: first, factor: Vec::new() }),
            Self::Logistic(_) => |scratch| &scratch.logistic.newton.factor,
            Self::Cox(_) => |scratch| &scratch.cox.newton.factor,
        };
        // From the minimum, the second fit builds one Hessian there and stops.
        let predictor = self.fit(design, Some(&first), scratch)?;
        Ok(Base { predictor, factor: factor(scratch).to_vec() })
    }

    /// Fits rows near those of `base`: no Hessian as a rule, so several times as fast on wide rows as a warm
    /// [`Learner::fit`]. The same answer within the tolerance, and the same bits for the same base.
    pub fn fit_near(&self, design: &Design, base: &Base, scratch: &mut Scratch) -> Result<Predictor> {
        self.fit_from(design, Some(&base.predictor), Some(&base.factor), scratch)
    }

    fn fit_from(
        &self,
        design: &Design,
        warm: Option<&Predictor>,
        factor: Option<&[f64]>,
        scratch: &mut Scratch,
    ) -> Result<Predictor> {
        self.check_options()?;
        check_rows(design)?;
        let Design { x, n_features, labels } = *design;
        match (self, labels) {
            (Self::Tree(options), Labels::Classes { codes, n_classes }) => {
                Ok(tree::fit(options, x, n_features, codes, n_classes, &mut scratch.tree))
            }
            (Self::Logistic(options), Labels::Classes { codes, n_classes }) => {
                let start = if let Some(Predictor::Linear(model)) = warm {
                    Some(Start { model, factor })
                } else {
                    None
                };
                logistic::fit(options, x, n_features, codes, n_classes, start, &mut scratch.logistic)
            }
            (Self::Cox(options), Labels::Survival { time, event, grid }) => {
                let start = if let Some(Predictor::Hazard(model)) = warm {
                    Some(Start { model, factor })
                } else {
                    None
                };
                cox::fit(options, x, n_features, cox::Outcome { time, event, grid }, start, &mut scratch.cox)
            }
            _ => Err(Error::Fit { reason: "the learner and the outcome do not belong together" }),
        }
    }

    fn check_options(&self) -> Result<()> {
        let positive = |name, value: f64| {
            let holds = value > 0.0 && value.is_finite();
            if holds { Ok(()) } else { Err(Error::option(name, "positive and finite", value)) }
        };
        match self {
            Self::Tree(options) => positive("smoothing", options.smoothing),
            Self::Logistic(options) => positive("c", options.c),
            Self::Cox(options) => {
                positive("prior_events", options.prior_events)?;
                let holds = options.penalizer >= 0.0 && options.penalizer.is_finite();
                if holds {
                    Ok(())
                } else {
                    Err(Error::option("penalizer", "at least 0 and finite", options.penalizer))
                }
            }
        }
    }
}

fn check_rows(design: &Design) -> Result<()> {
    let n_rows = match design.labels {
        Labels::Classes { codes, n_classes } => {
            check(codes.iter().all(|&code| (code as usize) < n_classes), "a class code is out of range")?;
            codes.len()
        }
        Labels::Survival { time, event, grid } => {
            check(time.len() == event.len(), "there are not as many events as times")?;
            check(time.iter().all(|time| time.is_finite()), "a time is not finite")?;
            check(grid.edges.len() >= 2, "the time grid has no interval")?;
            check(grid.edges.windows(2).all(|edge| edge[0] < edge[1]), "the time grid does not ascend")?;
            time.len()
        }
    };
    check(n_rows > 0, "there are no rows")?;
    check(design.x.len() == n_rows * design.n_features, "the rows do not have the number of features given")?;
    check(design.x.iter().all(|x| x.is_finite()), "a feature is not finite")
}

fn check(holds: bool, reason: &'static str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Fit { reason }) }
}

/// Writes row-major `x` as columns `stride` apart.
fn transpose(x: &[f64], n_features: usize, stride: usize, columns: &mut [f64]) {
    for (i, row) in x.chunks_exact(n_features.max(1)).enumerate() {
        for (j, &value) in row.iter().enumerate() {
            columns[j * stride + i] = value;
        }
    }
}
