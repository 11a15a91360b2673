//! Strings of bytes as the text of a format: what had to be changed is counted and said.

use std::borrow::Cow;
use std::path::Path;

use tracing::warn;

/// Makes text, and counts the cells that are no longer what they were.
#[derive(Debug)]
pub(super) struct Texts {
    /// What the format does to characters that it cannot hold.
    escape: fn(&str) -> Cow<'_, str>,
    changed: u64,
}

impl Texts {
    pub(super) fn new(escape: fn(&str) -> Cow<'_, str>) -> Self {
        Self { escape, changed: 0 }
    }

    /// The text of a cell. What is not UTF-8 becomes replacement characters.
    pub(super) fn of<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, str> {
        let text = match String::from_utf8_lossy(bytes) {
            Cow::Borrowed(text) => match (self.escape)(text) {
                Cow::Borrowed(text) => return text.into(),
                Cow::Owned(text) => text,
            },
            Cow::Owned(text) => (self.escape)(&text).into_owned(),
        };
        self.changed += 1;
        text.into()
    }

    /// Cells that are no longer what they were.
    pub(super) fn changed(&self) -> u64 {
        self.changed
    }

    /// Says how many cells were changed in the file `path`.
    pub(super) fn report(&self, path: &Path) {
        let cells = self.changed();
        if cells > 0 {
            warn!(
                cells,
                file = %path.display(),
                "cells with control characters or bytes that are not UTF-8 were written with escapes like \\x1b and \
                 replacement characters: Parquet keeps every byte"
            );
        }
    }
}
