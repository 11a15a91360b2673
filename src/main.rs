//! Parse, start logging, dispatch, print the error chain, exit.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use recap_train::cli::{Cli, normalize};
use recap_train::exit::Exit;
use recap_train::{commands, logging, redact, whole_file};

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(normalize(std::env::args_os())) {
        Ok(cli) => cli,
        Err(message) => {
            // A closed stdout or stderr changes nothing about the outcome.
            let text = message.to_string();
            let _ = if redact::is_needed(&text) {
                writeln!(std::io::stderr(), "{}", redact::text(&text))
            } else {
                message.print()
            };
            let exit = if message.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            return ExitCode::from(exit as u8);
        }
    };
    logging::start(cli.common.log_format);
    if let Err(error) = whole_file::survive_size_limit() {
        logging::report(&error.into(), Exit::Failed as u8);
        return ExitCode::from(Exit::Failed as u8);
    }
    let done = commands::run(&cli);
    logging::end();
    match done {
        Ok(()) => ExitCode::from(Exit::Done as u8),
        Err(error) => {
            let code = Exit::code_of(&error);
            if code == Exit::Interrupted as u8 {
                logging::report_end(&error, code);
            } else {
                logging::report(&error, code);
            }
            ExitCode::from(code)
        }
    }
}
