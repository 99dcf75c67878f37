//! Exactly sampled noise: a normal deviate rounded to the integer lattice, from the operating system's generator.
//!
//! # Proof
//!
//! [`rounded_normal`] returns `round(scale · Z)` with Z ~ N(0, 1) and no approximation whatever. It follows C. F. F. Karney,
//! "Sampling exactly from the normal distribution", ACM TOMS 42(1), article 3 (2016); the letters are the paper's.
//!
//! *Numbers.* A uniform deviate is a `Uniform`, the infinite sequence of its base-2⁶⁴ digits, of which only those
//! that somebody asked for have been drawn. Two such numbers are compared digit by digit until they differ, so every
//! comparison is decided by integers and its outcome is that of the real numbers (a tie has probability zero).
//!
//! *Algorithm H*, `half`: true with probability exp(−1/2). Draw ½ > U₁ > U₂ > … while they fall; the chance that at
//! least n fall is (½)ⁿ/n!, so the chance that exactly an even number fall is Σ (−½)ⁿ/n! = exp(−½) (von Neumann).
//!
//! *Algorithm G*, `geometric`: the number k of successes of H before a failure, P(k) = exp(−k/2)·(1 − exp(−½)).
//!
//! *Algorithm B*, `falls`: true with probability exp(−x(2k+x)/(2k+2)). As H, from x in place of ½, where each step must
//! also pass a trial of probability (2k+x)/(2k+2); then at least n steps happen with probability
//! (x(2k+x)/(2k+2))ⁿ/n!. The trial draws an integer below 2k+2: 2k of its values pass, one fails, and one passes if a
//! fresh uniform is below x.
//!
//! *Algorithm N*, `magnitude`: N1 draw k by G. N2 accept it with probability exp(−k(k−1)/2), that is k(k−1) successes of H.
//! N3 draw x uniform on (0, 1). N4 accept with probability exp(−x(2k+x)/2), that is k+1 successes of B. A rejection starts over at N1.
//! The density of an accepted (k, x) is proportional to exp(−k/2 − k(k−1)/2 − x(2k+x)/2) = exp(−(k+x)²/2): k + x is |Z|.
//! N5 a fair bit gives the sign.
//!
//! *Rounding*, `nearest`: |round(scale·Z)| = scale·k + ⌊scale·x + ½⌋. Digits of x that no comparison asked for are still
//! uniform and independent of everything that happened, so drawing them now is drawing the same real number further.
//! After the first digit d, scale·x + ½ lies in the interval (L, L + scale)/2⁶⁴ with L = scale·d + 2⁶³, an exact
//! 128-bit integer. As scale < 2⁶⁴ the interval holds at most one integer; if it holds none the floor is known, else
//! further digits tell on which side of it the number lies.
//!
//! Time taken depends on the value drawn (it is a rejection method); remote timing is out of scope, see the documentation.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::{Error, Result};

/// Largest scale accepted: leaves room for |Z| up to 64, whose excess has probability below exp(−2000).
pub const MOST_SCALE: u64 = 1 << 57;

/// Where random words come from. Not `Clone`: a copy would give the same noise twice.
#[derive(Debug)]
#[non_exhaustive]
pub enum NoiseSource {
    /// Every word comes straight from the operating system: no state here that a fork, a snapshot or a
    /// checkpoint could copy.
    OperatingSystem,
    /// A seeded generator, for tests only; what it makes is NOT PRIVATE.
    SeededForTests(Box<ChaCha20Rng>),
    /// A generator that always fails.
    #[cfg(test)]
    Broken,
}

impl NoiseSource {
    /// A repeatable source for tests; [`NoiseSource::is_private`] tells it apart.
    pub fn seeded_for_tests(seed: u64) -> Self {
        Self::SeededForTests(Box::new(ChaCha20Rng::seed_from_u64(seed)))
    }

    /// Whether noise from here protects anybody: true for the operating system's generator only.
    pub fn is_private(&self) -> bool {
        matches!(self, Self::OperatingSystem)
    }

