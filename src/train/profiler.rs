//! A profile on demand: the operations of some steps as a Chrome trace.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use tch::Device;
use tracing::{info, warn};

use super::session::Session;
use crate::cli::StepRange;
use crate::torch::profile;
use crate::whole_file::Draft;

/// Folder in `save_dir`.
const FOLDER: &str = "profile";

/// Records the steps of a range, if one was asked for; each rank its own.
#[derive(Debug)]
pub struct Profiler {
    steps: Option<StepRange>,
    device: Device,
    path: PathBuf,
    is_recording: bool,
}

impl Profiler {
    /// Waits for the first of `steps`.
    #[must_use]
    pub fn new(session: &Session, steps: Option<StepRange>) -> Self {
        let save_dir = PathBuf::from(&session.config.training.save_dir);
        let name = steps.map_or_else(String::new, |steps| {
            format!(
                "steps_{}_{}_rank_{}.json",
                steps.after, steps.until, session.place.rank
            )
        });
        Self {
            steps,
            device: session.device,
            path: save_dir.join(FOLDER).join(name),
            is_recording: false,
        }
    }

    /// Starts if the step after `step` is one of those to record.
    ///
    /// # Errors
    /// When the folder cannot be created or libtorch refuses.
    pub fn before_step(&mut self, step: u64) -> anyhow::Result<()> {
        let is_due = self
            .steps
            .is_some_and(|steps| steps.after <= step && step < steps.until);
        if !is_due || self.is_recording {
            return Ok(());
        }
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        self.wait_for_device();
        profile::start(self.device.is_cuda()).context("cannot start the profile")?;
        self.is_recording = true;
        info!(after_step = step, "profiling");
        Ok(())
    }

    /// Writes the trace once `step` is the last one to record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn after_step(&mut self, step: u64) -> anyhow::Result<()> {
        if self.steps.is_some_and(|steps| step >= steps.until) {
            self.stop()?;
        }
        Ok(())
    }

    /// Writes what was recorded so far; says so if nothing was asked for that ever came.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        let before = self.steps;
        self.stop()?;
        if let Some(steps) = before
            && self.steps.is_some()
        {
            warn!(
                "--profile_steps {}..{}: the run ended without these steps, nothing was recorded",
                steps.after, steps.until
            );
        }
        Ok(())
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        if !self.is_recording {
            return Ok(());
        }
        self.wait_for_device();
        self.is_recording = false;
        self.steps = None;
        let file = self.path.display();
        let failed = || format!("cannot write the profile {file}");
        let (draft, _) = Draft::file(&self.path).with_context(failed)?;
        profile::stop(draft.path()).with_context(failed)?;
        let is_written = draft.path().metadata().is_ok_and(|found| found.len() > 0);
        anyhow::ensure!(is_written, "libtorch has not written the profile {file}");
        draft.publish().with_context(failed)?;
        info!(%file, "profile written: open it in https://ui.perfetto.dev or chrome://tracing");
        Ok(())
    }

    fn wait_for_device(&self) {
        if let Device::Cuda(index) = self.device {
            tch::Cuda::synchronize(i64::try_from(index).unwrap_or(0));
        }
    }
}
