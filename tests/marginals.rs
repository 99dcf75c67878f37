//! Marginals and codec: valid values in real units, resolution where the patients are.

mod support;

use _zodc::condense::FixedOutcome;
use _zodc::condense::start::uniform;
use _zodc::marginals::codec::{Codec, quantile};
use _zodc::marginals::estimate::project;
use _zodc::marginals::{Marginals, OutcomeMarginal, Partition};
use _zodc::privacy::plan::Plan;
use proptest::prelude::*;
use support::{CLASSIFICATION, SURVIVAL, cohort, marginals, options, patients, schema, uniforms};

fn found(epsilon: f64, n: usize) -> Marginals {
    let (cells, y) = patients(n, 1);
    let mut cohort = cohort(CLASSIFICATION, &cells, &y, &options(epsilon), 9);
    marginals(&schema(CLASSIFICATION), &mut cohort)
}

#[test]
fn marginals_are_those_of_the_patients() {
    let marginals = found(1e12, 4000);
    assert!((marginals.count - 4000.0).abs() < 1.0);
    // Creatinine 0.5 + 1.5 u² with a tenth missing: quantiles of u in (0.1, 1).
    let creatinine = &marginals.features[1];
    assert!((creatinine.missing - 0.1).abs() < 0.03, "{}", creatinine.missing);
    for p in [0.1, 0.5, 0.9] {
        let expected = 0.5 + 1.5 * (0.1 + 0.9_f64 * p).powi(2);
        let got = quantile(&creatinine.edges, &creatinine.weights, p);
        assert!((got - expected).abs() < 0.06, "{p}: {got} {expected}");
    }
    let OutcomeMarginal::Classes { weights } = &marginals.outcome else { panic!("classes") };
    assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
}

/// Bounds 0-50 with all values between 0.5 and 2: at ε = 1 the middle half is still found.
#[test]
fn wide_bounds_lose_no_resolution() {
    let creatinine = found(1.0, 4000).features.swap_remove(1);
    let quartile = |p| quantile(&creatinine.edges, &creatinine.weights, p);
    let exact = |p: f64| 0.5 + 1.5 * (0.1 + 0.9 * p).powi(2);
    assert!((quartile(0.25) - exact(0.25)).abs() < 0.2, "{}", quartile(0.25));
    assert!((quartile(0.75) - exact(0.75)).abs() < 0.2, "{}", quartile(0.75));
}

/// A column that noise drowns must decode to the whole range, not to a wrong narrow peak, and no patient
/// may lie more than five of its standard deviations out. Noise is seeded: no false alarm.
#[test]
fn a_drowned_column_is_spread_over_its_bounds() {
    let schema = schema(CLASSIFICATION);
    for seed in 0..50 {
        let (mut cells, y) = patients(400, 1);
        cells.chunks_exact_mut(4).skip(4).for_each(|row| row[1] = f64::NAN);
        let mut cohort = cohort(CLASSIFICATION, &cells, &y, &options(0.3), seed);
        let found = marginals(&schema, &mut cohort);
        let creatinine = &found.features[1];
        let quartiles = [0.25, 0.75].map(|p| quantile(&creatinine.edges, &creatinine.weights, p));
        assert!(quartiles[1] - quartiles[0] > 5.0, "{seed}: {quartiles:?}");
        let codec = Codec::new(&schema, &found).unwrap();
        let mut x = vec![0.0; codec.width()];
        for row in [[0.0, 0.0, 1.0, 0.0], [120.0, 50.0, 4.0, 2.0]] {
            codec.encode_row(&row, &mut x);
            assert!(x[..2].iter().all(|x| x.abs() <= 5.0), "{seed}: {x:?}");
        }
    }
}