    /// 64 fresh bits; [`Error::Entropy`] if the generator fails, and no other generator takes its place.
    pub fn word(&mut self) -> Result<u64> {
        match self {
            Self::OperatingSystem => getrandom::u64().map_err(|_| Error::Entropy),
            Self::SeededForTests(generator) => Ok(generator.next_u64()),
            #[cfg(test)]
            Self::Broken => Err(Error::Entropy),
        }
    }

    /// Fresh words for a whole sample at once; the caller drops them after use.
    ///
    /// # Errors
    /// [`Error::Entropy`] if the generator fails.
    pub fn fill(&mut self, words: &mut [u32]) -> Result<()> {
        match self {
            Self::OperatingSystem => {
                let mut bytes = vec![0_u8; words.len() * 4];
                getrandom::fill(&mut bytes).map_err(|_| Error::Entropy)?;
                for (word, b) in words.iter_mut().zip(bytes.chunks_exact(4)) {
                    *word = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
                Ok(())
            }
            Self::SeededForTests(generator) => {
                // A stream of its own, so that the noise after it does not depend on how many units there are:
                // with one seed, answers of neighbours differ by their sums alone.
                let mut sample = ChaCha20Rng::seed_from_u64(generator.next_u64());
                words.iter_mut().for_each(|word| *word = sample.next_u32());
                Ok(())
            }
            #[cfg(test)]
            Self::Broken => Err(Error::Entropy),
        }
    }

    /// Uniform integer in `0..bound`, exactly: words in the incomplete last block are rejected.
    fn below(&mut self, bound: u64) -> Result<u64> {
        // 2^64 mod bound; the words from there up are a whole number of blocks.
        let incomplete = bound.wrapping_neg() % bound;
        loop {
            let word = self.word()?;
            if word >= incomplete {
                return Ok(word % bound);
            }
        }
    }
}

/// A uniform deviate on (0, 1): its base-2⁶⁴ digits, most significant first, drawn when first asked for.
#[derive(Debug, Default)]
struct Uniform {
    digits: Vec<u64>,
}

impl Uniform {
    fn digit(&mut self, index: usize, source: &mut NoiseSource) -> Result<u64> {
        while self.digits.len() <= index {
            self.digits.push(source.word()?);
        }
        Ok(self.digits[index])
    }

    fn is_below(&mut self, other: &mut Self, source: &mut NoiseSource) -> Result<bool> {
        for index in 0.. {
            let (mine, theirs) = (self.digit(index, source)?, other.digit(index, source)?);
            if mine != theirs {
                return Ok(mine < theirs);
            }
        }
        Err(Error::Entropy) // a generator that repeats itself for ever
    }

    fn is_below_half(&mut self, source: &mut NoiseSource) -> Result<bool> {
        Ok(self.digit(0, source)? >> 63 == 0)
    }
}

/// Algorithm H: true with probability exp(−1/2).
fn half(source: &mut NoiseSource) -> Result<bool> {
    let mut last = Uniform::default();
    if !last.is_below_half(source)? {
        return Ok(true);
    }
    let mut length_is_even = false;
    loop {
        let mut next = Uniform::default();
        if !next.is_below(&mut last, source)? {
            return Ok(length_is_even);
        }
        last = next;
        length_is_even = !length_is_even;
    }
}

/// Algorithm G: k ≥ 0 with probability exp(−k/2)·(1 − exp(−1/2)).
fn geometric(source: &mut NoiseSource) -> Result<u64> {
    let mut successes = 0;
    while half(source)? {
        successes += 1;
    }
    Ok(successes)
}

/// Steps N1 and N2: k with probability proportional to exp(−k²/2).
fn integer_part(source: &mut NoiseSource) -> Result<u64> {
    'draw: loop {
        let k = geometric(source)?;
        for _ in 0..k * k.saturating_sub(1) {
            if !half(source)? {
                continue 'draw;
            }
        }
        return Ok(k);
    }
}

/// The trial inside algorithm B: true with probability (2k + x)/(2k + 2).
fn passes(k: u64, x: &mut Uniform, source: &mut NoiseSource) -> Result<bool> {
    match source.below(2 * k + 2)? {
        choice if choice < 2 * k => Ok(true),
        choice if choice == 2 * k => Uniform::default().is_below(x, source),
        _ => Ok(false),
    }
}

