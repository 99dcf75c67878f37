//! One column of the schema, and the rule that maps any cell into it.

use serde::{Deserialize, Serialize};

/// Rows of a patient that count unless the schema says otherwise.
pub const MAX_ROWS: usize = 32;

/// How the values of a column are ordered and spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Real numbers between two bounds.
    Continuous,
    /// Ordered levels: listed categories, or `lower, lower + step, …, upper`.
    Ordinal,
    /// Two categories; the second is the positive one.
    Binary,
    /// Unordered categories.
    Categorical,
}

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A predictor.
    #[default]
    Feature,
    /// The class to predict.
    Target,
    /// Follow-up time.
    Time,
    /// Whether the event was seen at that time.
    Event,
    /// Rows with the same value belong to one unit of privacy.
    PatientId,
    /// Never read.
    Ignore,
}

/// What becomes of a missing cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// It takes the noisy mean, or the most likely category.
    #[default]
    Impute,
    /// The same, and a released 0/1 column `NAME_missing` says so.
    Indicator,
}

/// Public facts about one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Name in the cohort and in the release.
    pub name: String,
    /// Continuous, ordinal, binary or categorical.
    pub kind: Kind,
    /// Feature unless stated.
    #[serde(default)]
    pub role: Role,
    /// Smallest plausible value, in `unit`; smaller ones are clipped to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower: Option<f64>,
    /// Largest plausible value, in `unit`; larger ones are clipped to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
    /// Distance of neighbouring levels of an ordinal column without categories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<f64>,
    /// All categories, in order where there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// Category that unknown values become; without it they count as missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// Most rows of one patient that count, for the column of patients' ids; further ones are dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<usize>,
    /// What becomes of a missing cell.
    #[serde(default)]
    pub missing: Missing,
    /// Unit of the values, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What the column means, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Column {
    /// Defaults that follow from the kind: binary columns are 0/1, ordinal ones step by 1; and from the
    /// role: a patient has at most [`MAX_ROWS`] rows.
    pub(super) fn fill_in(&mut self) {
        if self.role == Role::PatientId && self.max_rows.is_none() {
            self.max_rows = Some(MAX_ROWS);
        }
        if !self.categories.is_empty() {
            return;
        }
        match self.kind {
            Kind::Binary => self.categories = vec!["0".into(), "1".into()],
            Kind::Ordinal if self.step.is_none() => self.step = Some(1.0),
            _ => {}
        }
    }

    /// Number of levels; `None` for a continuous column.
    pub fn n_levels(&self) -> Option<usize> {
        if !self.categories.is_empty() {
            return Some(self.categories.len());
        }
        match (self.kind, self.lower, self.upper, self.step) {
            (Kind::Ordinal, Some(lower), Some(upper), Some(step)) => {
                Some((((upper - lower) / step).round() as usize).saturating_add(1))
            }
            _ => None,
        }
    }

    /// Maps any cell into the column: a continuous cell is clipped to the bounds, a cell of a levelled
    /// column becomes its level `0, 1, …`. NaN means missing, and an unknown category is missing too.
    ///
    /// Total: no input is an error, so that no outcome depends on one patient's cell.
    pub fn canonical(&self, cell: f64) -> f64 {
        if cell.is_nan() {
            return f64::NAN;
        }
        if !self.categories.is_empty() {
            let known = cell >= 0.0 && cell < self.categories.len() as f64 && cell.fract() == 0.0;
            return if known { cell } else { self.fallback_level() };
        }
        match (self.lower, self.upper, self.step) {
            (Some(lower), Some(upper), Some(step)) if self.kind == Kind::Ordinal => {
                ((cell.clamp(lower, upper) - lower) / step).round()
            }
            (Some(lower), Some(upper), _) => cell.clamp(lower, upper),
            _ => f64::NAN,
        }
    }

    fn fallback_level(&self) -> f64 {
        let position = |name| self.categories.iter().position(|c| c == name);
        self.fallback.as_ref().and_then(position).map_or(f64::NAN, |level| level as f64)
    }

    /// Name of the released 0/1 column that says where this one was missing.
    pub fn flag_name(&self) -> String {
        format!("{}_missing", self.name)
    }

    /// Number of columns that the learners see: one, or one per category.
    pub fn encoded_width(&self) -> usize {
        let base = match self.kind {
            Kind::Categorical => self.categories.len(),
            _ => 1,
        };
        base + usize::from(self.missing == Missing::Indicator)
    }
}
