//! The accountants and the calibration against reference figures, and the properties that they must keep.

use std::time::Instant;

use _zodc::Error;
use _zodc::privacy::accountant::{self, Accountant, Spent, gdp, rdp};
use _zodc::privacy::calibration::{LEAST_NOISE, calibrate, gdp_budget};
use _zodc::privacy::event::{Charge, Event};
use proptest::prelude::*;
use serde_json::Value;

fn gaussian(noise_multiplier: f64, count: u64) -> Charge {
    Charge { event: Event::Gaussian { noise_multiplier }, count, what: "marginals".into() }
}

fn poisson(sampling_rate: f64, noise_multiplier: f64, count: u64) -> Charge {
    Charge { event: Event::PoissonGaussian { sampling_rate, noise_multiplier }, count, what: "rounds".into() }
}

fn epsilon(charges: &[Charge], delta: f64) -> f64 {
    accountant::epsilon(charges, delta).unwrap().epsilon
}

fn reference(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn number(row: &Value, name: &str) -> f64 {
    row[name].as_f64().unwrap()
}

/// Equal to `exact` within `relative`, and on the private side of it but for `dust`.
fn assert_just_above(got: f64, exact: f64, relative: f64, dust: f64, what: &str) {
    assert!(got >= exact - dust, "{what}: {got} below {exact}");
    assert!(got <= exact * (1.0 + relative) + dust, "{what}: {got} far above {exact}");
}

#[test]
fn check_17_rdp_gives_the_twenty_reference_values() {
    let table = include_str!("reference/accountant_values.csv");
    let mut rows = 0;
    for line in table.lines().skip(1) {
        let cells: Vec<f64> = line.split(',').map(|cell| cell.parse().unwrap()).collect();
        let [rate, noise, steps, delta, exact, order, _] = cells[..] else { panic!("{line}") };
        let mut total = rdp::Curve::zero();
        let event = Event::PoissonGaussian { sampling_rate: rate, noise_multiplier: noise };
        total.add(&rdp::Curve::new(&event).unwrap(), steps as u64);
        let (got, best) = total.epsilon(delta).unwrap();
        assert_just_above(got, exact, 1e-6, 1e-8, line);
        assert_eq!(best, order, "{line}");
        assert_eq!(rdp::epsilon(&[poisson(rate, noise, steps as u64)], delta).unwrap(), got);
        rows += 1;
    }
    assert_eq!(rows, 20);
}

#[test]
fn rdp_agrees_with_quadrature_at_forty_digits() {
    let rows = reference(include_str!("reference/rdp_random.json"));
    for row in rows.as_array().unwrap() {
        let (rate, noise) = (number(row, "sampling_rate"), number(row, "noise_multiplier"));
        let steps = row["steps"].as_u64().unwrap();
        let got = rdp::epsilon(&[poisson(rate, noise, steps)], number(row, "delta")).unwrap();
        let exact = number(row, "epsilon");
        assert_just_above(got, exact, 1e-8, 1e-14 * exact, &row.to_string());
        assert!(got <= number(row, "epsilon_dp_accounting") * (1.0 + 1e-8), "{row}");
        let curve = rdp::Curve::new(&poisson(rate, noise, 1).event).unwrap();
        for pair in row["costs"].as_array().unwrap() {
            let (order, cost) = (pair[0].as_f64().unwrap(), pair[1].as_f64().unwrap());
            let index = rdp::orders().position(|alpha| alpha == order).unwrap();
            // dp-accounting takes ln of a sum near 1, so its own error is absolute.
            assert!((curve.costs()[index] - cost).abs() < 1e-9 * cost + 1e-12, "order {order} of {row}");
        }
    }
}

#[test]
fn fractional_orders_keep_their_digits_at_the_extremes() {
    let rows = reference(include_str!("reference/rdp_costs.json"));
    for row in rows.as_array().unwrap() {
        let (rate, noise) = (number(row, "sampling_rate"), number(row, "noise_multiplier"));
        let curve = rdp::Curve::new(&poisson(rate, noise, 1).event).unwrap();
        let index = rdp::orders().position(|alpha| alpha == number(row, "order")).unwrap();
        assert_just_above(curve.costs()[index], number(row, "cost"), 1e-9, 0.0, &row.to_string());
    }
}

#[test]
fn tiny_noise_is_priced_by_a_bound() {
    // Below the threshold fractional orders come from a chord, above it from the integral: never a fall in cost.
    let event = |noise_multiplier| Event::PoissonGaussian { sampling_rate: 0.01, noise_multiplier };
    let (chord, integral) =
        (rdp::Curve::new(&event(0.099_999)).unwrap(), rdp::Curve::new(&event(0.1)).unwrap());
    for ((alpha, above), exact) in rdp::orders().zip(chord.costs()).zip(integral.costs()) {
        assert!(above > exact, "order {alpha}: {above} below {exact}");
        assert!(alpha < 2.0 || *above < 2.0 * exact, "order {alpha}: {above} far above {exact}");
    }
}

#[test]
fn gdp_agrees_with_sixty_digits() {
    let tables = reference(include_str!("reference/gdp.json"));
    for row in tables["log_delta"].as_array().unwrap() {
        let exact = number(row, "log_delta");
        let got = gdp::log_delta(number(row, "epsilon"), number(row, "mu"));
        assert!((got - exact).abs() < 1e-12, "{got} for {row}");
    }
    for row in tables["epsilon"].as_array().unwrap() {
        let exact = number(row, "epsilon");
        let got = gdp::epsilon(number(row, "mu"), number(row, "delta"));
        assert_just_above(got, exact, 1e-9, 1e-15 * exact, &row.to_string());
    }
    for row in tables["mu"].as_array().unwrap() {
        let exact = number(row, "mu");
        let got = gdp_budget(number(row, "epsilon"), number(row, "delta")).unwrap();
        assert!(got <= exact && got >= exact * (1.0 - 1e-9), "{got} for {row}");
    }
}

#[test]
fn gaussian_events_add_up_in_inverse_squares() {
    let together =
        epsilon(&[gaussian(5.0, 3), gaussian(2.0, 1), poisson(1.0, 5.0, 2), poisson(0.0, 0.1, 9)], 1e-6);
    let single = gdp::epsilon((5.0 / 25.0 + 0.25_f64).sqrt(), 1e-6);
    assert!((together / single - 1.0).abs() < 1e-12);
    assert_eq!(accountant::epsilon(&[gaussian(5.0, 3)], 1e-6).unwrap().accountant, Accountant::Gdp);
}

#[test]
fn renyi_costs_add_up() {
    let split = epsilon(&[poisson(0.1, 2.0, 300), gaussian(10.0, 1), poisson(0.1, 2.0, 200)], 1e-5);
    let merged = accountant::epsilon(&[gaussian(10.0, 1), poisson(0.1, 2.0, 500)], 1e-5).unwrap();
    assert!((split / merged.epsilon - 1.0).abs() < 1e-12);
    assert_eq!(merged.accountant, Accountant::Rdp);
    assert!(merged.epsilon > epsilon(&[poisson(0.1, 2.0, 500)], 1e-5));
}

#[test]
fn subsampling_is_never_worse_than_full_participation() {
    let full = epsilon(&[gaussian(4.0, 10)], 1e-6);
    let nearly = accountant::epsilon(&[poisson(0.999_999, 4.0, 10)], 1e-6).unwrap();
    assert_eq!(nearly, Spent { epsilon: full, accountant: Accountant::Gdp });
}

#[test]
fn check_18_the_corners_of_the_range() {
    assert_eq!(epsilon(&[], 1e-6), 0.0);
    assert_eq!(epsilon(&[gaussian(1.0, 0), gaussian(0.0, 0)], 1e-6), 0.0);
    assert_eq!(epsilon(&[poisson(0.0, 0.0, 5)], 1e-6), 0.0);
    for noiseless in [gaussian(0.0, 1), poisson(0.5, 0.0, 1), poisson(1e-300, 0.0, 1)] {
        assert_eq!(epsilon(&[noiseless], 1e-6), f64::INFINITY);
    }
    for rate in [f64::MIN_POSITIVE, 1e-300, 1e-12, 0.5, 1.0 - f64::EPSILON] {
        for noise in [f64::MIN_POSITIVE, 1e-5, 0.03, 0.1, 50.0, 1e9, f64::MAX] {
            for count in [1, 1_000_000, u64::MAX] {
                let cost = epsilon(&[poisson(rate, noise, count), gaussian(noise, 1)], 1e-9);
                assert!(cost >= 0.0, "{cost} for {rate}, {noise}, {count}");
            }
        }
    }
}

fn refused_option<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    match result.unwrap_err() {
        Error::Option { option, .. } => option,
        other => panic!("{other}"),
    }
}

