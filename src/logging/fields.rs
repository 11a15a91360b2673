//! Keys and values of an event of the log, and its name.

use std::fmt::Debug;

use serde_json::{Map, Value, json};
use tracing::Event;
use tracing::field::{Field, Visit};

use crate::printable;

/// What an event without a name of its own is called by tracing.
const UNNAMED: &str = "event ";

/// The name that the program gave to `event`.
pub(super) fn name_of(event: &Event<'_>) -> Option<&'static str> {
    let name = event.metadata().name();
    (!name.starts_with(UNNAMED)).then_some(name)
}

/// The keys and values of an event, its message among them.
#[derive(Debug, Default)]
pub(super) struct Fields(pub(super) Map<String, Value>);

impl Fields {
    /// As recorded, control characters and all.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        fields
    }

    /// The words for a person; none: empty.
    pub(super) fn message(&self) -> &str {
        self.text("message")
    }

    /// The number under `key`; NaN where there is none.
    pub(super) fn number(&self, key: &str) -> f64 {
        self.0.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN)
    }

    /// The text under `key`; none: empty.
    pub(super) fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// With every text made safe for a terminal.
    pub(super) fn printable(mut self) -> Self {
        for (key, value) in &mut self.0 {
            if let Value::String(text) = value {
                *text = match key.as_str() {
                    "message" => printable::lines(text).into_owned(),
                    _ => printable::line(text).into_owned(),
                };
            }
        }
        self
    }

    /// Adds `words` to the message.
    pub(super) fn say(&mut self, words: &str) {
        if let Some(Value::String(message)) = self.0.get_mut("message") {
            message.push_str(words);
        }
    }

    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN: null says it.
        self.put(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, json!(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, json!(chain(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, json!(format!("{value:?}")));
    }
}

/// An error with everything that led to it.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = chain.map(ToString::to_string).collect();
    texts.join(": ")
}
