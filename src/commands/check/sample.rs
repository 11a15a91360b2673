//! The data as it is found: files, one decoded record, and the first rows in numbers.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use serde::Serialize;

use super::table::{bytes, grouped, write_table};
use crate::batch::{HostBatch, HostTensor, HostValues};
use crate::config::{PositiveInt, RecapConfig, RecapDataConfig};
use crate::data::{self, DataError, LoadedBatch, Loader, LoaderOptions, Mode};

/// Enough for rates that say something, few enough to be read in seconds.
const SAMPLE_ROWS: usize = 4096;
/// Values of a feature that are shown of the first record.
const SHOWN: usize = 4;

/// What is known of the data.
#[derive(Debug, Serialize)]
pub(super) struct DataReport {
    pub(super) train: Files,
    /// By partition; what is wrong where files cannot be listed.
    pub(super) validation: Vec<(String, Result<Files, String>)>,
    /// File and number of the record that is shown, from 0.
    pub(super) first_record: Option<(String, u64)>,
    /// Rows looked at, as the model would see them, in the order of the sorted files.
    pub(super) rows: usize,
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

/// One feature over the sample.
#[derive(Debug, Serialize)]
pub(super) struct Feature {
    pub(super) name: String,
    pub(super) kind: &'static str,
    /// Columns; the longest row of a feature of variable length.
    pub(super) width: usize,
    /// The values of the first record, in words.
    pub(super) first_record: String,
    pub(super) values: u64,
    /// Values other than 0 (or empty), the default of a record that lacks the feature.
    pub(super) set: u64,
    pub(super) non_finite: u64,
    /// By column, whether it was ever set; empty for strings and variable lengths.
    #[serde(skip)]
    pub(super) columns: Vec<bool>,
}

/// One label over the sample.
#[derive(Debug, Serialize)]
pub(super) struct Label {
    pub(super) name: String,
    /// Whether the model has a task of this name.
    pub(super) is_used: bool,
    /// Share of rows whose label is 1.
    pub(super) positive_rate: f64,
    #[serde(skip)]
    pub(super) values: Vec<f32>,
}

/// Lists the files and reads a sample.
///
/// # Errors
/// When there are no files, or a record of the sample cannot be used.
pub(super) fn look(config: &RecapConfig) -> anyhow::Result<DataReport> {
    let train = Files::of(&config.train_data).context("train_data")?;
    let validation = config.validation_data.iter().map(|(name, data)| {
        let files = Files::of(data).map_err(|error| error.to_string());
        (name.clone(), files)
    });
    let mut report = DataReport {
        train,
        validation: validation.collect(),
        first_record: None,
        rows: 0,
        features: Vec::new(),
        labels: Vec::new(),
    };
    report.read(config, config.train_data.global_batch_size)?;
    if report.rows == 0 {
        // Less data than a batch: look at what there is, row by row.
        report.read(
            config,
            PositiveInt::new(1).unwrap_or(config.train_data.global_batch_size),
        )?;
    }
    Ok(report)
}

impl Files {
    fn of(config: &RecapDataConfig) -> Result<Self, DataError> {
        let files = data::list_files(config)?;
        let size = |file: &Arc<Path>| std::fs::metadata(file).map_or(0, |data| data.len());
        Ok(Self {
            count: files.len(),
            bytes: files.iter().map(size).sum(),
        })
    }
}

impl DataReport {
    fn read(&mut self, config: &RecapConfig, batch_size: PositiveInt) -> anyhow::Result<()> {
        let data = RecapDataConfig {
            global_batch_size: batch_size,
            ..config.train_data.clone()
        };
        let options = LoaderOptions {
            seed: config.training.seed.cast_unsigned(),
            rank: 0,
            world_size: 1,
            mode: Mode::Train,
            threads: None,
            in_order: true,
            repeat: false,
        };
        let mut loader = Loader::open(&data, options, None).context("train_data")?;
        while self.rows < SAMPLE_ROWS
            && let Some(loaded) = loader.next_batch().context("train_data")?
        {
            self.add(&loaded, config);
        }
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
            self.first_record =
                first.map(|record| (record.file.display().to_string(), record.record));
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

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "data     train_data: {}", self.train.describe())?;
        for (name, files) in &self.validation {
            let files = files.as_ref().map_or_else(Clone::clone, Files::describe);
            writeln!(out, "         validation_data.{name}: {files}")?;
        }
        if let Some((file, record)) = &self.first_record {
            writeln!(
                out,
                "\nfeatures (record {record} of {file}; shares of {} rows)",
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
            "columns never set",
        ];
        write_table(out, header, &rows)?;
        writeln!(out, "\nlabels")?;
        let rows: Vec<_> = self.labels.iter().map(Label::cells).collect();
        write_table(out, ["name", "used", "positive"], &rows)?;
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

impl Feature {
    /// The feature with the values of the first row, nothing counted yet.
    fn of_first((name, tensor): &(Arc<str>, HostTensor)) -> Self {
        let width = tensor.shape[1..].iter().product();
        let (kind, is_fixed) = match &tensor.values {
            HostValues::F32(_) => ("f32", true),
            HostValues::I64(_) => ("i64", true),
            HostValues::Bool(_) => ("bool", true),
            HostValues::U8(_) => ("u8", true),
            HostValues::Bytes(_) => ("bytes", false),
            HostValues::Ragged { .. } => ("any length", false),
        };
        Self {
            name: name.to_string(),
            kind,
            width,
            first_record: first_row(tensor, width),
            values: 0,
            set: 0,
            non_finite: 0,
            columns: vec![false; if is_fixed { width } else { 0 }],
        }
    }

    fn add(&mut self, tensor: &HostTensor) {
        self.width = self.width.max(tensor.shape[1..].iter().product());
        match &tensor.values {
            HostValues::Bytes(values) => {
                self.values += values.len() as u64;
                self.set += values.iter().filter(|value| !value.is_empty()).count() as u64;
            }
            values => self.add_numbers(&numbers(values)),
        }
    }

    fn add_numbers(&mut self, values: &[f32]) {
        let width = self.columns.len();
        for (i, value) in values.iter().enumerate() {
            self.values += 1;
            self.non_finite += u64::from(!value.is_finite());
            if value.abs() > 0.0 || value.is_nan() {
                self.set += 1;
                if width > 0 {
                    self.columns[i % width] = true;
                }
            }
        }
    }

    /// Columns that were 0 in every row.
    pub(super) fn never_set(&self) -> usize {
        self.columns.iter().filter(|set| !**set).count()
    }

    fn cells(&self) -> [String; 6] {
        let share = self.set as f64 / self.values.max(1) as f64;
        [
            self.name.clone(),
            self.first_record.clone(),
            self.kind.to_owned(),
            self.width.to_string(),
            format!("{:.1} %", 100.0 * share),
            self.never_set().to_string(),
        ]
    }
}

impl Label {
    fn new(name: &str, config: &RecapConfig) -> Self {
        Self {
            name: name.to_owned(),
            is_used: config.model.tasks.contains_key(name),
            positive_rate: 0.0,
            values: Vec::new(),
        }
    }

    fn cells(&self) -> [String; 3] {
        let used = if self.is_used { "yes" } else { "no" };
        [
            self.name.clone(),
            used.to_owned(),
            format!("{:.3} %", 100.0 * self.positive_rate),
        ]
    }
}

/// The values as numbers; none for strings. Integers beyond 2^24 are rounded, which no statistic here minds.
fn numbers(values: &HostValues) -> Vec<f32> {
    match values {
        HostValues::F32(values) => values.clone(),
        HostValues::I64(values) => values.iter().map(|value| *value as f32).collect(),
        HostValues::Bool(values) => values.iter().map(|value| f32::from(*value)).collect(),
        HostValues::U8(values) => values.iter().map(|value| f32::from(*value)).collect(),
        HostValues::Bytes(_) => Vec::new(),
        HostValues::Ragged { values, .. } => numbers(values),
    }
}

/// The first values of the first row.
fn first_row(tensor: &HostTensor, width: usize) -> String {
    fn list<T: ToString>(values: &[T], width: usize) -> String {
        let shown: Vec<String> = values
            .iter()
            .take(width.min(SHOWN))
            .map(T::to_string)
            .collect();
        let more = if width > SHOWN { ", …" } else { "" };
        format!("[{}{more}]", shown.join(", "))
    }
    match &tensor.values {
        HostValues::F32(values) => list(values, width),
        HostValues::I64(values) => list(values, width),
        HostValues::Bool(values) => list(values, width),
        HostValues::U8(values) => list(values, width),
        HostValues::Bytes(values) => format!("{} strings", values.len().min(width)),
        HostValues::Ragged { ends, .. } => {
            format!("{} values", ends.first().copied().unwrap_or(0))
        }
    }
}
