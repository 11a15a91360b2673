//! The tree between YAML and the types: every value knows where it was written.

use std::borrow::Cow;
use std::sync::Arc;

use crate::{printable, redact};

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) value: Value,
    pub(crate) mark: Mark,
    /// The text of a plain scalar that is something else, where that is kept: [`Scalars::Written`].
    pub(crate) written: Option<Arc<str>>,
}

/// What a plain scalar such as `01`, `no`, `12:30` or `~` is where text is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalars {
    /// The text of the value that YAML 1.1 reads, as in the original: `1`, `False`, `750`, and no text.
    Read,
    /// What was written. Keys are text.
    Written,
}

/// A YAML 1.1 value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
    /// A date or time, kept as text: no key of the configuration takes one.
    Timestamp(Arc<str>),
    List(Vec<Node>),
    /// In order, without duplicates.
    Map(Vec<(Node, Node)>),
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) source: Source,
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
}

/// What a value was written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The file alone.
    File,
    /// The file, with the value of these variables in it.
    Environment(Arc<str>),
    /// An override as it was given.
    Override(Arc<str>),
}

impl Node {
    /// The value of `key` in a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()?
            .iter()
            .find(|(name, _)| name.as_str() == Some(key))
            .map(|(_, value)| value)
    }

    pub(crate) fn entries(&self) -> Option<&[(Self, Self)]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// The value in a message, in words.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => float_text(*value),
            Value::Str(text) if text.is_empty() => "an empty string".to_owned(),
            Value::Str(text) => format!("the string {:?}", shorten(text)),
            Value::Timestamp(text) => format!("the date {}", shorten(text)),
            Value::List(items) if items.is_empty() => "an empty list".to_owned(),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Map(entries) if entries.is_empty() => "an empty mapping".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// At most 60 characters of `text`, secrets left out: an address that is cut off hides that it has one.
pub(crate) fn shorten(text: &str) -> String {
    let text = redact::value(text);
    printable::short(&text, 60).into_owned()
}

/// A scalar as Python's `str` writes it; none for others.
pub(crate) fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Str(text) => Some(Cow::Borrowed(text)),
        Value::Bool(flag) => Some(if *flag { "True" } else { "False" }.into()),
        Value::Int(number) => Some(number.to_string().into()),
        Value::Float(number) => Some(float_text(*number).into()),
        _ => None,
    }
}

/// A key as text, as a map with text for keys takes it.
pub(crate) fn key_text(key: &Node) -> Option<String> {
    text(&key.value).map(Cow::into_owned)
}

/// A float as Python prints it: the fewest digits that read back the same, an exponent below 1e-4 and from 1e16 on.
pub(crate) fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        format!("{value:?}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    }
}
