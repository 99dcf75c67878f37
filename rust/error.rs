//! One error type for the whole crate.
//!
//! No variant ever carries a patient's value: only column names, option names, public bounds and sizes.

use std::fmt;

/// Everything that can go wrong, with the numbers a caller needs to mend it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The public schema is wrong: which column, what, and how to mend it.
    Schema {
        /// Name of the column, or `schema` when the fault is not in one column.
        column: String,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// The data do not have the columns or the shape that the schema declares.
    Data {
        /// Name of the column or array.
        column: String,
        /// What is wrong (never a cell's value).
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// An option is out of its range.
    Option {
        /// Name of the option as the user writes it.
        option: &'static str,
        /// The accepted range, as a phrase that follows "must be".
        requirement: String,
        /// The value given.
        got: String,
    },
    /// The privacy budget cannot pay for what was asked.
    Budget {
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A query beyond those that the plan has charged for.
    NotPlanned {
        /// `"marginals"` or `"round"`.
        query: &'static str,
        /// How many the plan holds.
        planned: u64,
    },
    /// The journal of a run cannot be written or read, or cannot be trusted.
    Journal {
        /// The file.
        path: String,
        /// The operating system's number of the fault, if it is one of the file system.
        errno: Option<i32>,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// The operating system's random generator failed; nothing was released.
    Entropy,
    /// Integer sums could overflow for the public limits given.
    Overflow {
        /// Most rows that the lattice allows.
        most_rows: u64,
    },
    /// A learner could not be fitted on the synthetic rows.
    Fit {
        /// Why.
        reason: &'static str,
    },
    /// The user interrupted the run.
    Interrupted,
}

impl Error {
    /// An option out of range, in scikit-learn's form of words.
    pub fn option(option: &'static str, requirement: impl Into<String>, got: impl fmt::Display) -> Self {
        Self::Option { option, requirement: requirement.into(), got: got.to_string() }
    }

    /// A fault of the schema.
    pub fn schema(column: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Schema { column: column.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A disagreement of data and schema.
    pub fn data(column: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Data { column: column.into(), problem: problem.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schema { column, problem, remedy } => {
                write!(f, "schema, column '{column}': {problem}; {remedy}")
            }
            Self::Data { column, problem, remedy } => {
                write!(f, "data, column '{column}': {problem}; {remedy}")
            }
            Self::Option { option, requirement, got } => {
                write!(f, "The '{option}' option must be {requirement}. Got {got} instead.")
            }
            Self::Budget { problem, remedy } => write!(f, "privacy budget: {problem}; {remedy}"),
            Self::NotPlanned { query, planned } => {
                write!(
                    f,
                    "the plan charged for {planned} '{query}' queries and all of them are spent; make a new plan"
                )
            }
            Self::Journal { path, problem, remedy, .. } => write!(f, "journal '{path}': {problem}; {remedy}"),
            Self::Entropy => {
                write!(f, "the operating system's random generator failed; nothing was released")
            }
            Self::Overflow { most_rows } => {
                write!(f, "the lattice holds at most {most_rows} patients without overflow; split the cohort")
            }
            Self::Fit { reason } => {
                write!(f, "a learner could not be fitted on the synthetic rows: {reason}")
            }
            Self::Interrupted => write!(f, "interrupted"),
        }
    }
}

impl std::error::Error for Error {}

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
