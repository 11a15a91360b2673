//! Why a configuration cannot be used, told so that it can be mended.

use std::fmt;
use std::path::PathBuf;

use super::node::{Mark, Source};
use super::path::{Path, PathError};

/// Problems beyond this many are only counted.
pub(crate) const MAX_PROBLEMS: usize = 100;

/// Why a configuration cannot be used. Every variant means exit code 2.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not text.
    #[error("{}:{line}:{column}: the configuration is not valid UTF-8", file.display())]
    NotUtf8 {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// The file is longer than any configuration.
    #[error("{}: the configuration is longer than {limit} bytes", file.display())]
    TooLong {
        /// The file.
        file: PathBuf,
        /// The longest that is read, after substitution.
        limit: usize,
    },
    /// The file is not YAML.
    #[error("{}:{line}:{column}: cannot parse the configuration: {message}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// An override is not `path=value`.
    #[error("cannot read the override `{text}`: {message}")]
    Override {
        /// As it was given.
        text: String,
        /// What is wrong with it.
        message: String,
    },
    /// The file is YAML but no valid configuration.
    #[error("{0}")]
    Invalid(Report),
}

/// All problems of one configuration.
#[derive(Debug)]
pub struct Report {
    pub(crate) file: PathBuf,
    pub(crate) problems: Vec<Problem>,
    /// How many more there are than `problems` holds.
    pub(crate) more: usize,
}

impl Report {
    /// The problems in the order of the file, at most 100 of them.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.problems.len() + self.more;
        let file = self.file.display();
        let plural = if total == 1 { "problem" } else { "problems" };
        write!(
            f,
            "the configuration {file} does not validate, {total} {plural}:"
        )?;
        for problem in &self.problems {
            let Mark {
                source,
                line,
                column,
            } = &problem.mark;
            match source {
                Source::File => write!(f, "\n  {file}:{line}:{column}: ")?,
                Source::Environment(names) => {
                    write!(f, "\n  {file}:{line}:{column} (value of {names}): ")?;
                }
                Source::Override(text) => write!(f, "\n  --set {text}: ")?,
            }
            if !problem.path.0.is_empty() {
                write!(f, "{}: ", problem.path)?;
            }
            write!(f, "{}", problem.kind)?;
        }
        if self.more > 0 {
            write!(f, "\n  … and {} more", self.more)?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    pub(crate) path: Path,
    pub(crate) mark: Mark,
    pub(crate) kind: ProblemKind,
}

impl Problem {
    /// The dotted path of the value that is wrong.
    #[must_use]
    pub fn path(&self) -> String {
        self.path.to_string()
    }

    /// What is wrong with it.
    #[must_use]
    pub fn message(&self) -> String {
        self.kind.to_string()
    }
}

/// What is wrong with a value.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ProblemKind {
    /// A key that the section does not have; `hint` says what to write instead.
    #[error("unknown key{hint}")]
    UnknownKey { hint: String },
    #[error("this required key is missing, add it with {expected}")]
    Missing { expected: String },
    #[error("expected {expected}, found {found}{hint}")]
    Unexpected {
        expected: String,
        found: String,
        hint: String,
    },
    #[error("exactly one of {members} is required, found {found}, {remedy}")]
    ExactlyOne {
        members: String,
        found: String,
        remedy: &'static str,
    },
    #[error("at most one of {members} may be given, found {found}, remove one")]
    AtMostOne { members: String, found: String },
    /// A rule that takes more than one key.
    #[error("{0}")]
    Rule(String),
}

impl From<(&str, PathError)> for ConfigError {
    fn from((text, error): (&str, PathError)) -> Self {
        Self::Override {
            text: text.to_owned(),
            message: error.to_string(),
        }
    }
}
