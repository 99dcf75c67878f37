//! Latents in `[0, 1]` ↔ values in real units ↔ encoded features of the learners.
//!
//! A latent decodes by the column's noisy quantile function, whatever its kind. So every decoded row
//! is valid by the schema and has the right one-way marginals from the start, and a step of 0.1 means
//! the same in every column: a tenth of the patients.

use super::{Marginal, Marginals, OutcomeMarginal};
use crate::error::Result;
use crate::schema::{Column, Kind, Missing, Schema};

/// Latents this near to 0 or 1 decode as if they were here: the tail beyond rests on few patients and
/// is mostly noise.
const TAIL: f64 = 0.005;
/// Least standard deviation by which a level or 0/1 column is scaled: a share of 1 %.
const LEVEL_SD_FLOOR: f64 = 0.1;
/// Standard deviations from the mean beyond which an encoded value is the same to a learner: one column
/// whose noisy spread came out too small must not outweigh all others.
const FARTHEST: f64 = 5.0;
/// Steps of the tabulated quantile function.
const STEPS: usize = 256;

/// Quantile function of a piecewise-uniform density at `u` in `[0, 1]`, in the edges' unit.
pub fn quantile(edges: &[f64], weights: &[f64], u: f64) -> f64 {
    let mut below = 0.0;
    for (bin, &weight) in weights.iter().enumerate() {
        if weight > 0.0 && below + weight >= u {
            let share = ((u - below) / weight).clamp(0.0, 1.0);
            return edges[bin] + share * (edges[bin + 1] - edges[bin]);
        }
        below += weight;
    }
    edges[weights.iter().rposition(|&w| w > 0.0).map_or(edges.len() - 1, |bin| bin + 1)]
}

/// Tabulated quantile function: constant-time decoding.
#[derive(Debug, Clone, PartialEq)]
struct QuantileTable(Vec<f64>);

impl QuantileTable {
    fn new(edges: &[f64], weights: &[f64]) -> Self {
        let total: f64 = weights.iter().sum();
        let even = 1.0 / weights.len() as f64;
        let share = |w: &f64| if total > 0.0 { w / total } else { even };
        let shares: Vec<f64> = weights.iter().map(share).collect();
        let at = |i| quantile(edges, &shares, TAIL + (1.0 - 2.0 * TAIL) * i as f64 / STEPS as f64);
        Self((0..=STEPS).map(at).collect())
    }

    fn decode(&self, u: f64) -> f64 {
        let place = u.clamp(0.0, 1.0) * STEPS as f64;
        let step = (place as usize).min(STEPS - 1);
        let (low, high) = (self.0[step], self.0[step + 1]);
        low + (place - step as f64) * (high - low)
    }

    /// Smallest `u` that decodes to `value` or more.
    fn encode(&self, value: f64) -> f64 {
        let step = self.0.partition_point(|&v| v < value).clamp(1, STEPS);
        let (low, high) = (self.0[step - 1], self.0[step]);
        let share = if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 };
        (step as f64 - 1.0 + share) / STEPS as f64
    }

    fn mean_and_sd(&self) -> (f64, f64) {
        let n = self.0.len() as f64;
        let mean = self.0.iter().sum::<f64>() / n;
        let variance = self.0.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt())
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Decode {
    Quantiles(QuantileTable),
    Levels(LevelTable),
}

/// Cumulative shares of the levels, with a guide to where the search for each part of `[0, 1]` starts.
#[derive(Debug, Clone, PartialEq)]
struct LevelTable {
    cumulative: Vec<f64>,
    guide: Vec<u32>,
    /// The last level with any weight: rounding may leave the sum of all just below 1.
    last: usize,
}

impl LevelTable {
    fn new(weights: &[f64]) -> Self {
        let mut sum = 0.0;
        let cumulate = |w: &f64| {
            sum += w;
            sum
        };
        let last = weights.iter().rposition(|w| *w > 0.0).unwrap_or(weights.len() - 1);
        let mut table =
            Self { cumulative: weights.iter().map(cumulate).collect(), guide: vec![0; STEPS + 1], last };
        table.guide = (0..=STEPS).map(|i| table.search(i as f64 / STEPS as f64, 0) as u32).collect();
        table
    }

