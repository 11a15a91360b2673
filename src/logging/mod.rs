//! The log: lines for people or JSON lines on stderr, and every record in `events.jsonl` once the run has a folder.
//!
//! On a terminal lines are short and a [`bar`] shows the progress; elsewhere they are those of the original, and nothing
//! is drawn. [`schema`] is what machines may rely on.

pub mod bar;
pub mod events;
mod fields;
mod pace;
mod plain;
mod record;
pub mod schema;
mod superseded;
mod terminal;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::{Arc, LazyLock};

use tracing::warn;
use tracing_subscriber::filter::{FilterExt, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use self::events::EventsWriter;
pub use self::events::{forget_after, open_events};
use self::pace::Counts;
use self::plain::Plain;
use self::record::Records;
use self::terminal::{AboveBar, Lines};
use crate::cli::LogFormat;
use crate::distributed::env::Launch;
use crate::{printable, redact, whole_file};

/// How often each kind of warning was met in this process.
static COUNTS: LazyLock<Arc<Counts>> = LazyLock::new(Arc::default);

/// Starts the log. Colours only on a terminal and without `NO_COLOR`. Ranks other than 0 say only what is wrong.
pub fn start(format: LogFormat) {
    let is_other = other_rank().is_some();
    let level = if is_other { "warn" } else { "info" };
    let wanted = std::env::var_os(EnvFilter::DEFAULT_ENV)
        .map(|wanted| wanted.to_string_lossy().into_owned());
    let (filter, doubt) = filter(wanted.as_deref(), level);
    // Why a command ends is always written.
    let filter = filter.or(LevelFilter::ERROR);
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    let on_terminal = io::stderr().is_terminal() && !is_dumb && format == LogFormat::Text;
    let colours = on_terminal && !is_colourless();
    bar::allow(on_terminal && !is_other, colours);
    let lines = fmt::layer().with_writer(|| Redacted(io::stderr()));
    let lines = match format {
        LogFormat::Json => lines.event_format(Records::default()).boxed(),
        LogFormat::Text if on_terminal => {
            let lines = lines.with_writer(|| Redacted(AboveBar));
            lines.event_format(Lines::new(colours)).boxed()
        }
        LogFormat::Text => lines.event_format(Plain::default()).boxed(),
    };
    let events = fmt::layer()
        .event_format(Records(Arc::clone(&COUNTS)))
        .with_writer(|| Redacted(EventsWriter))
        .with_filter(EnvFilter::new("info"));
    std::panic::set_hook(Box::new(report_panic));
    // A second start (in a test) keeps the first log.
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(events)
        .try_init();
    if let Some(doubt) = doubt {
        warn!(
            "RUST_LOG={doubt} is not heeded: write error, warn, info, debug, trace, or TARGET=LEVEL"
        );
    }
}

/// The filter that `wanted` asks for (`RUST_LOG`), else that of `level`; and what of it says nothing.
fn filter<'a>(wanted: Option<&'a str>, level: &str) -> (EnvFilter, Option<&'a str>) {
    let Some(wanted) = wanted.filter(|wanted| !wanted.trim().is_empty()) else {
        return (EnvFilter::new(level), None);
    };
    // A word that is no level would be a target, and silence all others.
    let is_known = |part: &str| {
        part.parse::<LevelFilter>().is_ok()
            || part.contains(['=', '['])
            || part.starts_with(env!("CARGO_CRATE_NAME"))
    };
    match EnvFilter::try_new(wanted) {
        Ok(filter) if wanted.split(',').map(str::trim).all(is_known) => (filter, None),
        _ => (EnvFilter::new(level), Some(wanted)),
    }
}

/// Whether the user asked for no colours (`NO_COLOR`), whatever they would be shown on.
#[must_use]
pub fn is_colourless() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// The process is about to end: says what came too often to be written each time, and writes what waits for the disk.
pub fn end() {
    COUNTS.report();
    events::finish();
}

/// Logs `error` with everything that led to it; the process is about to end with `exit_code`.
pub fn report(error: &anyhow::Error, exit_code: u8) {
    let rank = other_rank();
    let hint = if whole_file::size_limit_was_met() {
        ": a file may not grow beyond the limit of this shell or job (`ulimit -f`)"
    } else {
        ""
    };
    tracing::error!(name: "failed", exit_code, rank, "{error:#}{hint}");
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

/// What Rust writes of a panic, which may hold text from outside, safe to print.
fn report_panic(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let backtrace = Backtrace::capture();
    let mut text = format!("thread '{name}' {info}");
    if backtrace.status() == BacktraceStatus::Captured {
        text += &format!("\n{backtrace}");
    }
    // Nothing is left to say it on where stderr is closed.
    let _ = writeln!(io::stderr(), "{}", printable::lines(&text));
}

/// Passes records on without the secrets of the addresses in them. It is given whole records.
struct Redacted<W>(W);

impl<W: Write> Write for Redacted<W> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        // What is no text has no address.
        match std::str::from_utf8(record).map(redact::text) {
            Ok(Cow::Owned(text)) => self.0.write_all(text.as_bytes())?,
            _ => self.0.write_all(record)?,
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_silences_nothing() {
        for (wanted, is_heeded) in [
            ("debug", true),
            ("WARN,recap_train::data=trace", true),
            ("recap_train::data", true),
            ("off", true),
            (" ", true),
            ("inof", false),
            ("info,tch", false),
            ("[[[", false),
            ("=,=", false),
        ] {
            let (_, doubt) = filter(Some(wanted), "info");
            assert_eq!(doubt.is_none(), is_heeded, "{wanted}");
        }
    }
}
