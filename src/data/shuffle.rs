//! The shuffle: record `i` of an epoch is handed out in the order of its key `i + U`, U uniform in `0..window`.
//!
//! A key depends on (seed, epoch, i) only. So what has been handed out at any point follows from the last key, records
//! wait at most `window` others, no more than `window` are held, and a restart reads at most `window` again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::draw::{Draw, Purpose};

/// One epoch's shuffle of items of type `T`.
#[derive(Debug)]
pub(crate) struct Shuffle<T> {
    draw: Draw,
    window: u64,
    waiting: BinaryHeap<Reverse<Entry<T>>>,
    /// Index of the next item to come in.
    next: u64,
    /// Key and index of the last item that went out.
    last: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Entry<T> {
    key: (u64, u64),
    item: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl<T> Shuffle<T> {
    /// The shuffle of `epoch`, continued where item `next` comes in and `last` was the last to go out.
    pub(crate) fn new(
        seed: u64,
        epoch: u64,
        window: u64,
        next: u64,
        last: Option<(u64, u64)>,
    ) -> Self {
        Self {
            draw: Draw::new(seed, Purpose::Shuffle).at(epoch),
            window: window.max(1),
            waiting: BinaryHeap::new(),
            next,
            last,
        }
    }

    /// Takes in the next item; one that had gone out before the restart is dropped.
    pub(crate) fn push(&mut self, item: T) {
        let index = self.next;
        self.next += 1;
        let key = (index + self.draw.at(index).below(self.window), index);
        if self.last.is_none_or(|last| key > last) {
            self.waiting.push(Reverse(Entry { key, item }));
        }
    }

    /// The next item, if none that is still to come can precede it (`is_complete`: none is to come).
    pub(crate) fn pop(&mut self, is_complete: bool) -> Option<T> {
        let Reverse(first) = self.waiting.peek()?;
        // An item to come has an index, and so a key, of at least `next`.
        if !is_complete && first.key.0 > self.next {
            return None;
        }
        let Reverse(entry) = self.waiting.pop()?;
        self.last = Some(entry.key);
        Some(entry.item)
    }

    /// Key and index of the last item that went out.
    pub(crate) fn last(&self) -> Option<(u64, u64)> {
        self.last
    }

    /// Every item before this index has gone out.
    pub(crate) fn oldest_needed(&self) -> u64 {
        self.last
            .map_or(0, |(key, _)| (key + 1).saturating_sub(self.window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(window: u64, count: u64) -> (Vec<u64>, usize) {
        let mut shuffle = Shuffle::new(9, 2, window, 0, None);
        let (mut out, mut held) = (Vec::new(), 0);
        for item in 0..count {
            shuffle.push(item);
            out.extend(std::iter::from_fn(|| shuffle.pop(false)));
            held = held.max(shuffle.waiting.len());
        }
        out.extend(std::iter::from_fn(|| shuffle.pop(true)));
        (out, held)
    }

    #[test]
    fn everything_comes_out_once_in_another_order_within_the_window() {
        let (out, held) = run(64, 1000);
        let mut sorted = out.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert_ne!(out, sorted);
        assert!(held <= 64, "{held} held");
        let moved = out
            .iter()
            .zip(0u64..)
            .map(|(&item, place)| item.abs_diff(place))
            .max()
            .unwrap();
        assert!((20..=64).contains(&moved), "moved by {moved}");
    }

    #[test]
    fn a_window_of_one_keeps_the_order() {
        assert_eq!(run(1, 50).0, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn it_continues_from_the_last_key_alone() {
        let (all, _) = run(40, 300);
        let mut first = Shuffle::new(9, 2, 40, 0, None);
        let mut out = Vec::new();
        for item in 0..300 {
            first.push(item);
            while out.len() < 123
                && let Some(item) = first.pop(false)
            {
                out.push(item);
            }
        }
        let start = first.oldest_needed();
        assert!(start > 50);
        let mut second = Shuffle::new(9, 2, 40, start, first.last());
        for item in start..300 {
            second.push(item);
        }
        out.extend(std::iter::from_fn(|| second.pop(true)));
        assert_eq!(out, all);
    }
}