/// Algorithm B: true with probability exp(−x(2k + x)/(2k + 2)).
fn falls(k: u64, x: &mut Uniform, source: &mut NoiseSource) -> Result<bool> {
    let mut first = Uniform::default();
    if !first.is_below(x, source)? || !passes(k, x, source)? {
        return Ok(true);
    }
    let (mut last, mut length_is_even) = (first, false);
    loop {
        let mut next = Uniform::default();
        if !next.is_below(&mut last, source)? || !passes(k, x, source)? {
            return Ok(length_is_even);
        }
        last = next;
        length_is_even = !length_is_even;
    }
}

/// Algorithm N without its sign: the integer part and the fraction of |Z|.
fn magnitude(source: &mut NoiseSource) -> Result<(u64, Uniform)> {
    'draw: loop {
        let k = integer_part(source)?;
        let mut x = Uniform::default();
        for _ in 0..=k {
            if !falls(k, &mut x, source)? {
                continue 'draw;
            }
        }
        return Ok((k, x));
    }
}

/// ⌊scale·x + ½⌋, from as many digits of x as that takes.
fn nearest(scale: u64, x: &mut Uniform, source: &mut NoiseSource) -> Result<u64> {
    let scale = u128::from(scale);
    let low = scale * u128::from(x.digit(0, source)?) + (1 << 63);
    let floor = (low >> 64) as u64;
    if (low + scale - 1) >> 64 == low >> 64 {
        return Ok(floor);
    }
    // The integer floor + 1 is inside the interval: at `gap` of its `scale` units above its lower end.
    let mut gap = ((u128::from(floor) + 1) << 64) - low;
    for index in 1.. {
        // One digit finer: the units shrink by 2^64, and the interval is again `scale` units long. gap < scale < 2^64.
        let (low, target) = (scale * u128::from(x.digit(index, source)?), gap << 64);
        if low >= target {
            return Ok(floor + 1);
        }
        if target - low >= scale {
            return Ok(floor);
        }
        gap = target - low;
    }
    Err(Error::Entropy) // a generator that repeats itself for ever
}