    /// The first level, from `level` on, whose cumulative share reaches `u`.
    fn search(&self, u: f64, mut level: usize) -> usize {
        while level < self.last && (self.cumulative[level] < u || self.cumulative[level] == 0.0) {
            level += 1;
        }
        level
    }

    fn decode(&self, u: f64) -> f64 {
        let guide = self.guide[((u.clamp(0.0, 1.0) * STEPS as f64) as usize).min(STEPS)];
        self.search(u, guide as usize) as f64
    }
}

/// Codec of one feature column.
#[derive(Debug, Clone, PartialEq)]
struct ColumnCodec {
    decode: Decode,
    /// Mean and inverse standard deviation of each category's 0/1 column; empty unless one-hot.
    one_hot: Vec<(f64, f64)>,
    /// Share of missing values where the schema releases a flag.
    flag: Option<f64>,
    /// Canonical value that a missing cell takes.
    imputed: f64,
    mean: f64,
    scale: f64,
    width: usize,
}

impl ColumnCodec {
    fn new(column: &Column, marginal: &Marginal, share_sd: f64) -> Self {
        let (decode, imputed, mean, sd) = match column.n_levels() {
            None => {
                let table = QuantileTable::new(&marginal.edges, &marginal.weights);
                let (mean, sd) = table.mean_and_sd();
                (Decode::Quantiles(table), mean, mean, sd)
            }
            Some(_) => {
                let (imputed, mean, sd) = level_moments(column, &marginal.weights);
                (Decode::Levels(LevelTable::new(&marginal.weights)), imputed, mean, sd)
            }
        };
        // A share below its noise is not told from the noise.
        let level_floor = (share_sd * (1.0 - share_sd)).sqrt().max(LEVEL_SD_FLOOR);
        let standard = |w: &f64| (*w, 1.0 / (w * (1.0 - w)).sqrt().max(level_floor));
        let one_hot = match column.kind {
            Kind::Categorical => marginal.weights.iter().map(standard).collect(),
            _ => Vec::new(),
        };
        let range = match (column.lower, column.upper, &decode) {
            (Some(lower), Some(upper), Decode::Quantiles(_)) => upper - lower,
            _ => 1.0,
        };
        // A column that is constant up to noise must not blow its noise up to unit scale.
        let floor = if matches!(decode, Decode::Levels(_)) { level_floor } else { 1e-3 * range };
        Self {
            decode,
            one_hot,
            flag: (column.missing == Missing::Indicator).then_some(marginal.missing),
            imputed,
            mean,
            scale: 1.0 / sd.max(floor),
            width: column.encoded_width(),
        }
    }

    fn decode(&self, u: f64) -> f64 {
        match &self.decode {
            Decode::Quantiles(table) => table.decode(u),
            Decode::Levels(table) => table.decode(u),
        }
    }

    fn encode(&self, cell: f64, out: &mut [f64]) {
        let value = if cell.is_nan() { self.imputed } else { cell };
        if let (Some(_), Some(last)) = (self.flag, out.last_mut()) {
            *last = f64::from(cell.is_nan());
        }
        if !self.one_hot.is_empty() {
            for (level, (o, (mean, scale))) in out.iter_mut().zip(&self.one_hot).enumerate() {
                *o = (f64::from(level as f64 == value) - mean) * scale;
            }
        } else {
            out[0] = ((value - self.mean) * self.scale).clamp(-FARTHEST, FARTHEST);
        }
    }
}

/// Imputed level, mean and standard deviation of the level numbers.
fn level_moments(column: &Column, weights: &[f64]) -> (f64, f64, f64) {
    let mean: f64 = weights.iter().enumerate().map(|(l, w)| l as f64 * w).sum();
    let variance: f64 = weights.iter().enumerate().map(|(l, w)| (l as f64 - mean).powi(2) * w).sum();
    let mut likeliest = 0;
    for (level, weight) in weights.iter().enumerate() {
        if *weight > weights[likeliest] {
            likeliest = level;
        }
    }
    let imputed = if column.kind == Kind::Ordinal { mean.round() } else { likeliest as f64 };
    (imputed, mean, variance.sqrt())
}