/// What the schema's rule makes of a cell, written out: clipped, fallen back, rounded to a level, or missing.
#[test]
fn a_cell_follows_the_rule_of_its_column() {
    let columns = schema(CLASSIFICATION).columns;
    let (age, stage, site) = (0, 2, 3);
    let rules = [
        (age, [(-3.0, 0.0), (64.5, 64.5), (1e308, 120.0), (f64::INFINITY, 120.0), (f64::NEG_INFINITY, 0.0)]),
        // Levels 1 to 4 count from 0.
        (stage, [(0.2, 0.0), (2.4, 1.0), (2.6, 2.0), (99.0, 3.0), (f64::NEG_INFINITY, 0.0)]),
        // Codes of a, b and c, the fallback.
        (site, [(1.0, 1.0), (7.0, 2.0), (0.5, 2.0), (-1.0, 2.0), (f64::INFINITY, 2.0)]),
    ];
    for (column, cells) in rules {
        assert!(columns[column].canonical(f64::NAN).is_nan());
        for (cell, expected) in cells {
            assert_eq!(columns[column].canonical(cell), expected, "{column}: {cell}");
        }
    }
    let days = &schema(SURVIVAL).columns[2];
    assert_eq!([-5.0, 0.0, 5000.0].map(|time| days.canonical(time)), [0.0, 0.0, 4000.0]);
}

/// `impute`: the noisy mean of a measurement, the nearest level to that of an ordinal one, the likeliest category.
#[test]
fn a_missing_cell_takes_the_noisy_mean_or_the_likeliest_category() {
    let found = found(1.0, 1000);
    let codec = Codec::new(&schema(CLASSIFICATION), &found).unwrap();
    let mut cells = [f64::NAN; 4];
    codec.impute_row(&mut cells);
    for (feature, cell) in found.features[..2].iter().zip(cells) {
        let moment = |power: i32| -> f64 {
            let bins = feature.edges.windows(2).zip(&feature.weights);
            let sum: f64 = bins.map(|(edge, w)| w * ((edge[0] + edge[1]) / 2.0).powi(power)).sum();
            sum / feature.weights.iter().sum::<f64>()
        };
        let (mean, sd) = (moment(1), (moment(2) - moment(1).powi(2)).sqrt());
        // The quantile table has bins of its own.
        assert!((cell - mean).abs() < 0.05 * sd, "{cell} against {mean} ± {sd}");
    }
    let weights = |feature: usize| found.features[feature].weights.clone();
    let level: f64 = weights(2).iter().enumerate().map(|(level, w)| level as f64 * w).sum();
    assert_eq!(cells[2], level.round());
    let site = weights(3).iter().copied().fold(0.0, f64::max);
    assert_eq!(weights(3)[cells[3] as usize], site);
}

/// Shares may add up to just below 1: a latent of 1 must not find a last category that has none.
#[test]
fn a_category_that_nobody_has_is_never_decoded() {
    let schema = schema(CLASSIFICATION);
    let mut below = 0;
    for i in 1..200 {
        let mut found = found(1.0, 1000);
        let (a, b) = (f64::from(i) / 300.0, 0.3 / f64::from(i));
        let whole = a + b;
        found.features[3].weights = vec![a / whole, b / whole, 0.0];
        below += i32::from(a / whole + b / whole < 1.0);
        let codec = Codec::new(&schema, &found).unwrap();
        let mut cells = vec![0.0; codec.n_columns()];
        codec.decode_row(&vec![1.0; codec.n_latents()], &mut cells);
        assert_eq!(cells[3], 1.0, "{i}");
    }
    assert!(below > 0);
}

/// The start has the marginals of the whole in each class: one row in each stratum of each latent.
#[test]
fn the_start_is_stratified_by_outcome() {
    let schema = schema(CLASSIFICATION);
    let found = found(1.0, 1000);
    let codec = Codec::new(&schema, &found).unwrap();
    let start = uniform(&codec, &found, 60, 5);
    let FixedOutcome::Classes { codes, n_classes } = &start.outcome else { panic!("classes") };
    for class in 0..*n_classes as u32 {
        let rows: Vec<usize> = (0..60).filter(|&row| codes[row] == class).collect();
        for latent in 0..codec.n_latents() {
            let stratum =
                |&row: &usize| (start.latents[row * codec.n_latents() + latent] * rows.len() as f64) as usize;
            let mut strata: Vec<usize> = rows.iter().map(stratum).collect();
            strata.sort_unstable();
            assert!(strata.iter().copied().eq(0..rows.len()), "class {class}, latent {latent}: {strata:?}");
        }
    }
}

