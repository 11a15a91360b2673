//! What a config makes of records: the layout to read them into, and the finished batch.

use std::sync::Arc;

use super::columns::{Column, Spec};
use super::error::DataError;
use super::example::Layout;
use super::payload::{Payload, Source};
use super::preprocess::{self, Rows};
use super::schema::{Dtype, Length, Schema};
use super::survey::Survey;
use super::targets::Targets;
use crate::batch::{FeatureWidths, HostBatch, HostTensor, HostValues};
use crate::config::{Preprocess, RecapDataConfig};

/// What the batches are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Labels, weights, preprocessing.
    Train,
    /// The same as [`Mode::Train`].
    Evaluate,
    /// Features only: no preprocessing, no labels, all weights zero.
    Inference,
    /// Every row with the features as the model is trained on: no labels, no weights, and of preprocessing only what
    /// shapes features.
    Predict,
}

/// Turns payloads into batches. Shared by all threads.
#[derive(Debug)]
pub(crate) struct Pipeline {
    config: RecapDataConfig,
    mode: Mode,
    layout: Layout,
    /// Rows of a whole batch of one rank.
    batch_rows: usize,
}

/// A finished batch, and which of the rows read each of its rows was.
pub(crate) type Finished = (HostBatch, Vec<usize>);

impl Pipeline {
    /// Reads schema and masks, and tries every step on an empty batch of one of `world_size` ranks.
    pub(crate) fn build(
        config: &RecapDataConfig,
        mode: Mode,
        world_size: usize,
    ) -> Result<Self, DataError> {
        let global = config.global_batch_size.to_usize();
        if !global.is_multiple_of(world_size) {
            let reason = format!("{global} is no multiple of the {world_size} ranks");
            return Err(DataError::setting("global_batch_size", reason));
        }
        if config.tasks.is_empty() {
            return Err(DataError::setting("tasks", "expected at least one task"));
        }
        let schema = Schema::of(config)?;
        let mut specs: Vec<Spec> = schema.used(config)?.into_iter().map(Spec::new).collect();
        check_labels(config, &specs)?;
        mask_mantissas(config, &mut specs)?;
        if matches!(mode, Mode::Inference | Mode::Predict) {
            specs.drain(..config.tasks.len());
        }
        if mode != Mode::Inference
            && let Some(section) = &config.preprocess
        {
            check_preprocess(section)?;
            if let Some(section) = &section.truncate_and_slice {
                preprocess::truncate_and_slice(section, &mut specs)?;
            }
        }
        let mut layout = Layout::new(specs);
        if matches!(mode, Mode::Train | Mode::Evaluate) {
            layout.targets = Targets::new(config, &layout.specs);
        }
        let pipeline = Self {
            config: config.clone(),
            mode,
            layout,
            batch_rows: global / world_size.max(1),
        };
        pipeline.finish(pipeline.layout.columns(0), 0)?;
        Ok(pipeline)
    }

    /// Lets labels and weights be what they are.
    pub(crate) fn take_any_labels(&mut self) {
        self.layout.targets = Targets::default();
    }

    /// Rows to read for one batch.
    pub(crate) fn rows_to_read(&self) -> usize {
        match self.mode {
            Mode::Inference | Mode::Predict => self.batch_rows,
            Mode::Train | Mode::Evaluate => preprocess::rows_to_read(&self.config, self.batch_rows),
        }
    }

    /// What is read of a record.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Makes one batch of `payloads`.
    pub(crate) fn batch(&self, payloads: Vec<Payload>) -> Result<Finished, DataError> {
        let count = payloads.len();
        let mut columns = self.layout.columns(count);
        for payload in payloads {
            match payload.source {
                Source::Row { block, row } => {
                    block.read(row, &self.layout.specs, &mut columns);
                }
                Source::Bad(error) => return Err(*error),
            }
        }
        self.finish(columns, count)
    }

