//! The one table of exit codes, and which error maps to which.

use std::process::ExitCode;

use crate::cli::UsageError;
use crate::config::ConfigError;
use crate::data::{DataError, Fault};
use crate::metrics::MetricError;
use crate::output::OutputError;
use crate::train::TrainError;
use crate::train::evaluate::EvaluateError;
use crate::train::validation::BestMetricError;

/// How the program ended. A panic ends with 101, which Rust gives by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed while running.
    Failed = 1,
    /// Bad usage or config.
    Usage = 2,
    /// Bad data.
    Data = 3,
    /// The loss or a gradient was not finite.
    Diverged = 4,
    /// Interrupted by a signal, state saved; the same command goes on.
    Interrupted = 75,
}

impl Exit {
    /// The code for `error`: the first error in its chain that the table knows decides.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(Self::of_one).unwrap_or(Self::Failed)
    }

    fn of_one(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(OutputError::Format { .. }) = error.downcast_ref() {
            return Some(Self::Usage);
        }
        if error.is::<UsageError>() || error.is::<ConfigError>() {
            return Some(Self::Usage);
        }
        if let Some(error) = error.downcast_ref::<DataError>() {
            return Some(match error.fault() {
                Fault::Config => Self::Usage,
                Fault::Data => Self::Data,
                Fault::Machine => Self::Failed,
            });
        }
        if error.is::<EvaluateError>() || error.is::<BestMetricError>() {
            return Some(Self::Usage);
        }
        if let Some(error) = error.downcast_ref::<MetricError>() {
            return Some(match error {
                MetricError::Label { .. } | MetricError::Weight { .. } => Self::Data,
                _ => Self::Usage,
            });
        }
        match error.downcast_ref::<TrainError>()? {
            TrainError::Diverged { .. } => Some(Self::Diverged),
            TrainError::Interrupted { .. } => Some(Self::Interrupted),
            TrainError::Mismatch { .. } => Some(Self::Usage),
            _ => None,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
