//! The order in which records of several open files follow each other: four of one, four of the next, round and round.
//! A file that ends gives its slot to the next one. Knows nothing of threads: it asks for the record it wants next.

use super::position::Snapshot;

/// Records taken from a file before the next one has its turn.
const BLOCK_LENGTH: usize = 4;

/// What the interleave reads from.
pub(crate) trait Sources {
    /// What a file yields.
    type Item;
    /// Why reading stops.
    type Error;

    /// The next record of the file at `place` of the epoch's order, with its number; `None` at its end.
    fn next(&mut self, place: usize) -> Result<Option<(u64, Self::Item)>, Self::Error>;
}

/// The interleave of one epoch.
#[derive(Debug)]
pub(crate) struct Interleave {
    state: Snapshot,
    /// How many files the epoch has.
    num_files: usize,
}

impl Interleave {
    /// An epoch of `num_files` files with `width` of them open, from its start.
    pub(crate) fn new(num_files: usize, width: usize) -> Self {
        let open = vec![None; width.max(1)];
        let state = Snapshot {
            open,
            ..Snapshot::default()
        };
        Self { state, num_files }
    }

    /// Continues at `state`.
    pub(crate) fn resume(num_files: usize, state: Snapshot) -> Self {
        Self { state, num_files }
    }

    /// The state before the next record.
    pub(crate) fn state(&self) -> &Snapshot {
        &self.state
    }

    /// The next record; `None` at the end of the epoch.
    pub(crate) fn next<S: Sources>(
        &mut self,
        sources: &mut S,
    ) -> Result<Option<S::Item>, S::Error> {
        let mut idle = 0;
        while idle < self.state.open.len() {
            let state = &mut self.state;
            if state.open[state.slot].is_none() && state.next_file < self.num_files {
                state.open[state.slot] = Some((state.next_file, 0));
                state.next_file += 1;
            }
            let Some((place, _)) = state.open[state.slot] else {
                idle += 1;
                state.slot = (state.slot + 1) % state.open.len();
                continue;
            };
            idle = 0;
            if let Some((number, item)) = sources.next(place)? {
                state.open[state.slot] = Some((place, number + 1));
                state.index += 1;
                state.taken += 1;
                if state.taken == BLOCK_LENGTH {
                    state.taken = 0;
                    state.slot = (state.slot + 1) % state.open.len();
                }
                return Ok(Some(item));
            }
            state.open[state.slot] = None;
            state.taken = 0;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Files of the given lengths; items are (file, record).
    struct Files(Vec<(u64, u64)>);

    impl Sources for Files {
        type Item = (usize, u64);
        type Error = Infallible;

        fn next(&mut self, place: usize) -> Result<Option<(u64, Self::Item)>, Infallible> {
            let (at, len) = &mut self.0[place];
            if at == len {
                return Ok(None);
            }
            *at += 1;
            Ok(Some((*at - 1, (place, *at - 1))))
        }
    }

    fn files(lengths: &[u64]) -> Files {
        Files(lengths.iter().map(|&len| (0, len)).collect())
    }

    #[test]
    fn files_take_turns_of_four_and_the_next_file_takes_a_free_slot() {
        let mut sources = files(&[5, 9, 2]);
        let mut interleave = Interleave::new(3, 2);
        let mut order = Vec::new();
        while let Some((file, _)) = interleave.next(&mut sources).unwrap() {
            order.push(file);
        }
        assert_eq!(order, [0, 0, 0, 0, 1, 1, 1, 1, 0, 2, 2, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn it_continues_from_any_state() {
        let lengths = [5, 9, 2, 0, 7, 1];
        let mut sources = files(&lengths);
        let mut interleave = Interleave::new(6, 3);
        let (mut states, mut all) = (vec![interleave.state().clone()], Vec::new());
        while let Some(item) = interleave.next(&mut sources).unwrap() {
            all.push(item);
            states.push(interleave.state().clone());
        }
        assert_eq!(all.len(), 24);
        for state in states {
            let mut sources = files(&lengths);
            for (place, number) in state.open.iter().flatten() {
                sources.0[*place].0 = *number;
            }
            let from = usize::try_from(state.index).unwrap();
            let mut interleave = Interleave::resume(6, state);
            let mut rest = Vec::new();
            while let Some(item) = interleave.next(&mut sources).unwrap() {
                rest.push(item);
            }
            assert_eq!(rest, all[from..]);
        }
    }
}
