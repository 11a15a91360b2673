//! A configuration that may be used, and where each of its values comes from.

use std::fmt;

use indexmap::IndexMap;

use super::RecapConfig;
use super::node::{Mark, Source};

/// A configuration and where its values come from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration, checked across sections.
    pub config: RecapConfig,
    /// Where each value comes from.
    pub origins: Origins,
    /// What is legal but deserves a word: deprecated keys, variables that are not set.
    pub warnings: Vec<String>,
}

/// Where each value of a configuration comes from, by dotted path.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    pub(crate) marks: IndexMap<String, Option<Mark>>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Written in the file.
    File {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// Written in the file with the value of environment variables in it.
    Environment {
        /// The variables, joined by commas.
        variables: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// Given by an override; holds its text.
    Override(String),
    /// Not given.
    Default,
}

impl Origins {
    /// The origin of the value at `path`, written as in messages; `None` when the configuration has no such value.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Origin> {
        self.marks.get(path).map(|mark| Origin::from(mark.as_ref()))
    }
}

impl From<Option<&Mark>> for Origin {
    fn from(mark: Option<&Mark>) -> Self {
        let Some(Mark {
            source,
            line,
            column,
        }) = mark
        else {
            return Self::Default;
        };
        let (line, column) = (*line, *column);
        match source {
            Source::File => Self::File { line, column },
            Source::Environment(names) => Self::Environment {
                variables: names.to_string(),
                line,
                column,
            },
            Source::Override(text) => Self::Override(text.to_string()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { line, .. } => write!(f, "line {line}"),
            Self::Environment {
                variables, line, ..
            } => write!(f, "line {line}, environment {variables}"),
            Self::Override(text) => write!(f, "--set {text}"),
            Self::Default => f.write_str("default"),
        }
    }
}
