//! The plan: every question with its noise, fixed and charged before data are read.

use super::accountant::{Spent, epsilon};
use super::calibration::{calibrate, gdp_budget};
use super::event::{Charge, Event, Neighbours};
use super::histogram;
use super::mechanism::RADIUS;
use crate::error::{Error, Result};
use crate::marginals::coarse_partitions;
use crate::schema::{Role, Schema};
use serde::{Deserialize, Serialize};

/// Equal bins of the coarse question.
pub const COARSE_BINS: usize = 64;
/// Fewest and most bins of the fine question.
const FINE_BINS: (f64, f64) = (6.0, 32.0);
/// Share of the marginals' budget that the coarse question takes: it only has to find where the mass is.
const COARSE_SHARE: f64 = 0.25;
/// Noise above this many lattice steps would drown any cohort; the budget is refused instead.
const LARGEST_SCALE: f64 = (1_u64 << 40) as f64;
/// Expected patients above which rounds ask a Poisson sample, for speed.
const FULL_BATCH_PATIENTS: u64 = 50_000;

/// What the custodian decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlanOptions {
    /// Target ε, above 0.
    pub epsilon: f64,
    /// Target δ, in (0, 1).
    pub delta: f64,
    /// Number of rounds T.
    pub rounds: u64,
    /// Directions K of a round.
    pub directions: u64,
    /// Share of the budget (in squared GDP parameter) that the marginals take, in (0, 1).
    pub marginal_share: f64,
    /// Rate of the Poisson sample of a round, in (0, 1]; `None`: 1, or less for a large cohort.
    pub sampling_rate: Option<f64>,
    /// A public guess of the number of patients, never the file's.
    pub expected_patients: Option<u64>,
    /// Which cohorts count as neighbours.
    pub neighbours: Neighbours,
}

/// One question for histograms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MarginalStage {
    /// Feature columns asked.
    pub n_features: usize,
    /// Whether the outcome is asked.
    pub outcome: bool,
    /// Standard deviation of the noise in lattice steps.
    pub noise_scale: u64,
    /// L2 sensitivity in lattice steps.
    pub sensitivity: f64,
}

/// All questions of a run. Its noise holds for any cohort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Target ε.
    pub epsilon: f64,
    /// Target δ.
    pub delta: f64,
    /// What the charges cost, never above the target.
    pub spent: Spent,
    /// Which cohorts count as neighbours.
    pub neighbours: Neighbours,
    /// `"patient"` with a patient_id column, else `"row"`.
    pub unit: String,
    /// Rate of the Poisson sample of a round; 1 is the full batch.
    pub sampling_rate: f64,
    /// Number of rounds T.
    pub rounds: u64,
    /// Directions K of a round.
    pub directions: u64,
    /// Standard deviation of a round's noise in lattice steps.
    pub round_noise_scale: u64,
    /// L2 sensitivity of a round in lattice steps.
    pub round_sensitivity: u64,
    /// Questions for histograms, in order.
    pub marginals: Vec<MarginalStage>,
    /// What an accountant has to know.
    pub charges: Vec<Charge>,
}

impl Plan {
    /// Fixes the noise for a target; no data are read.
    ///
    /// # Errors
    /// [`Error::Option`] for a value out of range, [`Error::Budget`] when the noise would be absurd.
    pub fn new(schema: &Schema, options: &PlanOptions) -> Result<Self> {
        check(options)?;
        let rate = sampling_rate(options);
        let mu = gdp_budget(options.epsilon, options.delta)?;
        let neighbours = options.neighbours;
        let marginals = marginal_stages(schema, neighbours, mu * options.marginal_share.sqrt())?;
        let charges_for = |multiplier: f64| charges(&marginals, rate, multiplier, options.rounds);
        let noise_multiplier = if rate >= 1.0 {
            (options.rounds as f64 / (1.0 - options.marginal_share)).sqrt() / mu
        } else {
            calibrate(options.epsilon, options.delta, charges_for)?
        };
        let round_sensitivity = round_sensitivity(neighbours);
        let round_noise_scale = lattice_scale(noise_multiplier * round_sensitivity as f64)?;
        let charges = charges_for(round_multiplier(round_noise_scale, round_sensitivity));
        let spent = epsilon(&charges, options.delta)?;
        if spent.epsilon > options.epsilon {
            return Err(Error::Budget {
                problem: format!("the plan would spend ε = {} of {}", spent.epsilon, options.epsilon),
                remedy: "this is a fault of zodc; report it".into(),
            });
        }
        Ok(Self {
            epsilon: options.epsilon,
            delta: options.delta,
            spent,
            neighbours,
            unit: unit(schema).into(),
            sampling_rate: rate,
            rounds: options.rounds,
            directions: options.directions,
            round_noise_scale,
            round_sensitivity,
            marginals,
            charges,
        })
    }
}

