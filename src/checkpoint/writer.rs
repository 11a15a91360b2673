//! One save in the background: the checkpoint under its names, `run.json`, and the removal of old ones.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tracing::{info, warn};

use super::CheckpointError;
use super::finite;
use super::format::{BEST, Snapshot};
use super::publish::{self, Staged};
use super::record::write_record;
use super::retention::Retention;

/// Under which names a snapshot is saved.
#[derive(Debug, Default)]
pub struct Targets {
    /// Under its step, as one of the checkpoints to keep.
    pub step: bool,
    /// As the best one, in place of the one before, with this state.
    pub best: Option<Value>,
}

/// What the saves of a run go by, one after the other.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) retention: Retention,
    /// Whether `run.json` describes this run.
    pub(super) is_recorded: bool,
}

pub(super) fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One save, in the background as far as it can be.
pub(super) struct Writer {
    pub(super) save_dir: PathBuf,
    pub(super) targets: Targets,
    pub(super) shared: Arc<Mutex<Shared>>,
}

impl Writer {
    pub(super) fn write(self, snapshot: &Snapshot) -> Result<PathBuf, CheckpointError> {
        let staged = self.stage(snapshot)?;
        self.publish(staged, snapshot.global_step, snapshot.run.as_ref())
    }

    /// Everything that is to be published, the best one first.
    pub(super) fn stage(&self, snapshot: &Snapshot) -> Result<Vec<Staged>, CheckpointError> {
        finite::check(snapshot)?;
        let mut all = Vec::new();
        if let Some(state) = &self.targets.best {
            let staged = publish::stage(&self.save_dir, BEST, snapshot)?;
            all.push(staged.with_state(state.clone()));
        }
        if self.targets.step {
            let name = snapshot.global_step.to_string();
            all.push(publish::stage(&self.save_dir, &name, snapshot)?);
        }
        Ok(all)
    }

    pub(super) fn publish(
        &self,
        staged: Vec<Staged>,
        global_step: u64,
        run: Option<&Value>,
    ) -> Result<PathBuf, CheckpointError> {
        let mut newest = self.save_dir.clone();
        for staged in staged {
            newest = staged.publish()?;
            info!(name: "saved", checkpoint = %newest.display(), "saved");
        }
        if self.targets.step {
            let mut shared = lock(&self.shared);
            shared.record(&self.save_dir, run);
            shared.retention.note_valid(global_step);
            shared.retention.retire(global_step);
        }
        Ok(newest)
    }
}

impl Shared {
    /// Lets `run.json` say what made the newest checkpoint.
    fn record(&mut self, save_dir: &Path, run: Option<&Value>) {
        let Some(run) = run.filter(|_| !self.is_recorded) else {
            return;
        };
        match write_record(save_dir, run) {
            Ok(()) => self.is_recorded = true,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                warn!(%error, cause, "run.json describes an earlier run; the checkpoint's state.json describes this one");
            }
        }
    }
}
