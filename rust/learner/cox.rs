//! Cox regression with Efron's treatment of ties (Efron 1977, J. Am. Stat. Assoc. 72:557), then a
//! piecewise-constant baseline hazard.
//!
//! The penalty is that of lifelines' `CoxPHFitter(penalizer, l1_ratio=0)`: coefficients minimise
//! `−ln L(coef) + ½ · penalizer · n_rows · Σ_j (sd_j · coef_j)²`, sd_j the sample standard
//! deviation (n − 1) of column j among the rows fitted.

use super::baseline;
use super::linalg::{combine, dot, gram, padded, zeroed};
use super::newton::{self, Objective, Start, tolerance};
use crate::error::{Error, Result};
use crate::privacy::exp::exp_all;
use crate::privacy::predictor::{Hazard, MOST_ETA, Predictor, TimeGrid};
use serde::{Deserialize, Serialize};

/// Options of the Cox regression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoxOptions {
    /// Strength of the ridge penalty, as in lifelines.
    pub penalizer: f64,
    /// Pseudo-events at the overall hazard in each interval of the baseline.
    pub prior_events: f64,
}

impl Default for CoxOptions {
    fn default() -> Self {
        Self { penalizer: 0.01, prior_events: 0.5 }
    }
}

/// Least penalizer: collinear columns and monotone likelihoods stay finite; too small to see otherwise.
const LEAST_PENALIZER: f64 = 1e-10;

/// Least sum of risks, of which the largest is 1: below it, its inverse squared would overflow.
const LEAST_AT_RISK: f64 = 1e-140;

/// A column whose standard deviation is below this fraction of its size is constant.
const CONSTANT: f64 = 1e-9;

/// Outcomes of the rows.
#[derive(Clone, Copy)]
pub(crate) struct Outcome<'a> {
    pub time: &'a [f64],
    pub event: &'a [bool],
    pub grid: &'a TimeGrid,
}

/// Reusable memory of a fit. Rows stand in descending order of time, so that risk sets are prefixes.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub newton: newton::Buffers,
    order: Vec<u32>,
    keys: Vec<(u64, u32)>,
    /// Standardised columns, padded.
    columns: Vec<f64>,
    mean: Vec<f64>,
    /// 0 for a constant column.
    inverse_sd: Vec<f64>,
    groups: Vec<Group>,
    rows: RowBuffers,
}

#[derive(Debug, Default)]
struct RowBuffers {
    /// 1 for an event, padded.
    event: Vec<f64>,
    /// Linear predictor, then `exp` of it.
    risk: Vec<f64>,
    /// Risk times cumulative hazard: the expected events of the row.
    expected: Vec<f64>,
    residual: Vec<f64>,
    /// For each event: share of the tied risk taken off, and one over the risk left.
    share: Vec<f64>,
    inverse: Vec<f64>,
    /// Columns of the mean covariates at the events.
    means: Vec<f64>,
    weighted: Vec<f64>,
    block: Vec<f64>,
}

/// Rows whose time is that of an event, `tied..end`, after those censored later, `start..tied`, that no event
/// separates from them. Only the last group may be without an event.
#[derive(Debug, Clone, Copy)]
struct Group {
    start: usize,
    tied: usize,
    end: usize,
    n_events: usize,
}

/// Fits right-censored outcomes on the rows of `x` (row-major).
pub(crate) fn fit(
    options: &CoxOptions,
    x: &[f64],
    n_features: usize,
    outcome: Outcome,
    warm: Option<Start<Hazard>>,
    buffers: &mut Buffers,
) -> Result<Predictor> {
    let n_rows = outcome.time.len();
    let stride = padded(n_rows);
    sort_rows(outcome, buffers);
    standardise(x, n_features, stride, buffers);
    let n_events = outcome.event.iter().filter(|&&event| event).count();
    let warm = warm.filter(|w| w.model.coef.len() == n_features);
    let factor = warm.as_ref().and_then(|w| w.factor);
    start(warm.as_ref().map(|w| w.model), buffers);
    if n_events == 0 {
        buffers.newton.point.fill(0.0);
        buffers.newton.factor.clear();
    } else {
        let ridge = options.penalizer.max(LEAST_PENALIZER) * n_rows as f64;
        let rows = &mut buffers.rows;
        zeroed(&mut rows.residual, stride);
        zeroed(&mut rows.expected, stride);
        zeroed(&mut rows.means, n_features * padded(n_events));
        zeroed(&mut rows.block, n_features * n_features);
        let mut partial = Partial {
            columns: &buffers.columns,
            groups: &buffers.groups,
            n_rows,
            stride,
            n_events,
            ridge,
            rows,
        };
        newton::minimise(&mut partial, &mut buffers.newton, factor, tolerance(warm.is_some()));
    }
    hazard(options, outcome, stride, buffers)
}

