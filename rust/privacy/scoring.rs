//! Per-row losses of fitted models: the one arithmetic on patients' features.
//!
//! A loss of a row depends on that row and the model alone; a row without an outcome has none. Cox's partial
//! likelihood is no such loss (it couples rows through risk sets), so survival uses the full likelihood with
//! the baseline hazard of the synthetic rows (the folder's `hazards`).

use super::hazards::{self, Hazards};
use super::predictor::{Linear, Node, Predictor, TimeGrid, Tree};
use ndarray::{ArrayView2, ArrayViewMut2, linalg::general_mat_mul};

/// Rows scored at once. Blocks are always full, whatever stands beyond the rows asked for, so that the bits of a
/// row's loss do not depend on its neighbours, its place or the number of threads.
pub const BLOCK: usize = 64;

/// Rows that go down a tree side by side; a divisor of [`BLOCK`].
const ABREAST: usize = 8;

/// One candidate: its fitted models with their weights in the objective.
pub type Candidate = Vec<(f64, Predictor)>;

/// Outcomes of a block of rows.
#[derive(Debug, Clone, Copy)]
pub enum BlockOutcome<'a> {
    /// Class codes; NaN where missing.
    Classes(&'a [f64]),
    /// Class probabilities, `rows × n_classes`, row-major (public pseudo-populations only).
    Probabilities(&'a [f64], usize),
    /// Times, and events as 0 or 1; NaN where missing.
    Survival(&'a [f64], &'a [f64], &'a TimeGrid),
}

/// All candidates of a round, with the linear parts packed for one matrix product.
pub struct ScoringPack<'a> {
    candidates: &'a [Candidate],
    hazards: Hazards,
    /// The trees of all candidates, in order.
    trees: Vec<FlatTree>,
    n_features: usize,
    /// `n_outputs × n_features`: coefficients of all logistic regressions.
    coef: Vec<f64>,
    intercept: Vec<f64>,
}

/// Working memory of one thread.
pub struct Scratch {
    /// Logits of the logistic regressions, `n_outputs × BLOCK`.
    eta: Vec<f64>,
    hazards: hazards::Scratch,
    /// Logits of one row.
    logits: Vec<f64>,
}

impl<'a> ScoringPack<'a> {
    /// Packs the candidates of a round; `n_features` is the encoded width.
    pub fn new(candidates: &'a [Candidate], n_features: usize) -> Self {
        let (mut hazards, mut trees, mut coef, mut intercept) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let models = candidates.iter().enumerate().flat_map(|(i, c)| c.iter().map(move |model| (i, model)));
        for (candidate, (weight, model)) in models {
            match model {
                Predictor::Linear(Linear { coef: c, intercept: i }) => {
                    coef.extend_from_slice(c);
                    intercept.extend_from_slice(i);
                }
                Predictor::Hazard(hazard) => hazards.push((candidate, *weight, hazard)),
                Predictor::Tree(tree) => trees.push(FlatTree::new(tree)),
            }
        }
        Self { candidates, hazards: Hazards::new(&hazards), trees, n_features, coef, intercept }
    }

    /// Number of candidates.
    pub fn n_candidates(&self) -> usize {
        self.candidates.len()
    }

    /// Working memory for [`Self::losses`].
    pub fn scratch(&self) -> Scratch {
        let eta = vec![0.0; BLOCK * self.intercept.len()];
        Scratch { eta, hazards: self.hazards.scratch(), logits: Vec::new() }
    }

    /// Losses of the first `n_rows` rows of a block (`BLOCK × n_features`; what its other rows hold does not matter)
    /// under every candidate, into `out` (`BLOCK × n_candidates`).
    pub fn losses(
        &self,
        x: &[f64],
        n_rows: usize,
        outcome: BlockOutcome<'_>,
        scratch: &mut Scratch,
        out: &mut [f64],
    ) {
        out.fill(0.0);
        self.linear_parts(x, scratch);
        let Scratch { eta, hazards, logits } = scratch;
        let n_candidates = self.candidates.len();
        self.hazards.add(x, n_rows, outcome, n_candidates, hazards, out);
        let (mut rest, mut trees) = (eta.as_slice(), self.trees.iter());
        for (i, candidate) in self.candidates.iter().enumerate() {
            for (weight, model) in candidate {
                let out = out[i..].iter_mut().step_by(n_candidates).take(n_rows);
                match model {
                    Predictor::Hazard(_) => {}
                    Predictor::Linear(linear) => {
                        let (own, next) = rest.split_at(BLOCK * linear.intercept.len());
                        rest = next;
                        add_linear(*weight, own, outcome, logits, out);
                    }
                    Predictor::Tree(tree) => {
                        if let Some(flat) = trees.next() {
                            let mut leaves = [0; BLOCK];
                            flat.leaves(x, self.n_features, &mut leaves);
                            for (row, (&leaf, out)) in leaves.iter().zip(out).enumerate() {
                                let log_prob = &tree.log_prob[leaf as usize..][..tree.n_classes];
                                *out += weight * class_loss(log_prob, row, outcome);
                            }
                        }
                    }
                }
            }
        }
    }

    /// `coef · xᵀ + intercept` of all logistic regressions in one product.
    fn linear_parts(&self, x: &[f64], scratch: &mut Scratch) {
        if self.intercept.is_empty() {
            return;
        }
        for (eta, intercept) in scratch.eta.chunks_exact_mut(BLOCK).zip(&self.intercept) {
            eta.fill(*intercept);
        }
        let n_outputs = self.intercept.len();
        let views = (
            ArrayView2::from_shape((BLOCK, self.n_features), x),
            ArrayView2::from_shape((n_outputs, self.n_features), &self.coef),
            ArrayViewMut2::from_shape((n_outputs, BLOCK), &mut scratch.eta),
        );
        if let (Ok(x), Ok(coef), Ok(mut eta)) = views {
            general_mat_mul(1.0, &coef, &x.t(), 1.0, &mut eta);
        } else {
            scratch.eta.fill(f64::NAN);
        }
    }
}

/// Log loss of logistic regression: softmax, or for one output the logistic function.
fn add_linear<'o>(
    weight: f64,
    eta: &[f64],
    outcome: BlockOutcome<'_>,
    logits: &mut Vec<f64>,
    out: impl Iterator<Item = &'o mut f64>,
) {
    if eta.len() == BLOCK {
        for (row, (eta, out)) in eta.iter().zip(out).enumerate() {
            if let Some(p) = positive(row, outcome) {
                *out += weight * (softplus(*eta) - p * eta);
            }
        }
        return;
    }
    for (row, out) in out.enumerate() {
        logits.clear();
        logits.extend(eta.chunks_exact(BLOCK).map(|output| output[row]));
        let shift = log_sum_exp(logits);
        logits.iter_mut().for_each(|l| *l -= shift);
        *out += weight * class_loss(logits, row, outcome);
    }
}

