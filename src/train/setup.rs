//! Builds everything a run needs from its config: device, precision, model, loss, optimizer, loader.

use anyhow::Context;
use indexmap::IndexMap;
use tch::Device;
use tracing::{debug, info};

use super::checks::{Checks, Verdicts};
use super::step::{StepOptions, Stepper};
use super::{TrainError, fit};
use crate::config::{ModelSpec, RecapConfig, RecapDataConfig, TaskData};
use crate::data::{self, Loader, LoaderOptions, Mode, Position};
use crate::loss::{LossError, MultiTaskLoss};
use crate::model::{Plan, Ranker};
use crate::optim::Optimizer;
use crate::torch::{device, precision};

pub use crate::distributed::env::Place;

/// Picks the device and switches TF32 on.
///
/// # Errors
/// When libtorch fails while it loads CUDA.
pub fn build_device(place: Place) -> anyhow::Result<Device> {
    if let Some(reason) = device::load_cuda()? {
        debug!(reason, "no CUDA in this libtorch");
    }
    precision::set_tf32(true)?;
    let device = device::choose(place.local_rank);
    info!(name: "device", ?device, threads = tch::get_num_threads(), "device");
    Ok(device)
}

/// Builds the model with its initial weights.
///
/// # Errors
/// When the config asks for a model that cannot be built.
pub fn build_ranker(config: &RecapConfig, device: Device) -> anyhow::Result<Ranker> {
    build_fitting(config, device, fit::weights)
}

/// The same, once `fits` has agreed to its size.
fn build_fitting(
    config: &RecapConfig,
    device: Device,
    fits: impl Fn(&Plan) -> Result<(), TrainError>,
) -> anyhow::Result<Ranker> {
    let widths = data::feature_widths(&config.train_data)?;
    let spec = config.model.spec()?;
    fits(&Ranker::plan(&spec, &widths)?)?;
    let seed = config.training.seed.cast_unsigned();
    let ratio = |task: &str| sampling_ratio(task, &config.train_data.tasks);
    let ranker = Ranker::build(&spec, &widths, &ratio, seed, device)?;
    info!(
        name: "model",
        parameters = ranker.state().parameter_count(),
        tasks = ranker.tasks().len(),
        "model"
    );
    Ok(ranker)
}

/// Builds the loss of the model's tasks on a data set that has a label for each.
///
/// # Errors
/// When a task has no label.
pub fn build_loss(
    model: &ModelSpec,
    data: &RecapDataConfig,
    device: Device,
) -> Result<MultiTaskLoss, LossError> {
    let tasks = model.tasks.iter();
    let tasks: Vec<_> = tasks.map(|t| (t.name.as_str(), t.pos_weight)).collect();
    let data_tasks: Vec<&str> = data.tasks.keys().map(String::as_str).collect();
    MultiTaskLoss::build(&tasks, &data_tasks, device)
}

/// Builds model, loss and optimizer in their initial state.
///
/// # Errors
/// When the config asks for something that cannot be built, or that does not fit into this machine.
pub fn build_stepper(
    config: &RecapConfig,
    device: Device,
    place: Place,
) -> anyhow::Result<Stepper> {
    let fits = |plan: &Plan| fit::training(plan, config, place);
    let ranker = build_fitting(config, device, fits)?;
    ranker
        .check_rows(place.per_rank_batch_size(config.train_data.global_batch_size.to_usize())?)?;
    let loss = build_loss(&config.model.spec()?, &config.train_data, device)?;
    let optimizer = Optimizer::build(&config.optimizer.spec(&config.model)?, ranker.state())?;
    Ok(Stepper {
        verdicts: Verdicts::new(ranker.tasks()),
        ranker,
        loss,
        optimizer,
        parallel: None,
        options: step_options(config, place),
    })
}

fn step_options(config: &RecapConfig, place: Place) -> StepOptions {
    let training = &config.training;
    StepOptions {
        accumulation: training
            .gradient_accumulation
            .map_or(1, |batches| batches.max(1).cast_unsigned()),
        mixed_precision: training.mixed_precision,
        max_grad_norm: training
            .max_grad_norm
            .map(crate::config::PositiveFloat::get),
        seed: training.seed,
        rank: place.rank as u64,
        watch_groups: false,
        checks: Checks::EachStep,
        time_device: false,
    }
}

/// How much more likely a negative of `task` was kept than a positive.
fn sampling_ratio(task: &str, data_tasks: &IndexMap<String, TaskData>) -> f64 {
    let ratio = |task: &TaskData| task.neg_downsampling_rate / task.pos_downsampling_rate;
    data_tasks.get(task).map_or(1.0, ratio)
}

/// Opens the training data at `resume`, or at its start.
///
/// # Errors
/// When schema or files are missing or wrong.
pub fn build_loader(
    config: &RecapDataConfig,
    seed: i64,
    place: Place,
    resume: Option<&Position>,
) -> anyhow::Result<Loader> {
    let options = train_options(seed, place);
    Loader::open(config, options, resume).context("train_data")
}

/// Finds whatever [`build_loader`] would refuse, without opening anything.
///
/// # Errors
/// When schema or files are missing or wrong, or batches do not fit into memory.
pub fn check_loader(config: &RecapDataConfig, seed: i64, place: Place) -> anyhow::Result<()> {
    Loader::check(config, &train_options(seed, place)).context("train_data")
}

fn train_options(seed: i64, place: Place) -> LoaderOptions {
    LoaderOptions {
        seed: seed.cast_unsigned(),
        rank: place.rank,
        world_size: place.world_size,
        local_world_size: place.local_world_size,
        any_labels: false,
        mode: Mode::Train,
        threads: None,
        in_order: false,
        repeat: true,
        drop_remainder: true,
    }
}
