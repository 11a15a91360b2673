//! The data as it is found: files, one decoded record, and the first rows in numbers.

use std::io::{self, Write};

use anyhow::Context;
use serde::Serialize;

use super::statistics::{Feature, Label, numbers};
use super::table::{bytes, grouped, write_table};
use crate::batch::HostBatch;
use crate::config::{RecapConfig, RecapDataConfig};
use crate::data::{self, DataError, LoadedBatch, Loader, LoaderOptions, Mode, NoRecords};
use crate::train::evaluation::NoRows;

/// Enough for rates that say something, few enough to be read in seconds.
const SAMPLE_ROWS: usize = 4096;

/// What is known of the data.
#[derive(Debug, Serialize)]
pub(super) struct DataReport {
    pub(super) train: Files,
    pub(super) validation: Vec<Partition>,
    /// The record that is shown; absent when there is none.
    pub(super) first_record: Option<Record>,
    /// Rows looked at, as the model would see them, in the order of the sorted files.
    pub(super) rows: usize,
    /// Whether these are all rows that there are.
    pub(super) is_all: bool,
    pub(super) features: Vec<Feature>,
    pub(super) labels: Vec<Label>,
}

/// The files of one data set.
#[derive(Debug, Serialize)]
pub(super) struct Files {
    pub(super) count: usize,
    /// On disk, compressed.
    pub(super) bytes: u64,
}

/// One entry of `validation_data`.
#[derive(Debug, Serialize)]
pub(super) struct Partition {
    pub(super) name: String,
    pub(super) files: Option<Files>,
    /// Why there are no files.
    pub(super) problem: Option<String>,
}

/// Where a record stands.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    pub(super) file: String,
    /// From 0.
    pub(super) number: u64,
}

/// Lists the files and reads a sample.
///
/// # Errors
/// When there are no files, or a record of the sample cannot be used.
pub(super) fn look(config: &RecapConfig) -> anyhow::Result<DataReport> {
    let train = Files::of(&config.train_data).context("train_data")?;
    let validation = config.validation_data.iter();
    let validation = validation.map(|(name, data)| Partition::of(name, data));
    let mut report = DataReport {
        train,
        validation: validation.collect(),
        first_record: None,
        rows: 0,
        is_all: false,
        features: Vec::new(),
        labels: Vec::new(),
    };
    for (name, data) in &config.validation_data {
        let rows = read_through(name, data)?;
        if rows == Some(0) && is_evaluated(config, name) {
            return Err(NoRows::of(name).into());
        }
    }
    report.read(config)?;
    Ok(report)
}

/// How samples are read: in the order of the sorted files, each row once.
fn options() -> LoaderOptions {
    LoaderOptions {
        seed: 0,
        rank: 0,
        world_size: 1,
        local_world_size: 1,
        any_labels: false,
        mode: Mode::Train,
        threads: None,
        in_order: true,
        drop_remainder: false,
        repeat: false,
    }
}

/// Whether training evaluates on the partition called `name`.
fn is_evaluated(config: &RecapConfig, name: &str) -> bool {
    let chosen = config.training.evaluate_partitions.as_ref();
    let is_chosen = |all: &Vec<String>| all.iter().any(|one| one == name);
    config.training.evaluate && chosen.is_none_or(is_chosen)
}

/// Reads a sample of the partition called `name`, if it has files, for what an evaluation would stumble over; how many
/// rows there were.
fn read_through(name: &str, data: &RecapDataConfig) -> anyhow::Result<Option<usize>> {
    if data::list_files(data).is_err() {
        return Ok(None);
    }
    let context = || format!("validation_data.{name}");
    let mut loader = Loader::open(data, options(), None).with_context(context)?;
    let mut rows = 0;
    while rows < SAMPLE_ROWS
        && let Some(loaded) = loader.next_batch().with_context(context)?
    {
        rows += loaded.batch.rows;
    }
    Ok(Some(rows))
}

