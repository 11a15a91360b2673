//! The debug loop: one batch after the other, without overlap and without checkpoints, and more to see of each step.

use anyhow::Context;
use tch::Device;
use tracing::{info, warn};

use super::interrupt::Interrupt;
use super::pipeline::next_on_device;
use super::setup::{Place, build_loader, build_stepper};
use super::step::{StepOutput, Stepper};
use super::{TrainError, restore};
use crate::config::RecapConfig;

/// Runs `num_train_steps` steps from the start (or the warm start), numbered from 0 as the schedules count them.
///
/// # Errors
/// When anything fails.
pub fn run(
    config: &RecapConfig,
    device: Device,
    place: Place,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    warn!("the debug loop is slow and saves nothing: use it to look for trouble");
    let training = &config.training;
    let mut stepper = build_stepper(config, device, place)?;
    if let Some(folder) = &training.initial_checkpoint_dir {
        restore::warm_start(&mut stepper, folder.as_ref())?;
    }
    let mut loader = build_loader(&config.train_data, training.seed, place, None)?;
    let num_train_steps = training.num_train_steps.get();
    for step in 0..num_train_steps {
        if interrupt.is_requested() {
            warn!(
                "a signal asked this run to end after {step} steps; the debug loop saves nothing"
            );
            break;
        }
        let next = next_on_device(&mut loader, device)?;
        let next = next.ok_or(TrainError::DataEnded {
            step,
            num_train_steps,
        })?;
        let output = stepper
            .run(step, &next.batch)
            .with_context(|| format!("batch from {}", next.source()))?;
        report(step, &stepper, &output);
    }
    Ok(())
}

fn report(step: u64, stepper: &Stepper, output: &StepOutput) {
    let losses: Vec<f64> = Vec::try_from(&output.task_losses).unwrap_or_default();
    for (task, loss) in stepper.ranker.tasks().iter().zip(losses) {
        info!(step, task, loss, "task loss");
    }
    if let Some(norm) = &output.grad_norm {
        info!(step, grad_norm = norm.double_value(&[]), "gradients");
    }
    info!(
        "Step {step} completed. Loss = {}",
        output.loss.double_value(&[])
    );
}