#[test]
fn check_25_options_out_of_range_are_named() {
    for delta in [0.0, 1.0, -0.5, 2.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused_option(accountant::epsilon(&[], delta)), "delta");
        assert_eq!(refused_option(rdp::epsilon(&[], delta)), "delta");
        assert_eq!(refused_option(gdp_budget(1.0, delta)), "delta");
        assert_eq!(refused_option(calibrate(1.0, delta, |s| vec![gaussian(s, 1)])), "delta");
    }
    for target in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(refused_option(gdp_budget(target, 1e-6)), "epsilon");
        assert_eq!(refused_option(calibrate(target, 1e-6, |s| vec![gaussian(s, 1)])), "epsilon");
    }
    for noise in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused_option(accountant::epsilon(&[gaussian(noise, 0)], 1e-6)), "noise_multiplier");
        assert_eq!(refused_option(rdp::epsilon(&[poisson(0.1, noise, 1)], 1e-6)), "noise_multiplier");
    }
    for rate in [-0.1, 1.1, f64::NAN] {
        assert_eq!(refused_option(accountant::epsilon(&[poisson(rate, 1.0, 1)], 1e-6)), "sampling_rate");
    }
}

#[test]
fn charges_survive_json() {
    let charges = vec![gaussian(3.0, 1), poisson(0.1, 2.0, 600)];
    let text = serde_json::to_string(&charges).unwrap();
    assert!(text.contains(r#""mechanism":"poisson_gaussian","sampling_rate":0.1"#), "{text}");
    assert_eq!(serde_json::from_str::<Vec<Charge>>(&text).unwrap(), charges);
    let spent = accountant::epsilon(&charges, 1e-6).unwrap();
    assert!(serde_json::to_string(&spent).unwrap().contains(r#""accountant":"rdp""#));
}

#[test]
fn a_fixed_share_above_the_budget_is_refused() {
    let refusal = calibrate(1.0, 1e-6, |s| vec![gaussian(0.5, 1), gaussian(s, 600)]).unwrap_err();
    assert!(matches!(refusal, Error::Budget { .. }), "{refusal}");
}

#[test]
fn calibration_agrees_with_the_closed_form() {
    for target in [0.1, 1.0, 3.0, 20.0] {
        let noise = calibrate(target, 1e-6, |s| vec![gaussian(s, 600)]).unwrap();
        let exact = 600.0_f64.sqrt() / gdp_budget(target, 1e-6).unwrap();
        assert_just_above(noise, exact, 1e-6, 1e-10 * exact, "noise multiplier");
    }
    assert_eq!(calibrate(1e9, 1e-6, |s| vec![gaussian(s, 1)]).unwrap(), LEAST_NOISE);
}

#[test]
#[ignore = "timed: cargo test --release --test accounting -- --ignored"]
fn pricing_takes_milliseconds_and_calibration_less_than_a_second() {
    let start = Instant::now();
    epsilon(&[poisson(0.05, 0.1, 600)], 1e-6);
    let pricing = start.elapsed();
    let start = Instant::now();
    calibrate(1.0, 1e-6, |s| vec![gaussian(20.0, 1), poisson(0.05, s, 600)]).unwrap();
    let calibration = start.elapsed();
    println!("pricing (slowest noise multiplier) {pricing:?}, calibration {calibration:?}");
    // Generous, as test machines are shared; what is printed is 20 times smaller.
    assert!(pricing.as_millis() < 400 && calibration.as_millis() < 4000);
}

/// Slack for the last digits in comparisons of two rounded figures.
const DUST: f64 = 1.0 + 1e-9;

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn check_18_cost_is_monotone(
        log_rate in -4.0..0.0_f64, log_noise in -1.3..2.0_f64, count in 1..50_000_u64, log_delta in -12.0..-0.5_f64, more in 1.0..3.0_f64,
    ) {
        let (rate, noise, delta) = (10_f64.powf(log_rate), 10_f64.powf(log_noise), 10_f64.powf(log_delta));
        let cost = epsilon(&[poisson(rate, noise, count)], delta);
        prop_assert!(cost >= 0.0);
        prop_assert!(epsilon(&[poisson(rate, noise * more, count)], delta) <= cost * DUST);
        prop_assert!(epsilon(&[poisson((rate * more).min(1.0), noise, count)], delta) * DUST >= cost);
        prop_assert!(epsilon(&[poisson(rate, noise, count + 7)], delta) * DUST >= cost);
        prop_assert!(epsilon(&[poisson(rate, noise, count)], (delta * more).min(0.999)) <= cost * DUST);
        prop_assert!(epsilon(&[poisson(rate, noise, count), gaussian(noise * 3.0, 1)], delta) * DUST >= cost);
    }

    #[test]
    fn gdp_inverses_agree(log_epsilon in -4.0..3.0_f64, log_delta in -30.0..-0.1_f64) {
        let (target, delta) = (10_f64.powf(log_epsilon), 10_f64.powf(log_delta));
        let mu = gdp_budget(target, delta).unwrap();
        prop_assert!(gdp::log_delta(target, mu) <= delta.ln());
        prop_assert!(gdp::log_delta(target, mu * (1.0 + 1e-9)) > delta.ln() - 1e-6);
        prop_assert!(gdp::epsilon(mu, delta) <= target);
        prop_assert!(epsilon(&[gaussian(2.0 / mu, 1), gaussian(40.0_f64.sqrt() / mu, 30)], delta) <= target);
    }

    #[test]
    fn check_19_calibration_never_overshoots(
        log_target in -1.5..1.5_f64, log_delta in -10.0..-2.0_f64, log_rate in -3.0..0.0_f64, count in 1..2_000_u64,
    ) {
        let (target, delta, rate) = (10_f64.powf(log_target), 10_f64.powf(log_delta), 10_f64.powf(log_rate));
        let marginals = gdp_budget(0.3 * target, delta).unwrap().recip();
        let charges = |noise| vec![gaussian(marginals, 1), poisson(rate, noise, count)];
        let noise = calibrate(target, delta, charges).unwrap();
        prop_assert!(epsilon(&charges(noise), delta) <= target);
        prop_assert!(noise == LEAST_NOISE || epsilon(&charges(noise * (1.0 - 1e-6)), delta) > target);
    }
}