    fn finish(&self, columns: Vec<Column>, count: usize) -> Result<Finished, DataError> {
        let columns = columns.into_iter().zip(&self.layout.specs);
        let columns = columns.map(|(column, spec)| column.into_tensor(spec, count));
        let mut rows = Rows::new(count, columns.collect());
        let mut labels = None;
        match self.mode {
            Mode::Inference => {
                rows.weights = Some(vec![0.0; count]);
                rows.weights_width = 1;
            }
            Mode::Predict => preprocess::shape_features(&self.config, &mut rows)?,
            Mode::Train | Mode::Evaluate => {
                preprocess::apply(&self.config, self.batch_rows, &mut rows)?;
                labels = Some(stack_labels(&self.config, &mut rows)?);
            }
        }
        let shape = vec![rows.count, rows.weights_width];
        let weights = rows.weights.map(|weights| HostTensor {
            shape,
            values: HostValues::F32(weights),
        });
        let batch = HostBatch {
            rows: rows.count,
            features: rows.columns,
            labels,
            weights,
        };
        Ok((batch, rows.origin))
    }
}

/// How wide the features of `config`'s batches are, after preprocessing. Reads schema and masks, no data.
///
/// # Errors
/// When the config cannot work with its schema ([`Fault::Config`](super::Fault::Config)).
pub fn feature_widths(config: &RecapDataConfig) -> Result<FeatureWidths, DataError> {
    let batch = empty_batch(config, Mode::Train)?;
    if batch.feature("continuous").is_none()
        && let Some(survey) = Survey::of(config)
    {
        return Err(match survey.in_a_list() {
            Some(reason) => DataError::setting("seg_dense_schema", reason),
            None => DataError::OneKeyPerColumn(Box::new(survey)),
        });
    }
    check_inputs(&batch)?;
    let width = |name: &str| {
        let sizes = batch.feature(name).map(|tensor| &tensor.shape[1..]);
        sizes.map(|sizes| sizes.iter().product::<usize>())
    };
    Ok(FeatureWidths {
        continuous: width("continuous").unwrap_or(0),
        binary: width("binary").unwrap_or(0),
        discrete: width("discrete").unwrap_or(0),
        user_embedding: width("user_embedding"),
        user_eng_embedding: width("user_eng_embedding"),
        author_embedding: width("author_embedding"),
    })
}

/// What a model cannot do without.
const REQUIRED: [&str; 2] = ["continuous", "binary"];
/// What it reads where it is there.
const OPTIONAL: [&str; 4] = [
    "discrete",
    "user_embedding",
    "user_eng_embedding",
    "author_embedding",
];

/// Whether a model can be built for batches like `batch`.
fn check_inputs(batch: &HostBatch) -> Result<(), DataError> {
    let wrong = |reason: String| Err(DataError::setting("seg_dense_schema", reason));
    for name in REQUIRED.into_iter().chain(OPTIONAL) {
        let Some(tensor) = batch.feature(name) else {
            if REQUIRED.contains(&name) {
                return wrong(format!(
                    "the model reads a feature `{name}`, and none is read from the records: add it to renamed_features \
                     or features"
                ));
            }
            continue;
        };
        let problem = match &tensor.values {
            HostValues::Bytes(_) => "holds strings, the model needs numbers",
            HostValues::Ragged { .. } => {
                "has rows of different lengths, the model needs a fixed width"
            }
            _ if tensor.shape.len() != 2 => "is a single column, the model needs a list",
            _ => continue,
        };
        return wrong(format!("feature `{name}` {problem}"));
    }
    Ok(())
}

/// The batch of no rows, with every feature that batches of `config` have. Reads schema and masks, no data.
///
/// # Errors
/// When the config cannot work with its schema ([`Fault::Config`](super::Fault::Config)).
pub fn empty_batch(config: &RecapDataConfig, mode: Mode) -> Result<HostBatch, DataError> {
    let pipeline = Pipeline::build(config, mode, 1)?;
    let (batch, _) = pipeline.finish(pipeline.layout.columns(0), 0)?;
    Ok(batch)
}

