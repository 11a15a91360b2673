//! Makes training data of tables: CSV and Parquet to TFRecord files, a segdense schema, vocabularies and a config.
//!
//! `plan` is the mapping with every column at its place; `source` reads rows (`parquet` those of Parquet), `cell` is
//! what stands in them; `split` deals rows to parts; `vocabulary` and `sample` learn from the rows that are trained on;
//! `label` and `encode` make examples; `folder` publishes everything at once; `starter` writes the first config. Rows
//! are read by one thread and worked on by `pool`. What is written does not depend on the number of threads.

mod cell;
mod encode;
mod error;
mod folder;
mod label;
mod parquet;
mod plan;
mod pool;
mod sample;
mod source;
mod split;
mod starter;
mod vocabulary;

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use indexmap::IndexMap;

pub use error::ConvertError;

use crate::config::ConversionConfig;
use crate::data::tfrecord::{Compression, RecordWriter};
use crate::machine;
use cell::Row;
use encode::{Encoder, Scratch};
use error::Failure;
use folder::Folder;
use plan::Plan;
use source::Sources;
use vocabulary::{Counter, Vocabulary};

/// Rows that a thread counts at a time.
const ROWS_PER_COUNT: usize = 4096;

/// What the mapping leaves open.
#[derive(Clone, Debug, Default)]
pub struct ConvertOptions {
    /// In place of the mapping's `inputs`.
    pub inputs: Option<String>,
    /// In place of the mapping's `output_dir`.
    pub output_dir: Option<PathBuf>,
    /// A `vocabulary.json` to use, instead of learning one from the rows.
    pub vocabulary: Option<PathBuf>,
    /// Threads that make examples (`None`: one per core). The files do not depend on it.
    pub threads: Option<NonZeroUsize>,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The folder.
    pub folder: PathBuf,
    /// By name of the part.
    pub parts: IndexMap<String, Part>,
    /// Rows that belong to no part.
    pub left_out: u64,
    /// Columns of the features `continuous`, `binary` and `discrete`.
    pub widths: [usize; 3],
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

/// Converts as `mapping` and `options` say. The folder appears when everything in it is complete.
///
/// # Errors
/// When the mapping cannot be used, a table, row or cell is not what it says (the first one in the order of rows is
/// told), or the system refuses; then no folder is left behind.
pub fn convert(
    mapping: &ConversionConfig,
    options: &ConvertOptions,
) -> Result<Converted, ConvertError> {
    let missing = |key: &str, flag: &str| {
        let reason = format!("missing: set it in the mapping, or give {flag}");
        ConvertError::setting(key, reason)
    };
    let inputs = options.inputs.as_ref().or(mapping.inputs.as_ref());
    let inputs = inputs.ok_or_else(|| missing("inputs", "--inputs"))?;
    let output_dir = options.output_dir.clone();
    let output_dir = output_dir.or_else(|| mapping.output_dir.as_ref().map(PathBuf::from));
    let output_dir = output_dir.ok_or_else(|| missing("output_dir", "--output_dir"))?;
    let plan = Plan::new(mapping)?;
    let sources = Sources::find(inputs, &mapping.csv)?;
    let folder = Folder::create(&output_dir)?;
    let available = NonZeroUsize::new(machine::cores()).unwrap_or(NonZeroUsize::MIN);
    let conversion = Conversion {
        plan: &plan,
        sources: &sources,
        threads: options.threads.unwrap_or(available),
        rows_per_file: mapping.rows_per_file.to_usize(),
    };
    let vocabulary = match &options.vocabulary {
        Some(path) => Vocabulary::read(path, &plan)?,
        None => conversion.learn()?,
    };
    let encoder = Encoder::new(&plan, &vocabulary);
    let (parts, left_out) = conversion.write(&encoder, &folder)?;
    let trained_on = parts.values().next().map_or(0, |part| part.rows);
    let json = serde_json::to_string_pretty(&vocabulary).unwrap_or_default();
    let config = starter::config(&output_dir, trained_on, &encoder, &vocabulary);
    folder.add_file("vocabulary.json", |file| writeln!(file, "{json}"))?;
    folder.add_file("segdense.json", |file| write_schema(&encoder, file))?;
    folder.add_file("config.yaml", |file| file.write_all(config.as_bytes()))?;
    folder.publish()?;
    Ok(Converted {
        folder: output_dir,
        parts,
        left_out,
        widths: [
            plan.continuous.len(),
            encoder.binary_width,
            plan.discrete.len(),
        ],
    })
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
    sources: &'a Sources,
    threads: NonZeroUsize,
    rows_per_file: usize,
}

/// The rows of one file to be.
struct Shard {
    part: usize,
    number: u64,
    rows: Vec<Row>,
}

/// What one thread has written.
struct Written {
    scratch: Scratch,
    /// By part.
    parts: Vec<Part>,
}

impl Conversion<'_> {
    /// Reads the rows that are trained on, and learns what values there are.
    fn learn(&self) -> Result<Vocabulary, ConvertError> {
        let plan = self.plan;
        if !plan.must_learn() {
            return Ok(Counter::new(plan).finish(plan));
        }
        let count = |counter: &mut Counter, rows: Vec<Row>| {
            rows.iter().try_for_each(|row| counter.add(plan, row))
        };
        let counters = pool::run(
            self.threads,
            || Counter::new(plan),
            count,
            |hand_out| {
                let mut rows = Vec::new();
                let read = self.sources.read(&plan.columns, &mut |row| {
                    if plan.splitter.part(&row)? == Some(0) {
                        rows.push(row);
                    }
                    let is_full = rows.len() >= ROWS_PER_COUNT;
                    Ok(!is_full || hand_out(std::mem::take(&mut rows)))
                });
                hand_out(rows);
                read
            },
        )?;
        let mut all = Counter::new(plan);
        counters.into_iter().for_each(|counter| all.merge(counter));
        Ok(all.finish(plan))
    }

