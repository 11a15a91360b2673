//! What is remembered of the entries of records before. Records of one writer differ in their values, hardly in what
//! stands around them: where the bytes up to a value are the same as last time, so is what they mean.
//!
//! Entries are remembered in the order in which they were first seen, a new one behind the one that it followed. So a
//! record that lacks some goes on further down, and its successor finds them again.

use std::collections::HashMap;

use super::wire::Wire;

/// Entries that are remembered; a record with more is read as well, with a lookup for each further one.
const MAX_PLACES: usize = 16_384;
/// Bytes up to a value that are remembered; longer keys are read as well, slower.
const MAX_HEADER_BYTES: usize = 1024;

/// One entry of the map of a record. Spans are places in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The slot of the layout that is read from it.
    pub(crate) slot: Option<usize>,
    /// Its value.
    pub(crate) value: (usize, usize),
    /// The one packed list of the right type that the value consists of: the usual case.
    pub(crate) packed: Option<(usize, usize)>,
    /// Whether that holds integers.
    pub(crate) is_int: bool,
}

/// The entries of the records before.
#[derive(Debug, Default)]
pub(crate) struct Places {
    places: Vec<Place>,
    by_key: HashMap<Box<[u8]>, usize>,
    /// The place that a record begins with.
    first: Option<usize>,
    /// The last place that an entry of this record had.
    last: Option<usize>,
    /// The place that the next one should have.
    next: Option<usize>,
    /// The place of the entry that was entered, if there is one for it.
    entered: Option<usize>,
}

#[derive(Debug, Default)]
struct Place {
    key: Box<[u8]>,
    /// The slot of that key.
    slot: Option<usize>,
    /// What usually follows.
    next: Option<usize>,
    /// All bytes from the start of the entry to its value (or to the numbers of its list).
    header: Vec<u8>,
    /// Bytes of the entry, from its start.
    len: usize,
    /// As if the entry lay at the start of the payload; `None`: its header says too little.
    entry: Option<Entry>,
}

impl Places {
    /// Goes to the start of the next record.
    pub(crate) fn begin(&mut self) {
        self.last = None;
        self.next = self.first;
    }

    /// Moves `features` past its next entry, if that begins like one of the `ahead` that should come next.
    #[inline]
    pub(crate) fn pass(&mut self, ahead: usize, features: &mut Wire<'_>) -> Option<Entry> {
        let mut next = self.next;
        for _ in 0..ahead {
            let place = next?;
            let known = self.places.get(place)?;
            if let Some(entry) = known.at_begin_of(features) {
                (self.last, self.next) = (next, known.next);
                return Some(entry);
            }
            next = known.next;
        }
        None
    }

    /// Goes to the place of `key`; the slot that it names, by `lookup` if it is new.
    pub(crate) fn enter(
        &mut self,
        key: &[u8],
        lookup: impl FnOnce(&[u8]) -> Option<usize>,
    ) -> Option<usize> {
        let is_next = |place: &usize| {
            self.places
                .get(*place)
                .is_some_and(|known| *known.key == *key)
        };
        let place = self.next.filter(is_next);
        let place = place.or_else(|| self.by_key.get(key).copied());
        let Some(place) = place else {
            let slot = lookup(key);
            self.add(key, slot);
            return slot;
        };
        let known = &self.places[place];
        (self.last, self.next, self.entered) = (Some(place), known.next, Some(place));
        known.slot
    }

    /// Makes a place for `key`, behind that of the entry before.
    fn add(&mut self, key: &[u8], slot: Option<usize>) {
        let place = self.places.len();
        if place >= MAX_PLACES || key.len() > MAX_HEADER_BYTES {
            self.entered = None;
            return;
        }
        let before = match self.last {
            Some(last) => &mut self.places[last].next,
            None => &mut self.first,
        };
        let next = before.replace(place);
        self.places.push(Place {
            key: key.into(),
            slot,
            next,
            ..Place::default()
        });
        self.by_key.insert(key.into(), place);
        (self.last, self.next, self.entered) = (Some(place), next, Some(place));
    }

    /// Remembers `entry`, which was entered and lies from `start` to `end` of `payload`, if its meaning is settled by
    /// the bytes up to its value: nothing comes after it, and of a feature that is read its list is packed.
    pub(crate) fn remember(&mut self, payload: &[u8], (start, end): (usize, usize), entry: Entry) {
        let Some(known) = self.entered.and_then(|place| self.places.get_mut(place)) else {
            return;
        };
        let (begin, last) = entry.packed.unwrap_or(entry.value);
        let is_settled = begin > start && last == end && entry.value.1 == end;
        let is_read = entry.slot.is_some();
        known.entry = None;
        if let Some(header) = payload.get(start..begin)
            && is_settled
            && is_read == entry.packed.is_some()
            && header.len() <= MAX_HEADER_BYTES
        {
            known.header.clear();
            known.header.extend_from_slice(header);
            known.len = end - start;
            let shift = |(begin, end)| (begin - start, end - start);
            known.entry = Some(Entry {
                value: shift(entry.value),
                packed: entry.packed.map(shift),
                ..entry
            });
        }
    }
}

impl Place {
    /// This entry, if `features` begins with it; they are moved past it.
    #[inline]
    fn at_begin_of(&self, features: &mut Wire<'_>) -> Option<Entry> {
        let entry = self.entry?;
        let bytes = features.bytes();
        if bytes.len() < self.len || !bytes.starts_with(&self.header) {
            return None;
        }
        let (at, _) = features.span();
        features.advance(self.len);
        let shift = |(begin, end)| (begin + at, end + at);
        Some(Entry {
            value: shift(entry.value),
            packed: entry.packed.map(shift),
            ..entry
        })
    }
}
