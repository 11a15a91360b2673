//! SplitMix64 as a counter-based generator: 64 bits that look random, computed from a position. A leaf for every room.

/// An odd constant near 2^64 divided by the golden ratio: its multiples are spread evenly.
pub const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// A bijection in which every input bit reaches every output bit, so that near inputs give unrelated outputs.
#[must_use]
pub const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What the generator draws in the state `state`.
#[must_use]
pub const fn draw(state: u64) -> u64 {
    mix(state.wrapping_add(GAMMA))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the published generator with the seed 1234567.
    #[test]
    fn it_draws_the_numbers_of_the_published_generator() {
        let draws = [0, 1, 2].map(|i: u64| draw(GAMMA.wrapping_mul(i).wrapping_add(1_234_567)));
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(draws, published);
    }
}
