//! The one table of exit codes, and which error maps to which.

use std::num::NonZeroU8;

use crate::checkpoint::CheckpointError;
use crate::cli::UsageError;
use crate::commands::DoctorError;
use crate::config::ConfigError;
use crate::convert::ConvertError;
use crate::data::{DataError, Fault};
use crate::distributed::DistributedError;
use crate::distributed::env::LaunchError;
use crate::distributed::launcher::LauncherError;
use crate::loss::LossError;
use crate::metrics::MetricError;
use crate::model::ModelError;
use crate::optim::OptimError;
use crate::output::OutputError;
use crate::torch::batch::BatchError;
use crate::train::TrainError;
use crate::train::evaluate::EvaluateError;
use crate::train::evaluation::NoRows;
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
    /// The code for `error`: the first error in its chain that the table knows decides. Where a rank that this process
    /// started or worked with has failed, its code counts.
    #[must_use]
    pub fn code_of(error: &anyhow::Error) -> u8 {
        if let Some(TrainError::RankFailed { code }) = error.downcast_ref() {
            return *code;
        }
        if let Some(code) = error.chain().find_map(of_other_rank) {
            return code.get();
        }
        if let Some(DoctorError { exit_code, .. }) = error.downcast_ref() {
            return *exit_code;
        }
        let exit = error.chain().find_map(Self::of_one);
        exit.unwrap_or(Self::Failed) as u8
    }

    fn of_fault(fault: Fault) -> Self {
        match fault {
            Fault::Config => Self::Usage,
            Fault::Data => Self::Data,
            Fault::Machine => Self::Failed,
        }
    }

    fn of_one(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if error.is::<UsageError>() || error.is::<ConfigError>() || error.is::<LaunchError>() {
            return Some(Self::Usage);
        }
        match error.downcast_ref() {
            Some(DistributedError::Stopped { .. }) => return Some(Self::Interrupted),
            Some(DistributedError::Disagreement { .. } | DistributedError::Twice { .. }) => {
                return Some(Self::Usage);
            }
            _ => {}
        }
        if let Some(LauncherError::Nested { .. }) = error.downcast_ref() {
            return Some(Self::Usage);
        }
        if let Some(error) = error.downcast_ref::<ModelError>() {
            return error.is_config().then_some(Self::Usage);
        }
        if let Some(
            BatchError::Missing { .. } | BatchError::Strings { .. } | BatchError::Ragged { .. },
        ) = error.downcast_ref()
        {
            return Some(Self::Usage);
        }
        if let Some(OptimError::Config { .. } | OptimError::NoParameters) = error.downcast_ref() {
            return Some(Self::Usage);
        }
        if let Some(LossError::NoLabel { .. }) = error.downcast_ref() {
            return Some(Self::Usage);
        }
        match error.downcast_ref() {
            Some(CheckpointError::NotACheckpoint { .. }) => return Some(Self::Usage),
            Some(CheckpointError::NotFinite { .. }) => return Some(Self::Diverged),
            Some(CheckpointError::Folder(folder)) if folder.is_config() => {
                return Some(Self::Usage);
            }
            _ => {}
        }
        if let Some(error) = error.downcast_ref::<DataError>() {
            return Some(Self::of_fault(error.fault()));
        }
        if let Some(error) = error.downcast_ref::<ConvertError>() {
            return Some(Self::of_fault(error.fault()));
        }
        if let Some(OutputError::Format { .. }) = error.downcast_ref() {
            return Some(Self::Usage);
        }
        Self::of_training(error)
    }

    /// The same for what training and evaluation end with.
    fn of_training(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(error) = error.downcast_ref::<EvaluateError>() {
            return Some(match error {
                EvaluateError::NotFinite { input: Some(_), .. } => Self::Data,
                EvaluateError::NotFinite { input: None, .. } => Self::Diverged,
                _ => Self::Usage,
            });
        }
        if error.is::<NoRows>() {
            return Some(Self::Data);
        }
        if error.is::<BestMetricError>() {
            return Some(Self::Usage);
        }
        if let Some(error) = error.downcast_ref::<MetricError>() {
            return Some(match error {
                MetricError::Label { .. } | MetricError::Weight { .. } => Self::Data,
                _ => Self::Usage,
            });
        }
        match error.downcast_ref::<TrainError>()? {
            TrainError::Diverged { .. }
            | TrainError::TooManySkips { .. }
            | TrainError::DivergedInTrial { .. } => Some(Self::Diverged),
            TrainError::Interrupted { .. }
            | TrainError::InterruptedIdle { .. }
            | TrainError::DebugInterrupted { .. }
            | TrainError::RanksInterrupted => Some(Self::Interrupted),
            TrainError::Mismatch { .. } | TrainError::TooLarge { .. } => Some(Self::Usage),
            _ => None,
        }
    }
}

/// What another rank, which is the reason, has said that it ends with.
fn of_other_rank(error: &(dyn std::error::Error + 'static)) -> Option<NonZeroU8> {
    match error.downcast_ref()? {
        DistributedError::Lost { failure, .. } => failure.exit_code,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_that_cannot_be_started_is_no_mistake_of_the_user() {
        let source = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let start = LauncherError::Start {
            rank: 1,
            program: "recap-train".into(),
            source: source(),
        };
        assert_eq!(Exit::code_of(&start.into()), Exit::Failed as u8);
        let signals = LauncherError::Signals { source: source() };
        assert_eq!(Exit::code_of(&signals.into()), Exit::Failed as u8);
        let nested = LauncherError::Nested { variable: "RANK" };
        assert_eq!(Exit::code_of(&nested.into()), Exit::Usage as u8);
    }
}
