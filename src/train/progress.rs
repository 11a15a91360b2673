//! The log lines of training: speed, losses, learning rates.

use std::time::{Duration, Instant};

use tracing::info;

use super::state::TrainState;
use super::step::Stepper;
use crate::config::TrainingConfig;

/// Measures between two log lines.
#[derive(Debug)]
pub struct Progress {
    begun: Instant,
    step: u64,
    waited: Duration,
}

impl Progress {
    /// Starts to measure at `step`.
    #[must_use]
    pub fn start(step: u64) -> Self {
        Self {
            begun: Instant::now(),
            step,
            waited: Duration::ZERO,
        }
    }

    /// Leaves `pause` out of the measures: time that was not spent on training.
    pub fn exclude(&mut self, pause: Duration) {
        self.begun += pause;
    }

    /// Logs one line for the step that `state` is at and starts anew. `global_batch_size` is the rows per step over all
    /// ranks, `waited` the time spent waiting for data so far in the run.
    pub fn log(&mut self, state: &TrainState, loss: f64, global_batch_size: u64, waited: Duration) {
        let step = state.step;
        let seconds = self.begun.elapsed().as_secs_f64().max(1e-9);
        let steps_per_s = (step - self.step) as f64 / seconds;
        let examples_per_s = steps_per_s * global_batch_size as f64;
        info!(
            global_step = state.global_step(),
            loss,
            steps_per_s,
            global_example_per_s = examples_per_s,
            worker_examples_per_s = examples_per_s / state.world_size as f64,
            active_training_walltime = state.walltime_secs,
            data_wait_share = (waited.saturating_sub(self.waited)).as_secs_f64() / seconds,
            "Step: {step}, training."
        );
        *self = Self {
            begun: Instant::now(),
            step,
            waited,
        };
    }
}

/// Logs what the config asks for beside the loss, of the step that `state` has just finished: `task_losses`, in the
/// order of the model's tasks (none: not asked for), and the learning rates that the step was made with.
pub fn log_details(
    config: &TrainingConfig,
    state: &TrainState,
    stepper: &Stepper,
    task_losses: &[f64],
) {
    let global_step = state.global_step();
    for (task, loss) in stepper.ranker.tasks().iter().zip(task_losses) {
        info!(global_step, task, loss, "task loss");
    }
    if config.log_learning_rates {
        // Schedules count batches from 0.
        let rates = stepper
            .optimizer
            .learning_rates(state.step.saturating_sub(1));
        for (group, learning_rate) in rates {
            info!(global_step, group, learning_rate, "learning rate");
        }
    }
}
