//! Noisy counts drawn towards smooth shapes: nearer the truth where noise is large, the same where it is small.

use _zodc::marginals::shapes::{Seen, erlang, shrink};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

const N_BINS: usize = 32;

/// Expected counts of 400 patients in bins of `[0, 50]`, with the missing ones last.
fn counts(present: f64, share_below: impl Fn(f64) -> f64) -> Vec<f64> {
    let below = |bin: usize| share_below(bin as f64 / N_BINS as f64);
    let whole = below(N_BINS) - below(0);
    let bins = (0..N_BINS).map(|bin| 400.0 * present * (below(bin + 1) - below(bin)) / whole);
    bins.chain([400.0 * (1.0 - present)]).collect()
}

fn normal(centre: f64, sd: f64) -> impl Fn(f64) -> f64 {
    move |x| 0.5 * libm::erfc((centre - x) / sd / 2.0_f64.sqrt())
}

fn edges() -> Vec<f64> {
    (0..=N_BINS).map(|bin| 50.0 * bin as f64 / N_BINS as f64).collect()
}

/// Root mean square errors of noisy counts and of what is drawn from them, over 100 draws of seeded noise.
fn errors(truth: &[f64], sd: f64) -> (f64, f64) {
    let (mut raw, mut own) = (0.0, 0.0);
    for seed in 0..100 {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let noisy: Vec<f64> =
            truth.iter().map(|t| t + sd * generator.sample::<f64, _>(StandardNormal)).collect();
        let found = shrink(&[Seen { edges: &edges(), counts: &noisy, sd }], 400.0);
        let square = |counts: &[f64]| counts.iter().zip(truth).map(|(c, t)| (c - t).powi(2)).sum::<f64>();
        raw += square(&noisy);
        own += square(&found.counts[0]);
    }
    let mean = |sum: f64| (sum / 100.0 / truth.len() as f64).sqrt();
    (mean(raw), mean(own))
}

/// `scipy.stats.gamma.cdf(x, phases, scale=mean / phases)`.
#[test]
fn skewed_shapes_are_gamma_distributions() {
    for (phases, mean, x, expected) in [
        (1, 0.2, 0.3, 0.776_869_839_851_570_2),
        (2, 0.05, 0.04, 0.475_069_053_213_895_86),
        (4, 0.5, 0.9, 0.928_082_882_250_691_2),
    ] {
        assert!((erlang(phases, mean, x) - expected).abs() < 1e-12);
    }
    assert_eq!(erlang(2, 0.1, -1.0), 0.0);
}

/// Noise of 40 patients a bin: a normal or skewed column of 400 is found, its missing values, too.
#[test]
fn noise_is_taken_off_smooth_columns() {
    let columns = [
        counts(1.0, normal(0.3, 0.05)),
        counts(1.0, |x| erlang(2, 0.1, x)),
        counts(1.0, |x| 1.0 - erlang(1, 0.06, 1.0 - x)),
        counts(0.5, normal(0.55, 0.1)),
    ];
    for truth in columns {
        let (raw, own) = errors(&truth, 40.0);
        assert!(own < 0.4 * raw, "{own} {raw}");
    }
}

/// Two peaks and a gap are no shape: at no noise are the counts further from the truth than the noise left them.
#[test]
fn what_no_shape_explains_is_kept() {
    let (low, high) = (normal(0.2, 0.03), normal(0.8, 0.03));
    let truth = counts(1.0, |x| 0.5 * low(x) + 0.5 * high(x));
    for sd in [0.1, 1.0, 3.0, 10.0, 30.0] {
        let (raw, own) = errors(&truth, sd);
        assert!(own < 1.01 * raw, "{sd}: {own} {raw}");
    }
    let found = shrink(&[Seen { edges: &edges(), counts: &truth, sd: 1e-3 }], 400.0);
    assert!(found.counts[0].iter().zip(&truth).all(|(c, t)| (c - t).abs() < 1e-3));
}

proptest! {
    #[test]
    fn any_counts_are_drawn_to_finite_ones(
        noisy in prop::collection::vec(-1e6..1e6_f64, 4..20),
        sd in prop_oneof![Just(0.0), 1e-9..1e6_f64],
        total in 1.0..1e6_f64,
    ) {
        let edges: Vec<f64> = (0..noisy.len()).map(|e| (e * e) as f64).collect();
        let found = shrink(&[Seen { edges: &edges, counts: &noisy, sd }], total);
        prop_assert_eq!(found.counts[0].len(), noisy.len());
        prop_assert!(found.counts[0].iter().all(|c| c.is_finite()));
        prop_assert!((-1e-9..=total * (1.0 + 1e-9)).contains(&found.present));
    }
}
