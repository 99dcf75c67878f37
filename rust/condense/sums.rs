//! Functions of a row whose sums over the rows are kept: what learners fitted on the rows see of them.

/// Terms of a sum that are added side by side.
pub(super) const LANES: usize = 8;
/// Quantiles of each feature that cut it into steps.
const N_STEPS: usize = 8;
/// Standard deviation below which a column is constant.
const CONSTANT: f64 = 1e-9;

/// Partners that a row is compared with, on each side of it, at most and at least.
const WINDOW: usize = 128;
const LEAST_WINDOW: usize = 8;

/// Partners that a row is compared with, on each side of it in the order of the rows: above `whole` rows fewer, the
/// more there are to exchange with, so that the work grows with the rows, not with their square.
pub(super) fn reach(n_rows: usize, whole: usize) -> usize {
    (WINDOW * whole / n_rows).clamp(LEAST_WINDOW, WINDOW)
}

/// Functions of each row, `n_rows × width`; columns of zeros fill the last lanes.
pub(super) struct Features {
    values: Vec<f64>,
    width: usize,
}

impl Features {
    /// From columns of `n_rows` numbers.
    pub fn new(columns: &[Vec<f64>], n_rows: usize) -> Self {
        let width = columns.len().next_multiple_of(LANES);
        let mut values = vec![0.0; n_rows * width];
        for (j, column) in columns.iter().enumerate() {
            values.iter_mut().skip(j).step_by(width).zip(column).for_each(|(v, c)| *v = *c);
        }
        Self { values, width }
    }

    /// Number of functions, with those that fill the lanes.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All functions of one row.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.width..][..self.width]
    }
}

/// The columns of `x` (`n_rows × width`, row-major).
pub(super) fn columns_of(x: &[f64], n_rows: usize) -> impl Iterator<Item = Vec<f64>> {
    let width = x.len() / n_rows.max(1);
    (0..width).map(move |j| x.iter().skip(j).step_by(width).copied().collect())
}

/// Whether a column is above each of its quantiles, standardised: what a tree's first splits see.
pub(super) fn steps(column: &[f64]) -> Vec<Vec<f64>> {
    let n = column.len();
    let mut cuts = column.to_vec();
    cuts.sort_by(f64::total_cmp);
    let mut cuts: Vec<f64> = (1..N_STEPS).map(|q| cuts[q * n / N_STEPS]).collect();
    cuts.dedup();
    let above = |cut: &f64| column.iter().map(|c| f64::from(u8::from(c > cut))).collect::<Vec<_>>();
    cuts.iter().filter_map(|cut| standardised(&above(cut), 1.0)).collect()
}

/// A column with mean 0 and standard deviation `weight`; none if it is constant.
pub(super) fn standardised(column: &[f64], weight: f64) -> Option<Vec<f64>> {
    let (mean, sd) = (mean(column), standard_deviation(column));
    (sd > CONSTANT).then(|| column.iter().map(|c| weight * (c - mean) / sd).collect())
}

/// Root mean square distance from the mean.
pub(super) fn standard_deviation(column: &[f64]) -> f64 {
    let mean = mean(column);
    (column.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / column.len() as f64).sqrt()
}

fn mean(column: &[f64]) -> f64 {
    column.iter().sum::<f64>() / column.len() as f64
}

#[cfg(test)]
mod tests {
    use super::reach;

    #[test]
    fn the_reach_shrinks_as_rows_become_many() {
        assert_eq!(
            [1, 500, 1000, 2000, 20_000, 1_000_000].map(|n| reach(n, 1000)),
            [128, 128, 128, 64, 8, 8]
        );
    }
}
