//! Writes what a checkpoint predicts of each row, in the order of the input, with memory for a few batches.

use std::time::Instant;

use anyhow::Context;
use tch::{Device, Kind, Tensor};
use tracing::{info, warn};

use super::{chosen, outputs};
use crate::batch::{HostBatch, HostTensor, HostValues};
use crate::cli::PredictArgs;
use crate::config::{RecapConfig, RecapDataConfig};
use crate::data::{self, Loader, LoaderOptions, Mode};
use crate::logging::bar::Bar;
use crate::model::{self, Ranker};
use crate::output::{Column, TableWriter, Values};
use crate::printable;
use crate::torch::batch::Batch;
use crate::train::restore::load_weights;
use crate::train::setup::{Place, build_device, build_ranker};

/// Features that identify a row begin so.
const META: &str = "meta__";

/// Predicts as `args` say.
///
/// # Errors
/// When checkpoint or records cannot be read, or the predictions cannot be written.
pub(super) fn run(config: &RecapConfig, args: &PredictArgs) -> anyhow::Result<()> {
    outputs::refuse_saved(&args.output)?;
    let mut table = TableWriter::create(&args.output)?;
    let device = build_device(Place::ALONE)?;
    let folder = chosen::checkpoint(config, args.checkpoint.as_deref())?;
    let data = data_of(config, args);
    let mode = if args.labels {
        Mode::Evaluate
    } else {
        Mode::Predict
    };
    let mut loader = open(&data, mode)?;
    let ranker = build_ranker(config, device)?;
    load_weights(&ranker, &folder)
        .with_context(|| format!("cannot predict with {}", folder.display()))?;
    let predictor = Predictor {
        config,
        ranker,
        device,
    };
    let begin = Instant::now();
    let (mut bar, mut done) = (Bar::begin("predicting", 0, None), 0);
    while let Some(next) = loader.next_batch()? {
        table.write(predictor.columns(&next.batch)?)?;
        done += next.batch.rows as u64;
        bar.set(done, |rows_per_s| format!("rows  {rows_per_s:.0} rows/s"));
    }
    drop(bar);
    if done == 0 {
        warn!("there is no record in the files: the predictions have no row");
        table.write(predictor.columns(&data::empty_batch(&data, mode)?)?)?;
    }
    let rows = table.finish()?;
    let seconds = begin.elapsed().as_secs_f64();
    let examples_per_s = rows as f64 / seconds;
    info!(rows, seconds, examples_per_s, checkpoint = %folder.display(), "predicted");
    let output = args.output.display();
    let said = printable::stdout().line(format_args!("{rows} rows in {output}"));
    said.context("cannot write to stdout")
}

/// The training data, or the files that are named instead; every row of them.
fn data_of(config: &RecapConfig, args: &PredictArgs) -> RecapDataConfig {
    let mut data = config.train_data.clone();
    if let Some(inputs) = &args.inputs {
        data = RecapDataConfig {
            inputs: Some(inputs.clone()),
            explicit_datetime_inputs: None,
            explicit_date_inputs: None,
            num_files_to_keep: None,
            ..data
        };
    }
    if let Some(preprocess) = &mut data.preprocess {
        // Every row gets its prediction.
        preprocess.downsample_negatives = None;
        let is_empty = *preprocess == nothing();
        data.preprocess = data.preprocess.filter(|_| !is_empty);
    }
    data
}

/// Every record in the order of files and records.
fn open(data: &RecapDataConfig, mode: Mode) -> anyhow::Result<Loader> {
    let options = LoaderOptions {
        seed: 0,
        rank: 0,
        world_size: 1,
        local_world_size: 1,
        any_labels: false,
        mode,
        threads: None,
        in_order: true,
        repeat: false,
        drop_remainder: false,
    };
    Loader::open(data, options, None).context("cannot open the records to predict")
}

fn nothing() -> crate::config::Preprocess {
    crate::config::Preprocess {
        truncate_and_slice: None,
        downcast: None,
        rectify_labels: None,
        extract_features: None,
        downsample_negatives: None,
    }
}

struct Predictor<'a> {
    config: &'a RecapConfig,
    ranker: Ranker,
    device: Device,
}

