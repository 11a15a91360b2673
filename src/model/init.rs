//! First values of parameters: a counter-based generator, so that they depend on seed, name and position alone, not
//! on device, order or threads.

use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

use crate::machine;
use crate::splitmix::{GAMMA, mix};

/// Values per unit of work of one thread.
const CHUNK: usize = 1 << 16;

/// Fills `values` uniformly over `[-bound, bound)` with 24 random bits each.
///
/// The values depend on `seed` and `name` only.
pub(super) fn uniform(values: &mut [f32], bound: f64, seed: u64, name: &str) {
    fill_together(
        values,
        bound,
        key(seed, name),
        machine::cores(),
        Builder::new,
    );
}

/// Fills the values on this thread and as many others as the system gives, `threads` in all.
fn fill_together(
    values: &mut [f32],
    bound: f64,
    key: u64,
    threads: usize,
    builder: impl Fn() -> Builder,
) {
    let share = values.len().div_ceil(threads).next_multiple_of(CHUNK);
    let num_parts = values.len().div_ceil(share.max(1));
    let parts = Mutex::new(values.chunks_mut(share.max(1)).enumerate());
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some((i, part)) = next() {
            fill(part, bound, key, (i * share) as u64);
        }
    };
    thread::scope(|scope| {
        for _ in 1..num_parts {
            if builder().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
}

/// Fills the values from position `start` (even) on: two of them from each 64 random bits.
#[allow(
    clippy::cast_possible_truncation,
    reason = "parameters are f32; 32 random bits hold 24"
)]
fn fill(values: &mut [f32], bound: f64, key: u64, start: u64) {
    let low = -bound as f32;
    let step = (2.0 * bound / f64::from(1 << 24)) as f32;
    for (i, pair) in values.chunks_mut(2).enumerate() {
        let bits = mix(key.wrapping_add((start / 2 + i as u64).wrapping_mul(GAMMA)));
        for (value, bits) in pair
            .iter_mut()
            .zip([(bits >> 40) as u32, bits as u32 & 0xff_ffff])
        {
            *value = low + bits as f32 * step;
        }
    }
}

fn key(seed: u64, name: &str) -> u64 {
    name.bytes().fold(mix(seed ^ GAMMA), |key, byte| {
        mix(key ^ u64::from(byte)).wrapping_add(GAMMA)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(count: usize, seed: u64, name: &str) -> Vec<f32> {
        let mut values = vec![0.0; count];
        uniform(&mut values, 0.5, seed, name);
        values
    }

    #[test]
    fn a_long_fill_starts_like_a_short_one() {
        let long = draw(5 * CHUNK + 3, 1, "a");
        let mut whole = vec![0.0; long.len()];
        fill(&mut whole, 0.5, key(1, "a"), 0);
        assert_eq!(long, whole);
    }

    #[test]
    fn values_do_not_depend_on_threads_also_where_there_are_none() {
        let whole = draw(5 * CHUNK + 3, 1, "a");
        // No system has room for such a stack.
        let impossible = || Builder::new().stack_size(1 << 60);
        assert!(impossible().spawn(|| ()).is_err());
        for builder in [Builder::new, impossible] {
            for threads in [1, 2, 64] {
                let mut values = vec![0.0; whole.len()];
                fill_together(&mut values, 0.5, key(1, "a"), threads, builder);
                assert_eq!(values, whole, "{threads}");
            }
        }
    }

    #[test]
    fn seed_and_name_both_change_the_values() {
        assert_ne!(draw(8, 1, "a"), draw(8, 2, "a"));
        assert_ne!(draw(8, 1, "a"), draw(8, 1, "b"));
        assert_eq!(draw(8, 1, "a"), draw(8, 1, "a"));
    }

    #[test]
    fn values_are_uniform_and_uncorrelated() {
        let values = draw(1 << 18, 7, "w");
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let square = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n;
        let lag: f64 = values
            .windows(2)
            .map(|w| f64::from(w[0] * w[1]))
            .sum::<f64>()
            / n;
        assert!(mean.abs() < 2e-3, "{mean}");
        assert!((square - 1.0 / 12.0).abs() < 1e-3, "{square}");
        assert!(lag.abs() < 1e-3, "{lag}");
        assert!(values.iter().all(|v| (-0.5..0.5).contains(v)));
    }
}
