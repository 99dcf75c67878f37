//! The teacher fitted again on noisy answers: expectations by a naive twin, derivatives by differences.

mod support;

use _zodc::condense::expected::{Chances, Outcomes, vector};
use _zodc::condense::population::{Population, PseudoOutcome};
use _zodc::condense::refit::{Asked, Evidence, refit};
use _zodc::condense::{Heard, Problem, Weighted, start};
use _zodc::learner::Learner;
use _zodc::marginals::codec::Codec;
use _zodc::marginals::{Marginals, OutcomeMarginal};
use _zodc::privacy::predictor::{Hazard, Linear, Predictor, TimeGrid};
use std::sync::atomic::AtomicBool;
use support::{options, uniforms};

const SEED: u64 = 3;
const K: usize = 6;
const THREE_CLASSES: &str = r#"
[[column]]
name = "age"
kind = "continuous"
lower = 0
upper = 120
[[column]]
name = "sex"
kind = "binary"
categories = ["f", "m"]
[[column]]
name = "grade"
kind = "categorical"
categories = ["low", "middle", "high"]
fallback = "low"
role = "target"
"#;

/// Marginals as a release could have them, without a cohort behind.
fn marginals(text: &str, outcome: OutcomeMarginal) -> Marginals {
    let schema = support::schema(text);
    let feature = |column: &_zodc::schema::Column| {
        let upper = column.upper.unwrap_or(1.0);
        let (edges, n) = match column.n_levels() {
            Some(n) => (vec![], n),
            None => ([0.0, 0.25, 0.4, 0.6, 1.0].map(|share| share * upper).to_vec(), 4),
        };
        _zodc::marginals::Marginal { missing: 0.0, edges, weights: vec![1.0 / n as f64; n] }
    };
    Marginals { count: 5000.0, share_sd: 0.0, features: schema.features().map(feature).collect(), outcome }
}

fn times() -> OutcomeMarginal {
    OutcomeMarginal::Survival {
        edges: vec![0.0, 500.0, 1000.0, 2000.0, 3000.0, 4000.0],
        censored: vec![0.05, 0.05, 0.1, 0.1, 0.2],
        event: vec![0.15, 0.1, 0.1, 0.1, 0.05],
    }
}

/// Whole models near `centre`, as candidates of a round would be.
fn nearby(centre: &Predictor, round: u64) -> Vec<Vec<(f64, Predictor)>> {
    let shifted = |values: &[f64], seed: u64| -> Vec<f64> {
        values.iter().zip(uniforms(values.len(), seed)).map(|(v, u)| v + 0.6 * (u - 0.5)).collect()
    };
    (0..2 * K as u64)
        .map(|candidate| {
            let seed = 1000 * round + candidate + 1;
            let model = match centre {
                Predictor::Linear(l) => Predictor::Linear(Linear {
                    coef: shifted(&l.coef, seed),
                    intercept: shifted(&l.intercept, seed + 500),
                }),
                Predictor::Hazard(h) => {
                    Predictor::Hazard(Hazard { coef: shifted(&h.coef, seed), ..h.clone() })
                }
                Predictor::Tree(_) => unreachable!(),
            };
            vec![(1.0, model)]
        })
        .collect()
}

/// Loss of one outcome, written down anew.
fn loss(model: &Predictor, x: &[f64], (first, event): (f64, f64), grid: Option<&TimeGrid>) -> f64 {
    let dot = |coef: &[f64]| coef.iter().zip(x).map(|(c, x)| c * x).sum::<f64>();
    match (model, grid) {
        (Predictor::Linear(l), _) => {
            let mut eta: Vec<f64> =
                l.coef.chunks(x.len()).zip(&l.intercept).map(|(c, i)| i + dot(c)).collect();
            if eta.len() == 1 {
                eta.insert(0, 0.0);
            }
            eta.iter().map(|e| e.exp()).sum::<f64>().ln() - eta[first as usize]
        }
        (Predictor::Hazard(h), Some(grid)) => {
            let rate = |t: f64| {
                let interval = (0..grid.n_intervals()).find(|&i| t <= grid.edges[i + 1]).unwrap();
                (interval, h.log_hazard[interval].exp())
            };
            let (interval, last) = rate(first);
            let cumulative = h.cumulative[interval] + last * (first - grid.edges[interval]);
            cumulative * dot(&h.coef).exp() - event * (dot(&h.coef) + last.ln())
        }
        _ => unreachable!(),
    }
}

