//! One JSON object a line: how a record of the log becomes what [`super::schema`] describes.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::fields::{Fields, name_of};
use super::pace::{Counts, Pace};
use super::schema::SCHEMA;

/// Writes events as JSON lines.
#[derive(Debug, Default)]
pub(super) struct Records(pub(super) Arc<Counts>);

impl<S, N> FormatEvent<S, N> for Records
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
        let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now());
        let now = now.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        let mut record = Map::new();
        record.insert("schema".to_owned(), json!(SCHEMA));
        record.insert("timestamp".to_owned(), json!(now));
        let level = event.metadata().level();
        record.insert("level".to_owned(), json!(level.as_str()));
        if let Some(name) = name_of(event) {
            record.insert("event".to_owned(), json!(name));
        }
        record.extend(Fields::of(event).0);
        if let Pace::Counted(count) = pace {
            record.insert("similar".to_owned(), json!(count));
        }
        record.insert("target".to_owned(), json!(event.metadata().target()));
        writeln!(writer, "{}", Value::Object(record))
    }
}
