//! Noisy counts of a continuous column, drawn towards smooth shapes.
//!
//! Where the noise of a count is as large as what the bin holds, a histogram is mostly noise, and its projection on
//! the simplex has mass in random places. A few hundred shapes that clinical quantities take (normal and skewed, of
//! many centres and widths, cut off at the bounds) cannot follow noise. Their posterior mean (Hoeting et al. 1999,
//! Statistical Science 14:382) is sharp where the counts tell something and wide where they do not; counts that it
//! does not explain keep what is beyond their noise (James, Stein 1961).

use std::f64::consts::FRAC_1_SQRT_2;
use std::sync::LazyLock;

/// Standard deviations of the normal shapes, as shares of the range.
const SPREADS: [f64; 7] = [0.008, 0.015, 0.03, 0.06, 0.12, 0.24, 0.5];
/// Distance of neighbouring centres, in standard deviations.
const SPACING: f64 = 0.75;
/// Phases of the skewed (Erlang) shapes.
const PHASES: [u32; 3] = [1, 2, 4];
/// Smallest mean of a skewed shape as a share of the range, the ratio to the next one, and how many there are.
const LEAST_MEAN: f64 = 0.004;
const RATIO: f64 = 1.35;
const N_MEANS: i32 = 18;
/// Steps at which distribution functions are tabulated.
const STEPS: usize = 1024;
/// Least share of a shape within the bounds by which its parts are divided.
const LEAST_WITHIN: f64 = 1e-12;
/// Noise below this, in patients, counts as this.
const LEAST_SD: f64 = 1e-6;

/// Noisy counts of one histogram.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Ascending edges of the bins, in the column's unit.
    pub edges: &'a [f64],
    /// One count per bin, in patients, and that of missing values last.
    pub counts: &'a [f64],
    /// Standard deviation of the noise of a count, in patients.
    pub sd: f64,
}

/// Noisy counts drawn towards smooth shapes.
#[derive(Debug, Clone, PartialEq)]
pub struct Shrunk {
    /// One list for each histogram: bins and the missing values.
    pub counts: Vec<Vec<f64>>,
    /// Patients with a value whom the shapes expect.
    pub present: f64,
}

/// A distribution on `[0, 1]`.
struct Shape {
    /// Distribution function at `STEPS + 1` places, from 0 to 1.
    below: Vec<f64>,
    log_prior: f64,
}

impl Shape {
    fn new(below: impl Fn(f64) -> f64, log_prior: f64) -> Self {
        let (none, all) = (below(0.0), below(1.0));
        let share = |i| (below(i as f64 / STEPS as f64) - none) / (all - none).max(LEAST_WITHIN);
        Self { below: (0..=STEPS).map(share).collect(), log_prior }
    }

    /// Shares of the bins between `edges` in `[0, 1]`.
    fn shares(&self, edges: &[f64]) -> Vec<f64> {
        let at = |x: &f64| {
            let place = x * STEPS as f64;
            let step = (place as usize).min(STEPS - 1);
            let (low, high) = (self.below[step], self.below[step + 1]);
            low + (place - step as f64) * (high - low)
        };
        let below: Vec<f64> = edges.iter().map(at).collect();
        below.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

/// All shapes: a priori each width, and each skewness, is as likely as the others.
static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for sd in SPREADS {
        let last = (1.0 / (SPACING * sd)).ceil() as usize;
        let log_prior = -((last + 1) as f64).ln();
        all.extend((0..=last).map(|i| {
            let centre = i as f64 / last as f64;
            Shape::new(|x| 0.5 * libm::erfc((centre - x) / sd * FRAC_1_SQRT_2), log_prior)
        }));
    }
    let log_prior = -f64::from(N_MEANS).ln();
    for phases in PHASES {
        for mean in (0..N_MEANS).map(|i| LEAST_MEAN * RATIO.powi(i)) {
            all.push(Shape::new(|x| erlang(phases, mean, x), log_prior));
            all.push(Shape::new(|x| 1.0 - erlang(phases, mean, 1.0 - x), log_prior));
        }
    }
    all
});