/// What patients who are as `truth` says answer in the mean, by the definition; of survival each has the
/// outcome that it was drawn with, weighted by `ratio`.
fn expected(
    population: &Population,
    truth: &Predictor,
    width: usize,
    candidates: &[Vec<(f64, Predictor)>],
    clip_norm: f64,
    grid: Option<&TimeGrid>,
    first: &Predictor,
) -> Vec<f64> {
    let mut answer = [0.0; K];
    let n = population.n_rows();
    for (row, x) in population.encoded(n, width).chunks(width).enumerate() {
        let chances: Vec<((f64, f64), f64)> = match &population.outcome {
            PseudoOutcome::Probabilities(_, n_classes) => {
                let chance = |c: f64| (-loss(truth, x, (c, f64::NAN), None)).exp();
                (0..*n_classes).map(|c| ((c as f64, f64::NAN), chance(c as f64))).collect()
            }
            PseudoOutcome::Survival(time, event) => {
                let own = (time[row], event[row]);
                vec![(own, (loss(first, x, own, grid) - loss(truth, x, own, grid)).exp())]
            }
        };
        for (outcome, chance) in chances {
            let at = |c: usize| loss(&candidates[c][0].1, x, outcome, grid);
            let v: Vec<f64> = (0..K).map(|k| at(2 * k) - at(2 * k + 1)).collect();
            let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
            let shrink = if norm > clip_norm { clip_norm / norm } else { 1.0 };
            answer.iter_mut().zip(&v).for_each(|(a, v)| *a += chance * shrink * v);
        }
    }
    answer.iter().map(|a| a * 5000.0 / n as f64).collect()
}

fn etas(model: &Predictor, x: &[f64]) -> Vec<f64> {
    let dot = |coef: &[f64]| coef.iter().zip(x).map(|(c, x)| c * x).sum::<f64>();
    match model {
        Predictor::Linear(l) => l.coef.chunks(x.len()).zip(&l.intercept).map(|(c, i)| i + dot(c)).collect(),
        Predictor::Hazard(h) => vec![dot(&h.coef)],
        Predictor::Tree(_) => unreachable!(),
    }
}

/// Answers that are what `truth` expects, nearly without noise, lead back to it from rows that know nothing; for
/// survival half the way, which is what is kept.
fn finds_the_truth(text: &str, outcome: OutcomeMarginal, learner: &str, n_pseudo: usize) {
    let marginals = marginals(text, outcome);
    let codec = Codec::new(&support::schema(text), &marginals).unwrap();
    let grid = marginals.time_grid(4);
    let rows = start::uniform(&codec, &marginals, 60, SEED);
    let learner: Learner = serde_json::from_str(learner).unwrap();
    let learners = [Weighted { weight: 1.0, learner }];
    let problem = Problem { codec: &codec, grid: grid.as_ref(), learners: &learners, outcome: &rows.outcome };
    let first = problem.fit(&rows.latents).unwrap().remove(0).1;
    let population =
        Population::draw(&codec, &marginals, grid.as_ref(), (&rows, &first), n_pseudo, SEED).unwrap();
    let outcomes = Outcomes::new(&population, grid.as_ref(), &first).unwrap();
    let mut moved = vector(&first);
    let by = uniforms(moved.len(), 77);
    moved.iter_mut().zip(&by).for_each(|(v, u)| *v += 0.6 * (u - 0.5));
    let truth = outcomes.model(&moved);
    let heard: Vec<Heard> = (0..12)
        .map(|round| {
            // Some patients are clipped, some are not.
            let (candidates, clip_norm) = (nearby(&first, round), 0.4);
            let width = codec.width();
            let answers = expected(&population, &truth, width, &candidates, clip_norm, grid.as_ref(), &first);
            Heard { candidates, answers, clip_norm }
        })
        .collect();
    let asked = Asked { patients: 5000.0, noise: 0.01 };
    let evidence = Evidence { heard: &heard, asked, marginals: &marginals, seed: SEED };
    let found = refit(&problem, &rows.latents, evidence, 1.0, &AtomicBool::new(false)).unwrap();
    for x in population.encoded(50, codec.width()).chunks(codec.width()) {
        let (found, first) = (etas(&found, x), etas(&first, x));
        let share = if grid.is_some() { 0.5 } else { 1.0 };
        let truth: Vec<f64> = etas(&truth, x).iter().zip(&first).map(|(t, f)| f + share * (t - f)).collect();
        for (f, t) in found.iter().zip(&truth) {
            // Softmax takes the same constant from every output for nothing.
            let (from, to) = if found.len() == 1 { (0.0, 0.0) } else { (found[0], truth[0]) };
            assert!(((f - from) - (t - to)).abs() < 0.02, "{f} against {t}");
        }
    }
}

