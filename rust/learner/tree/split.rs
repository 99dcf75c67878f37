//! The best split of a node.

use super::sort::row;

/// Values closer than this are not split (scikit-learn's `FEATURE_THRESHOLD`).
const FEATURE_THRESHOLD: f64 = 1e-7;

/// More than the relative error of [`bound`].
const SLACK: f64 = 1e-12;

/// The gain of a split as the fraction `numerator / denominator`, compared by cross-multiplication:
/// exact for a few hundred rows, so that splits that tie are seen to tie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gain {
    numerator: f64,
    denominator: f64,
}

impl Gain {
    /// Below every split, even one without improvement.
    const NONE: Self = Self { numerator: -1.0, denominator: 1.0 };

    fn exceeds(self, other: Self) -> bool {
        self.numerator * other.denominator > other.numerator * self.denominator
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Split {
    pub feature: usize,
    /// Rows to the left.
    pub n_left: usize,
    gain: Gain,
}

/// A node with all that its split is chosen by.
pub(super) struct Node<'a> {
    /// Features one after the other.
    pub columns: &'a [f64],
    /// Rows in ascending order of every feature; the node owns the same part of every list.
    pub sorted: &'a [u32],
    pub start: usize,
    pub end: usize,
    pub codes: &'a [u32],
    /// Rows of each class in the node.
    pub counts: &'a [f64],
    /// Fewest rows on either side.
    pub least: usize,
}

/// Reusable memory of [`Node::best_split`].
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Rows of each class to the left, then to the right, of the threshold on trial.
    sides: Vec<f64>,
    /// One over the product of the rows on the two sides; 0 where one side is too small.
    weights: Vec<f64>,
    bounds: Vec<f64>,
}

impl Node<'_> {
    /// The best admissible split, if there is one; of equals, that of the lowest feature and threshold.
    pub fn best_split(&self, buffers: &mut Buffers) -> Option<Split> {
        let mut best = Split { feature: 0, n_left: 0, gain: Gain::NONE };
        let n_features = self.columns.len() / self.codes.len();
        if let [_, ones] = *self.counts {
            let least_bound = self.bound(ones, buffers);
            for feature in (0..n_features).filter(|&feature| buffers.bounds[feature] >= least_bound) {
                self.search(feature, TwoClasses { left_ones: 0.0, ones }, &mut best);
            }
        } else {
            for feature in 0..n_features {
                self.search(feature, Classes::new(self.counts, &mut buffers.sides), &mut best);
            }
        }
        (best.n_left > 0).then_some(best)
    }

    /// Bounds the gain of each feature from above, and returns the least that the best split can have.
    ///
    /// The bound is the largest gain of all thresholds, also of those between equal values, which a
    /// search does not admit: so it needs no values, and as a rule one or two features are left to search.
    fn bound(&self, ones: f64, buffers: &mut Buffers) -> f64 {
        let Buffers { weights, bounds, .. } = buffers;
        let n = self.end - self.start;
        weights.clear();
        weights.extend((1..n).map(|n_left| {
            let n_right = n - n_left;
            if n_left.min(n_right) < self.least { 0.0 } else { 1.0 / (n_left as f64 * n_right as f64) }
        }));
        bounds.clear();
        bounds.extend(self.lists().map(|entries| bound(entries, ones as i64, weights)));
        let mut likeliest = 0;
        for (feature, bound) in bounds.iter().enumerate() {
            if *bound > bounds[likeliest] {
                likeliest = feature;
            }
        }
        let mut best = Split { feature: 0, n_left: 0, gain: Gain::NONE };
        if !bounds.is_empty() {
            self.search(likeliest, TwoClasses { left_ones: 0.0, ones }, &mut best);
        }
        (1.0 - SLACK) * best.gain.numerator / best.gain.denominator
    }

    /// The node's rows in ascending order of each feature.
    fn lists(&self) -> impl Iterator<Item = &[u32]> {
        self.sorted.chunks_exact(self.codes.len()).map(|sorted| &sorted[self.start..self.end])
    }

    /// Tries every admissible split of a feature, and keeps the first of the best.
    fn search(&self, feature: usize, mut tally: impl Tally, best: &mut Split) {
        let n_rows = self.codes.len();
        let column = &self.columns[feature * n_rows..][..n_rows];
        let entries = &self.sorted[feature * n_rows..][self.start..self.end];
        let n = entries.len();
        let mut value = column[row(entries[0])];
        // Without this a constant column costs as much as any other.
        if column[row(entries[n - 1])] <= value + FEATURE_THRESHOLD {
            return;
        }
        for (n_left, pair) in (1..).zip(entries.windows(2)) {
            tally.pass(self.codes[row(pair[0])] as usize);
            let next = column[row(pair[1])];
            if next > value + FEATURE_THRESHOLD && n_left >= self.least && n - n_left >= self.least {
                let gain = tally.gain(n_left as f64, (n - n_left) as f64);
                if gain.exceeds(best.gain) {
                    *best = Split { feature, n_left, gain };
                }
            }
            value = next;
        }
    }
}

/// Largest gain of a threshold between any two rows; `entries` tell in their lowest bit which are ones.
fn bound(entries: &[u32], ones: i64, weights: &[f64]) -> f64 {
    let n = entries.len() as i64;
    let (mut excess, mut most) = (0_i64, 0.0);
    for (&entry, &weight) in entries.iter().zip(weights) {
        // As in `TwoClasses::gain`; wrapping, since the check would cost as much as the sum.
        excess = excess.wrapping_add((n & i64::from(entry & 1).wrapping_neg()).wrapping_sub(ones));
        let excess = excess as f64;
        let gain = excess * excess * weight;
        most = if gain > most { gain } else { most };
    }
    most
}

/// Class counts on the two sides of a threshold that moves up.
trait Tally {
    /// A row of this class passes from right to left.
    fn pass(&mut self, class: usize);

    /// What orders the splits as the decrease of the Gini index does.
    fn gain(&self, n_left: f64, n_right: f64) -> Gain;
}

struct TwoClasses {
    left_ones: f64,
    ones: f64,
}

impl Tally for TwoClasses {
    fn pass(&mut self, class: usize) {
        self.left_ones += class as f64;
    }

    fn gain(&self, n_left: f64, n_right: f64) -> Gain {
        let excess = self.left_ones * (n_left + n_right) - n_left * self.ones;
        Gain { numerator: excess * excess, denominator: n_left * n_right }
    }
}

struct Classes<'a> {
    left: &'a mut [f64],
    right: &'a mut [f64],
    left_squares: f64,
    right_squares: f64,
}

impl<'a> Classes<'a> {
    fn new(counts: &[f64], sides: &'a mut Vec<f64>) -> Self {
        sides.resize(2 * counts.len(), 0.0);
        let (left, right) = sides.split_at_mut(counts.len());
        left.fill(0.0);
        right.copy_from_slice(counts);
        let right_squares = counts.iter().map(|count| count * count).sum();
        Self { left, right, left_squares: 0.0, right_squares }
    }
}

impl Tally for Classes<'_> {
    fn pass(&mut self, class: usize) {
        self.left_squares += 2.0 * self.left[class] + 1.0;
        self.left[class] += 1.0;
        self.right_squares -= 2.0 * self.right[class] - 1.0;
        self.right[class] -= 1.0;
    }

    fn gain(&self, n_left: f64, n_right: f64) -> Gain {
        Gain {
            numerator: self.left_squares * n_right + self.right_squares * n_left,
            denominator: n_left * n_right,
        }
    }
}
