//! Trains: the banner, the config, the device, the chosen loop.

use std::io::Write;

use anyhow::Context;
use tracing::info;

use crate::config::RecapConfig;
use crate::torch::memory;
use crate::train::interrupt::Interrupt;
use crate::train::setup::{Place, build_device};
use crate::train::{debug, trainer};

/// Trains as `config` says.
///
/// # Errors
/// Whatever ends training early.
pub(super) fn run(config: &RecapConfig, debug_loop: bool) -> anyhow::Result<()> {
    let interrupt = Interrupt::listen().context("cannot listen for signals")?;
    print_line(&"#".repeat(100));
    info!("config:\n{}", config.to_yaml());
    let place = Place::ALONE;
    memory::keep_freed();
    let device = build_device(place)?;
    print_line(&chrono::Local::now().format("%Y_%m_%d_%H_%M").to_string());
    if debug_loop {
        debug::run(config, device, place, &interrupt)
    } else {
        trainer::run(config, device, place, interrupt)
    }
}

/// Writes to stdout; a reader that has gone away is no reason to stop training.
fn print_line(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
