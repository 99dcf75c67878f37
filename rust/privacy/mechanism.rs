//! Clip → integer lattice → exact integer sum → exactly sampled noise: the only way out.

use super::noise::{NoiseSource, rounded_normal};
use crate::error::{Error, Result};

/// Radius of the clip ball in lattice units: every patient's integer vector has an L2 norm of at most
/// this, whatever the clip norm that the schedule gives to it.
pub const RADIUS: i64 = 1 << 20;

/// Most units whose integer vectors can be summed in an `i64` with room for the noise.
pub const MOST_UNITS: u64 = 1 << 40;

/// Clips a patient's vector to `clip_norm` in L2 and truncates it to the lattice of `RADIUS` steps a
/// `clip_norm`. A vector with a non-finite entry becomes zero.
///
/// Truncation toward zero never grows a norm, but the float product before it can, by its last bit:
/// so the integer norm is checked exactly, and entries shrink by one until it holds.
pub fn clip_to_lattice(vector: &[f64], clip_norm: f64, lattice: &mut [i64]) {
    lattice.fill(0);
    // The bits of positive floats are ordered as the floats are, and those of infinity and NaN come last.
    let largest = f64::from_bits(vector.iter().map(|v| v.abs().to_bits()).max().unwrap_or(0));
    if !largest.is_finite() || largest == 0.0 {
        return;
    }
    // Against the largest entry the sum of squares stays within range for any finite input.
    let norm = largest * sum_of_squares(vector, 1.0 / largest).sqrt();
    let scale = RADIUS as f64 / clip_norm.max(norm);
    for (out, v) in lattice.iter_mut().zip(vector) {
        *out = (v * scale).clamp(-(RADIUS as f64), RADIUS as f64) as i64;
    }
    while squared_norm(lattice) > (RADIUS * RADIUS) as u64 {
        lattice.iter_mut().for_each(|v| *v -= v.signum());
    }
}

/// Of the entries times `factor`, in four sums side by side.
fn sum_of_squares(vector: &[f64], factor: f64) -> f64 {
    let mut sums = [0.0; 4];
    for part in vector.chunks(sums.len()) {
        sums.iter_mut().zip(part).for_each(|(sum, v)| *sum += (v * factor) * (v * factor));
    }
    sums.iter().sum()
}

/// Exact: entries of at most [`RADIUS`] leave room for 2²⁴ of them, and an overflow would panic.
fn squared_norm(lattice: &[i64]) -> u64 {
    lattice.iter().map(|v| v.unsigned_abs() * v.unsigned_abs()).sum()
}

/// Adds two integer sums.
///
/// # Errors
/// [`Error::Overflow`], which [`MOST_UNITS`] excludes.
pub fn add(mut total: Vec<i64>, part: &[i64]) -> Result<Vec<i64>> {
    for (t, p) in total.iter_mut().zip(part) {
        *t = t.checked_add(*p).ok_or(Error::Overflow { most_rows: MOST_UNITS })?;
    }
    Ok(total)
}

/// Adds to each sum an independent normal draw of standard deviation `scale`, rounded on the lattice.
///
/// # Errors
/// [`Error::Entropy`] when the source of randomness fails: then nothing leaves.
pub fn add_noise(sums: &mut [i64], scale: u64, source: &mut NoiseSource) -> Result<()> {
    for sum in sums {
        let noise = rounded_normal(scale, source)?;
        *sum = sum.checked_add(noise).ok_or(Error::Overflow { most_rows: MOST_UNITS })?;
    }
    Ok(())
}
