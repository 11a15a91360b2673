//! YAML 1.1 text to a tree of marked nodes: anchors, aliases, merge keys, tags, limits.
//!
//! Events come from saphyr-parser, which is safe Rust, keeps no stack per nesting level and gives positions; what
//! scalars mean, how mappings merge and which duplicates win is decided here, the way PyYAML decides it.

use std::collections::HashMap;
use std::ops::Range;

use indexmap::IndexMap;
use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::node::{Mark, Node, Scalars, Value};
use super::scalar::{self, Kind};
use super::syntax::{self, YamlError};

/// Nesting that no configuration comes near.
const MAX_DEPTH: usize = 100;
/// What a document may amount to once aliases are expanded: its text plus [`NODE_BYTES`] for each value.
const MAX_EXPANDED_BYTES: usize = 16 << 20;
const NODE_BYTES: usize = 64;
/// Repeated keys beyond this many say nothing new.
const MAX_REPEATED: usize = 20;
/// Longest text that is read at all, after substitution.
pub(crate) const MAX_TEXT_BYTES: usize = 4 << 20;

type Result<T> = std::result::Result<T, YamlError>;

fn fail<T>(index: usize, message: impl Into<String>) -> Result<T> {
    Err(YamlError {
        index,
        message: message.into(),
    })
}

/// Gives the mark of the characters in a range.
pub(crate) type Marker<'a> = &'a dyn Fn(&Range<usize>) -> Mark;

/// A document and what is odd about it.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) root: Node,
    pub(crate) repeated: Vec<Repeated>,
}

/// A key that one mapping has twice; the later value wins.
#[derive(Debug)]
pub(crate) struct Repeated {
    pub(crate) key: Node,
    pub(crate) first: Mark,
}

/// Parses one document; an empty text is null.
pub(crate) fn parse(text: &str, scalars: Scalars, marker: Marker<'_>) -> Result<Parsed> {
    if let Some((index, c)) = text.chars().enumerate().find(|(_, c)| !is_printable(*c)) {
        return fail(
            index,
            format!("the character U+{:04X} is not allowed", u32::from(c)),
        );
    }
    let mut composer = Composer {
        events: Parser::new_from_str(text),
        scalars,
        marker,
        anchors: HashMap::new(),
        expanded: 0,
        depth: 0,
        repeated: Vec::new(),
    };
    let root = composer
        .document()
        .map_err(|error| syntax::explain(text, error))?;
    Ok(Parsed {
        root,
        repeated: composer.repeated,
    })
}

fn is_printable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

/// A finished node and what it amounts to.
struct Anchored {
    node: Node,
    expanded: usize,
}

struct Composer<'a> {
    events: Parser<'a, StrInput<'a>>,
    scalars: Scalars,
    marker: Marker<'a>,
    anchors: HashMap<usize, Anchored>,
    /// What the nodes made so far amount to.
    expanded: usize,
    depth: usize,
    repeated: Vec<Repeated>,
}

