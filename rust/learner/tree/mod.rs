//! Classification tree (CART: Breiman, Friedman, Olshen, Stone 1984) with the Gini index and the
//! rules of scikit-learn's `DecisionTreeClassifier`, splits without improvement included.
//!
//! Rows are sorted by every feature once; the sorted lists are then partitioned down the tree.
//! Equal splits are decided by the lowest feature, then the lowest threshold.

mod sort;
mod split;

use super::transpose;
use crate::privacy::predictor::{Node, Predictor, Tree};
use serde::{Deserialize, Serialize};
use sort::{Sorter, row};
use split::Split;

/// Options of the tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeOptions {
    /// Most splits from the root to a leaf.
    pub max_depth: usize,
    /// Fewest rows in a leaf.
    pub min_samples_leaf: usize,
    /// Pseudo-count of each class in a leaf (Laplace).
    pub smoothing: f64,
}

/// Reusable memory of a fit.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// Features one after the other.
    columns: Vec<f64>,
    /// Each row shifted left by one bit, which says whether it is of class 1.
    entries: Vec<u32>,
    /// Entries sorted by each feature; a node owns the same range of every list.
    sorted: Vec<u32>,
    sorter: Sorter,
    split: split::Buffers,
    goes_left: Vec<bool>,
    right: Vec<u32>,
    pending: Vec<Pending>,
    /// Rows of each class, for each node.
    counts: Vec<f64>,
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
    sort_columns(codes, n_features, buffers);
    plant(codes, n_classes, buffers);
    let mut grower = Grower { options, n_rows, n_classes, codes, buffers };
    grower.grow();
    Predictor::Tree(Tree { nodes: buffers.nodes.clone(), log_prob: buffers.log_prob.clone(), n_classes })
}

/// The root with its class counts.
fn plant(codes: &[u32], n_classes: usize, buffers: &mut Buffers) {
    buffers.goes_left.resize(codes.len(), false);
    buffers.right.resize(codes.len(), 0);
    buffers.log_prob.clear();
    buffers.counts.clear();
    buffers.counts.resize(n_classes, 0.0);
    codes.iter().for_each(|&code| buffers.counts[code as usize] += 1.0);
    buffers.nodes.clear();
    buffers.nodes.push(Node::Leaf(0));
    buffers.pending.clear();
    buffers.pending.push(Pending { node: 0, start: 0, end: codes.len(), depth: 0 });
}

/// Entries in ascending order of every feature.
fn sort_columns(codes: &[u32], n_features: usize, buffers: &mut Buffers) {
    let Buffers { columns, entries, sorted, sorter, .. } = buffers;
    let n_rows = codes.len();
    entries.clear();
    entries.extend(codes.iter().zip(0_u32..).map(|(&code, row)| row << 1 | u32::from(code == 1)));
    sorted.resize(n_features * n_rows, 0);
    for (column, sorted) in columns.chunks_exact(n_rows).zip(sorted.chunks_exact_mut(n_rows)) {
        sorter.sort(column, entries, sorted);
    }
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
        let Buffers { columns, sorted, counts, split, .. } = &mut *self.buffers;
        let node = split::Node {
            columns,
            sorted,
            start: pending.start,
            end: pending.end,
            codes: self.codes,
            counts: &counts[pending.node * self.n_classes..][..self.n_classes],
            least: self.options.min_samples_leaf.max(1),
        };
        node.best_split(split)
    }

    fn split(&mut self, pending: Pending, split: Split) {
        let Pending { node, start, end, depth } = pending;
        let (n_classes, middle) = (self.n_classes, start + split.n_left);
        let rows = &self.buffers.sorted[split.feature * self.n_rows..][..self.n_rows];
        let value = |at: usize| self.buffers.columns[split.feature * self.n_rows + row(rows[at])];
        let threshold = midpoint(value(middle - 1), value(middle));
        let left = self.buffers.nodes.len();
        let first = self.buffers.counts.len();
        self.buffers.counts.resize(first + 2 * n_classes, 0.0);
        for &entry in &rows[start..middle] {
            self.buffers.counts[first + self.codes[row(entry)] as usize] += 1.0;
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
        for (at, &entry) in own.iter().enumerate() {
            goes_left[row(entry)] = at < split.n_left;
        }
        for (feature, sorted) in sorted.chunks_exact_mut(self.n_rows).enumerate() {
            if feature != split.feature {
                divide(&mut sorted[pending.start..pending.end], goes_left, right);
            }
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

/// Moves the entries that go left to the front, keeping the order on both sides.
fn divide(entries: &mut [u32], goes_left: &[bool], right: &mut [u32]) {
    let right = &mut right[..entries.len()];
    let mut n_left = 0;
    // Both writes are made and one of them kept: a branch would be mispredicted half of the time.
    for at in 0..entries.len() {
        let entry = entries[at];
        entries[n_left] = entry;
        right[at - n_left] = entry;
        n_left += usize::from(goes_left[row(entry)]);
    }
    let n_right = entries.len() - n_left;
    entries[n_left..].copy_from_slice(&right[..n_right]);
}