/// Descending time, the row's number deciding ties; and the groups.
fn sort_rows(outcome: Outcome, buffers: &mut Buffers) {
    let Outcome { time, event, .. } = outcome;
    let Buffers { order, keys, groups, rows, .. } = buffers;
    keys.clear();
    keys.extend(time.iter().zip(0..).map(|(&time, row)| (descending(time), row)));
    keys.sort_unstable();
    order.clear();
    order.extend(keys.iter().map(|&(_, row)| row));
    let delta = zeroed(&mut rows.event, padded(time.len()));
    for (delta, &row) in delta.iter_mut().zip(&*order) {
        *delta = f64::from(u8::from(event[row as usize]));
    }
    groups.clear();
    let (mut start, mut end) = (0, 0);
    for tied in keys.chunk_by(|a, b| a.0 == b.0) {
        let n_events = tied.iter().filter(|&&(_, row)| event[row as usize]).count();
        end += tied.len();
        if n_events > 0 {
            groups.push(Group { start, tied: end - tied.len(), end, n_events });
            start = end;
        }
    }
    groups.push(Group { start, tied: end, end, n_events: 0 });
}

/// Number that falls as a finite time rises, and is the same for the same time.
fn descending(time: f64) -> u64 {
    let bits = (time + 0.0).to_bits();
    if time < 0.0 { bits } else { !bits & (u64::MAX >> 1) }
}

/// Columns in the order of the rows, less their mean, over their standard deviation.
fn standardise(x: &[f64], n_features: usize, stride: usize, buffers: &mut Buffers) {
    let Buffers { order, columns, mean, inverse_sd, .. } = buffers;
    zeroed(columns, n_features * stride);
    for (i, &row) in order.iter().enumerate() {
        let row = &x[row as usize * n_features..][..n_features];
        for (j, &value) in row.iter().enumerate() {
            columns[j * stride + i] = value;
        }
    }
    let n_rows = order.len();
    mean.clear();
    inverse_sd.clear();
    for column in columns.chunks_exact_mut(stride.max(1)) {
        let column = &mut column[..n_rows];
        let centre = column.iter().sum::<f64>() / n_rows as f64;
        column.iter_mut().for_each(|x| *x -= centre);
        let sd = (dot(column, column) / (n_rows as f64 - 1.0).max(1.0)).sqrt();
        let inverse = if sd > CONSTANT * (1.0 + centre.abs()) { 1.0 / sd } else { 0.0 };
        column.iter_mut().for_each(|x| *x *= inverse);
        mean.push(centre);
        inverse_sd.push(inverse);
    }
}

/// Coefficients of the standardised columns.
fn start(warm: Option<&Hazard>, buffers: &mut Buffers) {
    let point = zeroed(&mut buffers.newton.point, buffers.inverse_sd.len());
    let Some(warm) = warm else { return };
    for ((point, coef), inverse) in point.iter_mut().zip(&warm.coef).zip(&buffers.inverse_sd) {
        *point = if *inverse > 0.0 { coef / inverse } else { 0.0 };
    }
}

/// Coefficients on the scale of `x`, with the baseline hazard that belongs to them.
fn hazard(options: &CoxOptions, outcome: Outcome, stride: usize, buffers: &mut Buffers) -> Result<Predictor> {
    let risk = zeroed(&mut buffers.rows.risk, stride);
    combine(&buffers.columns, stride, &buffers.newton.point, risk);
    let coef: Vec<f64> =
        buffers.newton.point.iter().zip(&buffers.inverse_sd).map(|(b, inverse)| b * inverse).collect();
    let centre = dot(&coef, &buffers.mean);
    if !centre.is_finite() {
        return Err(Error::Fit { reason: "the Cox regression overflowed" });
    }
    risk.iter_mut().for_each(|eta| *eta = eta.clamp(-MOST_ETA, MOST_ETA));
    exp_all(risk);
    let rows = buffers.order.iter().zip(&*risk).map(|(&row, &risk)| baseline::Row {
        time: outcome.time[row as usize],
        event: outcome.event[row as usize],
        risk,
    });
    let (log_hazard, cumulative) = baseline::fit(rows, outcome.grid, options.prior_events, centre);
    Ok(Predictor::Hazard(Hazard { coef, log_hazard, cumulative }))
}

