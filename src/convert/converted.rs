//! What a conversion made, and which values it did not know.

use std::path::PathBuf;

use indexmap::IndexMap;

use super::dealer::Dealer;
use super::plan::Plan;
use super::tally::Tally;
use super::vocabulary::Vocabulary;

/// What was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Converted {
    /// The folder.
    pub folder: PathBuf,
    /// What a next command takes: the config to train with, or the pattern of the files to be scored.
    pub made: PathBuf,
    /// By name of the part.
    pub parts: IndexMap<String, Part>,
    /// Rows that belong to no part.
    pub left_out: u64,
    /// What has no label.
    pub unlabelled: Unlabelled,
    /// Columns of the features `continuous`, `binary` and `discrete`.
    pub widths: [usize; 3],
    /// By column with a vocabulary, in the order of `one_hot`, then `discrete`.
    pub unknown: Vec<UnknownValues>,
    /// Whether the part `validation` was kept apart of the first one.
    pub keeps_apart: bool,
}

/// Rows with an empty cell where a label is told from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unlabelled {
    /// Rows that are in no part therefore.
    pub dropped: u64,
    /// Labels that are 0 therefore.
    pub negative: u64,
}

/// One part of the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Rows in it.
    pub rows: u64,
    /// Files they are spread over.
    pub files: u64,
    /// By task: rows whose label is 1.
    pub positives: IndexMap<String, u64>,
}

/// How much of one column its vocabulary does not know.
#[derive(Clone, Debug, PartialEq)]
pub struct UnknownValues {
    /// `one_hot` or `discrete`.
    pub key: &'static str,
    /// The column.
    pub column: String,
    /// The share of the rows that the vocabulary was learned of, 0 to 1; `None` where its file does not say.
    pub at_training: Option<f64>,
    /// By name of the part.
    pub parts: IndexMap<String, UnknownShare>,
}

/// How much of one column in one part is unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct UnknownShare {
    /// The share of its rows, 0 to 1.
    pub share: f64,
    /// The first different values.
    pub examples: Vec<String>,
    /// Whether that is far more than at training.
    pub is_jump: bool,
}

/// The parts and what is unknown in them.
pub(super) fn summary(
    plan: &Plan,
    dealer: &Dealer<'_>,
    vocabulary: &Vocabulary,
    tallies: &[Tally],
) -> (IndexMap<String, Part>, Vec<UnknownValues>) {
    let named = || dealer.parts.iter().cloned().zip(tallies);
    let part = |tally: &Tally| {
        let tasks = plan.labels.iter().map(|label| label.task.clone());
        Part {
            rows: tally.rows,
            files: tally.files,
            positives: tasks.zip(tally.positives.iter().copied()).collect(),
        }
    };
    let parts = named().map(|(name, tally)| (name, part(tally))).collect();
    let known = vocabulary
        .one_hot
        .values()
        .chain(vocabulary.discrete.values());
    let columns = plan.categories().zip(known).enumerate();
    let unknown = columns.map(|(place, ((key, column), values))| {
        let at_training = vocabulary.rows.map(|rows| values.unknown_share(rows));
        let shares = named().map(|(name, tally)| (name, share(tally, place, at_training)));
        UnknownValues {
            key,
            column: column.to_owned(),
            at_training,
            parts: shares.collect(),
        }
    });
    (parts, unknown.collect())
}

fn share(tally: &Tally, place: usize, at_training: Option<f64>) -> UnknownShare {
    let rows = tally.rows.max(1) as f64;
    let unknown = &tally.unknown[place];
    let share = unknown.count as f64 / rows;
    UnknownShare {
        share,
        examples: unknown.examples().map(str::to_owned).collect(),
        is_jump: is_jump(share, at_training.unwrap_or(0.0), rows),
    }
}

/// More than a twentieth above the share at training, and more than chance makes of so many rows.
fn is_jump(share: f64, at_training: f64, rows: f64) -> bool {
    let spread = (at_training * (1.0 - at_training) / rows).sqrt();
    share > at_training + 0.05 + 3.0 * spread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_more_than_chance() {
        for (share, at_training, rows, expected) in [
            (1.0, 0.0, 3.0, true),
            (1.0, 0.6, 1000.0, true),
            (0.1, 0.02, 1000.0, true),
            (0.04, 0.0, 1e6, false),
            (0.3, 0.2, 20.0, false),
            (0.0, 0.9, 1000.0, false),
        ] {
            assert_eq!(
                is_jump(share, at_training, rows),
                expected,
                "{share} {at_training} {rows}"
            );
        }
    }
}