    /// Writes every part; returns them, and how many rows belong to none.
    fn write(
        &self,
        encoder: &Encoder<'_>,
        folder: &Folder,
    ) -> Result<(IndexMap<String, Part>, u64), ConvertError> {
        let parts = &self.plan.splitter.parts;
        parts.iter().try_for_each(|part| folder.add_folder(part))?;
        let mut left_out = 0;
        let start = || Written {
            scratch: Scratch::default(),
            parts: vec![self.empty_part(); parts.len()],
        };
        let work = |written: &mut Written, shard: Shard| {
            let name = &parts[shard.part];
            let path = format!("{name}/{:05}.tfrecord.gz", shard.number);
            write_shard(encoder, folder, &path, &shard, written)
        };
        let written = pool::run(self.threads, start, work, |hand_out| {
            self.deal(hand_out, &mut left_out)
        })?;
        let mut all = vec![self.empty_part(); parts.len()];
        for written in written {
            for (all, part) in all.iter_mut().zip(written.parts) {
                all.rows += part.rows;
                all.files += part.files;
                for (all, positives) in all.positives.values_mut().zip(part.positives.values()) {
                    *all += positives;
                }
            }
        }
        let all: IndexMap<String, Part> = parts.iter().cloned().zip(all).collect();
        match all.iter().find(|(_, part)| part.rows == 0) {
            Some((part, _)) => Err(ConvertError::EmptyPart { part: part.clone() }),
            None => Ok((all, left_out)),
        }
    }

    fn empty_part(&self) -> Part {
        let tasks = self.plan.labels.iter().map(|label| label.task.clone());
        Part {
            positives: tasks.map(|task| (task, 0)).collect(),
            ..Part::default()
        }
    }

    /// Reads every row and hands out the rows of each file.
    fn deal(
        &self,
        hand_out: &mut dyn FnMut(Shard) -> bool,
        left_out: &mut u64,
    ) -> Result<(), Failure> {
        let splitter = &self.plan.splitter;
        let mut shards: Vec<Shard> = (0..splitter.parts.len())
            .map(|part| Shard {
                part,
                number: 0,
                rows: Vec::new(),
            })
            .collect();
        let read = self.sources.read(&self.plan.columns, &mut |row| {
            let Some(part) = splitter.part(&row)? else {
                *left_out += 1;
                return Ok(true);
            };
            let shard = &mut shards[part];
            shard.rows.push(row);
            if shard.rows.len() < self.rows_per_file {
                return Ok(true);
            }
            let number = shard.number + 1;
            let next = Shard {
                part,
                number,
                rows: Vec::new(),
            };
            Ok(hand_out(std::mem::replace(shard, next)))
        });
        for shard in shards.into_iter().filter(|shard| !shard.rows.is_empty()) {
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
    let part = &mut written.parts[shard.part];
    let scratch = &mut written.scratch;
    let mut positives = vec![0; part.positives.len()];
    let mut failure = None;
    let saved = folder.add_file(path, |file| {
        let mut writer = RecordWriter::new(file, Compression::Gzip)?;
        for row in &shard.rows {
            if let Err(error) = encoder.encode(row, scratch, &mut positives) {
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
    let index = shard.rows.first().map_or(0, |row| row.index);
    saved.map_err(|error| Failure { index, error })?;
    part.rows += shard.rows.len() as u64;
    part.files += 1;
    for (all, positives) in part.positives.values_mut().zip(positives) {
        *all += positives;
    }
    Ok(())
}