impl Files {
    fn of(config: &RecapDataConfig) -> Result<Self, DataError> {
        let files = data::list_files(config)?;
        let sizes = files.iter().map(|file| data::file_size(file));
        let sizes = sizes.collect::<Result<Vec<u64>, _>>()?;
        data::refuse_empty(&files, &sizes)?;
        Ok(Self {
            count: files.len(),
            bytes: sizes.into_iter().fold(0, u64::saturating_add),
        })
    }
}

impl Partition {
    fn of(name: &str, config: &RecapDataConfig) -> Self {
        let (files, problem) = match Files::of(config) {
            Ok(files) => (Some(files), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            name: name.to_owned(),
            files,
            problem,
        }
    }
}

impl DataReport {
    fn read(&mut self, config: &RecapConfig) -> anyhow::Result<()> {
        let loader = Loader::open(&config.train_data, options(), None);
        let mut loader = loader.context("train_data")?;
        while self.rows < SAMPLE_ROWS
            && let Some(loaded) = loader.next_batch().context("train_data")?
        {
            self.add(&loaded, config);
        }
        if self.rows == 0 {
            // Nothing has ended the sample but the end of the files.
            let none = DataError::NoRecords(NoRecords {
                files: data::list_files(&config.train_data)?,
                rank: (0, 1),
                has_skipped: loader.counters().skipped > 0,
            });
            return Err(none).context("train_data");
        }
        self.is_all = self.rows < SAMPLE_ROWS;
        for label in &mut self.labels {
            let positive = label.values.iter().filter(|value| **value > 0.5).count();
            label.positive_rate = positive as f64 / label.values.len().max(1) as f64;
        }
        Ok(())
    }

    fn add(&mut self, loaded: &LoadedBatch, config: &RecapConfig) {
        let batch = &loaded.batch;
        if batch.rows == 0 {
            return;
        }
        if self.first_record.is_none() {
            let first = loaded.records.first();
            self.first_record = first.map(|record| Record {
                file: record.file.display().to_string(),
                number: record.record,
            });
            self.features = batch.features.iter().map(Feature::of_first).collect();
            let names = config.train_data.tasks.keys();
            self.labels = names.map(|name| Label::new(name, config)).collect();
        }
        for (feature, (_, tensor)) in self.features.iter_mut().zip(&batch.features) {
            feature.add(tensor);
        }
        self.add_labels(batch);
        self.rows += batch.rows;
    }

    fn add_labels(&mut self, batch: &HostBatch) {
        let Some(labels) = &batch.labels else { return };
        let values = numbers(&labels.values);
        let tasks = self.labels.len().max(1);
        for (i, value) in values.into_iter().enumerate() {
            if let Some(label) = self.labels.get_mut(i % tasks) {
                label.values.push(value);
            }
        }
    }

    /// How far was looked.
    fn extent(&self) -> String {
        let rows = grouped(self.rows as u64);
        if self.is_all {
            format!("looked at every row of train_data, {rows}")
        } else {
            format!(
                "looked at the first {rows} rows of each, in the order of file names: what comes behind them is seen \
                 when it is trained on"
            )
        }
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "data     train_data: {}", self.train.describe())?;
        for Partition { name, files, .. } in &self.validation {
            let files = files
                .as_ref()
                .map_or("no files".to_owned(), Files::describe);
            writeln!(out, "         validation_data.{name}: {files}")?;
        }
        writeln!(out, "         {}", self.extent())?;
        if let Some(Record { file, number }) = &self.first_record {
            writeln!(
                out,
                "\nfeatures (record {number} of {file}; shares of {} rows)",
                self.rows
            )?;
        }
        let rows: Vec<_> = self.features.iter().map(Feature::cells).collect();
        let header = [
            "name",
            "first record",
            "type",
            "width",
            "not 0",
            "never set",
        ];
        write_table(out, header, &rows)?;
        writeln!(out, "\nlabels")?;
        let rows: Vec<_> = self.labels.iter().map(Label::cells).collect();
        write_table(out, ["name", "used", "1 in %"], &rows)?;
        writeln!(out)
    }
}

impl Files {
    fn describe(&self) -> String {
        let plural = if self.count == 1 { "file" } else { "files" };
        format!(
            "{} {plural}, {}",
            grouped(self.count as u64),
            bytes(self.bytes)
        )
    }
}
