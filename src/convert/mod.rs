//! Makes training data of tables: CSV and Parquet to TFRecord files, a segdense schema, vocabularies and a config.
//!
//! `plan` is the mapping with every column at its place (`ranges`: those that are cut into some), `unlabelled` one for
//! rows that are to be scored; `inputs` finds tables, `format` says what they are, `source` reads their rows (`csv`,
//! `csv_scan` and `csv_table`, `parquet`; `position` finds columns); a `row` has a `cell` per column, which `compare`
//! compares (`decimal` numbers, `time` times, `timeline` those of a split); `split` and `dealer` deal rows to parts;
//! `vocabulary` and `sample` learn from the rows that are trained on; `label`, `ids` and `encode` make examples, `tally`
//! counts them, `classes` the labels; `folder` publishes everything at once; `starter` writes the first config, with what
//! `recipe` chooses. Rows are read by one thread and worked on by `pool`. What is written does not depend on the number
//! of threads.

mod cell;
mod classes;
mod compare;
mod converted;
mod csv;
mod csv_scan;
mod csv_table;
mod dealer;
mod decimal;
mod encode;
mod error;
mod folder;
mod format;
mod ids;
mod inputs;
mod label;
mod number;
mod parquet;
mod plan;
mod pool;
mod position;
mod ranges;
mod recipe;
mod row;
mod sample;
mod source;
mod split;
mod starter;
mod tally;
mod time;
mod timeline;
mod unlabelled;
mod vocabulary;
mod vocabulary_file;
mod yaml;

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

pub use converted::{Converted, Part, UnknownShare, UnknownValues, Unlabelled};
pub use error::ConvertError;
pub use row::Place;

use crate::config::ConversionConfig;
use crate::data::tfrecord::{Compression, RecordWriter};
use crate::machine;
use classes::Classes;
use dealer::Dealer;
use encode::{Encoder, Scratch};
use error::Failure;
use folder::Folder;
use plan::Plan;
use row::Row;
use source::Sources;
use starter::Starter;
use tally::Tally;
use vocabulary::{Counter, Vocabulary};

/// Rows that a thread counts at a time.
const ROWS_PER_COUNT: usize = 4096;

/// Bytes of the rows that are handed to a thread at a time: of long rows there are fewer.
const MAX_BYTES: usize = 256 << 20;

/// What the mapping leaves open.
#[derive(Clone, Debug, Default)]
pub struct ConvertOptions {
    /// In place of the mapping's `inputs`, if there are any.
    pub inputs: Vec<String>,
    /// In place of the mapping's `output_dir`.
    pub output_dir: Option<PathBuf>,
    /// A `vocabulary.json` to use, instead of learning one from the rows.
    pub vocabulary: Option<PathBuf>,
    /// Threads that make examples (`None`: one per core). The files do not depend on it.
    pub threads: Option<NonZeroUsize>,
}

