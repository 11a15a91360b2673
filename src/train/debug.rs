//! The debug loop: one batch after the other, without overlap and without checkpoints, and more to see of each step.

use tracing::{info, warn};

use super::pending::Pending;
use super::pipeline::next_on_device;
use super::session::Session;
use super::setup::{build_loader, build_stepper};
use super::state::TrainState;
use super::step::{StepOutput, Stepper};
use super::{TrainError, in_trial, restore};
use crate::distributed::DataParallel;
use crate::distributed::timeline::Overlap;
use crate::torch::batch::Batch;

/// Runs `num_train_steps` steps from the start (or the warm start), numbered from 0 as the schedules count them.
///
/// # Errors
/// When anything fails.
pub fn run(session: &Session) -> anyhow::Result<()> {
    warn!("the debug loop is slow and saves nothing: use it to look for trouble");
    let (config, training) = (&session.config, &session.config.training);
    let mut stepper = build_stepper(config, session.device, session.place)?;
    stepper.options.watch_groups = true;
    if let Some(folder) = &training.initial_checkpoint_dir {
        restore::warm_start(&mut stepper, folder.as_ref())?;
    }
    let first = TrainState::first(training, session.place);
    session.join(&mut stepper, &first, Pending::default())?;
    let mut loader = build_loader(&config.train_data, training.seed, session.place, None)?;
    let num_train_steps = training.num_train_steps.get();
    for step in 0..num_train_steps {
        if session.is_interrupted()? {
            session.collective.leave()?;
            let signal = session.signal();
            return Err(TrainError::DebugInterrupted {
                signal,
                steps: step,
            }
            .into());
        }
        let next = next_on_device(&mut loader, session.device)?;
        let next = next.ok_or(TrainError::DataEnded {
            step,
            num_train_steps,
        })?;
        report_batch(step, &next.batch, &next.source());
        stepper
            .parallel
            .iter()
            .for_each(DataParallel::start_timeline);
        let output = stepper
            .run(step, &next.batch)
            .map_err(|error| in_trial(error, next.source()))?;
        // Before the next collective, which is no part of it.
        report_averaging(step, &stepper);
        let (loss, task_losses) = session.mean_losses(&output, true)?;
        report_step(step, &stepper, &output, &task_losses);
        info!("Step {step} completed. Loss = {loss}");
    }
    Ok(session.collective.leave()?)
}

/// What went in: where from, how large, how many labels of each task.
fn report_batch(step: u64, batch: &Batch, source: &str) {
    info!(step, rows = batch.rows(), source, "batch");
    let tensors = [
        ("continuous", Some(&batch.continuous)),
        ("binary", Some(&batch.binary)),
        ("user_embedding", batch.user_embedding.as_ref()),
        ("user_eng_embedding", batch.user_eng_embedding.as_ref()),
        ("author_embedding", batch.author_embedding.as_ref()),
        ("labels", batch.labels.as_ref()),
        ("weights", batch.weights.as_ref()),
    ];
    for (name, tensor) in tensors {
        let Some(tensor) = tensor.filter(|tensor| tensor.numel() > 0) else {
            continue;
        };
        let non_finite = tensor
            .isfinite()
            .logical_not()
            .sum(tch::Kind::Int64)
            .int64_value(&[]);
        let finite = tensor.nan_to_num(0.0, 0.0, 0.0);
        info!(
            step,
            name,
            shape = ?tensor.size(),
            min = finite.min().double_value(&[]),
            mean = finite.mean(tch::Kind::Double).double_value(&[]),
            max = finite.max().double_value(&[]),
            non_finite,
            "input"
        );
    }
}

/// With several ranks: when the averaging of gradients began and ended, against backward.
fn report_averaging(step: u64, stepper: &Stepper) {
    let events = stepper.parallel.as_ref().map(DataParallel::stop_timeline);
    if let Some(overlap) = Overlap::of(&events.unwrap_or_default()) {
        info!(
            step,
            buckets = overlap.num_buckets,
            megabytes = overlap.bytes as f64 / 1e6,
            launched_before_the_last_gradient = overlap.num_launched_early,
            done_before_the_last_gradient = overlap.num_reduced_early,
            waited_ms = 1e3
                * overlap
                    .last_reduced
                    .saturating_sub(overlap.last_gradient)
                    .as_secs_f64(),
            "averaging of gradients"
        );
    }
}

/// What came out: the loss of every task, how far each group moved its gradients.
fn report_step(step: u64, stepper: &Stepper, output: &StepOutput, task_losses: &[f64]) {
    for (task, loss) in stepper.ranker.tasks().iter().zip(task_losses) {
        info!(step, task, loss, "task loss");
    }
    for (group, norm) in &output.group_norms {
        info!(step, group, grad_norm = norm.double_value(&[]), "gradients");
    }
    if let Some(norm) = &output.grad_norm {
        info!(
            step,
            grad_norm = norm.double_value(&[]),
            "gradients of all groups"
        );
    }
}
