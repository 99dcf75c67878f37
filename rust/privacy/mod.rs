//! The private half.

pub mod accountant;
pub mod calibration;
pub mod event;
pub mod noise;
pub mod predictor;
