//! The exact sampler against the distribution that it claims, at a false-alarm rate of 1e-6 a test.

use _zodc::Error;
use _zodc::privacy::noise::{MOST_SCALE, NoiseSource, rounded_normal};

/// Normal quantile at 1 − 1e-6.
const Z_LIMIT: f64 = 4.7534;
const DRAWS: usize = 400_000;

fn draws(scale: u64, seed: u64) -> Vec<i64> {
    let mut source = NoiseSource::seeded_for_tests(seed);
    (0..DRAWS).map(|_| rounded_normal(scale, &mut source).unwrap()).collect()
}

/// Φ(x).
fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / 2.0_f64.sqrt())
}

/// Asserts a chi-square statistic below its 1 − 1e-6 quantile (Wilson and Hilferty).
fn assert_chi_square(observed: &[f64], expected: &[f64], what: &str) {
    let statistic: f64 = observed.iter().zip(expected).map(|(o, e)| (o - e).powi(2) / e).sum();
    let freedom = (observed.len() - 1) as f64;
    let c = 2.0 / (9.0 * freedom);
    let limit = freedom * (1.0 - c + Z_LIMIT * c.sqrt()).powi(3);
    assert!(statistic < limit, "{what}: chi-square {statistic} above {limit}, {freedom} degrees of freedom");
}

#[test]
fn check_01_small_scales_have_the_exact_cell_probabilities() {
    for scale in [1_u64, 2, 7] {
        let sample = draws(scale, 100 + scale);
        let s = scale as f64;
        // Cells of at least 20 expected draws; the tails beyond are one cell each.
        let reach = (1_i64..).find(|&n| DRAWS as f64 * normal_cdf(-(n as f64 + 0.5) / s) < 20.0).unwrap();
        let below = |n: i64| normal_cdf((n as f64 - 0.5) / s);
        let probability = |n: i64| match n {
            n if n == -reach => below(n + 1),
            n if n == reach => below(1 - n),
            n => below(n + 1) - below(n),
        };
        let cells = -reach..=reach;
        let expected: Vec<f64> = cells.clone().map(|n| DRAWS as f64 * probability(n)).collect();
        let mut observed = vec![0.0; expected.len()];
        for draw in sample {
            observed[(draw.clamp(-reach, reach) + reach) as usize] += 1.0;
        }
        assert_chi_square(&observed, &expected, &format!("scale {scale}"));
    }
}

#[test]
fn check_01_large_scales_pass_kolmogorov_and_smirnov() {
    // Dvoretzky, Kiefer, Wolfowitz and Massart: valid for discrete distributions too.
    let limit = ((2.0_f64 / 1e-6).ln() / (2.0 * DRAWS as f64)).sqrt();
    for scale in [1000_u64, 1 << 30, 1 << 40, MOST_SCALE] {
        let mut sample = draws(scale, scale);
        sample.sort_unstable();
        let mut distance: f64 = 0.0;
        for (index, &draw) in sample.iter().enumerate() {
            if sample.get(index + 1) == Some(&draw) {
                continue;
            }
            let here = normal_cdf((draw as f64 + 0.5) / scale as f64);
            distance = distance.max(((index + 1) as f64 / DRAWS as f64 - here).abs());
        }
        assert!(distance < limit, "scale {scale}: distance {distance} above {limit}");
    }
}

#[test]
fn check_01_the_far_tails_have_their_weight() {
    let sample = draws(1 << 30, 77);
    for threshold in [1.0, 2.0, 3.0, 4.0] {
        let p = 2.0 * normal_cdf(-threshold);
        let count =
            sample.iter().filter(|&&x| (x as f64).abs() > threshold * (1_u64 << 30) as f64).count() as f64;
        let expected = DRAWS as f64 * p;
        assert!(
            (count - expected).abs() < 5.0 * expected.sqrt() + 5.0,
            "beyond {threshold}: {count}, not {expected}"
        );
    }
}

