//! zodc: differentially private condensation of clinical cohorts by zeroth-order optimisation.
//!
//! Data flow one way: [`schema`] → [`privacy`] → [`learner`] → [`zeroth_order`] → `condense` → `release` → Python.
//! Patients' rows live in [`privacy`] alone; everything else sees only what left it through
//! clip → integer lattice → exact integer sum → exactly sampled noise.

pub mod error;
pub mod learner;
pub mod privacy;

pub use error::{Error, Result};
