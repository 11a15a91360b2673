//! Leaves and containers: what counts as an integer, a number, a truth value, text, a list, a map.
//!
//! As in the original, text that reads as a number is one, a float is cut to an integer, truth values count as 0 and
//! 1, and a number or truth value is taken as text where text is wanted.

use std::borrow::Cow;

use indexmap::IndexMap;

use super::decode::{Decode, Decoder};
use super::hints;
use super::node::{Node, Value, key_text, text};
use super::path::Step;
use super::scalar::{python_float, python_int};
use super::schema::Shape;
use super::value::{Depth, NumOpenFiles, NumThreads, PositiveFloat, PositiveInt, Seconds, Size};

/// Reads a leaf with `read`, or reports what was expected.
fn leaf<T>(
    node: &Node,
    at: &mut Decoder,
    expected: &str,
    read: impl FnOnce(&Value) -> Option<T>,
) -> Option<T> {
    at.leaf(node);
    let value = read(&node.value);
    if value.is_none() {
        at.unexpected(node, expected, &hint(node, expected));
    }
    value
}

/// How to write what was probably meant.
fn hint(node: &Node, expected: &str) -> String {
    match &node.value {
        Value::Int(number)
            if expected.starts_with("an integer") && i64::try_from(*number).is_err() =>
        {
            format!(" (64 bits hold {} to {})", i64::MIN, i64::MAX)
        }
        Value::Null => " (leave the key out to get its default, if it has one)".to_owned(),
        Value::Str(text) if expected.starts_with("an integer") => match python_float(text) {
            Some(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                format!(" (YAML reads it as text; write {number:.0})")
            }
            _ => String::new(),
        },
        Value::Timestamp(_) if expected == "text" => " (put it in quotes)".to_owned(),
        _ => String::new(),
    }
}

/// An integer by the rules of Python's `int()`.
#[allow(
    clippy::cast_possible_truncation,
    reason = "the range is checked first"
)]
fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Bool(flag) => Some(i128::from(*flag)),
        Value::Float(number) if number.is_finite() && number.abs() < 1e30 => {
            Some(number.trunc() as i128)
        }
        Value::Str(text) => python_int(text),
        _ => None,
    }
}

/// A number by the rules of Python's `float()`.
#[allow(
    clippy::cast_precision_loss,
    reason = "a number of the configuration is wanted as f64"
)]
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::Float(number) => Some(*number),
        Value::Str(text) => python_float(text),
        _ => None,
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Str(text) => match text.to_lowercase().as_str() {
            "1" | "on" | "t" | "true" | "y" | "yes" => Some(true),
            "0" | "off" | "f" | "false" | "n" | "no" => Some(false),
            _ => None,
        },
        Value::Int(1) => Some(true),
        Value::Int(0) => Some(false),
        Value::Float(number) if [0.0, 1.0].contains(number) => Some(*number > 0.5),
        _ => None,
    }
}

/// One of the strings of a choice, by its position in `choices`.
pub(crate) fn choice(node: &Node, at: &mut Decoder, choices: &[&str], expected: &str) -> usize {
    at.leaf(node);
    let given = node.as_str();
    if let Some(found) = choices.iter().position(|c| given == Some(c)) {
        return found;
    }
    let near = given.and_then(|given| {
        let lower = given.to_lowercase();
        choices
            .iter()
            .find(|c| c.to_lowercase() == lower || strsim::jaro_winkler(&lower, c) > 0.85)
    });
    let hint = near.map_or_else(String::new, |near| format!(", did you mean {near}?"));
    at.unexpected(node, expected, &hint);
    0
}

/// Implements [`Decode`] for a leaf.
macro_rules! leaf {
    ($type:ty, $expected:literal, $placeholder:expr, $read:expr) => {
        impl Decode for $type {
            fn decode(node: &Node, at: &mut Decoder) -> Self {
                leaf(node, at, $expected, $read).unwrap_or_else(Self::placeholder)
            }
            fn placeholder() -> Self {
                $placeholder
            }
            fn shape() -> Shape {
                Shape::Scalar($expected)
            }
        }
    };
}

leaf!(i64, "an integer", 0, |v| integer(v)?.try_into().ok());
leaf!(bool, "true or false", false, truth);
leaf!(
    PositiveInt,
    "an integer of at least 1",
    super::value::positive(1),
    |v| {
        // Sizes and counts go to libtorch as signed numbers.
        let number: i64 = integer(v)?.try_into().ok()?;
        PositiveInt::new(number.try_into().ok()?)
    }
);

impl Decode for String {
    fn decode(node: &Node, at: &mut Decoder) -> Self {
        let read = |value: &Value| match &node.written {
            Some(written) => Some(written.to_string()),
            None => text(value).map(Cow::into_owned),
        };
        leaf(node, at, "text", read).unwrap_or_default()
    }
    fn placeholder() -> Self {
        Self::new()
    }
    fn shape() -> Shape {
        Shape::Scalar("text")
    }
}

