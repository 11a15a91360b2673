//! Evaluates a model on one partition of `validation_data`; the model and the training state stay as they are.

use anyhow::Context;
use tch::{Device, Kind, Tensor};
use tracing::warn;

use super::evaluation::Evaluation;
use super::groups;
use super::pipeline::source_of;
use super::setup::{Place, build_loss};
use crate::batch::{HostBatch, HostTensor, HostValues};
use crate::config::{RecapConfig, RecapDataConfig, StratifierConfig};
use crate::data::{self, DataError, LoadedBatch, Loader, LoaderOptions, Mode, Next, RecordId};
use crate::interrupt::{Interrupt, LOOK};
use crate::logging::bar::Bar;
use crate::loss::MultiTaskLoss;
use crate::metrics::{MetricError, MetricName, MetricSet, Scores, SetBatch, Stratum, TaskMetrics};
use crate::model::{self, Ranker};
use crate::torch::batch::Batch;

/// The feature whose value groups the rows of a user together, for GAUC.
const GROUP_FEATURE: &str = "meta__user_id";

/// Why a partition cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The partition has labels for none of the model's tasks.
    #[error(
        "validation_data.{partition}: none of its tasks ({}) is a task of the model ({})",
        data_tasks.join(", "), model_tasks.join(", ")
    )]
    NoTask {
        /// The partition.
        partition: String,
        /// Its labels.
        data_tasks: Vec<String>,
        /// The model's tasks.
        model_tasks: Vec<String>,
    },
    /// The partition has other features than the model was built for.
    #[error(
        "validation_data.{partition}: feature `{feature}` has {found} columns there, and {expected} in train_data, \
         which the model is built for"
    )]
    Width {
        /// The partition.
        partition: String,
        /// The feature.
        feature: &'static str,
        /// In the training data.
        expected: usize,
        /// In the partition.
        found: usize,
    },
    /// There is no such partition.
    #[error(
        "validation_data has no partition `{partition}`: {}",
        known(partitions)
    )]
    NoPartition {
        /// As asked for.
        partition: String,
        /// Those there are.
        partitions: Vec<String>,
    },
    /// A column of a batch cannot be read as numbers per task.
    #[error("the {column} of validation_data.{partition} are not one number per row and task")]
    Column {
        /// The partition.
        partition: String,
        /// `labels` or `weights`.
        column: &'static str,
    },
    /// The model gives no number for a row, so that no metric would be one.
    #[error(
        "validation_data.{partition}: the prediction for {records} is not a finite number, {}",
        match input {
            Some(input) => format!(
                "nor is its {input}: correct the record, leave it out, or set ignore_data_errors to have such rows counted"
            ),
            None => "though its features are: the weights are no good".to_owned(),
        }
    )]
    NotFinite {
        /// The partition.
        partition: String,
        /// File and record.
        records: String,
        /// The feature of the row that is not finite either.
        input: Option<&'static str>,
    },
}

fn known(partitions: &[String]) -> String {
    match partitions {
        [] => "it is empty, name some data to evaluate on".to_owned(),
        some => format!("choose from {}", some.join(", ")),
    }
}

/// How one partition is evaluated.
#[derive(Debug)]
pub struct Evaluator {
    partition: String,
    data: RecapDataConfig,
    seed: u64,
    /// Batches to look at; `None`: all.
    num_batches: Option<u64>,
    device: Device,
    tasks: Vec<EvaluatedTask>,
    stratifiers: Vec<StratifierConfig>,
    /// `None` where the partition lacks the label of a model task.
    loss: Option<MultiTaskLoss>,
    /// Without rows yet.
    metrics: MetricSet,
}

/// A batch and what a model makes of it.
struct Scored {
    batch: HostBatch,
    device: Batch,
    /// `[B, T]`, f32.
    logits: Tensor,
}

impl Scored {
    fn by(ranker: &Ranker, batch: HostBatch, device: Device) -> anyhow::Result<Self> {
        let device = Batch::from_host(&batch, device)?;
        let outputs = ranker.forward(&device, model::Mode::Evaluate)?;
        let logits = outputs.logits.f_to_kind(Kind::Float)?;
        Ok(Self {
            batch,
            device,
            logits,
        })
    }
}

/// Where a task is among the logits and among the labels.
#[derive(Debug)]
struct EvaluatedTask {
    logit: usize,
    label: usize,
}

