//! What a training says of itself: log lines with speed, losses and learning rates, and the bar of a terminal.

use std::time::{Duration, Instant};

use tracing::info;

use super::state::TrainState;
use super::step::Stepper;
use crate::config::TrainingConfig;
use crate::logging::bar::{self, Bar};

/// Longest silence where there is no bar.
const SILENCE: Duration = Duration::from_secs(30);

/// Measures between two log lines.
#[derive(Debug)]
pub struct Progress {
    begun: Instant,
    step: u64,
    waited: Duration,
    /// Of the last line, on a bar.
    loss: Option<f64>,
    /// When the last line was written.
    spoken: Instant,
    num_train_steps: u64,
    /// Rows per step over all ranks.
    global_batch_size: u64,
    bar: Bar,
}

/// How fast a training goes.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Steps a second.
    pub steps_per_s: f64,
    /// Examples a second over all ranks.
    pub examples_per_s: f64,
    /// Share of the time that was spent waiting for data, 0 to 1.
    pub data_wait_share: f64,
    /// Seconds to the last step.
    pub eta_secs: f64,
}

impl Progress {
    /// Starts to measure at `step` of `num_train_steps`, `global_batch_size` rows each over all ranks.
    #[must_use]
    pub fn start(step: u64, num_train_steps: u64, global_batch_size: u64) -> Self {
        Self {
            begun: Instant::now(),
            step,
            waited: Duration::ZERO,
            loss: None,
            spoken: Instant::now(),
            num_train_steps,
            global_batch_size,
            bar: Bar::begin("training", step, Some(num_train_steps)),
        }
    }

    /// Leaves `pause` out of the measures: time that was not spent on training.
    pub fn exclude(&mut self, pause: Duration) {
        self.begun += pause;
    }

    /// Shows on the bar what goes on instead of training.
    pub fn say(&self, what: &str) {
        self.bar.say(what.to_owned());
    }

    /// Moves the bar after a step; where there is none, breaks a long silence. Waits for nothing: the loss shown is
    /// that of the last log line. `waited` is the time spent waiting for data so far in the run.
    pub fn tick(&mut self, state: &TrainState, waited: Duration) {
        let share = self.speed(state.step, waited).data_wait_share;
        let (loss, rows) = (self.loss, self.global_batch_size as f64);
        self.bar.set(state.step, |steps_per_s| {
            let loss = loss.map_or_else(String::new, |loss| format!("loss {loss:.4}  "));
            let speed = steps_per_s * rows;
            format!("{loss}{speed:.0} examples/s  wait {:.0}%", share * 100.0)
        });
        if !bar::is_on_terminal() && self.spoken.elapsed() >= SILENCE {
            self.spoken = Instant::now();
            let speed = self.speed(state.step, waited);
            info!(
                name: "progress",
                step = state.step,
                global_step = state.global_step(),
                global_example_per_s = speed.examples_per_s,
                data_wait_share = speed.data_wait_share,
                eta_secs = speed.eta_secs,
                "progress"
            );
        }
    }

    /// Logs one line for the step that `state` is at and starts anew; `waited` as for [`Self::tick`].
    pub fn log(&mut self, state: &TrainState, loss: f64, waited: Duration) -> Speed {
        let step = state.step;
        let speed = self.speed(step, waited);
        info!(
            name: "step",
            global_step = state.global_step(),
            loss,
            steps_per_s = speed.steps_per_s,
            global_example_per_s = speed.examples_per_s,
            worker_examples_per_s = speed.examples_per_s / state.world_size as f64,
            active_training_walltime = state.walltime_secs,
            data_wait_share = speed.data_wait_share,
            eta_secs = speed.eta_secs,
            "Step: {step}, training."
        );
        self.begun = Instant::now();
        self.step = step;
        self.waited = waited;
        self.loss = Some(loss);
        self.spoken = self.begun;
        speed
    }

    fn speed(&self, step: u64, waited: Duration) -> Speed {
        let seconds = self.begun.elapsed().as_secs_f64().max(1e-9);
        let steps_per_s = (step - self.step) as f64 / seconds;
        let rest = self.num_train_steps.saturating_sub(step) as f64;
        Speed {
            steps_per_s,
            examples_per_s: steps_per_s * self.global_batch_size as f64,
            data_wait_share: waited.saturating_sub(self.waited).as_secs_f64() / seconds,
            eta_secs: rest / steps_per_s,
        }
    }
}

/// The learning rate of every parameter group that the step `state` has just finished was made with.
pub fn learning_rates(stepper: &Stepper, state: &TrainState) -> Vec<(String, f64)> {
    // Schedules count batches from 0.
    let step = state.step.saturating_sub(1);
    stepper.optimizer.learning_rates(step)
}

/// Logs what the config asks for beside the loss, of the step that `state` has just finished: `task_losses`, in the
/// order of the model's tasks, and the learning rates that the step was made with.
pub fn log_details(
    config: &TrainingConfig,
    state: &TrainState,
    stepper: &Stepper,
    task_losses: &[f64],
) {
    let global_step = state.global_step();
    if config.log_task_losses {
        for (task, loss) in stepper.ranker.tasks().iter().zip(task_losses) {
            info!(name: "task_loss", global_step, task, loss, "task loss");
        }
    }
    if config.log_learning_rates {
        for (group, learning_rate) in learning_rates(stepper, state) {
            info!(name: "learning_rate", global_step, group, learning_rate, "learning rate");
        }
    }
}