#[test]
fn every_decoded_row_is_valid_whatever_the_noise() {
    let schema = schema(CLASSIFICATION);
    for (epsilon, n) in [(0.05, 30), (1.0, 1), (1.0, 1000)] {
        let (cells, y) = patients(n, 2);
        let mut cohort = cohort(CLASSIFICATION, &cells, &y, &options(epsilon), n as u64);
        let codec = Codec::new(&schema, &marginals(&schema, &mut cohort)).unwrap();
        let mut row = vec![0.0; codec.n_columns()];
        let mut x = vec![0.0; codec.width()];
        for latents in uniforms(200 * codec.n_latents(), 3).chunks_exact(codec.n_latents()) {
            codec.decode_row(latents, &mut row);
            codec.encode_row(&row, &mut x);
            assert!(x.iter().all(|x| x.is_finite()));
            codec.impute_row(&mut row);
            assert!((0.0..=120.0).contains(&row[0]) && (0.0..=50.0).contains(&row[1]));
            assert!([0.0, 1.0, 2.0, 3.0].contains(&row[2]) && [0.0, 1.0, 2.0].contains(&row[3]));
        }
    }
}

#[test]
fn fine_bins_follow_the_noise_not_the_patients() {
    let plan = Plan::new(&schema(CLASSIFICATION), &options(1.0)).unwrap();
    assert_eq!(plan.fine_bins(Some(1e9)), 32);
    assert_eq!(plan.fine_bins(Some(1.0)), 6);
    assert_eq!(plan.fine_bins(None), 6);
}

proptest! {
    #[test]
    fn projection_is_on_the_simplex_and_nearest(
        counts in prop::collection::vec(-50.0..200.0_f64, 1..30),
        total in 1.0..500.0_f64,
    ) {
        let projected = project(&counts, total);
        prop_assert!(projected.iter().all(|&p| p >= 0.0));
        prop_assert!((projected.iter().sum::<f64>() - total).abs() < 1e-6 * total);
        // Nearest: all positive entries are shifted alike, and the others by no more.
        let shift = |i: usize| counts[i] - projected[i];
        let common = (0..counts.len()).filter(|&i| projected[i] > 0.0).map(shift).fold(f64::NAN, f64::max);
        for (i, &p) in projected.iter().enumerate() {
            let holds = if p > 0.0 { (shift(i) - common).abs() < 1e-6 } else { shift(i) <= common + 1e-6 };
            prop_assert!(holds);
        }
    }

    #[test]
    fn quantiles_rise_and_stay_within_the_edges(
        weights in prop::collection::vec(0.0..1.0_f64, 1..20),
        a in 0.0..=1.0_f64,
        b in 0.0..=1.0_f64,
    ) {
        let total: f64 = weights.iter().sum();
        prop_assume!(total > 0.01);
        let weights: Vec<f64> = weights.iter().map(|w| w / total).collect();
        let edges: Vec<f64> = (0..=weights.len()).map(|e| e as f64).collect();
        let at = |u| quantile(&edges, &weights, u);
        prop_assert!(at(a.min(b)) <= at(a.max(b)) + 1e-12);
        prop_assert!((0.0..=weights.len() as f64).contains(&at(a)));
    }

    #[test]
    fn a_cell_falls_into_its_bin(cell in prop_oneof![Just(f64::NAN), 0.0..=4.0_f64]) {
        let partition = Partition::Bins(vec![0.0, 1.0, 2.5, 4.0]);
        let naive = match cell {
            c if c.is_nan() => 3,
            c if c <= 1.0 => 0,
            c if c <= 2.5 => 1,
            _ => 2,
        };
        prop_assert_eq!(partition.bin_of(cell), naive);
    }
}
