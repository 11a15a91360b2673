//! One file per command; each is short and calls the rooms.

mod check;
mod chosen;
mod convert;
mod doctor;
mod evaluate;
mod generate;
mod inspect;
mod outputs;
mod predict;
mod report;
mod shell;
mod train;

pub(crate) use doctor::DoctorError;

use std::io::IsTerminal;
use std::path::Path;

use anyhow::Context;

use crate::cli::{Cli, Command, CommonArgs, UsageError};
use crate::config::Loaded;
use crate::data;
use crate::machine;
use crate::torch::threads;
use crate::whole_file;

/// Does what was typed.
///
/// # Errors
/// Whatever ended the command early; [`crate::exit::Exit::code_of`] knows its exit code.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    let loaded = || load_config(&cli.common);
    threads::stay_within(machine::cores());
    if cli.command.is_some() {
        // A training saves instead.
        whole_file::remove_on_signals().context("cannot listen for signals")?;
    }
    match &cli.command {
        None => train::run(cli),
        Some(Command::Convert(args)) => convert::run(&cli.common, args),
        Some(Command::Generate(args)) => generate::run(&loaded()?.1.config, args),
        Some(Command::Inspect(args)) => inspect::run(&loaded()?.1.config, args),
        Some(Command::Check(args)) => {
            let (path, loaded) = loaded()?;
            check::run(path, &loaded, args)
        }
        Some(Command::Evaluate(args)) => evaluate::run(&loaded()?.1.config, args),
        Some(Command::Predict(args)) => predict::run(&loaded()?.1.config, args),
        Some(Command::Doctor) => {
            let has_config = cli.common.config_path.is_some();
            if !has_config {
                refuse_overrides(&cli.common)?;
            }
            let loaded = has_config.then(loaded).transpose()?;
            doctor::run(loaded.as_ref().map(|(_, loaded)| &loaded.config))
        }
        Some(Command::Completions { shell }) => {
            refuse_overrides(&cli.common)?;
            shell::completions(*shell)
        }
        Some(Command::Man) => {
            refuse_overrides(&cli.common)?;
            shell::man()
        }
    }
}

/// There is nothing that `--set` could change.
fn refuse_overrides(args: &CommonArgs) -> Result<(), UsageError> {
    match args.overrides.first() {
        Some(first) => Err(UsageError(format!(
            "--set {first}: there is no config to change: remove it, or give --config_path"
        ))),
        None => Ok(()),
    }
}

fn load_config(args: &CommonArgs) -> anyhow::Result<(&Path, Loaded)> {
    let (path, loaded) = read_config(args)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Ok((path, loaded))
}

/// The same without its warnings.
fn read_config(args: &CommonArgs) -> anyhow::Result<(&Path, Loaded)> {
    let Some(path) = &args.config_path else {
        let usage =
            "no config: say --config_path=FILE (configs/local_prod.yaml is one); --help tells more";
        return Err(UsageError(usage.to_owned()).into());
    };
    let loaded = crate::config::load_recap(path, &args.overrides)?;
    Ok((path, loaded))
}

/// Columns of the terminal that stdout is; `None` where it is none.
fn terminal_width() -> Option<usize> {
    let stdout = std::io::stdout();
    let size = stdout
        .is_terminal()
        .then(|| rustix::termios::tcgetwinsize(&stdout))?;
    let columns = usize::from(size.ok()?.ws_col);
    (columns > 0).then_some(columns)
}

/// Checks the columns that the config names against the schema
fn check_columns(path: &Path, loaded: &Loaded) -> anyhow::Result<()> {
    let widths = data::feature_widths(&loaded.config.train_data).context("train_data")?;
    Ok(loaded.check_discrete_width(path, widths.discrete)?)
}
