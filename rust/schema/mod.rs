//! The public schema: what a custodian states about the columns without looking at a patient.
//!
//! Everything that is fixed before data are read hangs on it: bounds, levels, the encoded width,
//! the sensitivity of the marginals. A missing bound is an error, never a guess from data.

mod check;
mod column;

pub use column::{Column, Kind, MAX_ROWS, Missing, Role};

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// What the rows are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// One target column with this many classes.
    Classification {
        /// Number of categories of the target column.
        n_classes: usize,
    },
    /// A time and an event column.
    Survival,
}

/// All columns of a cohort, in the order of the released table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// A public name for the cohort, copied into the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Columns in the order of the released table.
    #[serde(rename = "column")]
    pub columns: Vec<Column>,
}

impl Schema {
    /// Reads and checks a schema written in TOML.
    ///
    /// # Errors
    /// [`Error::Schema`] naming the column, the fault and the remedy.
    pub fn from_toml(text: &str) -> Result<Self> {
        let schema: Self = toml::from_str(text).map_err(|e| {
            let place = e.span().map_or(String::new(), |s| {
                format!(" (line {})", text[..s.start.min(text.len())].matches('\n').count() + 1)
            });
            Error::schema(
                "schema",
                format!("{}{place}", e.message().trim()),
                "mend this line of the TOML file",
            )
        })?;
        schema.checked()
    }

    /// Reads and checks a schema written in JSON (the form in which Python hands it over).
    ///
    /// # Errors
    /// [`Error::Schema`] naming the column, the fault and the remedy.
    pub fn from_json(text: &str) -> Result<Self> {
        let schema: Self = serde_json::from_str(text)
            .map_err(|e| Error::schema("schema", e.to_string(), "mend this field"))?;
        schema.checked()
    }

    /// The schema as TOML; [`Schema::from_toml`] reads it back unchanged.
    ///
    /// # Errors
    /// [`Error::Schema`] when a text cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::schema("schema", e.to_string(), "mend this text"))
    }

    /// The schema as JSON.
    ///
    /// # Errors
    /// [`Error::Schema`] when a text cannot be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| Error::schema("schema", e.to_string(), "mend this text"))
    }

    /// Columns that models learn from, in order.
    pub fn features(&self) -> impl Iterator<Item = &Column> {
        self.with_role(Role::Feature)
    }

    /// The one column with this role, if there is one.
    pub fn column(&self, role: Role) -> Option<&Column> {
        self.with_role(role).next()
    }

    fn with_role(&self, role: Role) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(move |c| c.role == role)
    }

    /// Classification or survival, by the roles that the schema gives.
    pub fn task(&self) -> Task {
        match self.column(Role::Target) {
            Some(target) => Task::Classification { n_classes: target.n_levels().unwrap_or(0) },
            None => Task::Survival,
        }
    }

    fn checked(mut self) -> Result<Self> {
        self.columns.iter_mut().for_each(Column::fill_in);
        check::check(&self)?;
        Ok(self)
    }
}
