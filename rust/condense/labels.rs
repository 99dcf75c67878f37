//! Labels that say as much of the teacher's probabilities as hard labels can.
//!
//! Labels drawn by chance add the chance of a few hundred draws; the likeliest class for each row makes
//! every model overconfident. Here the labels are chosen so that they agree with the probabilities in
//! their sums over every encoded feature, over its upper parts, and over bins of the probability itself: a
//! logistic model fitted on them solves nearly the same score equations as one fitted on the probabilities,
//! and a tree finds nearly the same first splits.

use super::sums::{Features, LANES, columns_of, reach, standardised, steps};

/// Rows above which each is compared with fewer partners.
const WHOLE_WINDOW: usize = 1000;
/// Passes over all rows, at most; three to five are usual.
const PASSES: usize = 12;
/// Weights against the encoded features, which have weight 1: those of the log odds and of their bins.
const ODDS_WEIGHT: f64 = 3.0;
const BIN_WEIGHT: f64 = 2.0;
const N_BINS: usize = 10;
/// Steps of iterative proportional fitting that bring the mean probabilities to the quotas.
const FITTINGS: usize = 200;
/// Probabilities are kept this far from 0 and 1.
const FLOOR: f64 = 1e-9;

/// Labels of rows with encoded features `x` (`n_rows × width`) and class probabilities (`n_rows ×
/// quota.len()`): each class gets exactly its quota of the rows.
///
/// `sharpness` is the power that the odds are raised to first (1 leaves them, a large one makes the
/// likeliest rows of a class its own).
pub fn balanced(x: &[f64], probability: &[f64], quota: &[usize], sharpness: f64) -> Vec<u32> {
    let n_classes = quota.len();
    let n_rows: usize = quota.iter().sum();
    let sharp = sharpened(probability, quota, sharpness);
    let order = by_likelihood(&sharp, n_classes);
    let mut codes = diffused(&sharp, &order, quota);
    let features = features_of(x, probability, n_rows, n_classes);
    let mut residual = Residual::new(&features, &sharp, &codes, n_classes);
    let reach = reach(n_rows, WHOLE_WINDOW);
    for _ in 0..PASSES {
        let mut is_changed = false;
        for place in 0..n_rows {
            let window = place.saturating_sub(reach)..(place + reach + 1).min(n_rows);
            let partner = order[window].iter().copied();
            let gain = |&j: &usize| residual.swap(&features, (order[place], j), &codes);
            let best = partner.map(|j| (j, gain(&j))).min_by(|a, b| a.1.total_cmp(&b.1));
            if let Some((j, _)) = best.filter(|(_, change)| *change < -1e-9) {
                residual.exchange(&features, (order[place], j), &codes);
                codes.swap(order[place], j);
                is_changed = true;
            }
        }
        if !is_changed {
            break;
        }
    }
    codes
}

/// Probabilities `∝ p^sharpness · w_class`, with the weights that give each class its quota in the mean.
fn sharpened(probability: &[f64], quota: &[usize], sharpness: f64) -> Vec<f64> {
    let n_classes = quota.len();
    let logs: Vec<f64> = probability.iter().map(|p| sharpness * p.max(FLOOR).ln()).collect();
    let mut shift = vec![0.0; n_classes];
    let mut sharp = vec![0.0; logs.len()];
    for _ in 0..FITTINGS {
        let mut sums = vec![0.0; n_classes];
        for (row, out) in logs.chunks_exact(n_classes).zip(sharp.chunks_exact_mut(n_classes)) {
            let top = row.iter().zip(&shift).map(|(l, s)| l + s).fold(f64::NEG_INFINITY, f64::max);
            out.iter_mut().zip(row.iter().zip(&shift)).for_each(|(o, (l, s))| *o = (l + s - top).exp());
            let whole: f64 = out.iter().sum();
            out.iter_mut().zip(&mut sums).for_each(|(o, sum)| {
                *o /= whole;
                *sum += *o;
            });
        }
        for ((s, sum), &wanted) in shift.iter_mut().zip(&sums).zip(quota) {
            *s += ((wanted as f64).max(FLOOR) / sum.max(FLOOR)).ln().clamp(-2.0, 2.0);
        }
    }
    sharp
}

