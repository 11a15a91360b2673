//! The wish to end: a signal that came to one rank is told to all of them through the store. Ranks agree on the step after
//! which they end in a collective, but one that waits for data comes to no collective before it knows.

use super::store::{Store, StoreError};
use crate::interrupt::{Asked, Interrupt};

/// Holds the first signal that came to any rank, and which one; empty until there is one.
pub(super) const WISH: &str = "stop";

/// One rank's part in it.
#[derive(Debug)]
pub(super) struct Wish {
    rank: usize,
    world_size: usize,
    interrupt: Interrupt,
    /// The store has a wish, from whomever.
    is_told: bool,
}

/// Lays down the key, which must be there before ranks read it. A wish that is there already stays.
pub(super) fn prepare(store: &Store) -> Result<(), StoreError> {
    store.compare_set(WISH, b"", b"").map(drop)
}

impl Wish {
    pub(super) fn new(rank: usize, world_size: usize, interrupt: Interrupt) -> Self {
        Self {
            rank,
            world_size,
            interrupt,
            is_told: false,
        }
    }

    /// Whether a signal has come that the others do not know of.
    pub(super) fn is_news(&self) -> bool {
        !self.is_told && self.own_signal().is_some()
    }

    fn own_signal(&self) -> Option<i32> {
        self.interrupt.asked().and_then(Asked::own)
    }

    /// Tells the others of a signal to this rank.
    pub(super) fn tell(&mut self, store: &Store) -> Result<(), StoreError> {
        if let Some(signal) = self.own_signal().filter(|_| !self.is_told) {
            let text = format!("{signal} {}", self.rank);
            store.compare_set(WISH, b"", text.as_bytes())?;
            self.is_told = true;
        }
        Ok(())
    }

    /// Takes in what the store holds.
    pub(super) fn hear(&mut self, text: &[u8]) {
        if let Some(asked) = read(text, self.world_size) {
            self.is_told = true;
            self.interrupt.ask(asked);
        }
    }
}

/// What is none of ours is none.
fn read(text: &[u8], world_size: usize) -> Option<Asked> {
    let (signal, rank) = std::str::from_utf8(text).ok()?.split_once(' ')?;
    let rank = rank.parse::<u32>().ok()?;
    let is_one_of_us = usize::try_from(rank).is_ok_and(|rank| rank < world_size);
    Asked::of_rank(signal.parse().ok()?, rank).filter(|_| is_one_of_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signal_of_another_rank_asks_this_one() {
        let interrupt = Interrupt::default();
        let mut wish = Wish::new(0, 2, interrupt.clone());
        wish.hear(b"");
        assert!(!interrupt.is_requested() && !wish.is_news());
        wish.hear(b"15 1");
        assert_eq!(interrupt.signal().as_deref(), Some("SIGTERM to rank 1"));
        assert!(!wish.is_news(), "it came from there");
    }

    #[test]
    fn what_is_no_wish_asks_for_nothing() {
        for text in [
            "15",
            "15 2",
            "15 -1",
            "9 1",
            "0 1",
            "x 1",
            "15 1 1",
            "15 4294967296",
        ] {
            assert_eq!(read(text.as_bytes(), 2), None, "{text}");
        }
        assert_eq!(read(b"\xff 1", 2), None);
        assert!(read(b"15 1", 2).is_some());
    }
}
