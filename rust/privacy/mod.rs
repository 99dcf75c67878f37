//! The private half: one room that holds the patients' rows, with two exits.
//!
//! [`histogram`] answers with noisy counts, [`answer`] with the noisy sum of a round; both end in
//! [`mechanism`]. A reviewer of the guarantee reads this folder: [`plan`] fixes and charges the noise
//! before data are read, [`cohort`] lets through only what was planned, [`scoring`] is the
//! arithmetic of native models on patients' values, [`noise`] draws exactly, [`journal`] keeps each noisy answer before
//! it is used, [`accountant`] says what it
//! costs. Before it, Python reads cells into numbers and numbers the patients, which fixes the units;
//! docs/privacy.md lists those files, and those by which a Python model scores patients in direct mode.

pub mod accountant;
pub mod answer;
pub mod calibration;
pub mod cohort;
pub mod event;
pub(crate) mod exp;
mod hazards;
pub mod histogram;
pub mod journal;
pub mod mechanism;
pub mod noise;
pub mod plan;
pub mod predictor;
pub mod scoring;
