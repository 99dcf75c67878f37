//! The private half.

pub mod predictor;
