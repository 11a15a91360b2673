//! Looks at a run before it starts: config, schema, wiring, cost, data, and on request one step and a checkpoint.

mod dry_run;
mod findings;
mod log_statistics;
mod sample;
mod statistics;
mod table;
mod wiring;

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use tch::Device;

use super::outputs;
use crate::checkpoint::try_save_dir;
use crate::cli::CheckArgs;
use crate::config::{Loaded, RecapConfig};
use crate::data::DataError;
use crate::torch::{device, memory};
use crate::train::restore;
use crate::train::setup::{Place, build_device, build_stepper, check_loader};
use crate::train::step::Stepper;
use crate::train::validation;
use crate::{printable, whole_file};
use dry_run::DryRun;
use sample::DataReport;
use wiring::{Memory, Wiring};

/// Everything that was found out.
#[derive(Debug, Serialize)]
struct Report {
    config: String,
    digest: String,
    model: Wiring,
    memory: Memory,
    /// Absent when the data cannot be read.
    data: Option<DataReport>,
    /// Absent unless asked for.
    dry_run: Option<DryRun>,
    warnings: Vec<String>,
}

/// Checks the config that was loaded from `path`; tables go to stdout.
///
/// # Errors
/// When schema, wiring or data cannot be used, or the dry run fails. What was found out until then is printed first.
pub(super) fn run(path: &Path, loaded: &Loaded, args: &CheckArgs) -> anyhow::Result<()> {
    if args.print {
        let resolved = loaded.to_annotated_yaml()?;
        writeln!(printable::raw_stdout(), "{resolved}")?;
    }
    if let Some(path) = &args.output {
        outputs::refuse_saved(path)?;
    }
    let config = &loaded.config;
    if let Err(error) = super::check_columns(path, loaded) {
        if let Some(DataError::OneKeyPerColumn(survey)) = error.downcast_ref() {
            write!(printable::raw_stdout(), "{}", survey.piece())?;
        }
        return Err(error);
    }
    memory::keep_freed();
    if let Some(chosen) = &args.write_stats {
        // Before the model is built, which reads the file.
        log_statistics::write(config, chosen.as_deref())?;
    }
    let device = if args.dry_run {
        build_device(Place::ALONE)?
    } else {
        Device::Cpu
    };
    device::load_cuda()?;
    let mut stepper = build_stepper(config, device, Place::ALONE)?;
    let mut report = Report {
        config: path.display().to_string(),
        digest: config.digest(),
        model: Wiring::of(&stepper),
        memory: Memory::of(&stepper, config),
        data: None,
        dry_run: None,
        warnings: loaded.warnings.clone(),
    };
    let begun = begin(config, &mut stepper);
    let outcome = begun.and_then(|()| sample::look(config)).and_then(|data| {
        report.warnings.extend(findings::of(config, &data));
        report.data = Some(data);
        if args.dry_run {
            report.dry_run = Some(dry_run::run(config, &mut stepper, device)?);
        }
        Ok(())
    });
    print(&report)?;
    if let Some(path) = &args.output {
        write_json(&report, path)?;
    }
    outcome
}

/// Whatever training, or its first evaluation, would refuse after the model is built.
fn begin(config: &RecapConfig, stepper: &mut Stepper) -> anyhow::Result<()> {
    check_loader(&config.train_data, config.training.seed, Place::ALONE)?;
    validation::check(config, stepper.device())?;
    try_save_dir(Path::new(&config.training.save_dir))?;
    restore::begin(stepper, config)
}

fn print(report: &Report) -> io::Result<()> {
    let out = &mut printable::stdout();
    let digest = &report.digest;
    out.line(format_args!("config   {} (digest {digest})", report.config))?;
    report.model.print(out)?;
    report.memory.print(out)?;
    if let Some(data) = &report.data {
        data.print(out)?;
    }
    if let Some(dry_run) = &report.dry_run {
        dry_run.print(out)?;
    }
    for warning in &report.warnings {
        out.line(format_args!("warning: {warning}"))?;
    }
    Ok(())
}

fn write_json(report: &Report, path: &Path) -> anyhow::Result<()> {
    let mut json = serde_json::to_vec_pretty(report)?;
    json.push(b'\n');
    whole_file::write(path, &json).with_context(|| format!("cannot write {}", path.display()))
}
