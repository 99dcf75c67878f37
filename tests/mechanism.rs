//! Clip and lattice: the bound on one patient's vector holds for every input.

use _zodc::Error;
use _zodc::privacy::mechanism::{MOST_UNITS, RADIUS, add, clip_to_lattice};
use proptest::prelude::*;

fn lattice(vector: &[f64], clip: f64) -> Vec<i64> {
    let mut out = vec![7; vector.len()];
    clip_to_lattice(vector, clip, &mut out);
    out
}

fn squared(lattice: &[i64]) -> u128 {
    lattice.iter().map(|v| u128::from(v.unsigned_abs()).pow(2)).sum()
}

/// Any bits: subnormals, infinities, NaN, the largest floats.
fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![any::<u64>().prop_map(f64::from_bits), -2.0..2.0_f64, Just(1e308), Just(-0.0), Just(5e-324)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn check_05_the_integer_norm_is_within_the_radius(
        vector in prop::collection::vec(any_float(), 1..40),
        clip in prop_oneof![1e-300..1e300_f64, 0.01..10.0_f64],
    ) {
        let out = lattice(&vector, clip);
        prop_assert!(squared(&out) <= (RADIUS as u128).pow(2));
        if vector.iter().any(|v| !v.is_finite()) {
            prop_assert!(out.iter().all(|&v| v == 0));
        }
    }

    #[test]
    fn check_05_vectors_on_the_boundary_stay_within_it(
        direction in prop::collection::vec(-1.0..1.0_f64, 1..64),
        clip in 0.01..10.0_f64,
        last_bits in -4_i64..4,
    ) {
        let norm = direction.iter().map(|v| v * v).sum::<f64>().sqrt();
        prop_assume!(norm > 1e-6);
        let nudge = f64::from_bits((clip / norm).to_bits().wrapping_add_signed(last_bits));
        let vector: Vec<f64> = direction.iter().map(|v| v * nudge).collect();
        let out = lattice(&vector, clip);
        prop_assert!(squared(&out) <= (RADIUS as u128).pow(2));
        // Nothing but truncation is lost inside the ball: at most one step an entry.
        let step = clip / RADIUS as f64;
        for (v, l) in vector.iter().zip(&out) {
            prop_assert!((v - *l as f64 * step).abs() <= 2.0 * step);
        }
    }
}

#[test]
fn direction_survives_the_clip() {
    let out = lattice(&[3e10, -4e10], 1.0);
    assert_eq!(out, [(0.6 * RADIUS as f64) as i64, -(0.8 * RADIUS as f64) as i64]);
}

#[test]
fn check_07_zero_and_non_finite_vectors_become_zero() {
    for vector in [[0.0, -0.0], [f64::NAN, 1.0], [f64::INFINITY, 1.0], [1e308, f64::NEG_INFINITY]] {
        assert_eq!(lattice(&vector, 1.0), [0, 0]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000_000) })]

    #[test]
    #[ignore = "slow: a million vectors; cargo test --release --test mechanism -- --ignored"]
    fn check_05_slow_a_million_vectors_of_any_bits(
        vector in prop::collection::vec(any_float(), 1..40),
        clip in prop_oneof![any::<u64>().prop_map(|bits| f64::from_bits(bits).abs()), 0.01..10.0_f64]
            .prop_filter("a clip is finite, and not so small that shrinking takes long", |c| *c > 1e-290 && c.is_finite()),
    ) {
        prop_assert!(squared(&lattice(&vector, clip)) <= (RADIUS as u128).pow(2));
    }
}

proptest! {
    /// No library of large numbers is between the sum and the truth: `i64` sums are exact or refused.
    #[test]
    fn check_02_sums_are_those_of_wide_integers(
        one in prop::collection::vec(any::<i64>(), 1..8), other in prop::collection::vec(any::<i64>(), 8),
    ) {
        let wide: Vec<i128> = one.iter().zip(&other).map(|(a, b)| i128::from(*a) + i128::from(*b)).collect();
        match add(one, &other) {
            Ok(sums) => prop_assert_eq!(sums.into_iter().map(i128::from).collect::<Vec<_>>(), wide),
            Err(error) => {
                prop_assert_eq!(error, Error::Overflow { most_rows: MOST_UNITS });
                prop_assert!(wide.iter().any(|w| i64::try_from(*w).is_err()));
            }
        }
    }
}

/// Public bounds alone leave room for the sum and the largest noise that a plan may have.
#[test]
fn check_08_the_largest_sum_and_noise_fit() {
    let (sum, noise) = (i128::from(RADIUS) * i128::from(MOST_UNITS), 64_i128 << 40);
    assert!(sum + noise < i128::from(i64::MAX) / 4);
    let refused = add(vec![i64::MAX - 1], &[2]);
    assert_eq!(refused, Err(Error::Overflow { most_rows: MOST_UNITS }));
}