impl Evaluator {
    /// Prepares to evaluate on the partition called `partition`.
    ///
    /// # Errors
    /// When there is no such partition, a metric or task is unknown, or the partition and the model have no task in
    /// common.
    pub fn build(config: &RecapConfig, partition: &str, device: Device) -> anyhow::Result<Self> {
        let data = config.validation_data.get(partition);
        let data = data.ok_or_else(|| EvaluateError::NoPartition {
            partition: partition.to_owned(),
            partitions: config.validation_data.keys().cloned().collect(),
        })?;
        let names = common_tasks(config, data, partition)?;
        check_widths(config, data, partition)?;
        let stratifiers = config.model.stratifiers.clone().unwrap_or_default();
        let strata: Vec<Stratum> = stratifiers.iter().map(stratum).collect();
        let has_groups = reads(data, GROUP_FEATURE);
        let which = config.which_metrics.as_deref();
        let which = which.or(has_groups.then_some("all"));
        let metrics = MetricSet::build(&names, None, which, &strata)
            .with_context(|| format!("cannot evaluate on validation_data.{partition}"))?;
        let needs_groups = |(_, task): (_, &TaskMetrics)| task.names().contains(&MetricName::Gauc);
        if !has_groups && metrics.tasks().any(needs_groups) {
            let context = format!("validation_data.{partition} reads no {GROUP_FEATURE}");
            return Err(anyhow::Error::new(MetricError::MissingGroups).context(context));
        }
        let find = |task: &String| {
            Some(EvaluatedTask {
                logit: config.model.tasks.get_index_of(task)?,
                label: data.tasks.get_index_of(task)?,
            })
        };
        Ok(Self {
            partition: partition.to_owned(),
            data: data.clone(),
            seed: config.training.seed.cast_unsigned(),
            num_batches: u64::try_from(config.training.num_eval_steps).ok(),
            device,
            tasks: names.iter().filter_map(find).collect(),
            stratifiers,
            loss: build_loss(&config.model.spec()?, data, device).ok(),
            metrics,
        })
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> &str {
        &self.partition
    }

    /// What an evaluation without rows finds: the names of all results.
    #[must_use]
    pub fn empty(&self) -> Evaluation {
        Evaluation {
            partition: self.partition.clone(),
            batches: 0,
            examples: 0,
            loss_sum: 0.0,
            metrics: self.metrics.clone(),
        }
    }

    /// Evaluates `ranker` on the same batches every time, in f32, or on the share of `place` in them; `None` when
    /// `interrupt` cut it short.
    ///
    /// Nothing of the model changes: no gradients, BatchNorm keeps its statistics, no random number is drawn.
    ///
    /// # Errors
    /// When the data cannot be read or does not fit the model.
    pub fn run(
        &self,
        ranker: &Ranker,
        place: Place,
        interrupt: Option<&Interrupt>,
    ) -> anyhow::Result<Option<Evaluation>> {
        let Some(mut loader) = self.open(self.options(place), interrupt)? else {
            return Ok(None);
        };
        let mut evaluation = self.empty();
        let mut left_out = 0;
        let mut bar = Bar::begin("evaluating", 0, self.num_batches);
        while self.num_batches.is_none_or(|num| evaluation.batches < num) {
            let next = next_unless(&mut loader, interrupt);
            let next = next.with_context(|| format!("validation_data.{}", self.partition))?;
            let LoadedBatch { batch, records, .. } = match next {
                Next::Batch(batch) => batch,
                Next::End => break,
                Next::NotYet => return Ok(None),
            };
            let scored = self.score(ranker, batch, &records)?;
            left_out += (records.len() - scored.batch.rows) as u64;
            let batch = &scored.batch;
            if batch.rows > 0 {
                let loss = self.update(ranker, &scored, &mut evaluation.metrics)?;
                evaluation.loss_sum += loss * batch.rows as f64;
            }
            evaluation.batches += 1;
            evaluation.examples += batch.rows as u64;
            bar.set(evaluation.batches, |batches_per_s| {
                format!(
                    "batches  {:.0} examples/s",
                    batches_per_s * batch.rows as f64
                )
            });
        }
        if left_out > 0 {
            warn!(
                partition = self.partition,
                rows = left_out,
                "left out rows whose features are not finite numbers"
            );
        }
        Ok(Some(evaluation))
    }

    /// What the model makes of a batch. A row for which that is no number ends the evaluation, or is left out where
    /// `ignore_data_errors` asks for it.
    fn score(
        &self,
        ranker: &Ranker,
        host: HostBatch,
        records: &[RecordId],
    ) -> anyhow::Result<Scored> {
        let scored = Scored::by(ranker, host, self.device)?;
        let rows = scored.logits.f_isfinite()?.f_all_dim(1, false)?;
        let is_good = Vec::<bool>::try_from(rows)?;
        let Some(row) = is_good.iter().position(|good| !good) else {
            return Ok(scored);
        };
        let input = scored.device.first_non_finite(i64::try_from(row).ok());
        if input.is_some() && self.data.ignore_data_errors {
            return Scored::by(ranker, scored.batch.only(&is_good), self.device);
        }
        Err(EvaluateError::NotFinite {
            partition: self.partition.clone(),
            records: source_of(records.get(row..=row).unwrap_or_default()),
            input: input.map(|(name, _)| name),
        }
        .into())
    }

    /// Finds whatever [`Self::run`] would refuse of the data before it reads it.
    ///
    /// # Errors
    /// When schema or files are missing or wrong, or batches do not fit into memory.
    pub fn check(&self, place: Place) -> anyhow::Result<()> {
        Loader::check(&self.data, &self.options(place))
            .with_context(|| format!("validation_data.{}", self.partition))
    }

    fn options(&self, place: Place) -> LoaderOptions {
        LoaderOptions {
            seed: self.seed,
            rank: place.rank,
            world_size: place.world_size,
            local_world_size: place.local_world_size,
            any_labels: false,
            mode: Mode::Evaluate,
            threads: None,
            in_order: false,
            repeat: false,
            drop_remainder: false,
        }
    }

    /// Opens the data, which may hang in a read; `None` when `interrupt` was requested first.
    fn open(
        &self,
        options: LoaderOptions,
        interrupt: Option<&Interrupt>,
    ) -> anyhow::Result<Option<Loader>> {
        let data = self.data.clone();
        let open = move || Loader::open(&data, options, None);
        let opened = match interrupt {
            Some(interrupt) => interrupt.unless("data-open", open)?,
            None => Some(open()),
        };
        let opened = opened.transpose();
        opened.with_context(|| format!("validation_data.{}", self.partition))
    }

    /// Takes in one batch; returns its loss, NaN where there is none.
    fn update(
        &self,
        ranker: &Ranker,
        scored: &Scored,
        metrics: &mut MetricSet,
    ) -> anyhow::Result<f64> {
        let Scored {
            batch: host,
            device,
            logits,
        } = scored;
        let loss = match (&self.loss, &device.labels) {
            (Some(loss), Some(labels)) => {
                let losses = loss.forward(logits, labels, device.weights.as_ref())?;
                losses.total.f_double_value(&[])?
            }
            _ => f64::NAN,
        };
        let width = ranker.tasks().len();
        let places: Vec<usize> = self.tasks.iter().map(|task| task.logit).collect();
        let scores = pick(&floats(logits)?, width, &places);
        let labels = self.columns("labels", host.labels.as_ref())?;
        let labels = labels.context("the batch has no labels")?;
        let weights = self.columns("weights", host.weights.as_ref())?;
        let strata = self.strata(host);
        let columns: Vec<(&str, &[i64])> = strata
            .iter()
            .map(|(name, values)| (*name, values.as_slice()))
            .collect();
        let groups = groups::of(host.feature(GROUP_FEATURE), host.rows);
        metrics.update(&SetBatch {
            scores: Scores::Logits(&scores),
            labels: &labels,
            weights: weights.as_deref(),
            groups: groups.as_deref(),
            columns: &columns,
        })?;
        Ok(loss)
    }

    /// The columns of the evaluated tasks, row-major.
    fn columns(
        &self,
        column: &'static str,
        tensor: Option<&HostTensor>,
    ) -> Result<Option<Vec<f32>>, EvaluateError> {
        let Some(tensor) = tensor else {
            return Ok(None);
        };
        let wrong = || EvaluateError::Column {
            partition: self.partition.clone(),
            column,
        };
        let width = tensor.shape.get(1).copied().unwrap_or(1);
        if self.tasks.iter().any(|task| task.label >= width) {
            return Err(wrong());
        }
        let places: Vec<usize> = self.tasks.iter().map(|task| task.label).collect();
        #[allow(clippy::cast_precision_loss, reason = "labels are small whole numbers")]
        match &tensor.values {
            HostValues::F32(values) => Ok(Some(pick(values, width, &places))),
            HostValues::I64(values) => {
                let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
                Ok(Some(pick(&values, width, &places)))
            }
            _ => Err(wrong()),
        }
    }

    /// The columns that strata look at, as far as the batch has them.
    fn strata(&self, host: &HostBatch) -> Vec<(&str, Vec<i64>)> {
        let Some(HostTensor { shape, values }) = host.feature("discrete") else {
            return Vec::new();
        };
        let width = shape.get(1).copied().unwrap_or(1);
        let HostValues::I64(values) = values else {
            return Vec::new();
        };
        let column = |stratifier: &StratifierConfig| {
            let column = usize::try_from(stratifier.index).ok()?;
            (column < width).then(|| values.iter().skip(column).step_by(width).copied().collect())
        };
        self.stratifiers
            .iter()
            .filter_map(|stratifier| Some((stratifier.name.as_str(), column(stratifier)?)))
            .collect()
    }
}

/// What comes next; [`Next::NotYet`] when `interrupt` was requested first.
fn next_unless(loader: &mut Loader, interrupt: Option<&Interrupt>) -> Result<Next, DataError> {
    loop {
        if interrupt.is_some_and(Interrupt::is_requested) {
            return Ok(Next::NotYet);
        }
        match loader.next_within(LOOK)? {
            Next::NotYet => {}
            next => return Ok(next),
        }
    }
}

/// The tasks to evaluate: those of `evaluation_tasks`, else all that model and partition have in common.
fn common_tasks(
    config: &RecapConfig,
    data: &RecapDataConfig,
    partition: &str,
) -> anyhow::Result<Vec<String>> {
    let model = &config.model.tasks;
    let is_common = |task: &&String| data.tasks.contains_key(*task);
    let common: Vec<String> = model.keys().filter(is_common).cloned().collect();
    let is_unknown = |task: &&String| !common.contains(task);
    if let Some(unknown) = data.evaluation_tasks.iter().find(is_unknown) {
        let name = unknown.clone();
        let unknown = MetricError::UnknownTask {
            name,
            known: common,
        };
        let context = format!("validation_data.{partition}.evaluation_tasks");
        return Err(anyhow::Error::new(unknown).context(context));
    }
    match (common.is_empty(), data.evaluation_tasks.is_empty()) {
        (true, _) => Err(EvaluateError::NoTask {
            partition: partition.to_owned(),
            data_tasks: data.tasks.keys().cloned().collect(),
            model_tasks: model.keys().cloned().collect(),
        }
        .into()),
        (false, true) => Ok(common),
        (false, false) => Ok(data.evaluation_tasks.clone()),
    }
}

/// Whether the partition has the features that the model was built for.
fn check_widths(
    config: &RecapConfig,
    data: &RecapDataConfig,
    partition: &str,
) -> anyhow::Result<()> {
    let trained = data::feature_widths(&config.train_data).context("train_data")?;
    let own = data::feature_widths(data);
    let own = own.with_context(|| format!("validation_data.{partition}"))?;
    let model = &config.model;
    let reads_discrete = model.small_embeddings.is_some()
        || model.position_debias_config.is_some()
        || model.stratifiers.is_some();
    // What the model was built without it does not look at.
    let of = |trained: Option<usize>, own: Option<usize>| {
        trained.map(|trained| (trained, own.unwrap_or(0)))
    };
    let pairs = [
        ("continuous", Some((trained.continuous, own.continuous))),
        ("binary", Some((trained.binary, own.binary))),
        (
            "discrete",
            reads_discrete.then_some((trained.discrete, own.discrete)),
        ),
        (
            "user_embedding",
            of(trained.user_embedding, own.user_embedding),
        ),
        (
            "user_eng_embedding",
            of(trained.user_eng_embedding, own.user_eng_embedding),
        ),
        (
            "author_embedding",
            of(trained.author_embedding, own.author_embedding),
        ),
    ];
    for (feature, pair) in pairs {
        if let Some((expected, found)) = pair.filter(|(expected, found)| expected != found) {
            return Err(EvaluateError::Width {
                partition: partition.to_owned(),
                feature,
                expected,
                found,
            }
            .into());
        }
    }
    Ok(())
}

fn stratum(stratifier: &StratifierConfig) -> Stratum {
    Stratum {
        column: stratifier.name.clone(),
        value: stratifier.value,
    }
}

/// Whether the batches of `data` hold the feature `name`.
fn reads(data: &RecapDataConfig, name: &str) -> bool {
    let schema = &data.seg_dense_schema;
    schema.features.iter().any(|feature| feature == name)
        || schema.renamed_features.contains_key(name)
}

/// `[B, T]` on any device to row-major numbers.
pub(super) fn floats(tensor: &Tensor) -> anyhow::Result<Vec<f32>> {
    let host = tensor.f_detach()?.f_to_device(Device::Cpu)?;
    Ok(Vec::try_from(host.f_contiguous()?.f_view(-1)?)?)
}

/// The chosen columns of row-major values with `width` columns, row-major.
fn pick(values: &[f32], width: usize, columns: &[usize]) -> Vec<f32> {
    let rows = values.chunks_exact(width.max(1));
    rows.flat_map(|row| columns.iter().map(|&column| row[column]))
        .collect()
}
