//! What a shell and `man` want to know of the command line.

use std::io::Write;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::printable;

const NAME: &str = "recap-train";

/// Prints the script that completes command lines in `shell`.
///
/// # Errors
/// When stdout is closed.
pub(super) fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    print(&script)
}

/// Prints the manual page, those of the commands included.
///
/// # Errors
/// When stdout is closed.
pub(super) fn man() -> anyhow::Result<()> {
    let mut page = Vec::new();
    let command = Cli::command();
    let man = clap_mangen::Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    for command in command.get_subcommands() {
        let name = command.get_name().to_uppercase();
        writeln!(page, ".SH \"COMMAND {name}\"")?;
        let man = clap_mangen::Man::new(command.clone());
        let mut section = Vec::new();
        man.render_description_section(&mut section)?;
        man.render_options_section(&mut section)?;
        // Sections of a command become parts of its section.
        page.extend(
            String::from_utf8_lossy(&section)
                .replace(".SH ", ".SS ")
                .bytes(),
        );
    }
    let extra = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    // As it stands: these lines are laid out already.
    writeln!(page, ".SH \"EXIT CODES AND EXAMPLES\"\n.nf")?;
    for line in extra.lines() {
        writeln!(page, "\\&{}", line.replace('\\', "\\e").replace('-', "\\-"))?;
    }
    writeln!(page, ".fi")?;
    man.render_version_section(&mut page)?;
    print(&page)
}

fn print(text: &[u8]) -> anyhow::Result<()> {
    printable::raw_stdout()
        .write_all(text)
        .context("cannot write to stdout")
}
