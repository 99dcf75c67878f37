//! Counter-based random signs as directions, those of simultaneous perturbation (Spall 1992, IEEE Trans.
//! Autom. Control 37:332): any chunk of any direction is regenerated from its number, so that none is stored
//! and any number of threads draws the same ones.
//!
//! A sign costs one random bit, and like a standard normal it has mean 0 and variance 1.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Coordinates drawn from one counter.
pub const CHUNK: usize = 2048;
/// Coordinates drawn from one word.
const SIGNS: usize = 64;
/// 32-bit words of the key stream set aside for a chunk.
const WORDS_PER_CHUNK: u128 = (CHUNK / 32) as u128;
/// Streams of one round.
const DIRECTIONS_PER_ROUND: u64 = 1 << 16;

/// Source of the public directions.
#[derive(Debug, Clone, Copy)]
pub struct Directions {
    seed: u64,
}

impl Directions {
    /// All directions of one public seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// One direction of one round, whole: 1 or −1 in each coordinate.
    pub fn fill(&self, round: u64, direction: u64, out: &mut [f64]) {
        for (chunk, part) in out.chunks_mut(CHUNK).enumerate() {
            self.fill_chunk(round, direction, chunk, part);
        }
    }

    /// Chunk number `chunk` of a direction.
    pub fn fill_chunk(&self, round: u64, direction: u64, chunk: usize, out: &mut [f64]) {
        let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
        generator.set_stream(round.wrapping_mul(DIRECTIONS_PER_ROUND).wrapping_add(direction));
        generator.set_word_pos(chunk as u128 * WORDS_PER_CHUNK);
        for part in out.chunks_mut(SIGNS) {
            let bits = generator.next_u64();
            for (shift, u) in part.iter_mut().enumerate() {
                *u = f64::from_bits(1.0_f64.to_bits() | bits << shift >> 63 << 63);
            }
        }
    }
}