impl<'a> Composer<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Range<usize>)> {
        match self.events.next() {
            None => fail(0, "the text ends too early"),
            Some(Err(error)) => fail(error.marker().index(), error.info()),
            Some(Ok((event, Span { start, end, .. }))) => Ok((event, start.index()..end.index())),
        }
    }

    fn document(&mut self) -> Result<Node> {
        let mut root = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => break,
                (Event::StreamStart | Event::DocumentEnd | Event::Nothing, _) => {}
                (Event::DocumentStart(_), at) if root.is_some() => {
                    return fail(at.start, "a second document starts here, expected only one");
                }
                (Event::DocumentStart(_), _) => {
                    let first = self.next()?;
                    root = Some(self.node(first)?);
                }
                (_, at) => return fail(at.start, "a value stands outside of the document"),
            }
        }
        Ok(root.unwrap_or_else(|| Node {
            value: Value::Null,
            mark: (self.marker)(&(0..0)),
            written: None,
        }))
    }

    fn node(&mut self, (event, at): (Event<'a>, Range<usize>)) -> Result<Node> {
        let before = self.expanded;
        self.spend(NODE_BYTES, at.start)?;
        let mark = (self.marker)(&at);
        let mut written = None;
        let (anchor, value) = match event {
            Event::Alias(id) => return self.alias(id, at.start),
            Event::Scalar(text, style, anchor, tag) => {
                self.spend(text.len(), at.start)?;
                let plain = style == ScalarStyle::Plain;
                let value = scalar_value(&text, plain, tag.as_deref(), at.start)?;
                let is_text = matches!(value, Value::Str(_)) || text.is_empty();
                if plain && tag.is_none() && !is_text && self.scalars == Scalars::Written {
                    written = Some(text.as_ref().into());
                }
                (anchor, value)
            }
            Event::SequenceStart(anchor, tag) => {
                expect_tag(tag.as_deref(), "seq", at.start)?;
                (anchor, Value::List(self.nested(at.start, Self::list)?))
            }
            Event::MappingStart(anchor, tag) => {
                expect_tag(tag.as_deref(), "map", at.start)?;
                (anchor, Value::Map(self.nested(at.start, Self::map)?))
            }
            _ => return fail(at.start, "expected a value"),
        };
        let node = Node {
            value,
            mark,
            written,
        };
        if anchor != 0 {
            // The stored copy is held as long as the tree is made, so that it counts too.
            let expanded = self.expanded - before;
            self.spend(expanded, at.start)?;
            self.anchors.insert(
                anchor,
                Anchored {
                    node: node.clone(),
                    expanded,
                },
            );
        }
        Ok(node)
    }

    fn nested<T>(&mut self, at: usize, read: fn(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_DEPTH {
            return fail(at, format!("values are nested more than {MAX_DEPTH} deep"));
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn alias(&mut self, id: usize, at: usize) -> Result<Node> {
        let Some(Anchored { node, expanded }) = self.anchors.get(&id) else {
            return fail(at, "an alias stands inside the value that it refers to");
        };
        let (node, expanded) = (node.clone(), *expanded);
        self.spend(expanded, at)?;
        Ok(node)
    }

    fn spend(&mut self, bytes: usize, at: usize) -> Result<()> {
        self.expanded = self.expanded.saturating_add(bytes);
        if self.expanded > MAX_EXPANDED_BYTES {
            return fail(
                at,
                format!(
                    "the document is too large once its aliases are expanded (more than {} MiB)",
                    MAX_EXPANDED_BYTES >> 20
                ),
            );
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Node>> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                item => items.push(self.node(item)?),
            }
        }
    }

    fn map(&mut self) -> Result<Vec<(Node, Node)>> {
        let mut own = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let merges = is_merge_key(&event);
            let mut key = self.node((event, at.clone()))?;
            if let Some(written) = key.written.take() {
                key.value = Value::Str(written);
            }
            let value = self.next()?;
            let value_at = value.1.start;
            let value = self.node(value)?;
            if merges {
                merged.extend(merge_bases(value, value_at)?);
            } else {
                own.push((key, value, at.start));
            }
        }
        let mut entries = IndexMap::new();
        for (key, value) in merged {
            insert(&mut entries, key, value, 0)?;
        }
        let num_merged = entries.len();
        for (key, value, at) in own {
            let replaced = insert(&mut entries, key.clone(), value, at)?;
            // To replace what was merged is what merging is for.
            if let Some((index, first)) = replaced
                && index >= num_merged
                && self.repeated.len() < MAX_REPEATED
            {
                self.repeated.push(Repeated { key, first });
            }
        }
        Ok(entries.into_values().collect())
    }
}

/// A plain `<<`, or anything tagged as a merge key.
fn is_merge_key(event: &Event<'_>) -> bool {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, _, None) => text == "<<",
        Event::Scalar(_, _, _, Some(tag)) => core_tag(tag) == Some("merge"),
        _ => false,
    }
}

