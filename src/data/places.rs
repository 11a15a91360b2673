//! What is remembered of the map of the record before. Records of one writer differ in their values, hardly in what
//! stands around them: where the bytes up to a value are the same as last time, so is what they mean.

use super::wire::Wire;

/// Entries that are remembered; a record with more is read as well, with a lookup for each further one.
const MAX_PLACES: usize = 4096;
/// Bytes up to a value that are remembered; longer keys are read as well, slower.
const MAX_HEADER_BYTES: usize = 1024;

/// One entry of the map of a record. Spans are places in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The feature that is read from it.
    pub(crate) feature: Option<usize>,
    /// Its value.
    pub(crate) value: (usize, usize),
    /// The one packed list of the right type that the value consists of: the usual case.
    pub(crate) packed: Option<(usize, usize)>,
}

/// The entries of the record before, by their place in its map.
#[derive(Debug, Default)]
pub(crate) struct Places {
    places: Vec<Place>,
}

#[derive(Debug, Default)]
struct Place {
    key: Vec<u8>,
    /// The feature of that key.
    feature: Option<usize>,
    /// All bytes from the start of the entry to its value (or to the numbers of its list). Empty: never the same.
    header: Vec<u8>,
    /// Bytes of the entry, from its start.
    len: usize,
    /// As if the entry lay at the start of the payload.
    entry: Option<Entry>,
}

impl Places {
    /// Moves `features` past its next entry, if that begins like the one before at `place`.
    #[inline]
    pub(crate) fn pass(&self, place: usize, features: &mut Wire<'_>) -> Option<Entry> {
        let known = self.places.get(place)?;
        let entry = known.entry?;
        let bytes = features.bytes();
        if bytes.len() < known.len || !bytes.starts_with(&known.header) {
            return None;
        }
        let (at, _) = features.span();
        features.advance(known.len);
        let shift = |(begin, end)| (begin + at, end + at);
        Some(Entry {
            feature: entry.feature,
            value: shift(entry.value),
            packed: entry.packed.map(shift),
        })
    }

    /// The feature of `key`, if the entry before at `place` had it.
    pub(crate) fn feature(&self, place: usize, key: &[u8]) -> Option<Option<usize>> {
        let known = self.places.get(place)?;
        (known.key == key).then_some(known.feature)
    }

    /// Remembers that the entry at `place` has `key`, which names `feature`.
    pub(crate) fn remember_key(&mut self, place: usize, key: &[u8], feature: Option<usize>) {
        if let Some(known) = self.place(place)
            && key.len() <= MAX_HEADER_BYTES
        {
            known.key.clear();
            known.key.extend_from_slice(key);
            known.feature = feature;
        }
    }

    /// Remembers `entry`, which lies from `start` to `end` of `payload`, if its meaning is settled by the bytes up to
    /// its value: nothing comes after it, and of a feature that is read its list is packed.
    pub(crate) fn remember(
        &mut self,
        place: usize,
        payload: &[u8],
        (start, end): (usize, usize),
        entry: Entry,
    ) {
        let Some(known) = self.place(place) else {
            return;
        };
        let (begin, last) = entry.packed.unwrap_or(entry.value);
        let is_settled = begin > start && last == end && entry.value.1 == end;
        let is_read = entry.feature.is_some();
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
                feature: entry.feature,
                value: shift(entry.value),
                packed: entry.packed.map(shift),
            });
        }
    }

    fn place(&mut self, place: usize) -> Option<&mut Place> {
        if place >= MAX_PLACES {
            return None;
        }
        if self.places.len() <= place {
            self.places.resize_with(place + 1, Place::default);
        }
        self.places.get_mut(place)
    }
}
