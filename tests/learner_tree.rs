//! Trees against a naive twin, scikit-learn, and degenerate rows.

use _zodc::learner::tree::TreeOptions;
use _zodc::learner::{Design, Labels, Learner, Scratch};
use _zodc::privacy::predictor::{Node, Predictor, Tree};
use proptest::prelude::*;

mod reference;

fn fit(options: &TreeOptions, x: &[f64], n_features: usize, codes: &[u32], n_classes: usize) -> Tree {
    let design = Design { x, n_features, labels: Labels::Classes { codes, n_classes } };
    match Learner::Tree(options.clone()).fit(&design, None, &mut Scratch::default()) {
        Ok(Predictor::Tree(tree)) => tree,
        other => panic!("{other:?}"),
    }
}

fn log_prob<'a>(tree: &'a Tree, row: &[f64]) -> &'a [f64] {
    let mut at = 0;
    loop {
        match tree.nodes[at] {
            Node::Split { feature, threshold, left, right } => {
                at = if row[feature as usize] <= threshold { left } else { right } as usize;
            }
            Node::Leaf(leaf) => return &tree.log_prob[leaf as usize * tree.n_classes..][..tree.n_classes],
        }
    }
}

/// A tree of rows by the definition: every threshold of every feature, counted from scratch.
struct Twin<'a> {
    options: &'a TreeOptions,
    x: &'a [f64],
    n_features: usize,
    codes: &'a [u32],
    n_classes: usize,
    log_prob: Vec<Vec<f64>>,
}

impl Twin<'_> {
    fn counts(&self, rows: &[usize]) -> Vec<i128> {
        (0..self.n_classes)
            .map(|c| rows.iter().filter(|&&r| self.codes[r] as usize == c).count() as i128)
            .collect()
    }

    fn value(&self, row: usize, feature: usize) -> f64 {
        self.x[row * self.n_features + feature]
    }

    fn grow(&mut self, rows: &[usize], depth: usize) {
        let counts = self.counts(rows);
        let pure = counts.contains(&(rows.len() as i128));
        let split = if pure || depth == self.options.max_depth { None } else { self.best(rows) };
        if let Some((feature, threshold)) = split {
            let (left, right): (Vec<usize>, Vec<usize>) =
                rows.iter().partition(|&&row| self.value(row, feature) <= threshold);
            self.grow(&left, depth + 1);
            self.grow(&right, depth + 1);
        } else {
            let s = self.options.smoothing;
            let total = rows.len() as f64 + s * self.n_classes as f64;
            let leaf: Vec<f64> = counts.iter().map(|&count| ((count as f64 + s) / total).ln()).collect();
            rows.iter().for_each(|&row| self.log_prob[row] = leaf.clone());
        }
    }

    /// Largest `Σ l²/n_l + Σ r²/n_r`, as exact fractions; the first of equals.
    fn best(&self, rows: &[usize]) -> Option<(usize, f64)> {
        let mut best: Option<((i128, i128), (usize, f64))> = None;
        for feature in 0..self.n_features {
            let mut values: Vec<f64> = rows.iter().map(|&row| self.value(row, feature)).collect();
            values.sort_by(f64::total_cmp);
            for pair in values.windows(2).filter(|pair| pair[1] > pair[0] + 1e-7) {
                let threshold = pair[0] / 2.0 + pair[1] / 2.0;
                let (left, right): (Vec<usize>, Vec<usize>) =
                    rows.iter().partition(|&&row| self.value(row, feature) <= threshold);
                let (n_left, n_right) = (left.len() as i128, right.len() as i128);
                if left.len().min(right.len()) < self.options.min_samples_leaf {
                    continue;
                }
                let squares =
                    |side: &[usize]| self.counts(side).iter().map(|count| count * count).sum::<i128>();
                let gain = (squares(&left) * n_right + squares(&right) * n_left, n_left * n_right);
                if best.is_none_or(|(most, _)| gain.0 * most.1 > most.0 * gain.1) {
                    best = Some((gain, (feature, threshold)));
                }
            }
        }
        best.map(|(_, split)| split)
    }
}

fn check_twin(options: &TreeOptions, x: &[f64], n_features: usize, codes: &[u32], n_classes: usize) {
    let log_probs = vec![Vec::new(); codes.len()];
    let mut twin = Twin { options, x, n_features, codes, n_classes, log_prob: log_probs };
    twin.grow(&(0..codes.len()).collect::<Vec<_>>(), 0);
    let tree = fit(options, x, n_features, codes, n_classes);
    for (row, expected) in x.chunks(n_features).zip(&twin.log_prob) {
        assert_eq!(log_prob(&tree, row), expected);
    }
}

prop_compose! {
    fn options()(max_depth in 0_usize..6, min_samples_leaf in 1_usize..6, smoothing in 0.1..2.0) -> TreeOptions {
        TreeOptions { max_depth, min_samples_leaf, smoothing }
    }
}

prop_compose! {
    fn problem(n_classes: u32)(n_rows in 1_usize..60, n_features in 1_usize..6)(
        x in prop::collection::vec(-2.0..2.0, n_rows * n_features),
        codes in prop::collection::vec(0..n_classes, n_rows),
        n_features in Just(n_features),
    ) -> (Vec<f64>, usize, Vec<u32>) {
        (x, n_features, codes)
    }
}

