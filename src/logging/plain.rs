//! Log lines where nobody watches a terminal: complete, one after the other, never coloured.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::record::{Fields, name_of};

/// Events whose message says all that a person needs; the keys are for machines.
pub(super) const SPOKEN: [&str; 4] = ["config", "verdict", "failed", "stopped"];

/// Writes events as lines of text.
#[derive(Debug)]
pub(super) struct Plain(Format<Full>);

impl Plain {
    pub(super) fn new() -> Self {
        Self(Format::default().with_ansi(false).with_target(false))
    }
}

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if !name_of(event).is_some_and(|name| SPOKEN.contains(&name)) {
            return self.0.format_event(context, writer, event);
        }
        SystemTime.format_time(&mut writer)?;
        write!(writer, " {:>5} ", event.metadata().level())?;
        let fields = Fields::of(event);
        if let Some(rank) = fields.0.get("rank") {
            write!(writer, "rank {rank}: ")?;
        }
        writeln!(writer, "{}", fields.message())
    }
}
