//! Looks at the machine as a training would find it: a line for each thing, with a remedy where something is wrong.

mod disk;
mod finding;
mod launch;
mod memory;
mod torch;

use std::io::{IsTerminal, Write};

use anyhow::Context;

use self::finding::{Finding, Level};
use crate::config::RecapConfig;
use crate::distributed::env::Launch;
use crate::printable;

/// Something is wrong that a training would not survive.
#[derive(Debug, thiserror::Error)]
#[error("{failed} of {all} checks failed: each says above what to do")]
pub(crate) struct DoctorError {
    failed: usize,
    all: usize,
    /// What a training would end with, at the first of them.
    pub(crate) exit_code: u8,
}

/// Checks the machine, and where there is a config the folders it names; the findings go to stdout.
///
/// # Errors
/// When a check fails, or stdout is closed.
pub(super) fn run(config: Option<&RecapConfig>) -> anyhow::Result<()> {
    let launch = Launch::from_env(|name| std::env::var(name).ok());
    let ranks_here = match &launch {
        Ok(Some(launch)) => launch.place.local_world_size,
        _ => 1,
    };
    let mut findings = vec![Finding::ok("program", crate::cli::VERSION.to_owned())];
    findings.extend(torch::look(ranks_here));
    findings.extend(memory::look());
    findings.extend([
        memory::descriptors(),
        disk::shared_memory(),
        launch::look(launch),
    ]);
    findings.push(launch::clock());
    match config {
        Some(config) => findings.extend([disk::save_dir(config), disk::data(config)]),
        None => findings.push(Finding::ok(
            "config",
            "none given: --config_path=FILE checks its folders as well".to_owned(),
        )),
    }
    let colours = std::io::stdout().is_terminal() && !crate::logging::is_colourless();
    let mut stdout = printable::raw_stdout();
    for finding in &findings {
        stdout
            .write_all(finding.line(colours).as_bytes())
            .context("cannot write to stdout")?;
    }
    let is_failed = |finding: &&Finding| finding.level == Level::Fail;
    let mut failed = findings.iter().filter(is_failed);
    let Some(first) = failed.next() else {
        return Ok(());
    };
    Err(DoctorError {
        failed: 1 + failed.count(),
        all: findings.len(),
        exit_code: first.exit_code,
    }
    .into())
}