/// Converts as `mapping` and `options` say. The folder appears when everything in it is complete.
///
/// # Errors
/// When the mapping cannot be used, a table, row or cell is not what it says (the first one in the order of rows is
/// told), or the system refuses; then no folder is left behind.
pub fn convert(
    mapping: &ConversionConfig,
    options: &ConvertOptions,
) -> Result<Converted, ConvertError> {
    let (inputs, output_dir) = places(mapping, options)?;
    let must_learn = options.vocabulary.is_none();
    let plan = must_learn.then(|| Plan::new(mapping)).transpose()?;
    let sources = Sources::find(inputs, &mapping.csv)?;
    let to_score = match plan {
        Some(_) => None,
        None => unlabelled::mapping(mapping, &sources)?,
    };
    let plan = match (plan, &to_score) {
        (Some(plan), _) => plan,
        (None, Some(mapping)) => Plan::unlabelled(mapping, unlabelled::PART)?,
        (None, None) => Plan::new(mapping)?,
    };
    let folder = Folder::create(&output_dir)?;
    let available = NonZeroUsize::new(machine::cores()).unwrap_or(NonZeroUsize::MIN);
    let mut conversion = Conversion {
        plan: &plan,
        dealer: Dealer::new(&plan),
        sources: &sources,
        is_heavy_tailed: true,
        threads: options.threads.unwrap_or(available),
        rows_per_file: mapping.rows_per_file.to_usize(),
    };
    let vocabulary = conversion.vocabulary(options.vocabulary.as_deref())?;
    let encoder = Encoder::new(&plan, &vocabulary);
    let (tallies, left_out) = conversion.write(&encoder, &folder)?;
    let negative = tallies.iter().map(|tally| tally.unlabelled).sum();
    let dealer = &conversion.dealer;
    let (parts, unknown) = converted::summary(&plan, dealer, &vocabulary, &tallies);
    folder.add_file("segdense.json", |file| write_schema(&encoder, file))?;
    let made = if to_score.is_some() {
        // They belong to the config and the vocabulary that there are.
        output_dir.join(unlabelled::PART).join("*.tfrecord.gz")
    } else {
        let starter = Starter {
            folder: &output_dir,
            dealer,
            encoder: &encoder,
            vocabulary: &vocabulary,
            parts: &parts,
            is_heavy_tailed: conversion.is_heavy_tailed,
        };
        add_config(&folder, &starter)?;
        output_dir.join("config.yaml")
    };
    folder.publish()?;
    Ok(Converted {
        folder: output_dir,
        made,
        parts,
        left_out: left_out.by_split,
        unlabelled: Unlabelled {
            dropped: left_out.unlabelled,
            negative,
        },
        widths: widths(&encoder),
        unknown,
        keeps_apart: dealer.keeps_apart(),
    })
}

/// The tables and the folder, as the options or else the mapping say.
fn places<'a>(
    mapping: &'a ConversionConfig,
    options: &'a ConvertOptions,
) -> Result<(&'a [String], PathBuf), ConvertError> {
    let missing = |key: &str, flag: &str| {
        let reason = format!("missing: set it in the mapping, or give {flag}");
        ConvertError::setting(key, reason)
    };
    let inputs = match (&options.inputs[..], &mapping.inputs) {
        ([], None) => return Err(missing("inputs", "--inputs")),
        ([], Some(patterns)) => patterns.get(),
        (given, _) => given,
    };
    let output_dir = options.output_dir.clone();
    let output_dir = output_dir.or_else(|| mapping.output_dir.as_ref().map(PathBuf::from));
    let output_dir = output_dir.ok_or_else(|| missing("output_dir", "--output_dir"))?;
    Ok((inputs, output_dir))
}

/// Columns of `continuous`, `binary` and `discrete`.
fn widths(encoder: &Encoder<'_>) -> [usize; 3] {
    let plan = encoder.plan;
    [
        plan.continuous.len(),
        encoder.binary_width,
        plan.discrete.len(),
    ]
}

/// Adds what a training needs beside the records.
fn add_config(folder: &Folder, starter: &Starter<'_>) -> Result<(), ConvertError> {
    let config = starter.config()?;
    let json = serde_json::to_string_pretty(starter.vocabulary).unwrap_or_default();
    folder.add_file("vocabulary.json", |file| writeln!(file, "{json}"))?;
    folder.add_file("config.yaml", |file| file.write_all(config.as_bytes()))
}

fn write_schema(encoder: &Encoder<'_>, file: &mut impl Write) -> std::io::Result<()> {
    let entries = encoder.schema().into_iter().map(|(name, dtype, length)| {
        serde_json::json!({ "feature_name": name, "dtype": dtype, "length": length })
    });
    let schema = serde_json::json!({ "schema": entries.collect::<Vec<_>>() });
    writeln!(file, "{schema:#}")
}

/// A conversion under way.
struct Conversion<'a> {
    plan: &'a Plan,
    dealer: Dealer<'a>,
    sources: &'a Sources,
    /// Whether a continuous column has values far out; unless the rows were looked at, one may.
    is_heavy_tailed: bool,
    threads: NonZeroUsize,
    rows_per_file: usize,
}

