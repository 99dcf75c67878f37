//! zodc: differentially private condensation of clinical cohorts by zeroth-order optimisation.
//!
//! Data flow one way: [`schema`] → [`marginals`] → [`privacy`] → [`learner`] → [`zeroth_order`] →
//! [`condense`] → Python. Once taken in, patients' rows live in [`privacy`] alone; what leaves it went through
//! clip → integer lattice → exact integer sum → exactly sampled noise.

#![cfg_attr(not(feature = "python"), forbid(unsafe_code))] // PyO3's macros write unsafe blocks

pub mod condense;
pub mod error;
pub mod learner;
pub mod marginals;
pub mod privacy;
#[cfg(feature = "python")]
#[allow(missing_docs)] // documented in `_zodc.pyi`, where Python readers look
pub mod python;
pub mod schema;
pub mod zeroth_order;

pub use error::{Error, Result};