/// Minus the log partial likelihood, with the ridge.
struct Partial<'a> {
    columns: &'a [f64],
    groups: &'a [Group],
    n_rows: usize,
    stride: usize,
    n_events: usize,
    ridge: f64,
    rows: &'a mut RowBuffers,
}

impl Partial<'_> {
    /// Turns linear predictors into risks; fills `share` and `inverse`; returns minus the log likelihood.
    fn risk_sets(&mut self) -> f64 {
        let RowBuffers { event, risk, share, inverse, .. } = &mut *self.rows;
        let most = risk[..self.n_rows].iter().fold(f64::NEG_INFINITY, |most, &eta| eta.max(most));
        let mut value = self.n_events as f64 * most - dot(event, risk);
        risk[..self.n_rows].iter_mut().for_each(|eta| *eta -= most);
        exp_all(&mut risk[..self.n_rows]);
        share.clear();
        inverse.clear();
        let (mut at_risk, mut product) = (0.0, 1.0);
        for &Group { start, tied, end, n_events } in self.groups {
            at_risk += risk[start..end].iter().sum::<f64>();
            let dying: f64 = risk[tied..end].iter().zip(&event[tied..end]).map(|(r, event)| r * event).sum();
            for k in 0..n_events {
                let part = k as f64 / n_events as f64;
                let left = (at_risk - part * dying).max(LEAST_AT_RISK);
                // One logarithm serves for as many factors as the product has room for.
                product *= left;
                if !(LEAST_AT_RISK..1.0 / LEAST_AT_RISK).contains(&product) {
                    value += product.ln();
                    product = 1.0;
                }
                share.push(part);
                inverse.push(1.0 / left);
            }
        }
        value + product.ln()
    }

    /// From the earliest time up: cumulative hazard, expected events and residuals of the rows.
    fn residuals(&mut self) {
        let RowBuffers { event, risk, share, inverse, expected, residual, .. } = &mut *self.rows;
        let mut cumulative = 0.0;
        let mut last = self.n_events;
        for &Group { start, tied, end, n_events } in self.groups.iter().rev() {
            let first = last - n_events;
            cumulative += inverse[first..last].iter().sum::<f64>();
            let off: f64 = dot(&share[first..last], &inverse[first..last]);
            last = first;
            for (expected, risk) in expected[start..end].iter_mut().zip(&risk[start..end]) {
                *expected = risk * cumulative;
            }
            for row in tied..end {
                expected[row] = risk[row] * (cumulative - off * event[row]);
            }
        }
        for ((residual, expected), event) in residual.iter_mut().zip(&*expected).zip(&*event) {
            *residual = expected - event;
        }
    }

    /// Mean covariates of the risk set at each event, weighted by risk, a column per feature.
    fn mean_covariates(&mut self) {
        let RowBuffers { event, risk, share, inverse, means, .. } = &mut *self.rows;
        let mean_stride = padded(self.n_events);
        for (column, means) in self.columns.chunks_exact(self.stride).zip(means.chunks_exact_mut(mean_stride))
        {
            let (mut sum, mut at) = (0.0, 0);
            for &Group { start, tied, end, n_events } in self.groups {
                sum += dot(&risk[start..tied], &column[start..tied]);
                let mut dying = 0.0;
                for row in tied..end {
                    let moment = risk[row] * column[row];
                    sum += moment;
                    dying += moment * event[row];
                }
                for k in at..at + n_events {
                    means[k] = (sum - share[k] * dying) * inverse[k];
                }
                at += n_events;
            }
        }
    }
}

impl Objective for Partial<'_> {
    fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> f64 {
        let risk = zeroed(&mut self.rows.risk, self.stride);
        combine(self.columns, self.stride, point, risk);
        let value = self.risk_sets();
        self.residuals();
        for ((gradient, column), point) in
            gradient.iter_mut().zip(self.columns.chunks_exact(self.stride)).zip(point)
        {
            *gradient = dot(column, &self.rows.residual) + self.ridge * point;
        }
        value + 0.5 * self.ridge * dot(point, point)
    }

    fn hessian(&mut self, out: &mut [f64]) {
        self.mean_covariates();
        let RowBuffers { expected, means, weighted, block, .. } = &mut *self.rows;
        gram(self.columns, Some(expected), self.stride, weighted, out);
        gram(means, None, padded(self.n_events), weighted, block);
        out.iter_mut().zip(&*block).for_each(|(out, block)| *out -= block);
        let n = self.columns.len() / self.stride;
        (0..n).for_each(|j| out[j * n + j] += self.ridge);
    }
}