/// The rows of one file to be.
struct Shard {
    part: usize,
    number: u64,
    rows: Rows,
}

/// Rows on the way to a thread.
#[derive(Default)]
struct Rows {
    all: Vec<Row>,
    /// Of their cells.
    bytes: usize,
}

impl Rows {
    /// Adds `row`; whether there are `most` rows now, or they are long.
    fn add(&mut self, row: Row, most: usize) -> bool {
        self.bytes += row.size();
        self.all.push(row);
        self.all.len() >= most || self.bytes >= MAX_BYTES
    }
}

/// Rows that are in no part.
#[derive(Clone, Copy, Debug, Default)]
struct LeftOut {
    by_split: u64,
    /// For want of a label.
    unlabelled: u64,
}

/// What one thread has written.
struct Written {
    scratch: Scratch,
    /// By part.
    parts: Vec<Tally>,
}

impl Conversion<'_> {
    /// That in the file `given`, or what the rows teach.
    fn vocabulary(&mut self, given: Option<&Path>) -> Result<Vocabulary, ConvertError> {
        let Some(path) = given else {
            return self.learn();
        };
        // Rows for an old vocabulary are there to be predicted or compared: all stay where they are.
        self.dealer
            .keep_apart(self.plan.validation_share.unwrap_or(0.0))?;
        Vocabulary::read(path, self.plan)
    }

    /// Reads the rows that are trained on, learns what values there are, and decides how many rows are kept apart.
    fn learn(&mut self) -> Result<Vocabulary, ConvertError> {
        let plan = self.plan;
        let is_open = plan.validation_share.is_none() && Dealer::validation(plan).is_none();
        if !plan.must_learn() && !is_open {
            self.dealer
                .keep_apart(plan.validation_share.unwrap_or(0.0))?;
            return Ok(Counter::new(plan).finish(plan));
        }
        let dealer = &self.dealer;
        let start = || (Counter::new(plan), Classes::new(plan), 0_u64);
        let count = |(counter, classes, apart): &mut (Counter, Classes, u64), rows: Vec<Row>| {
            rows.iter().try_for_each(|row| {
                counter.add(plan, row)?;
                *apart += u64::from(dealer.would_keep_apart(row)?);
                classes.add(plan, row)
            })
        };
        let counters = pool::run(self.threads, start, count, |hand_out| {
            let mut rows = Rows::default();
            let read = self.sources.read(&plan.columns, &mut |row| {
                let is_counted = !plan.drops(&row) && plan.splitter.part(&row)? == Some(0);
                let is_full = is_counted && rows.add(row, ROWS_PER_COUNT);
                Ok(!is_full || hand_out(std::mem::take(&mut rows).all))
            });
            hand_out(rows.all);
            read
        })?;
        let (mut all, mut all_classes, mut would_be) = start();
        for (counter, classes, apart) in counters {
            all.merge(counter);
            all_classes.merge(&classes);
            would_be += apart;
        }
        all_classes.check(plan, &plan.splitter.parts[0])?;
        match plan.validation_share {
            Some(share) => self.dealer.keep_apart(share)?,
            None => self.dealer.keep_apart_by_default(all.rows(), would_be)?,
        }
        self.is_heavy_tailed = all.is_heavy_tailed(plan);
        Ok(all.finish(plan))
    }

    /// Writes every part; returns what is in each, and how many rows are in none.
    fn write(
        &self,
        encoder: &Encoder<'_>,
        folder: &Folder,
    ) -> Result<(Vec<Tally>, LeftOut), ConvertError> {
        let parts = &self.dealer.parts;
        parts.iter().try_for_each(|part| folder.add_folder(part))?;
        let mut left_out = LeftOut::default();
        let empty = || vec![encoder.tally(); parts.len()];
        let start = || Written {
            scratch: Scratch::default(),
            parts: empty(),
        };
        let work = |written: &mut Written, shard: Shard| {
            let name = &parts[shard.part];
            let path = format!("{name}/{:05}.tfrecord.gz", shard.number);
            write_shard(encoder, folder, &path, &shard, written)
        };
        let written = pool::run(self.threads, start, work, |hand_out| {
            self.deal(hand_out, &mut left_out)
        })?;
        let mut all = empty();
        for written in written {
            let pairs = all.iter_mut().zip(&written.parts);
            pairs.for_each(|(all, part)| all.merge(part));
        }
        if let Some((part, _)) = parts.iter().zip(&all).find(|(_, part)| part.rows == 0) {
            return Err(ConvertError::EmptyPart {
                part: part.clone(),
                remedy: self.dealer.remedy(part),
            });
        }
        self.check_classes(&all)?;
        Ok((all, left_out))
    }

    /// Refuses labels of one class where they are trained on, if that has not been done, and warns of them elsewhere.
    fn check_classes(&self, tallies: &[Tally]) -> Result<(), ConvertError> {
        for (place, (name, tally)) in self.dealer.parts.iter().zip(tallies).enumerate() {
            let classes = Classes::of(tally.rows, tally.positives.clone());
            match place {
                0 => classes.check(self.plan, name)?,
                _ => classes.warn(self.plan, name),
            }
        }
        Ok(())
    }

    /// Reads every row and hands out the rows of each file.
    fn deal(
        &self,
        hand_out: &mut dyn FnMut(Shard) -> bool,
        left_out: &mut LeftOut,
    ) -> Result<(), Failure> {
        let dealer = &self.dealer;
        let mut shards: Vec<Shard> = (0..dealer.parts.len())
            .map(|part| Shard {
                part,
                number: 0,
                rows: Rows::default(),
            })
            .collect();
        let read = self.sources.read(&self.plan.columns, &mut |row| {
            if self.plan.drops(&row) {
                left_out.unlabelled += 1;
                return Ok(true);
            }
            let Some(part) = dealer.part(&row)? else {
                left_out.by_split += 1;
                return Ok(true);
            };
            let shard = &mut shards[part];
            if !shard.rows.add(row, self.rows_per_file) {
                return Ok(true);
            }
            let number = shard.number + 1;
            let next = Shard {
                part,
                number,
                rows: Rows::default(),
            };
            Ok(hand_out(std::mem::replace(shard, next)))
        });
        for shard in shards
            .into_iter()
            .filter(|shard| !shard.rows.all.is_empty())
        {
            hand_out(shard);
        }
        read
    }
}

