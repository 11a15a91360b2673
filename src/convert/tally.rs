//! What is counted while examples are written: rows, files, positive labels, and values that no vocabulary knows.

/// Unknown values that are kept to be shown.
const EXAMPLES: usize = 5;
/// Characters of one that are shown.
const SHOWN: usize = 40;

/// The rows of one part, or some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) rows: u64,
    pub(super) files: u64,
    /// Labels that are 0 as there is nothing to tell them by.
    pub(super) unlabelled: u64,
    /// By label.
    pub(super) positives: Vec<u64>,
    /// By column with a vocabulary: those of `one_hot`, then those of `discrete`.
    pub(super) unknown: Vec<Unknown>,
}

/// The unknown values of one column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unknown {
    /// How many rows have one.
    pub(super) count: u64,
    /// The first different ones, each with the number of its row, in the order of rows.
    examples: Vec<(u64, String)>,
}

impl Tally {
    /// Of no rows yet.
    pub(super) fn new(labels: usize, categories: usize) -> Self {
        Self {
            positives: vec![0; labels],
            unknown: vec![Unknown::default(); categories],
            ..Self::default()
        }
    }

    /// Takes in other rows of the part.
    pub(super) fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.files += other.files;
        self.unlabelled += other.unlabelled;
        for (own, other) in self.positives.iter_mut().zip(&other.positives) {
            *own += other;
        }
        for (own, other) in self.unknown.iter_mut().zip(&other.unknown) {
            own.count += other.count;
            for (row, value) in &other.examples {
                own.show(*row, value);
            }
        }
    }
}

impl Unknown {
    /// Counts `value`, which stands in row number `row`.
    pub(super) fn add(&mut self, row: u64, value: &str) {
        self.count += 1;
        // Rows come in order but for those of other threads, which are merged.
        if self.examples.len() < EXAMPLES {
            let shown: String = value.chars().take(SHOWN).collect();
            self.show(row, &shown);
        }
    }

    /// The first different values, in the order of rows.
    pub(super) fn examples(&self) -> impl Iterator<Item = &str> {
        self.examples.iter().map(|(_, value)| value.as_str())
    }

    fn show(&mut self, row: u64, value: &str) {
        match self.examples.iter_mut().find(|(_, known)| known == value) {
            Some(known) => known.0 = known.0.min(row),
            None => self.examples.push((row, value.to_owned())),
        }
        self.examples.sort_unstable();
        self.examples.truncate(EXAMPLES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_are_the_first_ones_whoever_saw_them() {
        let rows: Vec<(u64, String)> = (0..40).map(|row| (row, format!("v{}", row % 8))).collect();
        let count = |threads: u64| {
            let mut all = Tally::new(0, 1);
            for thread in (0..threads).rev() {
                let mut own = Tally::new(0, 1);
                let mine = rows.iter().filter(|(row, _)| row % threads == thread);
                mine.for_each(|(row, value)| own.unknown[0].add(*row, value));
                all.merge(&own);
            }
            all.unknown.remove(0)
        };
        let one = count(1);
        assert_eq!((one.count, &one), (40, &count(3)));
        assert_eq!(
            one.examples().collect::<Vec<_>>(),
            ["v0", "v1", "v2", "v3", "v4"]
        );
    }
}
