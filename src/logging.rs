//! The log: text or JSON lines on stderr, and every record in `events.jsonl` once the run has a folder.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

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
    let level = if other_rank().is_some() {
        "warn"
    } else {
        "info"
    };
    let filter = || EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colours = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(colours).with_target(false).boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    };
    let events = fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false);
    let events = events
        .with_writer(EventsWriter)
        .with_filter(EnvFilter::new("info"));
    // A second start (in a test) keeps the first log.
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(filter()))
        .with(events)
        .try_init();
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

/// Logs `error` with everything that led to it.
pub fn report(error: &anyhow::Error) {
    match other_rank() {
        Some(rank) => tracing::error!(rank, "{error:#}"),
        None => tracing::error!("{error:#}"),
    }
}

/// Logs an end that was asked for.
pub fn report_end(reason: &anyhow::Error) {
    tracing::info!("{reason:#}");
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