/// Probability that the row is of the second of two classes; `None` where its class is missing.
fn positive(row: usize, outcome: BlockOutcome<'_>) -> Option<f64> {
    match outcome {
        BlockOutcome::Classes(class) => Some(class[row]).filter(|c| !c.is_nan()),
        BlockOutcome::Probabilities(p, n_classes) => Some(p[row * n_classes + 1]),
        BlockOutcome::Survival(..) => Some(f64::NAN),
    }
}

/// Cross-entropy of a row's class, or class probabilities, under log probabilities.
fn class_loss(log_prob: &[f64], row: usize, outcome: BlockOutcome<'_>) -> f64 {
    match outcome {
        BlockOutcome::Classes(class) if class[row].is_nan() => 0.0,
        BlockOutcome::Classes(class) => -log_prob[class[row] as usize],
        BlockOutcome::Probabilities(p, n_classes) => {
            -log_prob.iter().zip(&p[row * n_classes..][..n_classes]).map(|(l, p)| l * p).sum::<f64>()
        }
        BlockOutcome::Survival(..) => f64::NAN,
    }
}

/// `log(1 + exp(x))` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn log_sum_exp(eta: &[f64]) -> f64 {
    let largest = eta.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + eta.iter().map(|e| (e - largest).exp()).sum::<f64>().ln()
}

/// Log class probabilities of the leaf that a row falls into.
pub fn leaf<'t>(tree: &'t Tree, features: &[f64]) -> &'t [f64] {
    let mut at = 0;
    loop {
        match tree.nodes[at] {
            Node::Leaf(index) => return &tree.log_prob[index as usize * tree.n_classes..][..tree.n_classes],
            Node::Split { feature, threshold, left, right } => {
                at = if features[feature as usize] <= threshold { left } else { right } as usize;
            }
        }
    }
}

/// A tree with steps instead of branches: every row makes as many steps as the deepest, those from a leaf
/// leading back to it, so that no step has to be predicted and rows go down side by side.
struct FlatTree {
    steps: Vec<Step>,
    depth: usize,
}

struct Step {
    threshold: f64,
    feature: u32,
    /// Where rows at most, and rows above the threshold go.
    next: [u32; 2],
    /// Where the leaf's log probabilities start.
    leaf: u32,
}

impl FlatTree {
    fn new(tree: &Tree) -> Self {
        let mut steps = Vec::with_capacity(tree.nodes.len());
        let mut depths = vec![0; tree.nodes.len()];
        for (at, node) in tree.nodes.iter().enumerate() {
            steps.push(match *node {
                Node::Leaf(leaf) => {
                    let (at, leaf) = (at as u32, leaf * tree.n_classes as u32);
                    Step { threshold: 0.0, feature: 0, next: [at, at], leaf }
                }
                Node::Split { feature, threshold, left, right } => {
                    depths[left as usize] = depths[at] + 1;
                    depths[right as usize] = depths[at] + 1;
                    Step { threshold, feature, next: [left, right], leaf: 0 }
                }
            });
        }
        Self { steps, depth: depths.into_iter().max().unwrap_or(0) }
    }

    /// Where the log probabilities of each row's leaf start; `x` is a whole block.
    fn leaves(&self, x: &[f64], n_features: usize, out: &mut [u32; BLOCK]) {
        if self.depth == 0 {
            return out.fill(self.steps[0].leaf);
        }
        for (x, out) in x.chunks_exact(ABREAST * n_features).zip(out.chunks_exact_mut(ABREAST)) {
            let mut at = [0_u32; ABREAST];
            for _ in 0..self.depth {
                for (at, x) in at.iter_mut().zip(x.chunks_exact(n_features)) {
                    let step = &self.steps[*at as usize];
                    *at = step.next[usize::from(x[step.feature as usize] > step.threshold)];
                }
            }
            out.iter_mut().zip(at).for_each(|(out, at)| *out = self.steps[at as usize].leaf);
        }
    }
}