fn write_shard(
    encoder: &Encoder<'_>,
    folder: &Folder,
    path: &str,
    shard: &Shard,
    written: &mut Written,
) -> Result<(), Failure> {
    let tally = &mut written.parts[shard.part];
    let scratch = &mut written.scratch;
    let mut failure = None;
    let saved = folder.add_file(path, |file| {
        let mut writer = RecordWriter::new(file, Compression::Gzip)?;
        for row in &shard.rows.all {
            if let Err(error) = encoder.encode(row, scratch, tally) {
                failure = Some(error);
                break;
            }
            writer.write(&scratch.payload)?;
        }
        writer.finish().map(drop)
    });
    if let Some(failure) = failure {
        return Err(failure);
    }
    let index = shard.rows.all.first().map_or(0, |row| row.index);
    saved.map_err(|error| Failure { index, error })?;
    tally.rows += shard.rows.all.len() as u64;
    tally.files += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::row::Record;
    use super::*;

    fn row(bytes: usize) -> Row {
        Row {
            index: 0,
            file: Path::new("t.csv").into(),
            place: Place::Line(2),
            record: Record::Text {
                bytes: vec![0; bytes].into(),
                cells: Box::default(),
            },
        }
    }

    #[test]
    fn rows_are_handed_on_when_they_are_many_or_long() {
        let mut rows = Rows::default();
        assert_eq!(
            [1, 1, 1].map(|bytes| rows.add(row(bytes), 3)),
            [false, false, true]
        );
        let mut rows = Rows::default();
        let long = MAX_BYTES / 2;
        assert_eq!(
            [long, long].map(|bytes| rows.add(row(bytes), 3)),
            [false, true]
        );
    }
}