/// Everything is computed in f32: a larger number has no place there, and one that is too small is 0.
const HELD: &str =
    "a number that 32 bits hold, at most 3.4e38 (or .inf), at least 1.4e-45 where it is not 0";

fn is_held(number: f64) -> bool {
    let size = number.abs();
    #[allow(
        clippy::cast_possible_truncation,
        reason = "what is lost is what is asked for"
    )]
    let is_lost = size > 0.0 && size as f32 == 0.0;
    !(is_lost || number.is_finite() && size > f64::from(f32::MAX))
}

impl Decode for f64 {
    fn decode(node: &Node, at: &mut Decoder) -> Self {
        let number = leaf(node, at, "a number", number).unwrap_or_else(Self::placeholder);
        if !is_held(number) {
            at.unexpected(node, HELD, "");
            return Self::placeholder();
        }
        number
    }
    fn placeholder() -> Self {
        0.0
    }
    fn shape() -> Shape {
        Shape::Scalar("a number")
    }
}

impl Decode for PositiveFloat {
    fn decode(node: &Node, at: &mut Decoder) -> Self {
        let read = |value: &Value| Self::new(number(value)?);
        let number = leaf(node, at, "a number above 0", read).unwrap_or_else(Self::placeholder);
        if !is_held(number.get()) {
            at.unexpected(node, HELD, "");
            return Self::placeholder();
        }
        number
    }
    fn placeholder() -> Self {
        super::value::positive_float(1.0)
    }
    fn shape() -> Shape {
        Shape::Scalar("a number above 0")
    }
}

/// Implements [`Decode`] for integers from 1 to a bound.
macro_rules! bounded_leaf {
    ($($type:ident),+) => { $(
        impl Decode for $type {
            fn decode(node: &Node, at: &mut Decoder) -> Self {
                let read = |v: &Value| Self::new(integer(v)?.try_into().ok()?);
                leaf(node, at, Self::EXPECTED, read).unwrap_or_else(Self::placeholder)
            }
            fn placeholder() -> Self {
                Self::literal(1)
            }
            fn shape() -> Shape {
                Shape::Scalar(Self::EXPECTED)
            }
        }
    )+ };
}

bounded_leaf!(Size, Depth, NumThreads, NumOpenFiles);

leaf!(
    Seconds,
    "a number of seconds above 0, at most 1e9",
    Seconds::literal(1.0),
    |v| { Seconds::new(number(v)?) }
);

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, at: &mut Decoder) -> Self {
        if node.is_null() {
            at.leaf(node);
            return None;
        }
        Some(T::decode(node, at))
    }
    fn placeholder() -> Self {
        None
    }
    fn shape() -> Shape {
        T::shape()
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, at: &mut Decoder) -> Self {
        at.leaf(node);
        let Value::List(items) = &node.value else {
            at.unexpected(node, "a list", &hints::list(node));
            return Self::new();
        };
        let items = items.iter().enumerate();
        items
            .map(|(i, item)| at.below(Step::Index(i), item))
            .collect()
    }
    fn placeholder() -> Self {
        Self::new()
    }
    fn shape() -> Shape {
        Shape::List(Box::new(T::shape()))
    }
}

impl<T: Decode> Decode for IndexMap<String, T> {
    fn decode(node: &Node, at: &mut Decoder) -> Self {
        at.leaf(node);
        let mut map = Self::new();
        let hint = || hints::map(node, &T::shape());
        for (key, value) in at.mapping(node, hint).unwrap_or_default() {
            match key_text(key) {
                Some(name) => {
                    let value = at.below(Step::Key(name.clone()), value);
                    map.insert(name, value);
                }
                None => at.unexpected(key, "text as key", ""),
            }
        }
        map
    }
    fn placeholder() -> Self {
        Self::new()
    }
    fn shape() -> Shape {
        Shape::Map(Box::new(T::shape()))
    }
}

impl Decode for serde_yaml::Value {
    fn decode(node: &Node, at: &mut Decoder) -> Self {
        at.leaf(node);
        plain(node)
    }
    fn placeholder() -> Self {
        Self::Null
    }
    fn shape() -> Shape {
        Shape::Any
    }
}

/// A node without its marks; integers beyond 64 bits become floats.
#[allow(clippy::cast_precision_loss, reason = "no 64-bit integer holds it")]
fn plain(node: &Node) -> serde_yaml::Value {
    match &node.value {
        Value::Null => serde_yaml::Value::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Int(number) => match (i64::try_from(*number), u64::try_from(*number)) {
            (Ok(number), _) => number.into(),
            (_, Ok(number)) => number.into(),
            _ => (*number as f64).into(),
        },
        Value::Float(number) => (*number).into(),
        Value::Str(text) | Value::Timestamp(text) => (&**text).into(),
        Value::List(items) => items.iter().map(plain).collect(),
        Value::Map(entries) => {
            let entries = entries.iter().map(|(k, v)| (plain(k), plain(v)));
            serde_yaml::Value::Mapping(entries.collect())
        }
    }
}
