//! Labels of the public phase: each class has its quota, and sums agree with the probabilities.

use _zodc::condense::labels::balanced;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn table(n_rows: usize, width: usize, n_classes: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let x: Vec<f64> = (0..n_rows * width).map(|_| generator.random::<f64>() * 4.0 - 2.0).collect();
    let mut p = Vec::with_capacity(n_rows * n_classes);
    for row in x.chunks_exact(width) {
        let odds: Vec<f64> = (0..n_classes).map(|c| (c as f64 * (row[0] - 0.5 * row[1])).exp()).collect();
        let whole: f64 = odds.iter().sum();
        p.extend(odds.iter().map(|o| o / whole));
    }
    (x, p)
}

/// Quotas as near as whole numbers come to the mean probabilities.
fn quotas(p: &[f64], n_classes: usize) -> Vec<usize> {
    let n_rows = p.len() / n_classes;
    let sum = |class: usize| p.iter().skip(class).step_by(n_classes).sum::<f64>();
    let mut quota: Vec<usize> = (0..n_classes).map(|class| sum(class).round() as usize).collect();
    quota[0] = n_rows - quota[1..].iter().sum::<usize>();
    quota
}

/// `Σ_columns (Σ_rows (label − p) x)²` of the last class.
fn imbalance(x: &[f64], width: usize, p: &[f64], n_classes: usize, codes: &[u32]) -> f64 {
    let class = n_classes - 1;
    let short = |row: usize| f64::from(codes[row] as usize == class) - p[row * n_classes + class];
    let sum = |j: usize| (0..codes.len()).map(|row| short(row) * x[row * width + j]).sum::<f64>();
    (0..width).map(|j| sum(j).powi(2)).sum()
}

proptest! {
    #[test]
    fn every_class_has_its_quota(
        n_rows in 2_usize..120,
        width in 2_usize..6,
        n_classes in 2_usize..5,
        sharpness in 0.5_f64..80.0,
        seed in any::<u64>(),
        cuts in prop::collection::vec(0_usize..120, 4),
    ) {
        let (x, p) = table(n_rows, width, n_classes, seed);
        // Any quotas, also such as the probabilities speak against.
        let mut quota = vec![0; n_classes];
        for row in 0..n_rows {
            quota[cuts[row % 4] % n_classes] += 1;
        }
        let codes = balanced(&x, &p, &quota, sharpness);
        let count = |class: usize| codes.iter().filter(|&&code| code as usize == class).count();
        prop_assert_eq!((0..n_classes).map(count).collect::<Vec<_>>(), quota);
    }
}

#[test]
fn sums_agree_far_better_than_by_chance() {
    for n_classes in [2, 3] {
        let (width, n_rows) = (8, 400);
        let (x, p) = table(n_rows, width, n_classes, 7);
        let codes = balanced(&x, &p, &quotas(&p, n_classes), 1.0);
        let own = imbalance(&x, width, &p, n_classes, &codes);
        let mut generator = ChaCha8Rng::seed_from_u64(1);
        let mut chance = 0.0;
        for _ in 0..50 {
            let drawn: Vec<u32> = p
                .chunks_exact(n_classes)
                .map(|p| {
                    let mut left: f64 = generator.random();
                    let passed = p
                        .iter()
                        .take_while(|&&q| {
                            left -= q;
                            left >= 0.0
                        })
                        .count();
                    passed.min(n_classes - 1) as u32
                })
                .collect();
            chance += imbalance(&x, width, &p, n_classes, &drawn) / 50.0;
        }
        assert!(own < 0.01 * chance, "{own} against {chance} by chance");
    }
}

#[test]
fn very_sharp_labels_are_those_of_the_likeliest_rows() {
    let (x, p) = table(200, 3, 2, 3);
    let codes = balanced(&x, &p, &[150, 50], 64.0);
    let mut order: Vec<usize> = (0..200).collect();
    order.sort_by(|&a, &b| p[2 * b + 1].total_cmp(&p[2 * a + 1]));
    let far = |row: usize| (p[2 * order[row] + 1] / p[2 * order[49] + 1]).ln().abs() > 0.3;
    for (place, &row) in order.iter().enumerate().filter(|(place, _)| far(*place)) {
        assert_eq!(codes[row], u32::from(place < 50), "place {place}");
    }
}

#[test]
fn probabilities_of_zero_and_one_and_constant_columns_are_no_trouble() {
    let x = vec![1.0; 20];
    let p: Vec<f64> = (0..20).flat_map(|row| if row < 10 { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
    let codes = balanced(&x, &p, &[10, 10], 1.0);
    assert_eq!(codes, (0..20).map(|row| u32::from(row >= 10)).collect::<Vec<_>>());
}