impl Plan {
    /// Refuses a plan whose charges are not those of its noise, or that was made for another schema.
    ///
    /// # Errors
    /// [`Error::Budget`].
    pub fn check(&self, schema: &Schema) -> Result<()> {
        let asked: Vec<_> = questions(schema).into_iter().map(|(n, outcome, _)| (n, outcome)).collect();
        let n_features = schema.features().count();
        let honest_stage = |stage: &MarginalStage| {
            stage.noise_scale > 0
                && stage.sensitivity
                    == histogram::sensitivity(stage.n_features, stage.outcome, n_features, self.neighbours)
        };
        let multiplier = round_multiplier(self.round_noise_scale, self.round_sensitivity);
        let honest = self.marginals.iter().map(|s| (s.n_features, s.outcome)).eq(asked)
            && self.marginals.iter().all(honest_stage)
            && self.round_noise_scale > 0
            && self.round_sensitivity == round_sensitivity(self.neighbours)
            && (self.neighbours == Neighbours::AddRemove || self.sampling_rate >= 1.0)
            && self.unit == unit(schema)
            && self.sampling_rate == sampled_rate(self.sampling_rate)
            && self.charges == charges(&self.marginals, self.sampling_rate, multiplier, self.rounds)
            && epsilon(&self.charges, self.delta)? == self.spent
            && self.spent.epsilon <= self.epsilon;
        if honest {
            return Ok(());
        }
        Err(Error::Budget {
            problem: "the plan's charges are not those of its noise for this schema".into(),
            remedy: "make a new plan".into(),
        })
    }

    /// Bins of a continuous column in the fine question: fewer where the noise of a bin would be above
    /// a third of its patients. Depends on the plan and a noisy count only.
    pub fn fine_bins(&self, noisy_count: Option<f64>) -> usize {
        let sd =
            self.marginals.last().map_or(1.0, |s| s.noise_scale as f64 / histogram::FEATURE_UNITS as f64);
        let bins = noisy_count.unwrap_or(1.0) / (3.0 * sd);
        bins.clamp(FINE_BINS.0, FINE_BINS.1) as usize
    }
}

fn check(options: &PlanOptions) -> Result<()> {
    let share = options.marginal_share;
    if !(share > 0.0 && share < 1.0) {
        return Err(Error::option("marginal_share", "a number above 0 and below 1", share));
    }
    for (name, value, most) in
        [("rounds", options.rounds, 1_000_000), ("directions", options.directions, 4096)]
    {
        if value == 0 || value > most {
            return Err(Error::option(name, format!("a whole number from 1 to {most}"), value));
        }
    }
    if options.expected_patients == Some(0) {
        return Err(Error::option("expected_patients", "a whole number of at least 1", 0));
    }
    match options.sampling_rate {
        Some(rate) if rate < 1.0 && options.neighbours == Neighbours::ReplaceOne => {
            Err(Error::option("sampling_rate", "1 with neighbours = \"replace_one\"", rate))
        }
        Some(rate) if !(rate > 0.0 && rate <= 1.0) => {
            Err(Error::option("sampling_rate", "a number above 0 and at most 1", rate))
        }
        _ => Ok(()),
    }
}

