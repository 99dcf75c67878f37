//! Rules that a schema must keep.

use super::{Column, Kind, Missing, Role, Schema};
use crate::error::{Error, Result};
use std::collections::HashSet;

/// Levels of one column: more make the noisy histogram useless and the release wide.
const MOST_LEVELS: usize = 1000;
/// Larger numbers have no clinical meaning, and their sums overflow.
const LARGEST_BOUND: f64 = 1e100;
/// Within a smaller range the edges of bins would coincide.
const LEAST_RANGE: f64 = 1e-100;
/// Lattice units of a patient's vote in a histogram: with more rows, some would have no unit.
const MOST_ROWS: usize = 1 << 12;
const MOST_COLUMNS: usize = 20_000;

pub(super) fn check(schema: &Schema) -> Result<()> {
    check_names(schema)?;
    schema.columns.iter().try_for_each(check_max_rows)?;
    for column in schema.columns.iter().filter(|c| !matches!(c.role, Role::Ignore | Role::PatientId)) {
        check_column(column)?;
        check_role(column)?;
    }
    check_roles(schema)
}

fn check_max_rows(column: &Column) -> Result<()> {
    let fault = |problem: String, remedy: &str| Err(Error::schema(&column.name, problem, remedy));
    match column.max_rows {
        Some(_) if column.role != Role::PatientId => {
            fault("only the patient_id column can have max_rows".into(), "remove it")
        }
        Some(rows) if !(1..=MOST_ROWS).contains(&rows) => fault(
            format!("its max_rows is not a whole number from 1 to {MOST_ROWS}"),
            "state how many rows of a patient may count",
        ),
        _ => Ok(()),
    }
}

fn check_names(schema: &Schema) -> Result<()> {
    let whole = |problem: String, remedy: &str| Err(Error::schema("schema", problem, remedy));
    if schema.columns.is_empty() {
        return whole("it has no columns".into(), "add a [[column]] table for each column");
    }
    if schema.columns.len() > MOST_COLUMNS {
        return whole(format!("it has more than {MOST_COLUMNS} columns"), "leave out columns");
    }
    let mut seen = HashSet::new();
    for column in &schema.columns {
        if column.name.trim().is_empty() {
            return whole("a column has an empty name".into(), "give each column its name");
        }
        let flag = (column.missing == Missing::Indicator).then(|| column.flag_name());
        for name in [Some(column.name.clone()), flag].into_iter().flatten() {
            if !seen.insert(name.clone()) {
                return Err(Error::schema(name, "the name occurs twice", "name each column once"));
            }
        }
    }
    Ok(())
}

fn check_column(column: &Column) -> Result<()> {
    let fault = |problem: &str, remedy: &str| Err(Error::schema(&column.name, problem, remedy));
    let needs_bounds =
        column.kind == Kind::Continuous || (column.kind == Kind::Ordinal && column.categories.is_empty());
    if needs_bounds {
        check_bounds(column)?;
    }
    match column.kind {
        Kind::Continuous if !column.categories.is_empty() => {
            return fault("a continuous column has categories", "remove them, or set kind = \"categorical\"");
        }
        Kind::Binary if column.categories.len() != 2 => {
            return fault("a binary column needs exactly two categories", "list two, the positive one last");
        }
        Kind::Categorical if column.categories.len() < 2 => {
            return fault("its categories are missing", "list at least two: categories = [\"…\", \"…\"]");
        }
        Kind::Ordinal if column.n_levels().is_some_and(|n| n < 2) => {
            return fault("an ordinal column needs at least two levels", "mend bounds, step or categories");
        }
        _ => {}
    }
    if column.n_levels().is_some_and(|n| n > MOST_LEVELS) {
        return fault("it has more than 1000 levels", "set kind = \"continuous\", or group the levels");
    }
    if column.categories.iter().collect::<HashSet<_>>().len() < column.categories.len() {
        return fault("a category is listed twice", "list each category once");
    }
    if column.fallback.as_ref().is_some_and(|f| !column.categories.contains(f)) {
        return fault("its fallback is not one of its categories", "add it to categories, or choose another");
    }
    Ok(())
}

fn check_bounds(column: &Column) -> Result<()> {
    let fault = |problem: String, remedy: &str| Err(Error::schema(&column.name, problem, remedy));
    let (Some(lower), Some(upper)) = (column.lower, column.upper) else {
        let which = if column.lower.is_none() { "lower" } else { "upper" };
        return fault(
            format!("its {which} bound is missing"),
            "state a plausible bound from domain knowledge, never from the data",
        );
    };
    if !(lower.abs() <= LARGEST_BOUND && upper.abs() <= LARGEST_BOUND) {
        return fault("a bound is not a finite number below 1e100".into(), "state a plausible finite bound");
    }
    if lower >= upper {
        return fault(
            format!("its lower bound {lower} is not below its upper bound {upper}"),
            "exchange or mend the bounds",
        );
    }
    if upper - lower < (1e-9 * lower.abs().max(upper.abs())).max(LEAST_RANGE) {
        return fault("its bounds are too close to tell apart".into(), "widen them");
    }
    match column.step {
        Some(step) if !(step.is_finite() && step > 0.0 && step <= upper - lower) => {
            fault(format!("its step {step} must lie above 0 and within the bounds"), "mend the step")
        }
        Some(step) if (((upper - lower) / step).round() * step - (upper - lower)).abs() > 1e-6 * step => {
            fault(
                format!("its bounds are not a whole number of steps of {step} apart"),
                "mend upper, lower or step",
            )
        }
        _ => Ok(()),
    }
}

fn check_role(column: &Column) -> Result<()> {
    let fault = |problem: &str, remedy: &str| Err(Error::schema(&column.name, problem, remedy));
    if column.role != Role::Feature && column.missing == Missing::Indicator {
        return fault("only features can have missing = \"indicator\"", "remove it");
    }
    match column.role {
        Role::Target if column.categories.len() < 2 => {
            fault("the target has no categories", "list all classes: categories = [\"…\", \"…\"]")
        }
        Role::Time if column.kind != Kind::Continuous => {
            fault("the time column is not continuous", "set kind = \"continuous\" with bounds")
        }
        Role::Time if column.lower.is_some_and(|lower| lower < 0.0) => {
            fault("the lower bound of the time column is below 0", "follow-up starts at 0: set lower = 0")
        }
        Role::Event if column.kind != Kind::Binary => {
            fault("the event column is not binary", "set kind = \"binary\", the category of the event last")
        }
        _ => Ok(()),
    }
}

fn check_roles(schema: &Schema) -> Result<()> {
    let count = |role| schema.columns.iter().filter(|c| c.role == role).count();
    let whole = |problem: &str, remedy: &str| Err(Error::schema("schema", problem, remedy));
    for (role, word) in [
        (Role::Target, "target"),
        (Role::Time, "time"),
        (Role::Event, "event"),
        (Role::PatientId, "patient_id"),
    ] {
        if count(role) > 1 {
            return whole(
                &format!("{} columns have the role '{word}'", count(role)),
                "give the role to one column, and 'ignore' to the others",
            );
        }
    }
    if count(Role::Feature) == 0 {
        return whole("no column has the role 'feature'", "give the role to the predictors");
    }
    match (count(Role::Target), count(Role::Time), count(Role::Event)) {
        (1, 0, 0) | (0, 1, 1) => Ok(()),
        _ => whole(
            "it must have either one target, or one time and one event",
            "set role = \"target\" on one column, or role = \"time\" and role = \"event\" on two",
        ),
    }
}