/// An exact draw of `round(scale · Z)`, Z ~ N(0, 1); see the module's proof.
///
/// `scale` is the standard deviation in lattice units, from 1 to [`MOST_SCALE`].
///
/// # Errors
/// [`Error::Option`] for a scale out of range (0 is never "no noise"); [`Error::Entropy`] if the generator fails.
pub fn rounded_normal(scale: u64, source: &mut NoiseSource) -> Result<i64> {
    if scale == 0 || scale > MOST_SCALE {
        return Err(Error::option("scale", format!("an integer from 1 to {MOST_SCALE}"), scale));
    }
    let (k, mut x) = magnitude(source)?;
    let fraction = nearest(scale, &mut x, source)?;
    // A sound generator never gets beyond i64 (|Z| > 64), so that is a fault of the generator.
    let size = k.checked_mul(scale).and_then(|whole| whole.checked_add(fraction)).ok_or(Error::Entropy)?;
    let size = i64::try_from(size).map_err(|_| Error::Entropy)?;
    let negative = source.word()? & 1 == 1;
    Ok(if negative { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Upper 1e-6 quantile of chi-square (Wilson and Hilferty).
    fn chi_square_limit(freedom: usize) -> f64 {
        let c = 2.0 / (9.0 * freedom as f64);
        freedom as f64 * (1.0 - c + 4.7534 * c.sqrt()).powi(3)
    }

    fn assert_fits(counts: &[u64], weights: &[f64]) {
        let (n, total) = (counts.iter().sum::<u64>() as f64, weights.iter().sum::<f64>());
        let statistic: f64 = counts
            .iter()
            .zip(weights)
            .map(|(&count, weight)| {
                let expected = n * weight / total;
                (count as f64 - expected).powi(2) / expected
            })
            .sum();
        let limit = chi_square_limit(counts.len() - 1);
        assert!(statistic < limit, "chi-square {statistic} of {counts:?} above {limit}");
    }

    fn histogram<const N: usize>(seed: u64, mut draw: impl FnMut(&mut NoiseSource) -> u64) -> [u64; N] {
        let mut source = NoiseSource::seeded_for_tests(seed);
        let mut counts = [0; N];
        for _ in 0..400_000 {
            counts[(draw(&mut source) as usize).min(N - 1)] += 1;
        }
        counts
    }

    #[test]
    fn algorithm_h_succeeds_with_probability_exp_of_minus_half() {
        let counts = histogram::<2>(1, |source| half(source).unwrap().into());
        let p = (-0.5_f64).exp();
        assert_fits(&counts, &[1.0 - p, p]);
    }

    #[test]
    fn algorithm_g_is_geometric() {
        let counts = histogram::<16>(2, |source| geometric(source).unwrap());
        let mut weights: Vec<f64> =
            (0..16).map(|k| (-0.5 * f64::from(k)).exp() * (1.0 - (-0.5_f64).exp())).collect();
        weights[15] = (-7.5_f64).exp();
        assert_fits(&counts, &weights);
    }

    #[test]
    fn steps_n1_and_n2_have_weights_exp_of_minus_half_k_squared() {
        let counts = histogram::<5>(3, |source| integer_part(source).unwrap());
        let weight = |k: i32| (-0.5 * f64::from(k * k)).exp();
        assert_fits(&counts, &[weight(0), weight(1), weight(2), weight(3), (4..9).map(weight).sum()]);
    }

    #[test]
    fn accepted_integer_parts_follow_the_normal_distribution() {
        let counts = histogram::<5>(4, |source| magnitude(source).unwrap().0);
        let tail = |x: f64| libm::erfc(x / 2.0_f64.sqrt());
        assert_fits(
            &counts,
            &[0.0, 1.0, 2.0, 3.0, 4.0].map(|k| tail(k) - if k < 4.0 { tail(k + 1.0) } else { 0.0 }),
        );
    }

    #[test]
    fn algorithm_b_has_its_probability_at_fixed_fractions() {
        for (k, top) in [(0, 1 << 62), (0, 3 << 62), (1, 1 << 63), (3, u64::MAX)] {
            let counts = histogram::<2>(5 + k, |source| {
                falls(k, &mut Uniform { digits: vec![top] }, source).unwrap().into()
            });
            let (x, k) = (top as f64 / 2.0_f64.powi(64), k as f64);
            let p = (-x * (2.0 * k + x) / (2.0 * k + 2.0)).exp();
            assert_fits(&counts, &[1.0 - p, p]);
        }
    }

    #[test]
    fn rounding_asks_for_digits_until_the_side_is_known() {
        let sixth = [0x2aaa_aaaa_aaaa_aaaa, 0xaaaa_aaaa_aaaa_aaaa, 0xaaaa_aaaa_aaaa_aaaa];
        let mut none = NoiseSource::Broken;
        for (last, expected) in
            [(0, 0), (0xaaaa_aaaa_aaaa_aaa9, 0), (0xaaaa_aaaa_aaaa_aaab, 1), (u64::MAX, 1)]
        {
            let mut x = Uniform { digits: [&sixth[..], &[last]].concat() };
            assert_eq!(nearest(3, &mut x, &mut none), Ok(expected));
        }
        let mut undecided = Uniform { digits: sixth.to_vec() };
        assert_eq!(nearest(3, &mut undecided, &mut none), Err(Error::Entropy));
    }

    #[test]
    fn check_02_rounding_agrees_with_wide_integers() {
        let mut source = NoiseSource::seeded_for_tests(9);
        for _ in 0..100_000 {
            let scale = (source.word().unwrap() >> (source.word().unwrap() % 64)).clamp(1, MOST_SCALE);
            let word = source.word().unwrap();
            let mut x = Uniform { digits: vec![word] };
            let rounded = nearest(scale, &mut x, &mut source).unwrap();
            let (low, scale) = (u128::from(scale) * u128::from(word) + (1 << 63), u128::from(scale));
            assert!(u128::from(rounded) == low >> 64 || u128::from(rounded) == (low + scale) >> 64);
        }
    }

    #[test]
    fn check_16_a_failing_generator_gives_no_number() {
        assert_eq!(rounded_normal(1, &mut NoiseSource::Broken), Err(Error::Entropy));
        assert!(!NoiseSource::Broken.is_private());
    }
}
