//! Where broken rules are reported.

use std::fmt::Display;

use indexmap::IndexMap;

use super::decode::Decoder;
use super::error::ProblemKind;
use super::path::Path;

/// Where rules are reported; remembers what is already known to be wrong.
pub(super) struct Rules<'a> {
    pub(super) at: &'a mut Decoder,
}

impl Rules<'_> {
    /// Reports that the value at `path` breaks a rule, unless the value is only a stand-in for one that is wrong.
    pub(super) fn broken(&mut self, path: &Path, message: impl Into<String>) {
        if self.at.is_sound(path) {
            self.at_odds(path, message);
        }
    }

    /// Reports that `path` itself, whatever it holds, is at odds with another section.
    pub(super) fn at_odds(&mut self, path: &Path, message: impl Into<String>) {
        if self.can_read(path) {
            let mark = self.at.mark(path);
            let kind = ProblemKind::Rule(message.into());
            self.at.report(path.clone(), &mark, kind);
        }
    }

    /// Reports unless `holds` that the value at `path` should be `expected` and is `found`.
    pub(super) fn expect(&mut self, holds: bool, path: &Path, expected: &str, found: impl Display) {
        if !holds {
            self.broken(path, format!("expected {expected}, found {found}"));
        }
    }

    /// False when the mapping at `path` could not be read, so that what it seems to lack says nothing.
    pub(super) fn can_read(&self, path: &Path) -> bool {
        self.at.can_read(path)
    }
}

/// The path of some keys from the root.
pub(super) fn path(keys: &[&str]) -> Path {
    keys.iter().fold(Path::default(), |path, key| path.key(key))
}

/// The keys of a map as `&str`.
pub(super) fn names<T>(map: &IndexMap<String, T>) -> impl Iterator<Item = &str> {
    map.keys().map(String::as_str)
}