/// The entries that `<<: value` brings in; of several bases the first wins, so it comes last.
fn merge_bases(value: Node, at: usize) -> Result<Vec<(Node, Node)>> {
    const EXPECTED: &str = "`<<` takes a mapping or a list of mappings";
    match value.value {
        Value::Map(entries) => Ok(entries),
        Value::List(bases) => {
            let mut entries = Vec::new();
            for base in bases.into_iter().rev() {
                match base.value {
                    Value::Map(base) => entries.extend(base),
                    _ => {
                        return fail(
                            at,
                            format!("{EXPECTED}, this list holds {}", base.describe()),
                        );
                    }
                }
            }
            Ok(entries)
        }
        _ => fail(at, format!("{EXPECTED}, found {}", value.describe())),
    }
}

/// Adds an entry; a key that is there stays, gets the new value, and is returned with its position and mark.
fn insert(
    entries: &mut IndexMap<String, (Node, Node)>,
    key: Node,
    value: Node,
    at: usize,
) -> Result<Option<(usize, Mark)>> {
    let identity = match &key.value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => format!("number {}", f64::from(u8::from(*flag))),
        #[allow(
            clippy::cast_precision_loss,
            reason = "keys that Python holds equal only need to collide"
        )]
        Value::Int(number) => format!("number {}", *number as f64),
        Value::Float(number) => format!("number {number}"),
        Value::Str(text) => format!("string {text}"),
        Value::Timestamp(text) => format!("time {text}"),
        Value::List(_) | Value::Map(_) => {
            return fail(
                at,
                format!("a key must be a scalar, found {}", key.describe()),
            );
        }
    };
    match entries.get_full_mut(&identity) {
        Some((index, _, entry)) => {
            entry.1 = value;
            Ok(Some((index, entry.0.mark.clone())))
        }
        None => {
            entries.insert(identity, (key, value));
            Ok(None)
        }
    }
}

/// The name of a tag of YAML itself, such as `int` for `!!int`.
fn core_tag(tag: &Tag) -> Option<&str> {
    match tag.handle.as_str() {
        "tag:yaml.org,2002:" | "!!" => Some(&tag.suffix),
        "" => tag.suffix.strip_prefix("tag:yaml.org,2002:"),
        _ => None,
    }
}

fn expect_tag(tag: Option<&Tag>, expected: &str, at: usize) -> Result<()> {
    match tag {
        None => Ok(()),
        Some(tag) if core_tag(tag) == Some(expected) || is_plain_bang(tag) => Ok(()),
        Some(tag) => unknown_tag(tag, at),
    }
}

/// The tag `!`, which only says "not a plain scalar".
fn is_plain_bang(tag: &Tag) -> bool {
    format!("{}{}", tag.handle, tag.suffix) == "!"
}

fn unknown_tag<T>(tag: &Tag, at: usize) -> Result<T> {
    let name = match core_tag(tag) {
        Some(name) => format!("!!{name}"),
        None => format!("{}{}", tag.handle, tag.suffix),
    };
    fail(
        at,
        format!("the tag {name} is not supported, a value needs none"),
    )
}

fn scalar_value(text: &str, plain: bool, tag: Option<&Tag>, at: usize) -> Result<Value> {
    let kind = match tag {
        None if plain => scalar::kind_of(text),
        None => Kind::Str,
        Some(tag) if is_plain_bang(tag) => Kind::Str,
        Some(tag) => match core_tag(tag) {
            Some("str" | "merge") => Kind::Str,
            Some("null") => Kind::Null,
            Some("bool") => Kind::Bool,
            Some("int") => Kind::Int,
            Some("float") => Kind::Float,
            Some("timestamp") => Kind::Timestamp,
            _ => return unknown_tag(tag, at),
        },
    };
    match scalar::read(kind, text) {
        Some(value) => Ok(value),
        None => fail(
            at,
            format!(
                "{:?} cannot be read as a number or a truth value",
                super::node::shorten(text)
            ),
        ),
    }
}
