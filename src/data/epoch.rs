//! The files of one epoch: their order, and which rank reads what of them.
//!
//! Of F files in the epoch's order, W ranks take turns at the first F − F mod W, each reading its own whole; the last
//! F mod W files are shared record by record. So every record has one reader, and with files of about the same length
//! every rank has about as much to read.

use super::draw::{Draw, Purpose};
use super::tfrecord::Share;

/// Decides the order of files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileOrder {
    pub(crate) seed: u64,
    /// Sorted order in every epoch.
    pub(crate) is_sorted: bool,
    pub(crate) rank: usize,
    pub(crate) world_size: usize,
}

/// One file of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochFile {
    /// Which of the listed files.
    pub(crate) file: usize,
    /// What this rank reads of it.
    pub(crate) share: Share,
}

impl FileOrder {
    /// What this rank reads in `epoch`, of `num_files` files, in order.
    pub(crate) fn files(&self, epoch: u64, num_files: usize) -> Vec<EpochFile> {
        let mut order: Vec<usize> = (0..num_files).collect();
        if !self.is_sorted {
            let keys = Draw::new(self.seed, Purpose::FileOrder).at(epoch);
            order.sort_by_cached_key(|&file| (keys.at(file as u64).bits(), file));
        }
        let whole = num_files - num_files % self.world_size;
        let turns = order.iter().enumerate().filter_map(|(place, &file)| {
            let share = if place < whole {
                (place % self.world_size == self.rank).then_some(Share { first: 0, step: 1 })
            } else {
                // The rank that begins moves from file to file, so that short files do not favour one.
                let first = (self.rank + place) % self.world_size;
                Some(Share {
                    first: first as u64,
                    step: self.world_size as u64,
                })
            };
            share.map(|share| EpochFile { file, share })
        });
        turns.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_has_exactly_one_reader() {
        for (num_files, world_size) in [(1, 1), (1, 3), (2, 3), (7, 3), (6, 3), (5, 2)] {
            let mut readers = vec![[0; 12]; num_files];
            for rank in 0..world_size {
                let order = FileOrder {
                    seed: 3,
                    is_sorted: false,
                    rank,
                    world_size,
                };
                for EpochFile { file, share } in order.files(4, num_files) {
                    for (record, count) in readers[file].iter_mut().enumerate() {
                        *count += u32::from(record as u64 % share.step == share.first);
                    }
                }
            }
            assert!(
                readers.iter().flatten().all(|&n| n == 1),
                "{num_files} files, {world_size} ranks"
            );
        }
    }

    #[test]
    fn the_order_changes_with_epoch_and_seed_unless_sorted() {
        let order = FileOrder {
            seed: 3,
            is_sorted: false,
            rank: 0,
            world_size: 1,
        };
        let other_seed = FileOrder { seed: 4, ..order };
        assert_ne!(order.files(0, 20), order.files(1, 20));
        assert_ne!(order.files(0, 20), other_seed.files(0, 20));
        let sorted = FileOrder {
            is_sorted: true,
            ..order
        };
        let files: Vec<usize> = sorted.files(1, 20).iter().map(|file| file.file).collect();
        assert_eq!(files, (0..20).collect::<Vec<_>>());
    }
}