#[test]
fn check_03_low_bits_are_uniform_whatever_the_magnitude() {
    for (near_zero, seed) in [(true, 31), (false, 32)] {
        let chosen: Vec<i64> =
            draws(1 << 40, seed).into_iter().filter(|x| (x.unsigned_abs() < 1 << 39) == near_zero).collect();
        let mut observed = [0.0; 64];
        for draw in &chosen {
            observed[(draw & 63) as usize] += 1.0;
        }
        assert_chi_square(&observed, &[chosen.len() as f64 / 64.0; 64], "low bits");
    }
}

#[test]
fn check_01_moments_sign_and_independence() {
    for scale in [1_u64, 7, 1 << 30] {
        let s = scale as f64;
        let sample: Vec<f64> = draws(scale, 500 + scale).into_iter().map(|x| x as f64 / s).collect();
        let n = sample.len() as f64;
        let mean = |f: &dyn Fn(f64) -> f64| sample.iter().map(|&x| f(x)).sum::<f64>() / n;
        // Sheppard's corrections: rounding adds 1/(12 s²) to the variance (exact to 1e-8 from s = 1 on).
        let extra = 1.0 / (12.0 * s * s);
        let variance = 1.0 + extra;
        let fourth = 3.0 + 6.0 * extra + 1.0 / (80.0 * s.powi(4));
        assert!(mean(&|x| x).abs() < Z_LIMIT * (variance / n).sqrt());
        assert!((mean(&|x| x * x) - variance).abs() < Z_LIMIT * (2.1 * variance * variance / n).sqrt());
        assert!(mean(&|x| x.powi(3)).abs() < Z_LIMIT * (20.0 / n).sqrt());
        assert!((mean(&|x| x.powi(4)) - fourth).abs() < Z_LIMIT * (130.0 / n).sqrt());
        let signs = mean(&|x| if x == 0.0 { 0.0 } else { x.signum() });
        assert!(signs.abs() < Z_LIMIT / n.sqrt());
        for lag in [1, 2, 3, 17] {
            let products = sample.iter().zip(&sample[lag..]);
            let linear = products.clone().map(|(a, b)| a * b).sum::<f64>() / n;
            let sizes = products.map(|(a, b)| (a * a - variance) * (b * b - variance)).sum::<f64>() / n;
            assert!(linear.abs() < Z_LIMIT * variance / n.sqrt(), "lag {lag}: {linear}");
            assert!(sizes.abs() < Z_LIMIT * 2.5 * variance * variance / n.sqrt(), "lag {lag}: {sizes}");
        }
    }
}

#[test]
fn check_01_a_scale_out_of_range_is_refused() {
    for scale in [0, MOST_SCALE + 1, u64::MAX] {
        let refusal = rounded_normal(scale, &mut NoiseSource::OperatingSystem).unwrap_err();
        assert!(matches!(refusal, Error::Option { option: "scale", .. }), "{refusal}");
    }
}

#[test]
fn the_operating_system_is_private_and_never_repeats() {
    let mut source = NoiseSource::OperatingSystem;
    assert!(source.is_private());
    let mut sample: Vec<i64> = (0..1000).map(|_| rounded_normal(1 << 50, &mut source).unwrap()).collect();
    let variance = sample.iter().map(|&x| (x as f64 / 2.0_f64.powi(50)).powi(2)).sum::<f64>() / 1000.0;
    assert!((variance - 1.0).abs() < 6.0 * 0.002_f64.sqrt());
    sample.sort_unstable();
    sample.dedup();
    assert_eq!(sample.len(), 1000);
}

#[test]
fn check_15_a_seeded_source_repeats_itself_and_says_so() {
    assert!(!NoiseSource::seeded_for_tests(1).is_private());
    assert_eq!(draws(1000, 5)[..100], draws(1000, 5)[..100]);
    assert_ne!(draws(1000, 5)[..100], draws(1000, 6)[..100]);
}
