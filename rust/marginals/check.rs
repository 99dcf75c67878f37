//! Whether marginals are such as a schema's cohort can have: those of a loaded release are but text.

use super::{Marginal, Marginals, OutcomeMarginal};
use crate::error::{Error, Result};
use crate::schema::{Column, Role, Schema, Task};

/// What rounding may leave between shares and 1, and between an edge and its bound as a share of the range.
const ROUNDING: f64 = 1e-9;

impl Marginals {
    /// Checks that the marginals are those of a schema, and that each is a distribution within its bounds.
    ///
    /// # Errors
    /// [`Error::Data`] naming the column.
    pub fn check(&self, schema: &Schema) -> Result<()> {
        if self.features.len() != schema.features().count() {
            return Err(misfit("marginals", "they are not one per feature of this schema"));
        }
        if !(self.count.is_finite() && self.count >= 1.0) {
            return Err(misfit("marginals", &format!("a count of {} patients is below 1", self.count)));
        }
        if !is_share(self.share_sd) {
            return Err(misfit(
                "marginals",
                &format!("a share's noise of {} is not in [0, 1]", self.share_sd),
            ));
        }
        schema.features().zip(&self.features).try_for_each(|(column, marginal)| feature(column, marginal))?;
        outcome(schema, &self.outcome)
    }
}

fn misfit(column: &str, problem: &str) -> Error {
    Error::data(column, problem, "take schema and marginals from the same release")
}

fn is_share(value: f64) -> bool {
    (0.0..=1.0 + ROUNDING).contains(&value)
}

fn feature(column: &Column, marginal: &Marginal) -> Result<()> {
    if !is_share(marginal.missing) {
        let problem = format!("a share of {} missing values is not in [0, 1]", marginal.missing);
        return Err(misfit(&column.name, &problem));
    }
    let n_bins = match column.n_levels() {
        Some(n_levels) => n_levels,
        None => bins(column, &marginal.edges)?,
    };
    shares(&column.name, &[(&marginal.weights, n_bins)])
}

fn outcome(schema: &Schema, marginal: &OutcomeMarginal) -> Result<()> {
    match (marginal, schema.task(), schema.column(Role::Time)) {
        (OutcomeMarginal::Classes { weights }, Task::Classification { n_classes }, _) => {
            shares("outcome", &[(weights, n_classes)])
        }
        (OutcomeMarginal::Survival { edges, censored, event }, Task::Survival, Some(time)) => {
            let n_bins = bins(time, edges)?;
            shares(&time.name, &[(censored, n_bins), (event, n_bins)])
        }
        _ => Err(misfit("outcome", "its marginal is not of the task that the schema declares")),
    }
}

/// Number of bins between edges that ascend from the column's lower bound to its upper one.
fn bins(column: &Column, edges: &[f64]) -> Result<usize> {
    let (Some(lower), Some(upper)) = (column.lower, column.upper) else {
        return Err(misfit(&column.name, "the schema gives it no bounds"));
    };
    let (Some(first), Some(last)) = (edges.first(), edges.last()) else {
        return Err(misfit(&column.name, "it has no edges"));
    };
    let differs = |edge: f64, bound: f64| (edge - bound).abs() > ROUNDING * (upper - lower);
    if differs(*first, lower) || differs(*last, upper) {
        let problem = format!("its edges go from {first} to {last} instead of from {lower} to {upper}");
        return Err(misfit(&column.name, &problem));
    }
    if edges.len() < 2 || !edges.windows(2).all(|bin| bin[0] < bin[1]) {
        let problem = format!("its {} edges are not two or more that ascend", edges.len());
        return Err(misfit(&column.name, &problem));
    }
    Ok(edges.len() - 1)
}

/// Lists of so many shares each, which add up to 1 together.
fn shares(column: &str, lists: &[(&Vec<f64>, usize)]) -> Result<()> {
    for (weights, n_bins) in lists {
        if weights.len() != *n_bins {
            return Err(misfit(column, &format!("it has {} weights for {n_bins} bins", weights.len())));
        }
    }
    let all = || lists.iter().flat_map(|(weights, _)| weights.iter());
    if let Some(weight) = all().find(|weight| !is_share(**weight)) {
        return Err(misfit(column, &format!("the weight {weight} is not in [0, 1]")));
    }
    let sum: f64 = all().sum();
    if (sum - 1.0).abs() > ROUNDING {
        return Err(misfit(column, &format!("its weights add up to {sum} instead of 1")));
    }
    Ok(())
}
