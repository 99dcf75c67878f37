//! The two exits of the private half, seen from outside: what they answer, and what they refuse.

mod support;

use _zodc::Error;
use _zodc::marginals::codec::Codec;
use _zodc::privacy::accountant;
use _zodc::privacy::answer::Round;
use _zodc::privacy::cohort::{PrivateCohort, RawOutcome};
use _zodc::privacy::event::Event;
use _zodc::privacy::mechanism::RADIUS;
use _zodc::privacy::noise::NoiseSource;
use _zodc::privacy::plan::Plan;
use _zodc::privacy::predictor::{Linear, Predictor};
use _zodc::privacy::scoring::Candidate;
use std::sync::atomic::AtomicBool;
use support::{CLASSIFICATION, cohort, marginals, options, patients, schema, uniforms, with_patient_id};

const LITTLE_NOISE: f64 = 1e12;

fn candidates(width: usize, directions: usize, seed: u64) -> Vec<Candidate> {
    uniforms(2 * directions * width, seed)
        .chunks_exact(width)
        .map(|u| {
            let coef = u.iter().map(|u| u - 0.5).collect();
            vec![(1.0, Predictor::Linear(Linear { coef, intercept: vec![0.1] }))]
        })
        .collect()
}

/// Sums of clipped loss differences, computed the obvious way.
fn naive(codec: &Codec, cells: &[f64], y: &[f64], candidates: &[Candidate], clip_norm: f64) -> Vec<f64> {
    let schema = schema(CLASSIFICATION);
    let mut sums = vec![0.0; candidates.len() / 2];
    let mut x = vec![0.0; codec.width()];
    for (row, y) in cells.chunks_exact(4).zip(y) {
        let canonical: Vec<f64> = schema.features().zip(row).map(|(c, &v)| c.canonical(v)).collect();
        codec.encode_row(&canonical, &mut x);
        let loss = |candidate: &Candidate| {
            let Predictor::Linear(model) = &candidate[0].1 else { panic!("not linear") };
            let eta = model.intercept[0] + model.coef.iter().zip(&x).map(|(c, x)| c * x).sum::<f64>();
            let p = 1.0 / (1.0 + (-eta).exp());
            -(y * p.ln() + (1.0 - y) * (1.0 - p).ln())
        };
        let v: Vec<f64> = candidates.chunks_exact(2).map(|pair| loss(&pair[0]) - loss(&pair[1])).collect();
        let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
        let scale = (clip_norm / norm).min(1.0);
        sums.iter_mut().zip(&v).for_each(|(s, v)| *s += v * scale);
    }
    sums
}

fn answer(cohort: &mut PrivateCohort, codec: &Codec, candidates: &[Candidate], clip_norm: f64) -> Vec<f64> {
    let round = Round { candidates, codec, grid: None, clip_norm };
    cohort.answer(&round, &AtomicBool::new(false)).unwrap()
}

#[test]
fn an_answer_is_the_clipped_sum_of_a_naive_twin() {
    let (cells, y) = patients(700, 1);
    let mut cohort = cohort(CLASSIFICATION, &cells, &y, &options(LITTLE_NOISE), 5);
    let found = marginals(&schema(CLASSIFICATION), &mut cohort);
    let codec = Codec::new(&schema(CLASSIFICATION), &found).unwrap();
    let candidates = candidates(codec.width(), 3, 2);
    for clip_norm in [0.05, 0.5, 50.0] {
        let found = answer(&mut cohort, &codec, &candidates, clip_norm);
        for (a, b) in found.iter().zip(naive(&codec, &cells, &y, &candidates, clip_norm)) {
            // Truncation loses up to one step of clip_norm / 2^20 a patient, and the noise a few.
            assert!((a - b).abs() < 1e-3 * clip_norm, "{a} {b}");
        }
    }
}