impl Predictor<'_> {
    /// The columns of one batch: ids, labels and weights where there are any, predictions, score.
    fn columns(&self, host: &HostBatch) -> anyhow::Result<Vec<Column>> {
        let mut columns = Vec::new();
        for (name, tensor) in &host.features {
            if name.starts_with(META) {
                columns.push(id_column(name, tensor)?);
            }
        }
        self.add_labels(host, &mut columns);
        let [logits, probabilities, calibrated] = self.predictions(host)?;
        let score = self.score(&probabilities, host.rows);
        let kinds = logits.into_iter().zip(probabilities).zip(calibrated);
        for (task, ((logits, probabilities), calibrated)) in self.ranker.tasks().iter().zip(kinds) {
            columns.push(floats(format!("{task}/logit"), logits));
            columns.push(floats(format!("{task}/probability"), probabilities));
            columns.push(floats(format!("{task}/calibrated_probability"), calibrated));
        }
        columns.extend(score.map(|score| floats("score".to_owned(), score)));
        Ok(columns)
    }

    /// Logits, probabilities and calibrated probabilities, each by task.
    fn predictions(&self, host: &HostBatch) -> anyhow::Result<[Vec<Vec<f32>>; 3]> {
        if host.rows == 0 {
            // Not every operation takes an empty batch.
            let none = vec![Vec::new(); self.ranker.tasks().len()];
            return Ok([none.clone(), none.clone(), none]);
        }
        let batch = Batch::from_host(host, self.device)?;
        let outputs = self.ranker.forward(&batch, model::Mode::Evaluate)?;
        Ok([
            by_task(&outputs.logits)?,
            by_task(&outputs.probabilities()?)?,
            by_task(&outputs.calibrated_probabilities()?)?,
        ])
    }

    /// Labels, and weights where rows have one per task, of the data's tasks.
    fn add_labels(&self, host: &HostBatch, columns: &mut Vec<Column>) {
        let tasks = &self.config.train_data.tasks;
        let parts = [("label", &host.labels), ("weight", &host.weights)];
        for (part, tensor) in parts {
            let Some(tensor) = tensor else {
                continue;
            };
            if tensor.shape.get(1) != Some(&tasks.len()) {
                continue;
            }
            for (place, task) in tasks.keys().enumerate() {
                let values = column_of(&tensor.values, place, tasks.len());
                let name = format!("{task}/{part}");
                columns.extend(values.map(|values| Column { name, values }));
            }
        }
    }

    /// Σ weight · probability over the tasks with a weight in `model.score_weights`; none without that key.
    fn score(&self, probabilities: &[Vec<f32>], rows: usize) -> Option<Vec<f32>> {
        let weights = self.config.model.score_weights.as_ref()?;
        let mut scores = vec![0.0; rows];
        for (task, column) in self.ranker.tasks().iter().zip(probabilities) {
            let weight = weights.get(task).copied().unwrap_or(0.0);
            for (score, &probability) in scores.iter_mut().zip(column) {
                *score += weight * f64::from(probability);
            }
        }
        #[allow(clippy::cast_possible_truncation, reason = "as exact as its terms")]
        let rounded = scores.into_iter().map(|score| score as f32);
        Some(rounded.collect())
    }
}

fn floats(name: String, values: Vec<f32>) -> Column {
    Column {
        name,
        values: Values::F32(values),
    }
}

/// `[B, T]` on any device to one column per task.
fn by_task(tensor: &Tensor) -> anyhow::Result<Vec<Vec<f32>>> {
    let columns = tensor.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?;
    let columns = columns.f_transpose(0, 1)?.f_contiguous()?;
    let columns = columns.f_unbind(0)?;
    let column = |column: &Tensor| Ok(Vec::try_from(column)?);
    columns.iter().map(column).collect()
}

/// Column `place` of row-major numbers; `None` for what is no number.
fn column_of(values: &HostValues, place: usize, width: usize) -> Option<Values> {
    match values {
        HostValues::F32(values) => {
            let column = values.iter().skip(place).step_by(width);
            Some(Values::F32(column.copied().collect()))
        }
        HostValues::I64(values) => {
            let column = values.iter().skip(place).step_by(width);
            Some(Values::I64(column.copied().collect()))
        }
        _ => None,
    }
}

/// A feature with one value per row as a column.
fn id_column(name: &str, tensor: &HostTensor) -> anyhow::Result<Column> {
    let width: usize = tensor.shape.iter().skip(1).product();
    let values = match &tensor.values {
        HostValues::I64(values) => Values::I64(values.clone()),
        HostValues::F32(values) => Values::F32(values.clone()),
        HostValues::Bytes(values) => Values::Bytes(values.clone()),
        _ => anyhow::bail!(
            "feature `{name}` cannot be written: expected one number or string per row"
        ),
    };
    let has_rows = tensor.shape.first().is_some_and(|&rows| rows > 0);
    anyhow::ensure!(
        width == 1 || !has_rows,
        "feature `{name}` cannot be written: expected one value per row, found {width}"
    );
    let name = name.to_owned();
    Ok(Column { name, values })
}
