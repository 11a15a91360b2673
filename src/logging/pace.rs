//! Warnings that come by the thousand: the first ones are written whole, then one in ten, in a hundred, … with their
//! count, and the total at the end. Counts are exact.
//!
//! Warnings that come from one place in the program are of one kind. Named events are for machines and always written.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tracing::callsite::Identifier;
use tracing::{Event, Level, warn};

use super::fields::{Fields, name_of};

/// What is said for records and blocks of data, of which there are millions.
const DATA: &str = "recap_train::data";
/// Of these, the first are written whole.
const WHOLE_OF_DATA: u64 = 5;
/// The same for any other warning.
const WHOLE: u64 = 100;
/// Characters of a message that stand for its kind.
const KIND_CHARS: usize = 120;

/// How often each kind was met.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<HashMap<Identifier, Kind>>);

#[derive(Debug)]
struct Kind {
    count: u64,
    /// Written whole.
    limit: u64,
    /// Words of the first one.
    words: String,
}

/// Whether an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// As it is.
    Whole,
    /// As it is, and so many of its kind were met so far.
    Counted(u64),
    /// Not at all.
    Silent,
}

impl Counts {
    /// Counts `event` and decides.
    pub(super) fn pace(&self, event: &Event<'_>) -> Pace {
        let metadata = event.metadata();
        if *metadata.level() != Level::WARN || name_of(event).is_some() {
            return Pace::Whole;
        }
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds.entry(metadata.callsite()).or_insert_with(|| Kind {
            count: 0,
            limit: if metadata.target().starts_with(DATA) {
                WHOLE_OF_DATA
            } else {
                WHOLE
            },
            words: words_of(event),
        });
        kind.count += 1;
        pace_of(kind.count, kind.limit)
    }

    /// Says how often the kinds were met that were not written every time.
    pub(super) fn report(&self) {
        let kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let many = kinds.values().filter(|kind| kind.count > kind.limit);
        let mut many: Vec<_> = many.map(|kind| (kind.count, kind.words.clone())).collect();
        drop(kinds);
        many.sort();
        for (count, words) in many {
            warn!(name: "repeated", count, "{count} times in all: {words}");
        }
    }
}

fn pace_of(count: u64, limit: u64) -> Pace {
    let is_round = |count: u64| 10_u64.pow(count.ilog10()) == count;
    match count {
        count if count < limit => Pace::Whole,
        count if count == limit || is_round(count) => Pace::Counted(count),
        _ => Pace::Silent,
    }
}

fn words_of(event: &Event<'_>) -> String {
    let fields = Fields::of(event);
    let first = fields.message().lines().next().unwrap_or_default();
    first.chars().take(KIND_CHARS).collect()
}

/// For a person, behind the words of an event of which `count` were met.
pub(super) fn note(count: u64) -> String {
    format!(
        " ({count} like this so far; from now on they are counted, and shown at 10, 100, 1,000, …)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_whole_and_then_fewer_and_fewer() {
        let written = |limit: u64| -> Vec<u64> {
            (1..=20_000)
                .filter(|&count| pace_of(count, limit) != Pace::Silent)
                .collect()
        };
        assert_eq!(written(5), [1, 2, 3, 4, 5, 10, 100, 1_000, 10_000]);
        assert_eq!(written(100).len(), 102);
        assert_eq!(pace_of(4, 5), Pace::Whole);
        assert_eq!(pace_of(5, 5), Pace::Counted(5));
        assert_eq!(pace_of(1_000, 5), Pace::Counted(1_000));
    }
}
