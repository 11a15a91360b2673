//! One file per command; each is short and calls the rooms.

mod chosen;
mod evaluate;
mod generate;
mod inspect;
mod predict;
mod report;
mod train;

use crate::cli::{Cli, Command, CommonArgs, UsageError};
use crate::config::RecapConfig;

/// Does what was typed.
///
/// # Errors
/// Whatever ended the command early; [`crate::exit::Exit::code_of`] knows its exit code.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    let config = || load_config(&cli.common);
    match &cli.command {
        None => train::run(cli),
        Some(Command::Generate(args)) => generate::run(&config()?, args),
        Some(Command::Inspect(args)) => inspect::run(&config()?, args),
        Some(Command::Evaluate(args)) => evaluate::run(&config()?, args),
        Some(Command::Predict(args)) => predict::run(&config()?, args),
    }
}

fn load_config(args: &CommonArgs) -> anyhow::Result<RecapConfig> {
    let Some(path) = &args.config_path else {
        let usage =
            "no config: say --config_path=FILE (configs/local_prod.yaml is one); --help tells more";
        return Err(UsageError(usage.to_owned()).into());
    };
    let loaded = crate::config::load_recap(path, &args.overrides)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Ok(loaded.config)
}