#[test]
fn two_classes() {
    let outcome = OutcomeMarginal::Classes { weights: vec![0.7, 0.3] };
    finds_the_truth(support::CLASSIFICATION, outcome, r#"{"kind": "logistic", "c": 0.2}"#, 2048);
}

#[test]
fn three_classes() {
    let outcome = OutcomeMarginal::Classes { weights: vec![0.5, 0.3, 0.2] };
    finds_the_truth(THREE_CLASSES, outcome, r#"{"kind": "logistic", "c": 0.2}"#, 2048);
}

#[test]
fn survival() {
    finds_the_truth(support::SURVIVAL, times(), r#"{"kind": "cox"}"#, 2048);
}

/// Chances change with the model as their derivatives say; those of classes add up to one.
#[test]
fn derivatives_of_chances() {
    let class = |text, weights: Vec<f64>| (text, OutcomeMarginal::Classes { weights });
    let two = class(support::CLASSIFICATION, vec![0.5; 2]);
    let three = class(THREE_CLASSES, vec![0.3, 0.3, 0.4]);
    for (text, outcome) in [two, three, (support::SURVIVAL, times())] {
        let n_classes = match &outcome {
            OutcomeMarginal::Classes { weights } => weights.len(),
            OutcomeMarginal::Survival { .. } => 0,
        };
        let marginals = marginals(text, outcome);
        let codec = Codec::new(&support::schema(text), &marginals).unwrap();
        let grid = marginals.time_grid(4);
        let rows = start::uniform(&codec, &marginals, 40, SEED);
        let n_outputs = if n_classes > 2 { n_classes } else { 1 };
        let coef = vec![0.2; codec.width() * n_outputs];
        let first = match &grid {
            None => Predictor::Linear(Linear { coef, intercept: vec![0.1; n_outputs] }),
            Some(grid) => {
                let n = grid.n_intervals();
                let cumulative = (0..n).map(|i| grid.edges[i] * 4e-4).collect();
                Predictor::Hazard(Hazard { coef, log_hazard: vec![4e-4_f64.ln(); n], cumulative })
            }
        };
        let population =
            Population::draw(&codec, &marginals, grid.as_ref(), (&rows, &first), 20, SEED).unwrap();
        let outcomes = Outcomes::new(&population, grid.as_ref(), &first).unwrap();
        let model: Vec<f64> = vector(&first).iter().map(|v| v + 0.1).collect();
        let eta: Vec<f64> = (0..n_outputs).map(|m| 0.3 * m as f64 - 0.2).collect();
        for row in 0..20 {
            let here = outcomes.chances(&model, row, &eta);
            if n_classes > 0 {
                assert!((here.probability.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
            let step = 1e-5;
            let differences = |moved: &dyn Fn(f64) -> Chances| -> Vec<f64> {
                let (up, down) = (moved(step).probability, moved(-step).probability);
                up.iter().zip(&down).map(|(u, d)| (u - d) / (2.0 * step)).collect()
            };
            for output in 0..n_outputs {
                let found = differences(&|by| {
                    let mut eta = eta.clone();
                    eta[output] += by;
                    outcomes.chances(&model, row, &eta)
                });
                let own = here.by_output.iter().skip(output).step_by(n_outputs);
                found.iter().zip(own).for_each(|(f, own)| assert!((f - own).abs() < 1e-6, "{f}, {own}"));
            }
            for level in 0..outcomes.n_levels() {
                let found = differences(&|by| {
                    let mut model = model.clone();
                    model[level] += by;
                    outcomes.chances(&model, row, &eta)
                });
                let own = here.by_level.iter().skip(level).step_by(outcomes.n_levels());
                found.iter().zip(own).for_each(|(f, own)| assert!((f - own).abs() < 1e-6, "{f}, {own}"));
            }
        }
    }
}

/// Pseudo-patients' times are the earlier of an event, by the teacher's hazard, and of a censoring, by the noisy time
/// marginal (reverse Kaplan-Meier on its bins). 20,000 draws, 5.5 standard errors; seeded: no false alarm.
#[test]
fn times_are_those_of_the_hazard_and_the_noisy_censoring() {
    const N: usize = 20_000;
    const RATE: f64 = 2e-4;
    let marginals = marginals(support::SURVIVAL, times());
    let codec = Codec::new(&support::schema(support::SURVIVAL), &marginals).unwrap();
    let grid = marginals.time_grid(4).unwrap();
    let rows = start::uniform(&codec, &marginals, 40, SEED);
    let cumulative = (0..grid.n_intervals()).map(|i| grid.edges[i] * RATE).collect();
    let log_hazard = vec![RATE.ln(); grid.n_intervals()];
    let teacher = Predictor::Hazard(Hazard { coef: vec![0.0; codec.width()], log_hazard, cumulative });
    let population = Population::draw(&codec, &marginals, Some(&grid), (&rows, &teacher), N, SEED).unwrap();
    let PseudoOutcome::Survival(time, event) = &population.outcome else { panic!() };
    let OutcomeMarginal::Survival { edges, censored, event: events } = times() else { panic!() };
    let (mut at_risk, mut uncensored, mut wanted_events) = (1.0, 1.0, 0.0);
    let near = |found: f64, wanted: f64| (found - wanted).abs() < 5.5 * 0.5 / (N as f64).sqrt();
    for (bin, edge) in edges.windows(2).enumerate() {
        let hazard: f64 = censored[bin] / (at_risk - events[bin] / 2.0);
        // Midpoint rule for the events of the bin, in which censoring is uniform.
        let width = (edge[1] - edge[0]) / 1000.0;
        wanted_events += (0..1000)
            .map(|i| (i as f64 + 0.5) / 1000.0)
            .map(|u| {
                uncensored
                    * (1.0 - hazard * u)
                    * RATE
                    * width
                    * (-RATE * (edge[0] + u * (edge[1] - edge[0]))).exp()
            })
            .sum::<f64>();
        at_risk -= censored[bin] + events[bin];
        uncensored *= 1.0 - hazard;
        if bin + 1 < censored.len() {
            let later = time.iter().filter(|t| **t > edge[1]).count() as f64 / N as f64;
            assert!(near(later, uncensored * (-RATE * edge[1]).exp()), "beyond {}: {later}", edge[1]);
        }
    }
    let share = event.iter().sum::<f64>() / N as f64;
    assert!(near(share, wanted_events), "{share} against {wanted_events}");
}

/// Where nothing was heard, and where noise drowns all, the model is that of the rows.
#[test]
fn without_evidence_the_rows_have_the_say() {
    let outcome = OutcomeMarginal::Classes { weights: vec![0.7, 0.3] };
    let marginals = marginals(support::CLASSIFICATION, outcome);
    let codec = Codec::new(&support::schema(support::CLASSIFICATION), &marginals).unwrap();
    let rows = start::uniform(&codec, &marginals, 60, SEED);
    let learner: Learner = serde_json::from_str(r#"{"kind": "logistic", "c": 0.2}"#).unwrap();
    let learners = [Weighted { weight: 1.0, learner }];
    let problem = Problem { codec: &codec, grid: None, learners: &learners, outcome: &rows.outcome };
    let own = problem.fit(&rows.latents).unwrap().remove(0).1;
    let candidates = nearby(&own, 1);
    let loud = [Heard { candidates, answers: vec![1e3; K], clip_norm: 0.4 }];
    for (heard, noise) in [(&[][..], 1.0), (&loud[..], 1e9)] {
        let asked = Asked { patients: 5000.0, noise };
        let evidence = Evidence { heard, asked, marginals: &marginals, seed: SEED };
        let found = refit(&problem, &rows.latents, evidence, 0.1, &AtomicBool::new(false)).unwrap();
        let (Predictor::Linear(found), Predictor::Linear(own)) = (&found, &own) else { panic!() };
        for (f, o) in found.coef.iter().zip(&own.coef) {
            assert!((f - o).abs() < 1e-6);
        }
    }
}

#[test]
fn asked_follows_from_the_plan() {
    let schema = support::schema(support::CLASSIFICATION);
    let plan = _zodc::privacy::plan::Plan::new(&schema, &options(1.0)).unwrap();
    let asked = Asked::new(&plan, 700.0);
    let multiplier = plan.charges.iter().find(|c| c.what.contains("round")).unwrap();
    let text = serde_json::to_value(multiplier).unwrap();
    let noise = text["event"]["noise_multiplier"].as_f64().unwrap();
    assert!((asked.noise - noise).abs() < 1e-3 * noise && asked.patients == 700.0);
}