/// Distribution function of a sum of `phases` exponential times whose mean is `mean`.
pub fn erlang(phases: u32, mean: f64, x: f64) -> f64 {
    let passed = f64::from(phases) * x.max(0.0) / mean;
    let (mut term, mut sum) = (1.0, 0.0);
    for phase in 1..=phases {
        sum += term;
        term *= passed / f64::from(phase);
    }
    1.0 - (-passed).exp() * sum
}

/// Draws the counts of histograms, all of the same column and of `total` patients, towards what smooth shapes expect.
///
/// How far is the rule of James and Stein: all the way where the counts are no further off than noise alone leaves
/// them, and hardly where the noise is small beside the distance.
pub fn shrink(seen: &[Seen<'_>], total: f64) -> Shrunk {
    let unit = |s: &Seen<'_>| {
        let (lower, upper) = (s.edges[0], s.edges[s.edges.len() - 1]);
        s.edges.iter().map(|e| (e - lower) / (upper - lower)).collect()
    };
    let edges: Vec<Vec<f64>> = seen.iter().map(unit).collect();
    let fits: Vec<_> = SHAPES.iter().map(|shape| fit(shape, seen, &edges, total)).collect();
    let top = fits.iter().map(|f| f.1).fold(f64::NEG_INFINITY, f64::max);
    let whole: f64 = fits.iter().map(|f| (f.1 - top).exp()).sum();
    let mut mean: Vec<Vec<f64>> = seen.iter().map(|s| vec![0.0; s.counts.len()]).collect();
    for (expected, log_posterior) in &fits {
        let weight = (log_posterior - top).exp() / whole;
        mean.iter_mut().flatten().zip(expected.iter().flatten()).for_each(|(m, e)| *m += weight * e);
    }
    let present = mean[0][..mean[0].len() - 1].iter().sum();
    for (mean, seen) in mean.iter_mut().zip(seen) {
        let kept = (1.0 - mean.len() as f64 / distance(mean, seen)).max(0.0);
        mean.iter_mut().zip(seen.counts).for_each(|(m, count)| *m += kept * (count - *m));
    }
    Shrunk { counts: mean, present }
}

/// What a shape expects of each count, at the share of missing values that suits it best, and the logarithm of its
/// posterior weight.
fn fit(shape: &Shape, seen: &[Seen<'_>], edges: &[Vec<f64>], total: f64) -> (Vec<Vec<f64>>, f64) {
    let mut expected: Vec<Vec<f64>> = edges.iter().map(|edges| shape.shares(edges)).collect();
    // Least squares for the share q of present values: cells expect total·q·share, the missing one total·(1 − q).
    let (mut product, mut square) = (0.0, 0.0);
    for (seen, shares) in seen.iter().zip(&expected) {
        let precision = seen.sd.max(LEAST_SD).powi(-2);
        let matched: f64 = shares.iter().zip(seen.counts).map(|(s, c)| s * c).sum();
        product += precision * (matched + total - seen.counts[shares.len()]);
        square += precision * total * (1.0 + shares.iter().map(|s| s * s).sum::<f64>());
    }
    let present = (product / square).clamp(0.0, 1.0);
    let mut log_posterior = shape.log_prior;
    for (seen, cells) in seen.iter().zip(&mut expected) {
        cells.iter_mut().for_each(|share| *share *= total * present);
        cells.push(total * (1.0 - present));
        log_posterior -= 0.5 * distance(cells, seen);
    }
    (expected, log_posterior)
}

/// Squared distance of the counts from what is expected, in variances of the noise.
fn distance(expected: &[f64], seen: &Seen<'_>) -> f64 {
    let sd = seen.sd.max(LEAST_SD);
    expected.iter().zip(seen.counts).map(|(e, c)| ((c - e) / sd).powi(2)).sum()
}
