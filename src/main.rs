//! Parse, start logging, dispatch, print the error chain, exit.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use recap_train::cli::{Cli, normalize};
use recap_train::exit::Exit;
use recap_train::{commands, logging, printable, redact, whole_file};

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(normalize(std::env::args_os())) {
        Ok(cli) => cli,
        Err(message) => return ExitCode::from(explain(&message) as u8),
    };
    logging::start(cli.common.log_format);
    if let Err(error) = whole_file::survive_size_limit() {
        logging::report(&error.into(), Exit::Failed as u8);
        return ExitCode::from(Exit::Failed as u8);
    }
    let done = commands::run(&cli);
    let done = done.and_then(|()| flush().context("cannot write to stdout"));
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

/// Prints the help that was asked for, to stdout, or what is wrong with the command line, to stderr.
fn explain(message: &clap::Error) -> Exit {
    let text = message.to_string();
    if message.use_stderr() {
        // Where stderr is closed, the outcome is the same.
        let _ = if redact::is_needed(&text) {
            writeln!(io::stderr(), "{}", redact::text(&text))
        } else {
            message.print()
        };
        return Exit::Usage;
    }
    match message.print().and_then(|()| flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "error: cannot write to stdout: {error}");
            Exit::Failed
        }
        _ => Exit::Done,
    }
}

/// What was printed is only done when it is out.
fn flush() -> io::Result<()> {
    printable::raw_stdout().flush()
}
