//! Trains: the banner, the config, the device, the chosen loop; or starts the ranks that do.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use tracing::info;

use crate::cli::{Cli, CommonArgs, without_flag};
use crate::distributed::env::Launch;
use crate::distributed::launcher::Launcher;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::torch::{memory, threads};
use crate::train::session::Session;
use crate::train::{TrainError, debug, trainer};
use crate::{logging, printable};

/// Trains as the config says.
///
/// # Errors
/// Whatever ends training early.
pub(super) fn run(cli: &Cli) -> anyhow::Result<()> {
    if let Some(num_processes) = cli.nproc_per_node {
        return launch(num_processes.get(), &cli.common);
    }
    let interrupt = Interrupt::listen(report_signal).context("cannot listen for signals")?;
    memory::keep_freed();
    threads::wait_asleep().context("cannot start a thread")?;
    let launch = Launch::from_env(|name| std::env::var(name).ok())?;
    let (path, loaded) = super::load_config(&cli.common)?;
    super::check_columns(path, &loaded)?;
    let config = loaded.config;
    let is_main_rank = launch.as_ref().is_none_or(|launch| launch.place.rank == 0);
    if is_main_rank {
        print_line(&banner())?;
    }
    info!(name: "config", source = %path.display(), "config:\n{}", config.to_yaml());
    let session = Session::start(config, launch.as_ref(), interrupt)?;
    if is_main_rank {
        let now = chrono::DateTime::<chrono::Local>::from(std::time::SystemTime::now());
        print_line(&now.format("%Y_%m_%d_%H_%M").to_string())?;
    }
    let result = if cli.debug_loop {
        debug::run(&session)
    } else {
        trainer::run(&session, cli.profile_steps)
    };
    result.map_err(|error| {
        let error = session.or_interrupted(error);
        let (reason, code) = (format!("{error:#}"), Exit::code_of(&error));
        session.collective.fail(&reason, code);
        error
    })
}

/// Says that the run ends although it still waits for something, because a signal asked for it; returns its exit code.
fn report_signal(signal: &str) -> u8 {
    let signal = signal.to_owned();
    let error = TrainError::InterruptedIdle { signal }.into();
    let code = Exit::code_of(&error);
    logging::end();
    logging::report_end(&error, code);
    code
}

/// A hundred `#`, as the original prints; as many as fit, where a person sees them.
fn banner() -> String {
    "#".repeat(super::terminal_width().unwrap_or(100).min(100))
}

/// Starts `num_processes` ranks of this command line and waits for them.
fn launch(num_processes: usize, args: &CommonArgs) -> anyhow::Result<()> {
    let (_, loaded) = super::read_config(args)?;
    let timeout = loaded.config.training.distributed_timeout_in_s.get();
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let args: Vec<OsString> = without_flag(std::env::args_os().skip(1), "nproc_per_node");
    let launcher = Launcher {
        timeout: Duration::try_from_secs_f64(timeout).unwrap_or(Duration::MAX),
        interrupted: Some(Exit::Interrupted as u8),
        ..Launcher::new(program, args, num_processes)
    };
    match launcher.run() {
        Ok(0) => Ok(()),
        Ok(code) if launcher.interrupted == Some(code) => Err(TrainError::RanksInterrupted.into()),
        Ok(code) => Err(TrainError::RankFailed { code }.into()),
        Err(error) => Err(error.into()),
    }
}

/// Writes to stdout; a reader that has gone away is no reason to stop training.
fn print_line(line: &str) -> anyhow::Result<()> {
    let mut out = printable::raw_stdout();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    written.context("cannot write to stdout")
}
