//! From the marked tree to the types, collecting every problem on the way.

use std::path::Path as FilePath;

use indexmap::IndexMap;

use super::error::{ConfigError, MAX_PROBLEMS, Problem, ProblemKind, Report};
use super::hints;
use super::node::{Mark, Node, Scalars, Source, Value, key_text};
use super::path::{Path, Step};
use super::schema::{SectionShape, Shape};

/// A type that can be read from the configuration.
///
/// Decoding always gives a value, so that one mistake does not hide the next; whether it may be used is known by the
/// problems that the decoder holds in the end.
pub trait Decode: Sized {
    /// What plain scalars of a document of this type are where text is wanted.
    const SCALARS: Scalars = Scalars::Read;

    /// Reads `node`, which stands at the decoder's path.
    fn decode(node: &Node, at: &mut Decoder) -> Self;

    /// A value that stands in for one that cannot be read.
    fn placeholder() -> Self;

    /// What the type looks like from outside.
    fn shape() -> Shape;
}

/// Collects problems and origins while a tree is decoded.
#[derive(Debug, Default)]
pub struct Decoder {
    pub(crate) path: Path,
    problems: Vec<Problem>,
    more: usize,
    /// Where each leaf was written, `None` for a default; by printed path.
    pub(crate) origins: IndexMap<String, Option<Mark>>,
    pub(crate) warnings: Vec<String>,
    /// The shape of the whole document.
    root: Option<Shape>,
}

impl Decoder {
    /// For a document of the shape `root`.
    pub(crate) fn of(root: Shape) -> Self {
        Self {
            root: Some(root),
            ..Self::default()
        }
    }

    /// The shape of the whole document.
    pub(crate) fn root(&self) -> Shape {
        self.root.clone().unwrap_or(Shape::Any)
    }

    /// Decodes what stands one step below the current path.
    pub(crate) fn below<T: Decode>(&mut self, step: Step, node: &Node) -> T {
        self.path.0.push(step);
        let value = T::decode(node, self);
        self.path.0.pop();
        value
    }

    /// Reports a problem with `path`, written at `mark`.
    pub(crate) fn report(&mut self, path: Path, mark: &Mark, kind: ProblemKind) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem {
                path,
                mark: mark.clone(),
                kind,
            });
        } else {
            self.more += 1;
        }
    }

    /// Reports that `node`, at the current path, is not what it should be.
    pub(crate) fn unexpected(&mut self, node: &Node, expected: &str, hint: &str) {
        let kind = ProblemKind::Unexpected {
            expected: expected.to_owned(),
            found: node.describe(),
            hint: hint.to_owned(),
        };
        self.report(self.path.clone(), &node.mark, kind);
    }

    /// Notes where the leaf at the current path comes from.
    pub(crate) fn leaf(&mut self, node: &Node) {
        self.origins
            .insert(self.path.to_string(), Some(node.mark.clone()));
    }

    /// A decoder that knows where values were written, for checks after loading.
    pub(crate) fn with_origins(origins: IndexMap<String, Option<Mark>>) -> Self {
        Self {
            origins,
            ..Self::default()
        }
    }

    /// [`hints::suggestion`], or nothing once problems are only counted.
    pub(crate) fn suggest<'a>(&self, wanted: &str, known: impl Iterator<Item = &'a str>) -> String {
        self.hint(|| hints::suggestion(wanted, known))
    }

    /// What `make` says, or nothing once problems are only counted.
    fn hint(&self, make: impl FnOnce() -> String) -> String {
        if self.problems.len() < MAX_PROBLEMS {
            make()
        } else {
            String::new()
        }
    }

    /// True when the values at, above and below `path` are those that were written.
    pub(crate) fn is_sound(&self, path: &Path) -> bool {
        self.can_read(path) && !self.unreadable().any(|p| path.contains(&p.path))
    }

    /// True when the value at `path` could be read; something below it may not be.
    pub(crate) fn can_read(&self, path: &Path) -> bool {
        self.more == 0 && !self.unreadable().any(|p| p.path.contains(path))
    }

    /// True when a problem was reported of `path` itself.
    pub(crate) fn is_blamed(&self, path: &Path) -> bool {
        self.more > 0 || self.problems.iter().any(|p| p.path == *path)
    }

    /// Problems that left a stand-in for a value.
    fn unreadable(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|p| {
            let kind = &p.kind;
            matches!(
                kind,
                ProblemKind::Missing { .. } | ProblemKind::Unexpected { .. }
            )
        })
    }

    /// The mark of the value at `path`, or of the nearest one around it.
    pub(crate) fn mark(&self, path: &Path) -> Mark {
        let mut path = path.clone();
        loop {
            if let Some(Some(mark)) = self.origins.get(&path.to_string()) {
                return mark.clone();
            }
            if path.0.pop().is_none() {
                return Mark {
                    source: Source::File,
                    line: 1,
                    column: 1,
                };
            }
        }
    }

    /// All problems in the order of the file, overrides last.
    pub(crate) fn finish(mut self, file: &FilePath) -> Result<Self, ConfigError> {
        if self.problems.is_empty() {
            return Ok(self);
        }
        self.problems.sort_by_key(|p| {
            let given = matches!(p.mark.source, Source::Override(_));
            (given, p.mark.line, p.mark.column)
        });
        Err(ConfigError::Invalid(Report {
            file: file.to_owned(),
            problems: self.problems,
            more: self.more,
        }))
    }

    /// Opens a section; reports a value that is no mapping and every key that is not known.
    pub(crate) fn section<'n>(
        &mut self,
        node: &'n Node,
        known: &[&str],
        shape: fn() -> SectionShape,
    ) -> Option<Keys<'n>> {
        let is_root = self.path.0.is_empty();
        let entries = self.mapping(node, || hints::section(node, &shape(), is_root))?;
        for (key, _) in &entries {
            let name = key_text(key);
            if name.as_deref().is_none_or(|name| !known.contains(&name)) {
                let name = name.unwrap_or_else(|| key.describe());
                let hint = self.hint(|| hints::unknown_key(&name, &shape(), &self.root()));
                self.report(
                    self.path.key(&name),
                    &key.mark,
                    ProblemKind::UnknownKey { hint },
                );
            }
        }
        // The section itself has a place too, for problems with what it lacks.
        self.leaf(node);
        Some(Keys { entries, node })
    }

    /// The entries of a mapping, or of a list of pairs, which Python takes for one.
    pub(crate) fn mapping<'n>(
        &mut self,
        node: &'n Node,
        hint: impl FnOnce() -> String,
    ) -> Option<Vec<(&'n Node, &'n Node)>> {
        let pair = |item: &'n Node| match &item.value {
            Value::List(pair) => match &pair[..] {
                [key, value] => Some((key, value)),
                _ => None,
            },
            _ => None,
        };
        let entries = match &node.value {
            Value::Map(entries) => Some(entries.iter().map(|(k, v)| (k, v)).collect()),
            Value::List(items) => items.iter().map(pair).collect(),
            Value::Str(text) if text.is_empty() => Some(Vec::new()),
            _ => None,
        };
        if entries.is_none() {
            let hint = self.hint(hint);
            self.unexpected(node, "a mapping", &hint);
        }
        entries
    }
}