/// Codec of a whole row.
#[derive(Debug, Clone, PartialEq)]
pub struct Codec {
    columns: Vec<ColumnCodec>,
    /// Quantiles of censored and of event times.
    times: Option<[QuantileTable; 2]>,
}

impl Codec {
    /// The codec that the schema and its noisy marginals fix.
    ///
    /// # Errors
    /// [`crate::Error::Data`] when the marginals are not those of this schema.
    pub fn new(schema: &Schema, marginals: &Marginals) -> Result<Self> {
        marginals.check(schema)?;
        let columns = schema
            .features()
            .zip(&marginals.features)
            .map(|(c, m)| ColumnCodec::new(c, m, marginals.share_sd))
            .collect();
        let times = match &marginals.outcome {
            OutcomeMarginal::Survival { edges, censored, event } => {
                Some([QuantileTable::new(edges, censored), QuantileTable::new(edges, event)])
            }
            OutcomeMarginal::Classes { .. } => None,
        };
        Ok(Self { columns, times })
    }

    /// Number of feature columns.
    pub fn n_columns(&self) -> usize {
        self.columns.len()
    }

    /// Number of encoded features.
    pub fn width(&self) -> usize {
        self.columns.iter().map(|c| c.width).sum()
    }

    /// Latents of one row: one per column, one per missing flag, one for the time.
    pub fn n_latents(&self) -> usize {
        let flags = self.columns.iter().filter(|c| c.flag.is_some()).count();
        self.columns.len() + flags + usize::from(self.times.is_some())
    }

    /// Canonical cells (`n_columns`) of one row of latents; NaN where its missing flag is up.
    pub fn decode_row(&self, latents: &[f64], cells: &mut [f64]) {
        let mut flags = latents[self.columns.len()..].iter();
        for ((column, &u), cell) in self.columns.iter().zip(latents).zip(cells) {
            let missing = column.flag.zip(if column.flag.is_some() { flags.next() } else { None });
            *cell = match missing {
                Some((rate, &flag)) if flag > 1.0 - rate => f64::NAN,
                _ => column.decode(u),
            };
        }
    }

    /// Canonical cells (`n_rows × n_columns`) of rows of latents, in place of what `cells` holds.
    pub fn decode_rows(&self, latents: &[f64], cells: &mut Vec<f64>) {
        cells.resize(latents.len() / self.n_latents() * self.n_columns(), 0.0);
        let rows = latents.chunks_exact(self.n_latents());
        rows.zip(cells.chunks_exact_mut(self.n_columns())).for_each(|(row, out)| self.decode_row(row, out));
    }

    /// Follow-up time of one row of latents, in the time column's unit.
    pub fn decode_time(&self, latents: &[f64], event: bool) -> Option<f64> {
        let tables = self.times.as_ref()?;
        Some(tables[usize::from(event)].decode(latents[self.n_latents() - 1]))
    }

    /// Latent that decodes to a follow-up time, or to the nearest that there is.
    pub fn encode_time(&self, time: f64, event: bool) -> Option<f64> {
        Some(self.times.as_ref()?[usize::from(event)].encode(time))
    }

    /// Encoded features (`width`) of one row of canonical cells.
    pub fn encode_row(&self, cells: &[f64], out: &mut [f64]) {
        let mut rest = out;
        for (column, &cell) in self.columns.iter().zip(cells) {
            let (own, next) = rest.split_at_mut(column.width);
            column.encode(cell, own);
            rest = next;
        }
    }

    /// Encoded features (`n_rows × width`) of rows of canonical cells, in place of what `x` holds.
    pub fn encode_rows(&self, cells: &[f64], x: &mut Vec<f64>) {
        let width = self.width();
        x.resize(cells.len() / self.n_columns() * width, 0.0);
        let rows = cells.chunks_exact(self.n_columns());
        rows.zip(x.chunks_exact_mut(width)).for_each(|(row, out)| self.encode_row(row, out));
    }

    /// Fills the missing cells of a row as learners see them, as the release prints them.
    pub fn impute_row(&self, cells: &mut [f64]) {
        for (column, cell) in self.columns.iter().zip(cells) {
            if cell.is_nan() {
                *cell = column.imputed;
            }
        }
    }
}
