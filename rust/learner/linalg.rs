//! Small dense linear algebra for the Newton fits, written in fixed lanes: the order of every sum is
//! fixed, so the bits do not depend on the machine, and the compiler can vectorise it.
//!
//! Columns are stored one after the other, each padded with zeros to a multiple of [`LANES`].

/// Numbers handled together in the inner loops.
pub(crate) const LANES: usize = 4;

/// Pivots below this fraction of their diagonal entry count as zero.
const PIVOT_TOLERANCE: f64 = 1e-13;

/// Length of a column of `n` numbers with its padding.
pub(crate) fn padded(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

/// Gives `buffer` the length `n`, all zero, keeping its allocation.
pub(crate) fn zeroed(buffer: &mut Vec<f64>, n: usize) -> &mut [f64] {
    buffer.clear();
    buffer.resize(n, 0.0);
    buffer
}

/// Sum of the products of two slices of equal length.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    const WIDE: usize = 2 * LANES;
    debug_assert_eq!(a.len(), b.len());
    let mut sums = [0.0; WIDE];
    let (mut a, mut b) = (a.chunks_exact(WIDE), b.chunks_exact(WIDE));
    for (a, b) in a.by_ref().zip(b.by_ref()) {
        for lane in 0..WIDE {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    let half: [f64; LANES] = std::array::from_fn(|lane| sums[lane] + sums[lane + LANES]);
    (half[0] + half[2]) + (half[1] + half[3]) + rest
}

/// `y += factor * x`.
pub(crate) fn add_scaled(y: &mut [f64], factor: f64, x: &[f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

/// `out += Σ factor_j column_j`, four columns at a time.
pub(crate) fn combine(columns: &[f64], stride: usize, factors: &[f64], out: &mut [f64]) {
    let mut blocks = columns.chunks_exact(4 * stride);
    let mut by_four = factors.chunks_exact(4);
    for (block, f) in blocks.by_ref().zip(by_four.by_ref()) {
        let (first, second) = block.split_at(2 * stride);
        let (a, b) = first.split_at(stride);
        let (c, d) = second.split_at(stride);
        for ((((out, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *out += (f[0] * a + f[1] * b) + (f[2] * c + f[3] * d);
        }
    }
    for (column, &factor) in blocks.remainder().chunks_exact(stride).zip(by_four.remainder()) {
        add_scaled(out, factor, column);
    }
}

/// Largest absolute value.
pub(crate) fn max_abs(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |most, x| x.abs().max(most))
}

/// Lower triangle of `out = Xᵀ diag(weights) X`, row-major `n × n`, for the `n` columns of X.
///
/// `weights` is padded as the columns are; `None` stands for ones. `weighted` is scratch.
pub(crate) fn gram(
    columns: &[f64],
    weights: Option<&[f64]>,
    stride: usize,
    weighted: &mut Vec<f64>,
    out: &mut [f64],
) {
    if stride == 0 {
        return out.fill(0.0);
    }
    let n = columns.len() / stride;
    let left = match weights {
        None => columns,
        Some(weights) => {
            weighted.clear();
            weighted
                .extend(columns.chunks_exact(stride).flat_map(|x| x.iter().zip(weights).map(|(x, w)| x * w)));
            weighted.as_slice()
        }
    };
    let column = |x: usize| x * stride..(x + 1) * stride;
    for i in (0..n - n % 2).step_by(2) {
        let rows = [&left[column(i)], &left[column(i + 1)]];
        for j in (0..=i).step_by(2) {
            let tile = dot_2x2(rows, [&columns[column(j)], &columns[column(j + 1)]]);
            out[i * n + j] = tile[0][0];
            out[i * n + j + 1] = tile[0][1];
            out[(i + 1) * n + j] = tile[1][0];
            out[(i + 1) * n + j + 1] = tile[1][1];
        }
    }
    if n % 2 == 1 {
        let last = n - 1;
        for j in 0..n {
            out[last * n + j] = dot(&left[column(last)], &columns[column(j)]);
        }
    }
}

/// The four dot products of two pairs of padded columns: each number loaded serves two products.
fn dot_2x2(a: [&[f64]; 2], b: [&[f64]; 2]) -> [[f64; 2]; 2] {
    let mut sums = [[0.0; LANES]; 4];
    let [a0, a1] = a.map(|x| x.chunks_exact(LANES));
    let [b0, b1] = b.map(|x| x.chunks_exact(LANES));
    for (((a0, a1), b0), b1) in a0.zip(a1).zip(b0).zip(b1) {
        for lane in 0..LANES {
            sums[0][lane] += a0[lane] * b0[lane];
            sums[1][lane] += a0[lane] * b1[lane];
            sums[2][lane] += a1[lane] * b0[lane];
            sums[3][lane] += a1[lane] * b1[lane];
        }
    }
    let [s00, s01, s10, s11] = sums.map(|s| (s[0] + s[2]) + (s[1] + s[3]));
    [[s00, s01], [s10, s11]]
}

/// Replaces the lower triangle of a symmetric positive semidefinite `n × n` matrix (row-major) by its Cholesky factor.
///
/// A pivot that vanishes marks a direction without curvature: it becomes infinite, so that
/// [`solve`] leaves that coordinate alone (as R's `coxph` does for collinear columns).
/// The reciprocals of the pivots stand on the diagonal.
pub(crate) fn factorise(matrix: &mut [f64], n: usize) {
    for i in 0..n {
        let (above, row) = matrix.split_at_mut(i * n);
        let row = &mut row[..n];
        for j in 0..i {
            let other = &above[j * n..j * n + j + 1];
            row[j] = (row[j] - dot(&row[..j], &other[..j])) * other[j];
        }
        let pivot = row[i] - dot(&row[..i], &row[..i]);
        row[i] = if pivot > PIVOT_TOLERANCE * row[i].abs() { 1.0 / pivot.sqrt() } else { 0.0 };
    }
}

/// Solves `A x = b` in place, given the factor of A left by [`factorise`].
pub(crate) fn solve(factor: &[f64], x: &mut [f64]) {
    let n = x.len();
    for i in 0..n {
        let row = &factor[i * n..i * n + i + 1];
        x[i] = (x[i] - dot(&row[..i], &x[..i])) * row[i];
    }
    for i in (0..n).rev() {
        let row = &factor[i * n..i * n + i + 1];
        let value = x[i] * row[i];
        x[i] = value;
        add_scaled(&mut x[..i], -value, &row[..i]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gram_of_odd_number_of_columns() {
        let columns: Vec<f64> = (0..12).map(|k| f64::from(k % 5)).collect();
        let weights = [1.0, 2.0, 3.0, 0.0];
        let mut out = vec![0.0; 9];
        gram(&columns, Some(&weights), 4, &mut Vec::new(), &mut out);
        for i in 0..3 {
            for j in 0..=i {
                let naive: f64 = (0..4).map(|k| weights[k] * columns[i * 4 + k] * columns[j * 4 + k]).sum();
                assert_eq!(out[i * 3 + j], naive);
            }
        }
    }

    #[test]
    fn solves_positive_definite_system() {
        let matrix = [4.0, 0.0, 0.0, 2.0, 5.0, 0.0, 1.0, 3.0, 6.0];
        let mut factor = matrix;
        factorise(&mut factor, 3);
        let mut x = [4.0 + 4.0 + 3.0, 2.0 + 10.0 + 9.0, 1.0 + 6.0 + 18.0];
        solve(&factor, &mut x);
        for (x, expected) in x.iter().zip([1.0, 2.0, 3.0]) {
            assert!((x - expected).abs() < 1e-14);
        }
    }

    #[test]
    fn singular_direction_stays_put() {
        let mut factor = [1.0, 0.0, 1.0, 1.0];
        factorise(&mut factor, 2);
        let mut x = [3.0, 3.0];
        solve(&factor, &mut x);
        assert_eq!(x, [3.0, 0.0]);
    }
}
