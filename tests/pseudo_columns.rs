//! Columns of pseudo-patients: no correlation but that of the teacher's rows.

mod support;

use _zodc::condense::FixedOutcome;
use _zodc::condense::population::Population;
use _zodc::condense::start::{Rows, uniform};
use _zodc::marginals::codec::Codec;
use _zodc::privacy::predictor::{Linear, Predictor};
use support::{CLASSIFICATION, cohort, marginals, options, patients, schema};

/// Latents of pseudo-patients of a teacher that knows nothing, column after column.
fn columns(n_rows: usize, seed: u64, shift: impl Fn(u32, f64) -> f64) -> Vec<Vec<f64>> {
    let (cells, y) = patients(2000, 1);
    let schema = schema(CLASSIFICATION);
    let found = marginals(&schema, &mut cohort(CLASSIFICATION, &cells, &y, &options(1.0), 9));
    let codec = Codec::new(&schema, &found).unwrap();
    let Rows { latents, outcome } = uniform(&codec, &found, 200, 5);
    let n = codec.n_latents();
    let FixedOutcome::Classes { codes, .. } = &outcome else { panic!("classes") };
    let moved = latents
        .chunks(n)
        .zip(codes)
        .flat_map(|(own, &code)| own.iter().map(|&u| shift(code, u)).collect::<Vec<_>>());
    let rows = Rows { latents: moved.collect(), outcome: outcome.clone() };
    let teacher = Predictor::Linear(Linear { coef: vec![0.0; codec.width()], intercept: vec![0.0] });
    let drawn = Population::draw(&codec, &found, None, (&rows, &teacher), n_rows, seed).unwrap();
    (0..n).map(|j| drawn.latents.iter().skip(j).step_by(n).copied().collect()).collect()
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let mean = |x: &[f64]| x.iter().sum::<f64>() / n;
    let (p, q) = (mean(a), mean(b));
    let sum =
        |x: &[f64], u: f64, y: &[f64], v: f64| x.iter().zip(y).map(|(x, y)| (x - u) * (y - v)).sum::<f64>();
    sum(a, p, b, q) / (sum(a, p, a, p) * sum(b, q, b, q)).sqrt()
}

/// Chance alone would leave correlations of .07, as a root mean square.
#[test]
fn chance_correlations_are_taken_out() {
    let (mut square, mut n) = (0.0, 0.0);
    for seed in 0..20 {
        let columns = columns(200, seed, |_, u| u);
        for (j, a) in columns.iter().enumerate() {
            for b in &columns[..j] {
                square += correlation(a, b).powi(2);
                n += 1.0;
            }
        }
    }
    let left = (square / n).sqrt();
    assert!(left < 0.025, "{left}");
}

#[test]
fn columns_that_differ_between_the_classes_stay_correlated() {
    let columns = columns(2000, 3, |class, u| if class == 1 { 0.5 + 0.5 * u } else { u });
    assert!(correlation(&columns[0], &columns[1]) > 0.05);
}

/// With fewer rows than twice the columns nothing can be taken out without making the rows alike.
#[test]
fn few_rows_are_left_as_drawn() {
    let columns = columns(6, 1, |_, u| u);
    assert!(columns.iter().flatten().all(|u| (0.0..=1.0).contains(u)));
    assert!(correlation(&columns[0], &columns[1]).abs() > 0.03);
}
