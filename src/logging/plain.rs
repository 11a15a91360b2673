//! Log lines where nobody watches a terminal: complete, one after the other, never coloured.

use std::fmt::{self, Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::fields::{Fields, chain, name_of};
use super::pace::{Counts, Pace, note};
use crate::printable;

/// Events whose message says all that a person needs; the keys are for machines.
pub(super) const SPOKEN: [&str; 4] = ["config", "verdict", "failed", "stopped"];

/// Writes events as lines of text.
#[derive(Debug, Default)]
pub(super) struct Plain(Counts);

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let pace = self.0.pace(event);
        if pace == Pace::Silent {
            return Ok(());
        }
        SystemTime.format_time(&mut writer)?;
        write!(writer, " {:>5} ", event.metadata().level())?;
        match name_of(event) {
            Some(name) if SPOKEN.contains(&name) => {
                let fields = Fields::of(event);
                if let Some(rank) = fields.0.get("rank") {
                    write!(writer, "rank {rank}: ")?;
                }
                writer.write_str(&spoken(name, fields.message()))?;
            }
            _ => {
                let mut words = Words::default();
                event.record(&mut words);
                write!(writer, "{}{}", words.message, words.keys)?;
            }
        }
        if let Pace::Counted(count) = pace {
            writer.write_str(&note(count))?;
        }
        writeln!(writer)
    }
}

/// The message of one of [`SPOKEN`]. The config is YAML, in which text cannot begin a line.
pub(super) fn spoken(name: &str, message: &str) -> String {
    match name {
        "config" => printable::escaped(message, |c| c != '\n' && printable::is_harmful(c)),
        _ => printable::lines(message),
    }
    .into_owned()
}

/// Message and keys of an event, safe to print. Text in keys is in quotes.
#[derive(Default)]
struct Words {
    message: String,
    keys: String,
}

impl Words {
    fn put(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = printable::lines(value).into_owned();
        } else {
            // Writing to a string does not fail.
            let _ = write!(self.keys, " {}={}", field.name(), printable::line(value));
        }
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.put(field, value);
        } else {
            self.put(field, &format!("{value:?}"));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, &chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, &format!("{value:?}"));
    }
}
