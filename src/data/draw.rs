//! Counter-based random numbers: every draw is a pure function of (seed, purpose, position), so that any thread or
//! rank can compute it and nothing but the position has to be saved.

use crate::splitmix::{GAMMA, draw};

/// What a draw is for; keeps the streams apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The order of files in an epoch.
    FileOrder = 1,
    /// How far a record is moved by the shuffle.
    Shuffle = 2,
    /// Values of generated features.
    Feature = 3,
    /// Generated labels.
    Label = 4,
    /// What generated features and labels have in common.
    Latent = 5,
}

/// A stream of numbers, indexed by position.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw(u64);

impl Draw {
    /// The stream of one purpose under `seed`.
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        Self(draw(draw(seed) ^ (purpose as u64)))
    }

    /// The sub-stream at `position`.
    pub(crate) fn at(self, position: u64) -> Self {
        Self(draw(self.0.wrapping_add(position.wrapping_mul(GAMMA))))
    }

    /// 64 random bits.
    pub(crate) fn bits(self) -> u64 {
        draw(self.0)
    }

    /// Uniform in `0..bound`; `bound` is at least 1.
    pub(crate) fn below(self, bound: u64) -> u64 {
        let wide = u128::from(self.bits()) * u128::from(bound.max(1));
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// Uniform in `[0, 1)`, a multiple of 2⁻²⁴.
    #[allow(clippy::cast_precision_loss, reason = "24 bits are exact in an f32")]
    pub(crate) fn unit(self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_even_over_their_range() {
        let stream = Draw::new(7, Purpose::Shuffle);
        let mut counts = [0u32; 10];
        for position in 0..10_000 {
            counts[usize::try_from(stream.at(position).below(10)).unwrap()] += 1;
        }
        assert!(
            counts.iter().all(|&n| (850..1150).contains(&n)),
            "{counts:?}"
        );
        let mean: f32 = (0..10_000).map(|p| stream.at(p).unit()).sum::<f32>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }

    #[test]
    fn streams_differ_by_seed_purpose_and_position() {
        let draws = [
            Draw::new(1, Purpose::Shuffle).at(0).bits(),
            Draw::new(2, Purpose::Shuffle).at(0).bits(),
            Draw::new(1, Purpose::FileOrder).at(0).bits(),
            Draw::new(1, Purpose::Shuffle).at(1).bits(),
            Draw::new(1, Purpose::Shuffle).at(0).at(0).bits(),
        ];
        let distinct: std::collections::HashSet<_> = draws.iter().collect();
        assert_eq!(distinct.len(), draws.len());
    }
}
