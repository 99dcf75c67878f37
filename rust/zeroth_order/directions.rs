//! Counter-based Gaussian directions: any chunk of any direction is regenerated from its number, so
//! that none is stored and any number of threads draws the same ones.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

/// Coordinates drawn from one counter.
pub const CHUNK: usize = 512;
/// Words of the key stream set aside for a chunk: far more than its draws can use.
const WORDS_PER_CHUNK: u128 = 1 << 16;
/// Streams of one round: most directions that it can have.
pub const DIRECTIONS_PER_ROUND: u64 = 1 << 16;

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

    /// One direction of one round, whole.
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
        out.iter_mut().for_each(|u| *u = StandardNormal.sample(&mut generator));
    }
}
