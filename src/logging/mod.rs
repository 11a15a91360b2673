//! The log: lines for people or JSON lines on stderr, and every record in `events.jsonl` once the run has a folder.
//!
//! On a terminal lines are short and a [`bar`] shows the progress; elsewhere they are those of the original, and nothing
//! is drawn. [`schema`] is what machines may rely on.

pub mod bar;
mod plain;
mod record;
pub mod schema;
mod terminal;

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use self::plain::Plain;
use self::record::Records;
use self::terminal::{AboveBar, Lines};
use crate::cli::LogFormat;
use crate::distributed::env::Launch;

/// Where records wait until `events.jsonl` is there. Bounded: a run opens its folder within a few records.
static EVENTS: OnceLock<Mutex<Events>> = OnceLock::new();

const PENDING_BYTES: usize = 1 << 20;

enum Events {
    Pending(Vec<u8>),
    File(File),
}

/// Starts the log. Colours only on a terminal and without `NO_COLOR`. Ranks other than 0 say only what is wrong.
pub fn start(format: LogFormat) {
    let is_other = other_rank().is_some();
    let level = if is_other { "warn" } else { "info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    let on_terminal = io::stderr().is_terminal() && !is_dumb && format == LogFormat::Text;
    let colours = on_terminal && !is_colourless();
    bar::allow(on_terminal && !is_other, colours);
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Json => lines.event_format(Records).boxed(),
        LogFormat::Text if on_terminal => {
            let lines = lines.with_writer(AboveBar);
            lines.event_format(Lines { colours }).boxed()
        }
        LogFormat::Text => lines.event_format(Plain::new()).boxed(),
    };
    let events = fmt::layer()
        .event_format(Records)
        .with_writer(EventsWriter)
        .with_filter(EnvFilter::new("info"));
    // A second start (in a test) keeps the first log.
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(events)
        .try_init();
}

/// Whether the user asked for no colours (`NO_COLOR`), whatever they would be shown on.
#[must_use]
pub fn is_colourless() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// From now on every record also goes to `folder/events.jsonl`, earlier ones of this run included.
///
/// # Errors
/// When the file cannot be opened or written.
pub fn open_events(folder: &Path) -> io::Result<()> {
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(folder.join("events.jsonl"))?;
    let mut events = events().lock().unwrap_or_else(PoisonError::into_inner);
    if let Events::Pending(pending) = &*events {
        file.write_all(pending)?;
    }
    *events = Events::File(file);
    Ok(())
}

/// Logs `error` with everything that led to it; the process is about to end with `exit_code`.
pub fn report(error: &anyhow::Error, exit_code: u8) {
    let rank = other_rank();
    tracing::error!(name: "failed", exit_code, rank, "{error:#}");
}

/// Logs an end that was asked for; the process is about to end with `exit_code`.
pub fn report_end(reason: &anyhow::Error, exit_code: u8) {
    let rank = other_rank();
    tracing::info!(name: "stopped", exit_code, rank, "{reason:#}");
}

/// This process's rank where another one, rank 0, writes the log for people.
fn other_rank() -> Option<usize> {
    let launch = Launch::from_env(|name| std::env::var(name).ok())
        .ok()
        .flatten()?;
    Some(launch.place.rank).filter(|&rank| rank > 0)
}

fn events() -> &'static Mutex<Events> {
    EVENTS.get_or_init(|| Mutex::new(Events::Pending(Vec::new())))
}

struct EventsWriter;

impl MakeWriter<'_> for EventsWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

impl Write for EventsWriter {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        match &mut *events().lock().unwrap_or_else(PoisonError::into_inner) {
            Events::Pending(pending) if pending.len() < PENDING_BYTES => {
                pending.extend_from_slice(record)
            }
            Events::Pending(_) => {}
            Events::File(file) => file.write_all(record)?,
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
