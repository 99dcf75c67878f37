//! Rows in ascending order of every feature.

/// Bits of a key sorted in one pass, of two.
const DIGIT: u32 = 7;
const N_DIGITS: usize = 1 << DIGIT;
const LOWEST: u64 = N_DIGITS as u64 - 1;

/// Adding this to a float below 2⁵¹ leaves the nearest integer in its lowest bits.
const TO_INTEGER: f64 = (1_u64 << 52) as f64;

/// Insertion gives up after this many moves for each row.
const MOST_MOVES: usize = 8;

/// Reusable memory of [`Sorter::sort`].
#[derive(Debug, Default)]
pub(super) struct Sorter {
    /// Entries with their keys in the lowest bits.
    keyed: Vec<u64>,
    /// The same in the order of the lower digit.
    half_sorted: Vec<u64>,
}

impl Sorter {
    /// Writes the `entries` of the rows in ascending order of `column`.
    ///
    /// A radix sort by where the value lies in the column's range, to 14 bits; insertion then mends the order
    /// of the few values that agree in them. So there is hardly a branch that depends on the values.
    pub fn sort(&mut self, column: &[f64], entries: &[u32], sorted: &mut [u32]) {
        let (low, high) = range(column);
        let scale = (N_DIGITS * N_DIGITS - 1) as f64 / (high - low);
        // Where the range is 0 or infinite the keys are arbitrary, and insertion or its fallback does the work.
        let key = |value: &f64| ((value - low) * scale + TO_INTEGER).to_bits() & (LOWEST << DIGIT | LOWEST);
        self.keyed.clear();
        self.keyed.extend(
            column.iter().zip(entries).map(|(value, &entry)| u64::from(entry) << (2 * DIGIT) | key(value)),
        );
        let (mut lower, mut upper) = ([0; N_DIGITS], [0; N_DIGITS]);
        for &keyed in &self.keyed {
            lower[digit(keyed, 0)] += 1;
            upper[digit(keyed, DIGIT)] += 1;
        }
        self.half_sorted.resize(column.len(), 0);
        scatter(starts(lower), &self.keyed, 0, |at, keyed| self.half_sorted[at] = keyed);
        scatter(starts(upper), &self.half_sorted, DIGIT, |at, keyed| {
            sorted[at] = (keyed >> (2 * DIGIT)) as u32;
        });
        if !insert(column, sorted) {
            let value = |entry: u32| column[row(entry)];
            sorted.sort_unstable_by(|&a, &b| value(a).total_cmp(&value(b)).then(a.cmp(&b)));
        }
    }
}

/// The row of an entry.
pub(super) fn row(entry: u32) -> usize {
    (entry >> 1) as usize
}

fn digit(keyed: u64, shift: u32) -> usize {
    (keyed >> shift & LOWEST) as usize
}

/// Where the numbers of each digit start, from how many there are.
fn starts(mut counts: [u32; N_DIGITS]) -> [u32; N_DIGITS] {
    let mut start = 0;
    for count in &mut counts {
        (*count, start) = (start, start + *count);
    }
    counts
}

/// Hands out the place of each number in the order of one digit.
fn scatter(mut starts: [u32; N_DIGITS], keyed: &[u64], shift: u32, mut put: impl FnMut(usize, u64)) {
    for &keyed in keyed {
        let start = &mut starts[digit(keyed, shift)];
        put(*start as usize, keyed);
        *start += 1;
    }
}

/// Least and greatest value.
fn range(column: &[f64]) -> (f64, f64) {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for &value in column {
        low = if value < low { value } else { low };
        high = if value > high { value } else { high };
    }
    (low, high)
}

/// Insertion sort by value; gives up and returns false when it takes too many moves.
fn insert(column: &[f64], entries: &mut [u32]) -> bool {
    let mut moves_left = MOST_MOVES * entries.len();
    for i in 1..entries.len() {
        let entry = entries[i];
        let value = column[row(entry)];
        let mut at = i;
        while at > 0 && column[row(entries[at - 1])] > value {
            entries[at] = entries[at - 1];
            at -= 1;
        }
        entries[at] = entry;
        let Some(left) = moves_left.checked_sub(i - at) else { return false };
        moves_left = left;
    }
    true
}