fn sampling_rate(options: &PlanOptions) -> f64 {
    let by_size = || match options.expected_patients {
        // Samples are accounted for under addition and removal only.
        Some(n) if n > FULL_BATCH_PATIENTS && options.neighbours == Neighbours::AddRemove => {
            FULL_BATCH_PATIENTS as f64 / n as f64
        }
        _ => 1.0,
    };
    sampled_rate(options.sampling_rate.unwrap_or_else(by_size))
}

/// The rate at which a sample is truly drawn: what is charged must be this, never less.
fn sampled_rate(rate: f64) -> f64 {
    if rate >= 1.0 { 1.0 } else { sampling_threshold(rate) as f64 / 2_f64.powi(32) }
}

/// Words below this put a unit into the sample: the rate in steps of 2⁻³², rounded down, at least one.
pub(super) fn sampling_threshold(rate: f64) -> u64 {
    ((rate * 2_f64.powi(32)) as u64).max(1)
}

/// Questions for histograms in order: feature columns, whether the outcome, share of their budget.
fn questions(schema: &Schema) -> Vec<(usize, bool, f64)> {
    let coarse = coarse_partitions(schema, COARSE_BINS)
        .map(|p| (p.features.iter().flatten().count(), p.outcome.is_some(), COARSE_SHARE));
    let fine_share = if coarse.is_some() { 1.0 - COARSE_SHARE } else { 1.0 };
    coarse.into_iter().chain([(schema.features().count(), true, fine_share)]).collect()
}

/// L2 distance of two lattice vectors in the clip ball, or of one from none.
fn round_sensitivity(neighbours: Neighbours) -> u64 {
    match neighbours {
        Neighbours::AddRemove => RADIUS as u64,
        Neighbours::ReplaceOne => 2 * RADIUS as u64,
    }
}

fn marginal_stages(schema: &Schema, neighbours: Neighbours, mu: f64) -> Result<Vec<MarginalStage>> {
    let stage = |(n_features, outcome, share): (usize, bool, f64)| {
        let sensitivity = histogram::sensitivity(n_features, outcome, schema.features().count(), neighbours);
        let noise_scale = lattice_scale(sensitivity / (mu * share.sqrt()))?;
        Ok(MarginalStage { n_features, outcome, noise_scale, sensitivity })
    };
    questions(schema).into_iter().map(stage).collect()
}

fn unit(schema: &Schema) -> &'static str {
    if schema.column(Role::PatientId).is_some() { "patient" } else { "row" }
}

/// Noise multiplier of a round, rounded down to the private side.
fn round_multiplier(noise_scale: u64, sensitivity: u64) -> f64 {
    (noise_scale as f64 / sensitivity as f64).next_down()
}

fn charges(marginals: &[MarginalStage], rate: f64, round_multiplier: f64, rounds: u64) -> Vec<Charge> {
    let rounds = round_charge(rate, round_multiplier, rounds);
    marginals.iter().map(marginal_charge).chain([rounds]).collect()
}

/// Integer noise scale, rounded up to the private side.
fn lattice_scale(scale: f64) -> Result<u64> {
    if scale > LARGEST_SCALE {
        return Err(Error::Budget {
            problem: "it is too small for this many rounds: the noise would drown any cohort".into(),
            remedy: "raise epsilon or delta, or lower rounds".into(),
        });
    }
    Ok((scale * (1.0 + 1e-9)).ceil() as u64)
}

fn marginal_charge(stage: &MarginalStage) -> Charge {
    let noise_multiplier = (stage.noise_scale as f64 / stage.sensitivity).next_down();
    Charge { event: Event::Gaussian { noise_multiplier }, count: 1, what: "marginals".into() }
}

fn round_charge(rate: f64, noise_multiplier: f64, rounds: u64) -> Charge {
    let event = if rate >= 1.0 {
        Event::Gaussian { noise_multiplier }
    } else {
        Event::PoissonGaussian { sampling_rate: rate, noise_multiplier }
    };
    Charge { event, count: rounds, what: "rounds".into() }
}
