//! How much of the averaging of gradients hides behind backward, from the events of one backward.

use std::time::Duration;

pub use crate::torch::process_group::{Event, EventKind};

/// When gradients and buckets came and went in one backward of this rank; times count from the begin of watching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// All-reduces of the backward.
    pub num_buckets: usize,
    /// Bytes of all buckets.
    pub bytes: u64,
    /// When the all-reduce of the first bucket set off.
    pub first_launched: Duration,
    /// When this rank had the last of its own gradients: what is left of the averaging then is waited for.
    pub last_gradient: Duration,
    /// When the last all-reduce was done; on a GPU: was in the queue.
    pub last_reduced: Duration,
    /// Buckets that set off before the last gradient was there.
    pub num_launched_early: usize,
    /// Buckets that were done before the last gradient was there.
    pub num_reduced_early: usize,
}

impl Overlap {
    /// `None` unless `events` hold a gradient and an all-reduce from begin to end.
    #[must_use]
    pub fn of(events: &[Event]) -> Option<Self> {
        let of_kind = |what| events.iter().filter(move |event| event.what == what);
        let last = |what| of_kind(what).map(|event| event.at).max();
        // Places rather than times decide what was before what: the clock may stand still.
        let last_gradient = events
            .iter()
            .rposition(|event| event.what == EventKind::Gradient)?;
        let early = |what| {
            let before = events[..last_gradient].iter();
            before.filter(|event| event.what == what).count()
        };
        Some(Self {
            num_buckets: of_kind(EventKind::Launched).count(),
            bytes: of_kind(EventKind::Launched).map(|event| event.bytes).sum(),
            first_launched: of_kind(EventKind::Launched).map(|event| event.at).min()?,
            last_gradient: last(EventKind::Gradient)?,
            last_reduced: last(EventKind::Reduced)?,
            num_launched_early: early(EventKind::Launched),
            num_reduced_early: early(EventKind::Reduced),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: EventKind, number: u64, millis: u64) -> Event {
        Event {
            what,
            number,
            bytes: 10 + number,
            at: Duration::from_millis(millis),
        }
    }

    #[test]
    fn what_lies_before_the_last_gradient_counts_as_early() {
        use EventKind::{Gradient, Launched, Reduced};
        let events = [
            event(Gradient, 2, 1),
            event(Launched, 0, 1),
            event(Gradient, 1, 2),
            event(Launched, 1, 3),
            event(Reduced, 0, 4),
            event(Gradient, 0, 5),
            event(Launched, 2, 5),
            event(Reduced, 2, 7),
            event(Reduced, 1, 6),
        ];
        let millis = Duration::from_millis;
        let expected = Overlap {
            num_buckets: 3,
            bytes: 33,
            first_launched: millis(1),
            last_gradient: millis(5),
            last_reduced: millis(7),
            num_launched_early: 2,
            num_reduced_early: 1,
        };
        assert_eq!(Overlap::of(&events), Some(expected));
        assert_eq!(Overlap::of(&events[..1]), None);
        assert_eq!(Overlap::of(&[]), None);
    }
}