proptest! {
    #[test]
    fn two_classes_match_the_twin((x, n_features, codes) in problem(2), options in options()) {
        check_twin(&options, &x, n_features, &codes, 2);
    }

    #[test]
    fn more_classes_match_the_twin((x, n_features, codes) in problem(4), options in options()) {
        check_twin(&options, &x, n_features, &codes, 4);
    }

    #[test]
    fn tied_values_match_the_twin((x, n_features, codes) in problem(3), options in options()) {
        let x: Vec<f64> = x.iter().map(|x| x.round()).collect();
        check_twin(&options, &x, n_features, &codes, 3);
    }

    #[test]
    fn values_that_agree_in_their_leading_bits_match_the_twin((x, n_features, codes) in problem(2), options in options()) {
        // 1e-16 apart for some, so that the order rests on the last bits; and never to be split.
        let x: Vec<f64> = x.iter().map(|x| x.round() + 1e-15 * x).collect();
        check_twin(&options, &x, n_features, &codes, 2);
    }

    #[test]
    fn leaves_hold_enough_rows_and_children_follow_parents((x, n_features, codes) in problem(2), options in options()) {
        let tree = fit(&options, &x, n_features, &codes, 2);
        let n_leaves = tree.log_prob.len() / 2;
        let mut rows = vec![0; n_leaves];
        for row in x.chunks(n_features) {
            let own = log_prob(&tree, row).as_ptr();
            let leaf = (0..n_leaves).find(|leaf| tree.log_prob[leaf * 2..].as_ptr() == own);
            rows[leaf.expect("a leaf of the tree")] += 1;
        }
        prop_assert!(n_leaves == 1 || rows.iter().all(|&n| n >= options.min_samples_leaf));
        for (at, node) in tree.nodes.iter().enumerate() {
            if let Node::Split { left, right, .. } = *node {
                prop_assert!(left as usize > at && right as usize > at);
            }
        }
    }
}

#[test]
fn agrees_with_scikit_learn() {
    let mut compared = 0;
    for case in &reference::load().classification {
        for expected in &case.tree {
            let options = TreeOptions {
                max_depth: expected.max_depth,
                min_samples_leaf: expected.min_samples_leaf,
                smoothing: 1e-12,
            };
            let tree = fit(&options, &case.x, case.n_features, &case.codes, case.n_classes);
            assert_eq!(tree.log_prob.len() / case.n_classes, expected.n_leaves);
            for (row, probability) in case.x.chunks(case.n_features).zip(&expected.probability) {
                for (ours, theirs) in log_prob(&tree, row).iter().zip(probability) {
                    assert!((ours.exp() - theirs).abs() < 1e-7, "{} {options:?}", case.name);
                }
            }
            compared += 1;
        }
    }
    assert!(compared > 20);
}

/// Options of a tree that may split to the last row.
fn deep(max_depth: usize) -> TreeOptions {
    TreeOptions { max_depth, min_samples_leaf: 1, smoothing: 1.0 }
}

#[test]
fn a_split_without_improvement_is_made() {
    // Exclusive or: no first split improves the Gini index.
    let x = [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0];
    let tree = fit(&deep(2), &x, 2, &[0, 1, 1, 0], 2);
    assert_eq!(tree.nodes.len(), 7);
}

#[test]
fn equal_splits_take_the_lowest_feature_and_threshold() {
    let x = [0.0, 0.0, 1.0, 1.0, 2.0, 2.0];
    let options = deep(1);
    let tree = fit(&options, &x, 2, &[0, 1, 0], 2);
    assert_eq!(tree.nodes[0], Node::Split { feature: 0, threshold: 0.5, left: 1, right: 2 });
}

#[test]
fn one_row_one_class_constant_columns_and_no_columns_are_a_leaf() {
    let options = deep(4);
    let third = 1.0_f64 / 3.0;
    let one_row = fit(&options, &[0.3, 0.1], 2, &[1], 2);
    assert_eq!(one_row.nodes, [Node::Leaf(0)]);
    assert_eq!(one_row.log_prob, [third.ln(), (2.0 * third).ln()]);
    for (x, n_features, codes) in
        [(vec![0.1, 0.2, 0.3], 1, [1, 1, 1]), (vec![0.5; 6], 2, [0, 1, 2]), (vec![], 0, [0, 1, 0])]
    {
        let tree = fit(&options, &x, n_features, &codes, 3);
        assert_eq!(tree.nodes, [Node::Leaf(0)]);
        assert!(tree.log_prob.iter().all(|p| p.is_finite()));
    }
}

#[test]
fn refuses_what_is_not_finite_or_out_of_range() {
    let learner = Learner::Tree(deep(4));
    for (x, codes) in [([f64::NAN, 0.0], [0, 1]), ([0.0, 1.0], [0, 2])] {
        let design = Design { x: &x, n_features: 1, labels: Labels::Classes { codes: &codes, n_classes: 2 } };
        assert!(learner.fit(&design, None, &mut Scratch::default()).is_err());
    }
}
