//! Looks at the first records of a data set whose config names no features for the model: do they have one key per
//! column? Then it says which, ready to be put into the config.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use super::example::entries;
use super::files;
use super::scalars::{EXACT, Number, each_number};
use super::tfrecord::{ReadOptions, RecordReader, Share};
use super::wire::Wire;
use crate::config::RecapDataConfig;
use crate::printable;

/// Records looked at.
const RECORDS: usize = 1000;
/// Most keys that are remembered: no table has more columns.
const MAX_KEYS: usize = 50_000;
/// Keys that a message names; `check` prints all.
const SHOWN: usize = 8;

/// What was seen under one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    records: usize,
    /// Not one number each time.
    is_other: bool,
    /// Numbers under the key, at most.
    width: usize,
    has_floats: bool,
    /// Lowest and highest whole number.
    range: Option<(i64, i64)>,
}

/// Records of one key per column, and what they hold.
#[derive(Debug, PartialEq)]
pub struct Survey {
    file: Arc<Path>,
    records: usize,
    columns: BTreeMap<String, Seen>,
    /// The key of the longest list of numbers, and its length.
    list: Option<(String, usize)>,
}

impl Survey {
    /// Of the first file of `config` that has records; `None` if their keys hold strings alone, or nothing can be read.
    pub(crate) fn of(config: &RecapDataConfig) -> Option<Self> {
        let files = files::list(config).ok()?;
        let mut files = files
            .into_iter()
            .take(8)
            .map(|file| Self::of_file(file, config));
        files
            .find(|survey| survey.records > 0)
            .filter(|survey| !survey.columns.is_empty() || survey.list.is_some())
    }

    /// What says that the features are in one list, where that is longer than there are keys with one number.
    pub(crate) fn in_a_list(&self) -> Option<String> {
        let (key, width) = self.list.as_ref()?;
        (*width > self.columns.len()).then(|| {
            format!(
                "the config names nothing that makes the feature `continuous`; the records of {} have a list of {width} \
                 numbers, `{key}`: if that is it, name it as renamed_features: {{continuous: {key}}}",
                self.file.display()
            )
        })
    }

    fn of_file(file: Arc<Path>, config: &RecapDataConfig) -> Self {
        let options = ReadOptions {
            share: Share { first: 0, step: 1 },
            start: 0,
            skip_damaged: config.ignore_data_errors,
        };
        let mut reader = RecordReader::new(Arc::clone(&file), options);
        let (mut seen, mut records, mut chunk) = (BTreeMap::new(), 0, Vec::new());
        let mut is_last = false;
        while records < RECORDS && !is_last {
            let frames = reader.read_chunk(&mut chunk);
            is_last = frames.is_last;
            for frame in frames.found.iter().take(RECORDS - records) {
                look(&chunk[frame.begin..frame.begin + frame.len], &mut seen);
                records += 1;
            }
        }
        let is_taken = |key: &String| {
            let tasks = &config.tasks;
            let mut weights = tasks.values().map(|task| task.weight_feature.as_ref());
            tasks.contains_key(key) || weights.any(|weight| weight == Some(key))
        };
        let lists = seen.iter().filter(|(_, seen): &(_, &Seen)| seen.width > 1);
        let list = lists.max_by_key(|(_, seen)| seen.width);
        let list = list.map(|(key, seen)| (key.clone(), seen.width));
        seen.retain(|key, seen: &mut Seen| !seen.is_other && seen.records > 0 && !is_taken(key));
        Self {
            file,
            records,
            columns: seen,
            list,
        }
    }

    /// The keys of which `fits`.
    fn keys(&self, fits: impl Fn(&Seen) -> bool) -> Vec<&str> {
        let columns = self.columns.iter().filter(|(_, seen)| fits(seen));
        columns.map(|(key, _)| key.as_str()).collect()
    }

    /// The piece of config that names every key, ready for `train_data`, with what is to be known about it.
    #[must_use]
    pub fn piece(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let list = |keys: &[&str]| {
            keys.iter()
                .map(|key| quoted(key))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (floats, binary, whole, large) = (
            self.keys(|seen| seen.has_floats),
            self.keys(Seen::is_binary),
            self.keys(Seen::is_small),
            self.keys(Seen::is_large),
        );
        let continuous = [&floats[..], &whole[..]].concat();
        writeln!(
            out,
            "# The first {} records of {} have {} keys with one number each.\n\
             # Name them in the order in which the model is to see them; take them out of features.\n\
             seg_dense_schema:\n  columns:\n    continuous: [{}]",
            self.records,
            printable::line(&self.file.display().to_string()),
            self.columns.len(),
            list(&continuous)
        )?;
        if !binary.is_empty() {
            writeln!(out, "    binary: [{}]", list(&binary))?;
        }
        for key in &whole {
            let (low, high) = self.columns[*key].range.unwrap_or_default();
            writeln!(
                out,
                "# {}: integers {low} to {high}; of ids and categories move it to `discrete`, with a table in \
                 model.small_embeddings",
                quoted(key)
            )?;
        }
        for key in &large {
            let (low, high) = self.columns[*key].range.unwrap_or_default();
            writeln!(
                out,
                "# {}: integers {low} to {high}, left out: too large for f32, an id or a time perhaps",
                quoted(key)
            )?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Survey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = self.columns.iter().take(SHOWN).map(|(key, _)| key.as_str());
        let keys = printable::line(&keys.collect::<Vec<_>>().join(", ")).into_owned();
        let more = match self.columns.len() {
            count @ 0..=SHOWN => format!("{count} keys"),
            count => format!("… {count} keys"),
        };
        write!(
            f,
            "the records of {} have one key per column ({keys}; {more})",
            self.file.display()
        )
    }
}

impl Seen {
    fn is_binary(&self) -> bool {
        let is_flag = self.range.is_some_and(|(low, high)| low >= 0 && high <= 1);
        !self.has_floats && is_flag
    }

    fn is_large(&self) -> bool {
        let size = |(low, high): (i64, i64)| low.unsigned_abs().max(high.unsigned_abs());
        !self.has_floats && self.range.map_or(0, size) > EXACT
    }

    fn is_small(&self) -> bool {
        !self.has_floats && !self.is_binary() && !self.is_large()
    }

    fn add(&mut self, feature: Wire<'_>) {
        let (mut numbers, mut width) = (Vec::new(), 0);
        let read = each_number(feature, |number| {
            width += 1;
            if numbers.len() < 2 {
                numbers.push(number);
            }
        });
        self.width = self.width.max(width);
        match (read, numbers.as_slice()) {
            (Ok(true), [Number::Float(_)]) => self.has_floats = true,
            (Ok(true), [Number::Int(value)]) => {
                let (low, high) = self.range.unwrap_or((*value, *value));
                self.range = Some((low.min(*value), high.max(*value)));
            }
            // A feature without a list is as good as absent.
            (Ok(true), []) if feature.is_empty() => return,
            _ => self.is_other = true,
        }
        self.records += 1;
    }
}

/// Notes what stands under the keys of the example `payload`; nothing if it is none.
pub(crate) fn look(payload: &[u8], seen: &mut BTreeMap<String, Seen>) {
    let _ = entries(payload, |key, value| {
        if let Ok(key) = std::str::from_utf8(key)
            && (seen.len() < MAX_KEYS || seen.contains_key(key))
        {
            seen.entry(key.to_owned()).or_default().add(value);
        }
    });
}

/// `text` as a YAML scalar in a list, after which `$` still stands for itself.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if begins && text.chars().all(is_plain) && !words.contains(&text.to_ascii_lowercase().as_str())
    {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string().replace('$', "$$")
}