/// Noise is drawn after the sum, from the same seed: equal answers mean equal sums.
#[test]
fn check_04_bits_do_not_depend_on_threads_or_row_order() {
    let (cells, y) = patients(5000, 3);
    let run = |threads: usize, reverse: bool| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (mut cells, mut y) = (cells.clone(), y.clone());
            if reverse {
                cells = cells.chunks_exact(4).rev().flatten().copied().collect();
                y.reverse();
            }
            let mut cohort = cohort(CLASSIFICATION, &cells, &y, &options(1.0), 11);
            let found = marginals(&schema(CLASSIFICATION), &mut cohort);
            let codec = Codec::new(&schema(CLASSIFICATION), &found).unwrap();
            let candidates = candidates(codec.width(), 3, 4);
            let answer = answer(&mut cohort, &codec, &candidates, 0.2);
            (serde_json::to_string(&found).unwrap(), answer)
        })
    };
    let one = run(1, false);
    for (threads, reverse) in [(2, false), (8, false), (1, true), (8, true)] {
        assert_eq!(run(threads, reverse), one, "{threads} threads, reversed: {reverse}");
    }
}

/// A cohort of `n` patients who each have their row three times is, with the clip binding on the
/// patient, worth the same as one row each whose loss is three times as large.
#[test]
fn check_23_rows_of_a_patient_are_one_unit() {
    let text = with_patient_id(CLASSIFICATION);
    let (cells, y) = patients(200, 7);
    let three = |values: &[f64], width: usize| -> Vec<f64> {
        values.chunks_exact(width).flat_map(|row| row.repeat(3)).collect()
    };
    let ids: Vec<i64> = (0..600).map(|i| i / 3).collect();
    let schema = schema(&text);
    let plan = Plan::new(&schema, &options(LITTLE_NOISE)).unwrap();
    assert_eq!(plan.unit, "patient");
    let (many, labels) = (three(&cells, 4), three(&y, 1));
    let outcome = RawOutcome::Classes(&labels);
    let source = NoiseSource::seeded_for_tests(1);
    let mut grouped = PrivateCohort::new(&schema, &many, outcome, Some(&ids), plan, source).unwrap();
    let found = marginals(&schema, &mut grouped);
    assert!((found.count - 200.0).abs() < 1.0, "{}", found.count);
    let codec = Codec::new(&schema, &found).unwrap();
    let candidates = candidates(codec.width(), 3, 4);
    let got = answer(&mut grouped, &codec, &candidates, 0.01);
    let single = naive(&codec, &cells, &y, &candidates, 0.01);
    for (a, b) in got.iter().zip(single) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

/// The same where losses are given row by row: three rows that would each pass the clip alone.
#[test]
fn check_23_losses_given_for_rows_of_a_patient_are_clipped_together() {
    let schema = schema(&with_patient_id(CLASSIFICATION));
    let (cells, y) = patients(4, 7);
    let plan = Plan::new(&schema, &options(LITTLE_NOISE)).unwrap();
    let source = NoiseSource::seeded_for_tests(1);
    let outcome = RawOutcome::Classes(&y);
    let mut grouped =
        PrivateCohort::new(&schema, &cells, outcome, Some(&[0, 1, 0, 0]), plan, source).unwrap();
    let differences = [0.9, 0.0, 0.0, 0.0, 0.5, 0.0, 0.9, 0.0, 0.0, 0.9, 0.0, 0.0];
    let got = grouped.answer_differences(&differences, 1.0).unwrap();
    for (a, b) in got.iter().zip([1.0, 0.5, 0.0]) {
        assert!((a - b).abs() < 1e-3, "{got:?}");
    }
}

#[test]
fn check_06_hostile_cells_change_nothing_but_their_own_patient() {
    let (cells, y) = patients(300, 1);
    let hostile = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, -1e308, 5e-324, -0.0, -7.0];
    for bad in hostile {
        let (mut cells, mut y) = (cells.clone(), y.clone());
        cells[..4].fill(bad);
        y[0] = bad;
        let mut cohort = cohort(CLASSIFICATION, &cells, &y, &options(LITTLE_NOISE), 5);
        let found = marginals(&schema(CLASSIFICATION), &mut cohort);
        let codec = Codec::new(&schema(CLASSIFICATION), &found).unwrap();
        let candidates = candidates(codec.width(), 3, 2);
        let got = answer(&mut cohort, &codec, &candidates, 0.5);
        let others = naive(&codec, &cells[4..], &y[1..], &candidates, 0.5);
        for (a, b) in got.iter().zip(others) {
            assert!((a - b).abs() <= 0.5 + 1e-3, "{bad}: {a} {b}");
        }
    }
}