/// The keys that one section was given.
#[derive(Debug)]
pub(crate) struct Keys<'n> {
    entries: Vec<(&'n Node, &'n Node)>,
    node: &'n Node,
}

impl<'n> Keys<'n> {
    /// The value of `key`, null included.
    pub(crate) fn find(&self, key: &str) -> Option<&'n Node> {
        // From the back: among pairs of a list the last one wins.
        let mut entries = self.entries.iter().rev();
        entries
            .find(|(name, _)| name.as_str() == Some(key))
            .map(|(_, value)| *value)
    }

    /// The value of `key`; null counts as not given.
    pub(crate) fn given(&self, key: &str) -> Option<&'n Node> {
        self.find(key).filter(|node| !node.is_null())
    }

    /// Where the section was written.
    pub(crate) fn mark(&self) -> &'n Mark {
        &self.node.mark
    }

    /// Decodes `key`, or takes the default.
    pub(crate) fn optional<T: Decode>(
        &self,
        at: &mut Decoder,
        key: &str,
        default: impl FnOnce() -> T,
    ) -> T {
        if let Some(node) = self.find(key) {
            return at.below(Step::Key(key.to_owned()), node);
        }
        at.origins.insert(at.path.key(key).to_string(), None);
        default()
    }

    /// Decodes `key`; it is a problem when it is missing.
    pub(crate) fn required<T: Decode>(&self, at: &mut Decoder, key: &str) -> T {
        if let Some(node) = self.find(key) {
            return at.below(Step::Key(key.to_owned()), node);
        }
        let expected = at.hint(|| hints::missing(&T::shape()));
        at.report(
            at.path.key(key),
            self.mark(),
            ProblemKind::Missing { expected },
        );
        T::placeholder()
    }

    /// Reports unless exactly one of `members` is given.
    pub(crate) fn exactly_one(&self, at: &mut Decoder, members: &[&str]) {
        let given = self.given_of(members);
        if let ([member], []) = (members, &given[..]) {
            let path = at.path.key(member);
            let mark = self.find(member).map_or(self.mark(), |node| &node.mark);
            let expected = "a mapping".to_owned();
            at.report(path, mark, ProblemKind::Missing { expected });
        } else if given.len() != 1 {
            let (members, found) = (members.join(", "), list_or_none(&given));
            let remedy = if given.is_empty() {
                "add one"
            } else {
                "keep one"
            };
            let kind = ProblemKind::ExactlyOne {
                members,
                found,
                remedy,
            };
            at.report(at.path.clone(), self.mark(), kind);
        }
    }

    /// Reports when more than one of `members` is given.
    pub(crate) fn at_most_one(&self, at: &mut Decoder, members: &[&str]) {
        let given = self.given_of(members);
        if given.len() > 1 {
            let (members, found) = (members.join(", "), list_or_none(&given));
            at.report(
                at.path.clone(),
                self.mark(),
                ProblemKind::AtMostOne { members, found },
            );
        }
    }

    /// Reports a number below `least`; what is no number is reported where it is decoded.
    pub(crate) fn at_least(&self, at: &mut Decoder, key: &str, value: f64, least: f64) {
        let Some(node) = self.find(key) else { return };
        let path = at.path.key(key);
        if (value < least || value.is_nan()) && at.is_sound(&path) {
            let kind = ProblemKind::Unexpected {
                expected: format!("a number of at least {least}"),
                found: node.describe(),
                hint: String::new(),
            };
            at.report(path, &node.mark, kind);
        }
    }

    fn given_of<'m>(&self, members: &[&'m str]) -> Vec<&'m str> {
        let given = members.iter().filter(|m| self.given(m).is_some());
        given.copied().collect()
    }
}

fn list_or_none(names: &[&str]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(" and ")
    }
}
