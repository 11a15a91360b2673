//! Which part a row belongs to: by its number, by the hash of a column, or by time.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::error::{ConvertError, Failure};
use super::row::{Column, Row};
use super::timeline::Timeline;
use crate::config::{HashSplit, IndexSplit, SplitConfig, TimeSplit};

/// Deals rows to parts.
#[derive(Debug)]
pub(super) struct Splitter {
    /// Names of the parts; the first is trained on.
    pub(super) parts: Vec<String>,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    All,
    /// The part of each remainder.
    Index(Vec<Option<usize>>),
    Hash {
        column: Column,
        seed: u64,
        /// Where each part ends among the hashes; the end is not in it.
        ends: Vec<u128>,
    },
    Time {
        column: Column,
        ends: Timeline,
    },
}

impl Splitter {
    /// The rule of `config`; `place` finds the place of a column.
    pub(super) fn new(
        config: Option<&SplitConfig>,
        place: &mut dyn FnMut(&str) -> Column,
    ) -> Result<Self, ConvertError> {
        let built = match config {
            Some(SplitConfig {
                index: Some(config),
                ..
            }) => by_index(config)?,
            Some(SplitConfig {
                hash: Some(config), ..
            }) => by_hash(config, place(&config.column))?,
            Some(SplitConfig {
                time: Some(config), ..
            }) => by_time(config, place(&config.column))?,
            _ => Self::all("train"),
        };
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        for part in &built.parts {
            if part.is_empty() || !part.chars().all(is_word) {
                let reason =
                    format!("`{part}` is no name for a folder: use letters, digits, _ and -");
                return Err(ConvertError::setting("split", reason));
            }
            if part == super::starter::RUN {
                let reason = "a part cannot be called `run`: the folder of the training is, choose another name";
                return Err(ConvertError::setting("split", reason));
            }
        }
        if built.parts.is_empty() {
            return Err(ConvertError::setting("split", "expected at least one part"));
        }
        Ok(built)
    }

    /// One part with every row.
    pub(super) fn all(part: &str) -> Self {
        Self {
            parts: vec![part.to_owned()],
            rule: Rule::All,
        }
    }

    /// The column whose values keep rows together.
    pub(super) fn hashed(&self) -> Option<&Column> {
        match &self.rule {
            Rule::Hash { column, .. } => Some(column),
            _ => None,
        }
    }

    /// The part of `row`; `None` where it is left out.
    pub(super) fn part(&self, row: &Row) -> Result<Option<usize>, Failure> {
        match &self.rule {
            Rule::All => Ok(Some(0)),
            Rule::Index(parts) => {
                let rest = row.index % parts.len() as u64;
                Ok(usize::try_from(rest).ok().and_then(|rest| parts[rest]))
            }
            Rule::Hash { column, seed, ends } => {
                let text = row.text_in(column)?;
                let hash = u128::from(xxh3_64_with_seed(text.as_bytes(), *seed));
                Ok(ends.iter().position(|end| hash < *end))
            }
            Rule::Time { column, ends } => ends.part(row, column),
        }
    }
}

fn by_index(config: &IndexSplit) -> Result<Splitter, ConvertError> {
    let modulo = usize::try_from(config.modulo.get())
        .ok()
        .filter(|m| *m <= 1 << 20);
    let modulo = modulo
        .ok_or_else(|| ConvertError::setting("split.index.modulo", "expected at most 1,048,576"))?;
    let mut parts = vec![None; modulo];
    for (part, (name, remainders)) in config.parts.iter().enumerate() {
        for &remainder in remainders {
            let place = usize::try_from(remainder).ok();
            let place = place
                .and_then(|place| parts.get_mut(place))
                .ok_or_else(|| {
                    let reason = format!(
                        "expected remainders from 0 to {}, found {remainder}",
                        modulo - 1
                    );
                    ConvertError::setting(format!("split.index.parts.{name}"), reason)
                })?;
            if place.is_some() {
                let reason = format!("the remainder {remainder} is in two parts");
                return Err(ConvertError::setting(
                    format!("split.index.parts.{name}"),
                    reason,
                ));
            }
            *place = Some(part);
        }
    }
    Ok(Splitter {
        parts: config.parts.keys().cloned().collect(),
        rule: Rule::Index(parts),
    })
}

fn by_hash(config: &HashSplit, column: Column) -> Result<Splitter, ConvertError> {
    let mut sum = 0.0;
    let mut ends = Vec::new();
    for (name, &share) in &config.parts {
        sum += share;
        if !(share > 0.0 && sum < 1.0 + 1e-9) {
            let reason = format!("expected a share above 0, all of them at most 1, found {share}");
            return Err(ConvertError::setting(
                format!("split.hash.parts.{name}"),
                reason,
            ));
        }
        let full = u128::from(u64::MAX) + 1;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of all hashes, cut to a whole number"
        )]
        let end = (sum * full as f64) as u128;
        // What rounding leaves of the last share belongs to it.
        ends.push(if sum > 1.0 - 1e-9 { full } else { end });
    }
    Ok(Splitter {
        parts: config.parts.keys().cloned().collect(),
        rule: Rule::Hash {
            column,
            seed: config.seed.cast_unsigned(),
            ends,
        },
    })
}

fn by_time(config: &TimeSplit, column: Column) -> Result<Splitter, ConvertError> {
    let ends: Vec<Option<&str>> = config.before.values().map(Option::as_deref).collect();
    let wrong = |reason| ConvertError::setting("split.time.before", reason);
    let ends = Timeline::new(&ends).map_err(wrong)?;
    Ok(Splitter {
        parts: config.before.keys().cloned().collect(),
        rule: Rule::Time { column, ends },
    })
}
