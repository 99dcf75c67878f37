//! Classification tree (CART: Breiman, Friedman, Olshen, Stone 1984) with the Gini index and the
//! rules of scikit-learn's `DecisionTreeClassifier`, splits without improvement included.
//!
//! Rows are sorted by every feature once; the sorted lists are then partitioned down the tree.
//! Equal splits are decided by the lowest feature, then the lowest threshold.

use super::transpose;
use crate::privacy::predictor::{Node, Predictor, Tree};
use serde::{Deserialize, Serialize};

/// Options of the tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TreeOptions {
    /// Most splits from the root to a leaf.
    pub max_depth: usize,
    /// Fewest rows in a leaf.
    pub min_samples_leaf: usize,
    /// Pseudo-count of each class in a leaf (Laplace).
    pub smoothing: f64,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self { max_depth: 4, min_samples_leaf: 1, smoothing: 1.0 }
    }
}

/// Values closer than this are not split (scikit-learn's `FEATURE_THRESHOLD`).
const FEATURE_THRESHOLD: f64 = 1e-7;

/// Reusable memory of a fit.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// Features one after the other.
    columns: Vec<f64>,
    /// Rows sorted by each feature; a node owns the same range of every list.
    sorted: Vec<u32>,
    keys: Vec<u64>,
    goes_left: Vec<bool>,
    right: Vec<u32>,
    pending: Vec<Pending>,
    /// Rows of each class, for each node.
    counts: Vec<f64>,
    /// Rows of each class to the left, then to the right, of the threshold on trial.
    sides: Vec<f64>,
    nodes: Vec<Node>,
    log_prob: Vec<f64>,
}

/// A node still to be split or closed.
#[derive(Debug, Clone, Copy)]
struct Pending {
    node: usize,
    start: usize,
    end: usize,
    depth: usize,
}

/// The gain of a split as the fraction `numerator / denominator`, compared by cross-multiplication:
/// exact for a few hundred rows, so that splits that tie are seen to tie.
#[derive(Debug, Clone, Copy)]
struct Gain {
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
struct Split {
    feature: usize,
    /// Rows to the left.
    n_left: usize,
    gain: Gain,
}

/// Fits `codes` on the rows of `x` (row-major).
pub(crate) fn fit(
    options: &TreeOptions,
    x: &[f64],
    n_features: usize,
    codes: &[u32],
    n_classes: usize,
    buffers: &mut Buffers,
) -> Predictor {
    let n_rows = codes.len();
    buffers.columns.resize(n_features * n_rows, 0.0);
    transpose(x, n_features, n_rows, &mut buffers.columns);
    sort_columns(n_rows, n_features, buffers);
    plant(codes, n_classes, buffers);
    let mut grower = Grower { options, n_rows, n_classes, codes, buffers };
    grower.grow();
    Predictor::Tree(Tree { nodes: buffers.nodes.clone(), log_prob: buffers.log_prob.clone(), n_classes })
}

/// The root with its class counts.
fn plant(codes: &[u32], n_classes: usize, buffers: &mut Buffers) {
    buffers.goes_left.resize(codes.len(), false);
    buffers.right.resize(codes.len(), 0);
    buffers.sides.resize(2 * n_classes, 0.0);
    buffers.log_prob.clear();
    buffers.counts.clear();
    buffers.counts.resize(n_classes, 0.0);
    codes.iter().for_each(|&code| buffers.counts[code as usize] += 1.0);
    buffers.nodes.clear();
    buffers.nodes.push(Node::Leaf(0));
    buffers.pending.clear();
    buffers.pending.push(Pending { node: 0, start: 0, end: codes.len(), depth: 0 });
}

/// Rows in ascending order of every feature, the row's number deciding ties.
///
/// Sorts integers that hold the leading bits of the value and, below them, the row: far cheaper
/// than comparing floats through an index. Insertion then mends the order of values that agree in
/// their leading bits.
fn sort_columns(n_rows: usize, n_features: usize, buffers: &mut Buffers) {
    let Buffers { columns, sorted, keys, .. } = buffers;
    let row_bits = (n_rows as u64).next_power_of_two() - 1;
    sorted.resize(n_features * n_rows, 0);
    for (column, sorted) in columns.chunks_exact(n_rows).zip(sorted.chunks_exact_mut(n_rows)) {
        keys.clear();
        keys.extend(
            column.iter().zip(0_u64..).map(|(&value, row)| (ascending_bits(value) & !row_bits) | row),
        );
        keys.sort_unstable();
        for (row, key) in sorted.iter_mut().zip(&*keys) {
            *row = (key & row_bits) as u32;
        }
        let value = |row: u32| column[row as usize];
        for i in 1..n_rows {
            let row = sorted[i];
            let mut at = i;
            while at > 0 && value(sorted[at - 1]) > value(row) {
                sorted[at] = sorted[at - 1];
                at -= 1;
            }
            sorted[at] = row;
        }
    }
}

/// Integers in the order of the floats.
fn ascending_bits(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

struct Grower<'a> {
    options: &'a TreeOptions,
    n_rows: usize,
    n_classes: usize,
    codes: &'a [u32],
    buffers: &'a mut Buffers,
}

impl Grower<'_> {
    fn grow(&mut self) {
        while let Some(pending) = self.buffers.pending.pop() {
            match if self.may_split(pending) { self.best_split(pending) } else { None } {
                Some(split) => self.split(pending, split),
                None => self.close(pending.node),
            }
        }
    }

    fn counts(&self, node: usize) -> &[f64] {
        &self.buffers.counts[node * self.n_classes..][..self.n_classes]
    }

