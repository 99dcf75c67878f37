//! The zeroth-order search: public, repeatable, and downhill.

use _zodc::zeroth_order::ZerothOrder;
use _zodc::zeroth_order::directions::{CHUNK, Directions};
use _zodc::zeroth_order::schedule::{Anneal, Schedule};

fn schedule(rounds: u64) -> Schedule {
    let constant = |value| Anneal { start: value, end: value };
    Schedule {
        rounds,
        radius: constant(0.05),
        step: Anneal { start: 0.05, end: 0.005 },
        clip: constant(1.0),
        momentum: 0.9,
    }
}

#[test]
fn any_chunk_is_regenerated_from_its_number() {
    let directions = Directions::new(7);
    let mut whole = vec![0.0; 3 * CHUNK + 17];
    directions.fill(5, 2, &mut whole);
    for (chunk, part) in whole.chunks(CHUNK).enumerate().rev() {
        let mut again = vec![0.0; part.len()];
        directions.fill_chunk(5, 2, chunk, &mut again);
        assert_eq!(again, part);
    }
    let mut other = vec![0.0; whole.len()];
    for (round, direction) in [(5, 3), (6, 2)] {
        directions.fill(round, direction, &mut other);
        assert!(whole.iter().zip(&other).filter(|(a, b)| a == b).count() == 0);
    }
}

/// Mean and variance of 2^18 normals; six standard errors: false-alarm rate below 1e-6.
#[test]
fn directions_are_standard_normal() {
    let n = 1 << 18;
    let mut u = vec![0.0; n];
    Directions::new(3).fill(0, 0, &mut u);
    let mean = u.iter().sum::<f64>() / n as f64;
    let variance = u.iter().map(|u| u * u).sum::<f64>() / n as f64;
    assert!(mean.abs() < 6.0 / (n as f64).sqrt());
    assert!((variance - 1.0).abs() < 6.0 * (2.0 / n as f64).sqrt());
}

#[test]
fn pairs_mirror_each_other_within_the_cube() {
    let search = ZerothOrder::new(vec![0.5; 600], 4, 1, schedule(10)).unwrap();
    let (mut plus, mut minus) = (Vec::new(), Vec::new());
    search.pair(3, &mut plus, &mut minus);
    assert!(plus.iter().zip(&minus).all(|(p, m)| (p + m - 1.0).abs() < 1e-12));
    let corner = ZerothOrder::new(vec![1.0; 600], 4, 1, schedule(10)).unwrap();
    corner.pair(0, &mut plus, &mut minus);
    assert!(plus.iter().chain(&minus).all(|s| (0.0..=1.0).contains(s)));
}

/// On a quadratic, loss differences alone lead to the minimum, for any scale of the answers: no count
/// of patients is needed.
#[test]
fn the_search_finds_a_minimum_whatever_the_scale() {
    let target: Vec<f64> = (0..40).map(|i| 0.2 + 0.015 * f64::from(i)).collect();
    let loss = |s: &[f64]| s.iter().zip(&target).map(|(s, t)| (s - t).powi(2)).sum::<f64>();
    let run = |scale: f64| {
        let mut search = ZerothOrder::new(vec![0.9; 40], 16, 2, schedule(300)).unwrap();
        let (mut plus, mut minus) = (Vec::new(), Vec::new());
        for _ in 0..300 {
            let answers: Vec<f64> = (0..16)
                .map(|k| {
                    search.pair(k, &mut plus, &mut minus);
                    scale * (loss(&plus) - loss(&minus))
                })
                .collect();
            search.update(&answers).unwrap();
        }
        search.latents().to_vec()
    };
    let found = run(1.0);
    assert!(loss(&found) < 0.01 * loss(&[0.9; 40]), "{}", loss(&found));
    let large = run(1e6);
    assert!(found.iter().zip(&large).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn answers_must_be_finite_and_one_a_direction() {
    let mut search = ZerothOrder::new(vec![0.5; 10], 2, 1, schedule(10)).unwrap();
    assert!(search.update(&[1.0]).is_err());
    assert!(search.update(&[1.0, f64::NAN]).is_err());
    assert!(search.update(&[0.0, 0.0]).is_ok());
    assert!(search.latents().iter().all(|s| *s == 0.5));
}

#[test]
fn schedules_out_of_range_are_refused() {
    let good = schedule(10);
    assert!(good.checked().is_ok());
    let bad = [
        Schedule { momentum: 1.0, ..good },
        Schedule { radius: Anneal { start: 0.0, end: 0.1 }, ..good },
        Schedule { step: Anneal { start: f64::NAN, end: 0.1 }, ..good },
        Schedule { clip: Anneal { start: 1.0, end: f64::INFINITY }, ..good },
    ];
    assert!(bad.iter().all(|s| s.checked().is_err()));
}

/// Two rounds by hand: geometric schedules, momentum, and steps in units of the running RMS.
#[test]
fn an_update_is_what_the_formulas_say() {
    let schedule = Schedule {
        rounds: 3,
        radius: Anneal { start: 0.04, end: 0.01 },
        step: Anneal { start: 0.1, end: 0.001 },
        clip: Anneal { start: 1.0, end: 0.25 },
        momentum: 0.5,
    };
    let mut search = ZerothOrder::new(vec![0.5; 5], 2, 7, schedule).unwrap();
    let (mut latents, mut velocity, mut square) = (vec![0.5; 5], vec![0.0; 5], 0.0);
    // The middle of a geometric fall is the root of its ends' product.
    let rounds = [([0.3, -0.2], 0.04, 0.1, 1.0), ([-0.1, 0.4], 0.02, 0.01, 0.5)];
    for (round, (answers, radius, step, clip)) in rounds.into_iter().enumerate() {
        assert!((search.clip_norm() - clip * 2.0_f64.sqrt()).abs() < 1e-12);
        let (mut gradient, mut u) = (vec![0.0; 5], vec![0.0; 5]);
        let (mut plus, mut minus) = (Vec::new(), Vec::new());
        for (k, answer) in answers.iter().enumerate() {
            Directions::new(7).fill(round as u64, k as u64, &mut u);
            search.pair(k, &mut plus, &mut minus);
            for i in 0..5 {
                gradient[i] += answer * u[i];
                assert!((plus[i] - (latents[i] + radius * u[i])).abs() < 1e-12);
                assert!((minus[i] - (latents[i] - radius * u[i])).abs() < 1e-12);
            }
        }
        square = 0.9 * square + 0.1 * gradient.iter().map(|g| g * g).sum::<f64>() / 5.0;
        let rms = (square / (1.0 - 0.9_f64.powi(round as i32 + 1))).sqrt();
        for i in 0..5 {
            velocity[i] = 0.5 * velocity[i] + 0.5 * gradient[i] / rms;
            latents[i] -= step * velocity[i];
        }
        search.update(&answers).unwrap();
        for (found, expected) in search.latents().iter().zip(&latents) {
            assert!((found - expected).abs() < 1e-12, "{found} against {expected}");
        }
    }
}