#[test]
fn check_21_a_plan_with_less_noise_than_it_charges_is_refused() {
    let (cells, y) = patients(50, 1);
    let honest = schema(CLASSIFICATION);
    let refused = |plan: Plan| {
        let source = NoiseSource::seeded_for_tests(1);
        let made = PrivateCohort::new(&honest, &cells, RawOutcome::Classes(&y), None, plan, source);
        matches!(made.err(), Some(Error::Budget { .. }))
    };
    let plan = Plan::new(&honest, &options(1.0)).unwrap();
    assert!(!refused(plan.clone()));
    assert!(refused(Plan { round_noise_scale: plan.round_noise_scale - 1, ..plan.clone() }));
    assert!(refused(Plan { rounds: plan.rounds + 1, ..plan.clone() }));
    assert!(refused(Plan { epsilon: plan.epsilon / 2.0, ..plan.clone() }));
    let mut quiet = plan.clone();
    quiet.marginals[1].noise_scale = 1;
    assert!(refused(quiet));
    assert!(refused(Plan { round_sensitivity: 1, ..plan.clone() }));
    let mut cheap = plan.clone();
    cheap.spent.epsilon /= 2.0;
    assert!(refused(cheap));
    let other = Plan::new(&schema(support::SURVIVAL), &options(1.0)).unwrap();
    assert!(refused(other));
}

/// A sample is drawn at multiples of 2^-32, so a plan that charges another rate lies.
#[test]
fn check_21_a_plan_that_charges_a_rate_no_sample_has_is_refused() {
    let (cells, y) = patients(50, 1);
    let schema = schema(CLASSIFICATION);
    let half = _zodc::privacy::plan::PlanOptions { sampling_rate: Some(0.5), ..options(1.0) };
    let honest = Plan::new(&schema, &half).unwrap();
    let with_rate = |rate: f64| {
        let mut plan = Plan { sampling_rate: rate, ..honest.clone() };
        let last = plan.charges.len() - 1;
        let noise_multiplier = plan.charges[last].event.noise_multiplier();
        plan.charges[last].event = Event::PoissonGaussian { sampling_rate: rate, noise_multiplier };
        plan.spent = accountant::epsilon(&plan.charges, plan.delta).unwrap();
        plan
    };
    let accepted = |plan: Plan| {
        let source = NoiseSource::seeded_for_tests(1);
        PrivateCohort::new(&schema, &cells, RawOutcome::Classes(&y), None, plan, source).is_ok()
    };
    assert!(accepted(with_rate(0.5)) && accepted(with_rate(0.25)) && accepted(with_rate(2_f64.powi(-32))));
    for rate in [0.0, 1e-300, 1e-11, 0.1, 0.5_f64.next_down()] {
        assert!(!accepted(with_rate(rate)), "{rate}");
    }
}

/// What is asked of the patients is one Gaussian question a round, whatever the number of directions.
#[test]
fn check_09_directions_are_clipped_jointly_and_cost_nothing_more() {
    let schema = schema(CLASSIFICATION);
    let charges = |directions, rounds| {
        let options = _zodc::privacy::plan::PlanOptions { directions, rounds, ..options(1.0) };
        Plan::new(&schema, &options).unwrap()
    };
    let (one, many) = (charges(1, 4), charges(4096, 4));
    assert_eq!((&one.charges, one.round_noise_scale), (&many.charges, many.round_noise_scale));
    assert!(charges(1, 16).round_noise_scale > one.round_noise_scale);
    let (cells, y) = patients(2, 1);
    let options = _zodc::privacy::plan::PlanOptions { directions: 64, ..options(LITTLE_NOISE) };
    let mut cohort = cohort(CLASSIFICATION, &cells, &y, &options, 5);
    let all = cohort.answer_differences(&[[9.0; 64], [0.0; 64]].concat(), 1.0).unwrap();
    let norm = all.iter().map(|a| a * a).sum::<f64>().sqrt();
    assert!((norm - 1.0).abs() < 1e-3, "{norm}");
}

