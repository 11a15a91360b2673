//! A sample of rows that does not depend on threads, and the ranges that are equally frequent in it.

use std::collections::BinaryHeap;

use xxhash_rust::xxh3::xxh3_64;

/// Rows that a sample for ranges keeps.
pub(super) const SIZE: usize = 1 << 16;

/// The numbers of some rows: those with the smallest hashes of their numbers.
#[derive(Debug)]
pub(super) struct Sample {
    /// How many rows are kept.
    size: usize,
    /// The largest hash on top.
    kept: BinaryHeap<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// Hash and number of the row, which decide the order.
    key: (u64, u64),
    /// By column; `None` for an empty cell.
    numbers: Box<[Option<f64>]>,
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Kept {}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

fn key(index: u64) -> (u64, u64) {
    (xxh3_64(&index.to_le_bytes()), index)
}

impl Sample {
    /// An empty one that keeps `size` rows.
    pub(super) fn new(size: usize) -> Self {
        let kept = BinaryHeap::new();
        Self { size, kept }
    }

    /// Whether row `index` belongs to the sample as far as is known.
    pub(super) fn wants(&self, index: u64) -> bool {
        let largest = self.kept.peek().filter(|_| self.kept.len() >= self.size);
        largest.is_none_or(|largest| key(index) < largest.key)
    }

    /// Adds row `index`.
    pub(super) fn add(&mut self, index: u64, numbers: Box<[Option<f64>]>) {
        let key = key(index);
        self.push(Kept { key, numbers });
    }

    fn push(&mut self, row: Kept) {
        self.kept.push(row);
        if self.kept.len() > self.size {
            self.kept.pop();
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        other.kept.into_iter().for_each(|row| self.push(row));
    }

    /// The lower ends of all ranges but the lowest, of the numbers at `place`.
    pub(super) fn ranges(&self, place: usize, count: usize) -> Vec<f64> {
        ranges(&self.numbers(place), count)
    }

    /// The finite numbers at `place`, ascending.
    pub(super) fn numbers(&self, place: usize) -> Vec<f64> {
        let numbers = self.kept.iter().filter_map(|row| row.numbers[place]);
        let mut numbers: Vec<f64> = numbers.filter(|number| number.is_finite()).collect();
        numbers.sort_unstable_by(f64::total_cmp);
        numbers
    }
}

/// Cuts ascending `numbers` into about `count` ranges that are equally frequent; a number that is commoner than one of them is a
/// range of its own, beside the others.
fn ranges(numbers: &[f64], count: usize) -> Vec<f64> {
    let mut ends = Vec::new();
    let mut rest = Vec::with_capacity(numbers.len());
    let runs: Vec<&[f64]> = numbers.chunk_by(|a, b| a.total_cmp(b).is_eq()).collect();
    for (i, run) in runs.iter().enumerate() {
        if run.len() * count > numbers.len() {
            ends.push(run[0]);
            ends.extend(runs.get(i + 1).map(|next| next[0]));
        } else {
            rest.extend_from_slice(run);
        }
    }
    ends.extend((1..count).filter_map(|i| rest.get(i * rest.len() / count)));
    // What begins with the smallest number of all would leave the lowest range empty.
    ends.retain(|end| runs.first().is_some_and(|lowest| *end > lowest[0]));
    ends.sort_unstable_by(f64::total_cmp);
    ends.dedup();
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_equally_frequent_and_a_common_value_has_its_own() {
        let numbers: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(ranges(&numbers, 4), [25.0, 50.0, 75.0]);
        let mut numbers = vec![0.0; 900];
        numbers.extend((1..=100).map(f64::from));
        assert_eq!(ranges(&numbers, 4), [1.0, 26.0, 51.0, 76.0]);
        assert!(ranges(&[7.0; 5], 3).is_empty());
        assert_eq!(ranges(&[1.0, 2.0], 100), [2.0]);
        assert!(ranges(&[], 3).is_empty());
    }

    #[test]
    fn a_sample_does_not_depend_on_who_saw_which_row() {
        let rows = 3 * SIZE as u64;
        let build = |threads: u64| {
            let mut all = Sample::new(SIZE);
            for thread in 0..threads {
                let mut own = Sample::new(SIZE);
                for index in (thread..rows).step_by(usize::try_from(threads).unwrap()) {
                    if own.wants(index) {
                        own.add(index, Box::new([Some(index as f64)]));
                    }
                }
                all.merge(own);
            }
            all
        };
        let [one, three] = [build(1), build(3)].map(|sample| sample.ranges(0, 10));
        assert_eq!(one, three);
        assert_eq!(one.len(), 9);
        let middle = one[4] / rows as f64;
        assert!((0.48..0.52).contains(&middle), "{middle}");
    }
}