fn check_labels(config: &RecapDataConfig, specs: &[Spec]) -> Result<(), DataError> {
    for spec in &specs[..config.tasks.len()] {
        let feature = &spec.feature;
        if feature.length != Length::Fixed(1) || feature.dtype == Dtype::Bytes {
            let reason = format!(
                "the schema has it as {} of {:?} length, expected one number",
                feature.dtype.name(),
                feature.length
            );
            return Err(DataError::setting(format!("tasks.{}", feature.key), reason));
        }
        if feature.dtype != specs[0].feature.dtype {
            let reason = format!(
                "a {}, while `{}` is a {}: labels must be of one type",
                feature.dtype.name(),
                specs[0].feature.key,
                specs[0].feature.dtype.name()
            );
            return Err(DataError::setting(format!("tasks.{}", feature.key), reason));
        }
    }
    Ok(())
}

fn check_preprocess(section: &Preprocess) -> Result<(), DataError> {
    let is_empty = section.truncate_and_slice.is_none()
        && section.downcast.is_none()
        && section.rectify_labels.is_none()
        && section.extract_features.is_none()
        && section.downsample_negatives.is_none();
    if is_empty {
        return Err(DataError::setting(
            "preprocess",
            "expected at least one preprocessor",
        ));
    }
    Ok(())
}

fn mask_mantissas(config: &RecapDataConfig, specs: &mut [Spec]) -> Result<(), DataError> {
    for (name, &bits) in &config.seg_dense_schema.mask_mantissa_features {
        let key = format!("seg_dense_schema.mask_mantissa_features.{name}");
        let spec = specs.iter_mut().find(|spec| *spec.feature.name == **name);
        let spec =
            spec.ok_or_else(|| DataError::setting(&key, "no feature of that name is read"))?;
        let bits = u32::try_from(bits).ok().filter(|&bits| bits <= 23);
        let bits = bits.ok_or_else(|| DataError::setting(&key, "expected 0 to 23 bits"))?;
        if spec.feature.dtype != Dtype::Float {
            return Err(DataError::setting(&key, "only floats have a mantissa"));
        }
        spec.mantissa = u32::MAX << bits;
    }
    Ok(())
}

/// The labels side by side, in the order of the data tasks: `[B, T]`.
fn stack_labels(config: &RecapDataConfig, rows: &mut Rows) -> Result<HostTensor, DataError> {
    let mut stacked: Option<HostValues> = None;
    let width = config.tasks.len();
    for (task, name) in config.tasks.keys().enumerate() {
        let column = rows.take(name).map(|tensor| tensor.values);
        let placed = match (&mut stacked, column) {
            (None, Some(HostValues::I64(values))) => {
                stacked = Some(HostValues::I64(spread(&values, width)));
                true
            }
            (None, Some(HostValues::F32(values))) => {
                stacked = Some(HostValues::F32(spread(&values, width)));
                true
            }
            (Some(HostValues::I64(all)), Some(HostValues::I64(values))) => {
                place(all, &values, width, task)
            }
            (Some(HostValues::F32(all)), Some(HostValues::F32(values))) => {
                place(all, &values, width, task)
            }
            _ => false,
        };
        if !placed {
            let reason = "labels must stay int64 or float, all of one type";
            return Err(DataError::setting(format!("tasks.{name}"), reason));
        }
    }
    Ok(HostTensor {
        shape: vec![rows.count, width],
        values: stacked.unwrap_or(HostValues::I64(Vec::new())),
    })
}

/// A matrix of `width` columns whose first one is `values`.
fn spread<T: Copy + Default>(values: &[T], width: usize) -> Vec<T> {
    let mut all = vec![T::default(); values.len() * width];
    place(&mut all, values, width, 0);
    all
}

fn place<T: Copy>(all: &mut [T], values: &[T], width: usize, column: usize) -> bool {
    for (cell, &value) in all.iter_mut().skip(column).step_by(width).zip(values) {
        *cell = value;
    }
    true
}

/// Shared by every thread.
pub(crate) type SharedPipeline = Arc<Pipeline>;