/// Released numbers are whole multiples of a public step, on D and on a neighbour alike.
#[test]
fn check_03_answers_lie_on_one_public_lattice() {
    let (cells, y) = patients(40, 1);
    let clip_norm = 0.37;
    let step = clip_norm / RADIUS as f64;
    let rounds = 400;
    let options = _zodc::privacy::plan::PlanOptions { rounds, directions: 64, ..options(1.0) };
    let mut low_bits = [[0.0; 16]; 2];
    for (neighbour, counts) in low_bits.iter_mut().enumerate() {
        let n = 40 - neighbour;
        let mut cohort = cohort(CLASSIFICATION, &cells[..4 * n], &y[..n], &options, 5 + neighbour as u64);
        let differences: Vec<f64> = (0..64 * n).map(|i| 1e-3 * (i as f64).sin()).collect();
        for _ in 0..rounds {
            for answer in cohort.answer_differences(&differences, clip_norm).unwrap() {
                let steps = (answer / step).round();
                assert_eq!(steps * step, answer);
                counts[(steps as i64 & 15) as usize] += 1.0;
            }
        }
    }
    let expected = 64.0 * rounds as f64 / 16.0;
    for counts in low_bits {
        let statistic: f64 = counts.iter().map(|c| (c - expected).powi(2) / expected).sum();
        // Chi-square of 15 degrees of freedom: false-alarm rate 1e-6.
        assert!(statistic < 56.5, "{statistic}");
    }
}

#[test]
fn questions_beyond_the_plan_are_refused() {
    let (cells, y) = patients(50, 1);
    let mut cohort = cohort(CLASSIFICATION, &cells, &y, &options(1.0), 5);
    let schema = schema(CLASSIFICATION);
    let found = marginals(&schema, &mut cohort);
    let again = _zodc::marginals::coarse_partitions(&schema, 64).unwrap();
    assert_eq!(
        cohort.noisy_counts(&again).unwrap_err(),
        Error::NotPlanned { query: "marginals", planned: 2 }
    );
    let codec = Codec::new(&schema, &found).unwrap();
    let three = candidates(codec.width(), 3, 2);
    for _ in 0..4 {
        answer(&mut cohort, &codec, &three, 0.1);
    }
    let cancel = AtomicBool::new(false);
    let ask = |cohort: &mut PrivateCohort, candidates: &[Candidate]| {
        cohort.answer(&Round { candidates, codec: &codec, grid: None, clip_norm: 0.1 }, &cancel)
    };
    assert_eq!(ask(&mut cohort, &three), Err(Error::NotPlanned { query: "round", planned: 4 }));
}

#[test]
fn more_directions_than_planned_are_refused() {
    let (cells, y) = patients(50, 1);
    let mut cohort = cohort(CLASSIFICATION, &cells, &y, &options(1.0), 5);
    let found = marginals(&schema(CLASSIFICATION), &mut cohort);
    let codec = Codec::new(&schema(CLASSIFICATION), &found).unwrap();
    let four = candidates(codec.width(), 4, 2);
    let round = Round { candidates: &four, codec: &codec, grid: None, clip_norm: 0.1 };
    let refused = cohort.answer(&round, &AtomicBool::new(false));
    assert_eq!(refused, Err(Error::NotPlanned { query: "round", planned: 4 }));
}

/// Poisson sampling: with rate 1/2 the expected sum is half, and the spread that of the sample.
#[test]
fn check_21_the_poisson_sample_takes_each_patient_at_the_planned_rate() {
    let (cells, y) = patients(4000, 1);
    let half =
        _zodc::privacy::plan::PlanOptions { sampling_rate: Some(0.5), rounds: 200, ..options(LITTLE_NOISE) };
    let mut cohort = cohort(CLASSIFICATION, &cells, &y, &half, 5);
    let found = marginals(&schema(CLASSIFICATION), &mut cohort);
    let codec = Codec::new(&schema(CLASSIFICATION), &found).unwrap();
    let candidates = candidates(codec.width(), 3, 2);
    let full = naive(&codec, &cells, &y, &candidates, 0.5)[0];
    let answers: Vec<f64> = (0..200).map(|_| answer(&mut cohort, &codec, &candidates, 0.5)[0]).collect();
    let mean = answers.iter().sum::<f64>() / 200.0;
    // Standard error at most 0.5·√(n/4)/√200; six of them: false-alarm rate below 1e-6.
    let bound = 6.0 * 0.5 * (4000.0_f64 / 4.0).sqrt() / 200.0_f64.sqrt();
    assert!((mean - full / 2.0).abs() < bound, "{mean} {full} {bound}");
    assert!(answers.iter().any(|a| (a - answers[0]).abs() > 1e-3), "the sample never changed");
}

#[test]
fn check_31_rows_stay_behind_the_wall() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