/// Rows by their likeliest class, then by its log odds.
fn by_likelihood(probability: &[f64], n_classes: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..probability.len() / n_classes).collect();
    let rank = |row: usize| {
        let p = &probability[row * n_classes..][..n_classes];
        if n_classes == 2 { (0, p[1]) } else { top(p) }
    };
    order.sort_by(|&a, &b| {
        let (a, b) = (rank(a), rank(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    order
}

fn top(p: &[f64]) -> (usize, f64) {
    let first = (0, p[0]);
    p.iter().enumerate().fold(first, |best, (class, &q)| if q > best.1 { (class, q) } else { best })
}

/// Error diffusion along `order`: each row takes the class that is furthest behind.
fn diffused(probability: &[f64], order: &[usize], quota: &[usize]) -> Vec<u32> {
    let n_classes = quota.len();
    let mut left = quota.to_vec();
    let mut owed = vec![0.0; n_classes];
    let mut codes = vec![0; order.len()];
    for &row in order {
        owed.iter_mut().zip(&probability[row * n_classes..]).for_each(|(o, p)| *o += p);
        let open = (0..n_classes).filter(|&class| left[class] > 0);
        let class = open.max_by(|&a, &b| owed[a].total_cmp(&owed[b])).unwrap_or(0);
        owed[class] -= 1.0;
        left[class] -= 1;
        codes[row] = class as u32;
    }
    codes
}

/// What the labels' sums are compared over.
fn features_of(x: &[f64], probability: &[f64], n_rows: usize, n_classes: usize) -> Features {
    let mut columns: Vec<Vec<f64>> = Vec::new();
    for column in columns_of(x, n_rows) {
        columns.extend(steps(&column));
        columns.extend(standardised(&column, 1.0));
    }
    for class in 1..n_classes {
        let p = |row: usize| probability[row * n_classes + class].clamp(FLOOR, 1.0 - FLOOR);
        let odds: Vec<f64> = (0..n_rows).map(|row| (p(row) / (1.0 - p(row))).ln()).collect();
        let mut sorted = odds.clone();
        sorted.sort_by(f64::total_cmp);
        for bin in 1..N_BINS {
            let cut = sorted[bin * n_rows / N_BINS];
            columns.push(odds.iter().map(|o| if *o > cut { BIN_WEIGHT } else { 0.0 }).collect());
        }
        columns.extend(standardised(&odds, ODDS_WEIGHT));
    }
    Features::new(&columns, n_rows)
}

/// `Σ_rows (label − probability) · features`, one vector per class.
struct Residual(Vec<Vec<f64>>);

impl Residual {
    fn new(features: &Features, probability: &[f64], codes: &[u32], n_classes: usize) -> Self {
        let mut sums = vec![vec![0.0; features.width()]; n_classes];
        for (row, &code) in codes.iter().enumerate() {
            for (class, sum) in sums.iter_mut().enumerate() {
                let short = f64::from(code as usize == class) - probability[row * n_classes + class];
                sum.iter_mut().zip(features.row(row)).for_each(|(s, f)| *s += short * f);
            }
        }
        Self(sums)
    }

    /// How the squared residual changes when two rows exchange their labels; 0 if they are the same.
    fn swap(&self, features: &Features, (i, j): (usize, usize), codes: &[u32]) -> f64 {
        if codes[i] == codes[j] {
            return 0.0;
        }
        let (own, other) = (&self.0[codes[i] as usize], &self.0[codes[j] as usize]);
        let (a, b) = (features.row(i).chunks_exact(LANES), features.row(j).chunks_exact(LANES));
        let mut sums = [0.0; LANES];
        for ((a, b), (own, other)) in a.zip(b).zip(own.chunks_exact(LANES).zip(other.chunks_exact(LANES))) {
            for lane in 0..LANES {
                let step = b[lane] - a[lane];
                sums[lane] += step * (own[lane] - other[lane] + step);
            }
        }
        2.0 * sums.iter().sum::<f64>()
    }

    fn exchange(&mut self, features: &Features, (i, j): (usize, usize), codes: &[u32]) {
        for (class, sign) in [(codes[i] as usize, 1.0), (codes[j] as usize, -1.0)] {
            let pairs = features.row(i).iter().zip(features.row(j));
            self.0[class].iter_mut().zip(pairs).for_each(|(r, (a, b))| *r += sign * (b - a));
        }
    }
}