    fn may_split(&self, pending: Pending) -> bool {
        let n = pending.end - pending.start;
        let pure = self.counts(pending.node).contains(&(n as f64));
        pending.depth < self.options.max_depth && n >= 2 * self.options.min_samples_leaf.max(1) && !pure
    }

    fn best_split(&mut self, pending: Pending) -> Option<Split> {
        let n_rows = self.n_rows;
        let Buffers { columns, sorted, counts, sides, .. } = &mut *self.buffers;
        let counts = &counts[pending.node * self.n_classes..][..self.n_classes];
        let mut best = Split { feature: 0, n_left: 0, gain: Gain::NONE };
        for (feature, (column, sorted)) in
            columns.chunks_exact(n_rows).zip(sorted.chunks_exact(n_rows)).enumerate()
        {
            let rows = &sorted[pending.start..pending.end];
            // Without this a constant column costs as much as any other.
            if column[rows[rows.len() - 1] as usize] <= column[rows[0] as usize] + FEATURE_THRESHOLD {
                continue;
            }
            let scan = Scan {
                column,
                rows,
                codes: self.codes,
                least: self.options.min_samples_leaf.max(1),
                feature,
            };
            match counts {
                [_, ones] => scan.search(TwoClasses { left_ones: 0.0, ones: *ones }, &mut best),
                _ => scan.search(Classes::new(counts, sides), &mut best),
            }
        }
        (best.n_left > 0).then_some(best)
    }

    fn split(&mut self, pending: Pending, split: Split) {
        let Pending { node, start, end, depth } = pending;
        let (n_classes, middle) = (self.n_classes, start + split.n_left);
        let rows = &self.buffers.sorted[split.feature * self.n_rows..][..self.n_rows];
        let value = |at: usize| self.buffers.columns[split.feature * self.n_rows + rows[at] as usize];
        let threshold = midpoint(value(middle - 1), value(middle));
        let left = self.buffers.nodes.len();
        let first = self.buffers.counts.len();
        self.buffers.counts.resize(first + 2 * n_classes, 0.0);
        for &row in &rows[start..middle] {
            self.buffers.counts[first + self.codes[row as usize] as usize] += 1.0;
        }
        for class in 0..n_classes {
            let counts = &mut self.buffers.counts;
            counts[first + n_classes + class] = counts[node * n_classes + class] - counts[first + class];
        }
        self.buffers.nodes[node] = Node::Split {
            feature: split.feature as u32,
            threshold,
            left: left as u32,
            right: left as u32 + 1,
        };
        self.buffers.nodes.extend([Node::Leaf(0); 2]);
        let children = [
            Pending { node: left + 1, start: middle, end, depth: depth + 1 },
            Pending { node: left, start, end: middle, depth: depth + 1 },
        ];
        if children.iter().any(|&child| self.may_split(child)) {
            self.partition(pending, split);
        }
        self.buffers.pending.extend(children);
    }

    /// Moves the rows of the left child to the front of the node's range in every list, keeping their order.
    fn partition(&mut self, pending: Pending, split: Split) {
        let Buffers { sorted, goes_left, right, .. } = &mut *self.buffers;
        let own = &sorted[split.feature * self.n_rows..][pending.start..pending.end];
        for (at, &row) in own.iter().enumerate() {
            goes_left[row as usize] = at < split.n_left;
        }
        for sorted in sorted.chunks_exact_mut(self.n_rows) {
            let rows = &mut sorted[pending.start..pending.end];
            let right = &mut right[..rows.len()];
            let (mut n_left, mut n_right) = (0, 0);
            // Both writes are made and one of them kept: a branch would be mispredicted half of the time.
            for at in 0..rows.len() {
                let row = rows[at];
                let is_left = goes_left[row as usize];
                rows[n_left] = row;
                right[n_right] = row;
                n_left += usize::from(is_left);
                n_right += usize::from(!is_left);
            }
            rows[n_left..].copy_from_slice(&right[..n_right]);
        }
    }

    /// Makes `node` a leaf with the smoothed probabilities of its rows.
    fn close(&mut self, node: usize) {
        let smoothing = self.options.smoothing;
        let Buffers { counts, log_prob, nodes, .. } = &mut *self.buffers;
        let counts = &counts[node * self.n_classes..][..self.n_classes];
        let total = counts.iter().sum::<f64>() + smoothing * self.n_classes as f64;
        nodes[node] = Node::Leaf((log_prob.len() / self.n_classes) as u32);
        log_prob.extend(counts.iter().map(|count| ((count + smoothing) / total).ln()));
    }
}

/// Between two values; the lower one if rounding gives the upper, which must go right.
fn midpoint(lower: f64, upper: f64) -> f64 {
    let middle = lower / 2.0 + upper / 2.0;
    if middle < upper { middle } else { lower }
}

/// One feature's rows in a node, in ascending order.
struct Scan<'a> {
    column: &'a [f64],
    rows: &'a [u32],
    codes: &'a [u32],
    /// Fewest rows on either side.
    least: usize,
    feature: usize,
}

impl Scan<'_> {
    /// Tries every admissible split, and keeps the first of the best.
    fn search(&self, mut tally: impl Tally, best: &mut Split) {
        let n = self.rows.len();
        let mut value = self.column[self.rows[0] as usize];
        for (n_left, pair) in (1..).zip(self.rows.windows(2)) {
            tally.pass(self.codes[pair[0] as usize] as usize);
            let next = self.column[pair[1] as usize];
            if next > value + FEATURE_THRESHOLD && n_left >= self.least && n - n_left >= self.least {
                let gain = tally.gain(n_left as f64, (n - n_left) as f64);
                if gain.exceeds(best.gain) {
                    *best = Split { feature: self.feature, n_left, gain };
                }
            }
            value = next;
        }
    }
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
    fn new(counts: &[f64], sides: &'a mut [f64]) -> Self {
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
