//! Fits of scikit-learn and lifelines, written by `make_learners.py`.

#![allow(dead_code, reason = "each test file reads its own part")]

use serde::Deserialize;

/// The whole file.
#[derive(Deserialize)]
pub struct Reference {
    pub classification: Vec<Classification>,
    pub survival: Vec<Survival>,
}

#[derive(Deserialize)]
pub struct Classification {
    pub name: String,
    pub n_features: usize,
    pub n_classes: usize,
    pub x: Vec<f64>,
    pub codes: Vec<u32>,
    pub logistic: Vec<Logistic>,
    pub tree: Vec<Tree>,
}

#[derive(Deserialize)]
pub struct Logistic {
    pub c: f64,
    pub coef: Vec<Vec<f64>>,
    pub intercept: Vec<f64>,
}

#[derive(Deserialize)]
pub struct Tree {
    pub max_depth: usize,
    pub min_samples_leaf: usize,
    pub probability: Vec<Vec<f64>>,
    pub n_leaves: usize,
}

#[derive(Deserialize)]
pub struct Survival {
    pub name: String,
    pub n_features: usize,
    pub x: Vec<f64>,
    pub time: Vec<f64>,
    pub event: Vec<bool>,
    pub cox: Vec<Cox>,
}

#[derive(Deserialize)]
pub struct Cox {
    pub penalizer: f64,
    pub coef: Vec<f64>,
}

pub fn load() -> Reference {
    serde_json::from_str(include_str!("learners.json")).expect("learners.json is well formed")
}
