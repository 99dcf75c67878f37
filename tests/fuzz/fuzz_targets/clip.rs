//! Any bits as a patient's vector: the integer norm is within the radius.
#![no_main]

use _zodc::privacy::mechanism::{RADIUS, clip_to_lattice};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut numbers = data.chunks_exact(8).map(|b| f64::from_bits(u64::from_le_bytes(b.try_into().unwrap())));
    let Some(clip) = numbers.next() else { return };
    // A clip that the schedule would refuse, or so small that shrinking to the ball takes long.
    if !clip.is_finite() || clip < 1e-290 {
        return;
    }
    let vector: Vec<f64> = numbers.take(64).collect();
    let mut lattice = vec![1; vector.len()];
    clip_to_lattice(&vector, clip, &mut lattice);
    let norm: u128 = lattice.iter().map(|v: &i64| u128::from(v.unsigned_abs()).pow(2)).sum();
    assert!(norm <= (RADIUS as u128).pow(2));
    if vector.iter().any(|v| !v.is_finite()) {
        assert!(lattice.iter().all(|v| *v == 0));
    }
});
