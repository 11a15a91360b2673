//! From a file to a configuration that may be used: read, substitute, parse, override, decode, check.

use std::ops::Range;
use std::path::Path as FilePath;

use indexmap::IndexMap;

use super::RecapConfig;
use super::decode::{Decode, Decoder};
use super::error::{ConfigError, ProblemKind};
use super::loaded::{Loaded, Origins};
use super::node::{Mark, Node, Scalars, Source, Value, key_text, shorten};
use super::path::{Path, Step};
use super::substitute::{Lookup, Substituted, process_environment, substitute};
use super::yaml::Repeated;
use super::{overrides, places, validate, yaml};
use crate::regular_file;

/// Warnings beyond this many say nothing new.
const MAX_WARNINGS: usize = 100;

/// Loads the configuration of a run with the environment of this process.
///
/// # Errors
/// When the file cannot be read or parsed, an override cannot be read, or anything does not validate; problems of
/// the last kind come all at once.
pub fn load_recap(path: &FilePath, overrides: &[String]) -> Result<Loaded, ConfigError> {
    load_recap_with(path, overrides, &process_environment)
}

/// Like [`load_recap`], with an environment of the caller's.
///
/// # Errors
/// Those of [`load_recap`].
pub fn load_recap_with(
    path: &FilePath,
    overrides: &[String],
    environment: Lookup<'_>,
) -> Result<Loaded, ConfigError> {
    let text = read(path)?;
    parse_recap(path, &text, overrides, environment)
}

/// Like [`load_recap_with`], from text; `path` only names it in messages.
///
/// # Errors
/// Those of [`load_recap`], reading aside.
pub fn parse_recap(
    path: &FilePath,
    text: &str,
    overrides: &[String],
    environment: Lookup<'_>,
) -> Result<Loaded, ConfigError> {
    let mut document = Document::parse(path, text, RecapConfig::SCALARS, environment)?;
    let mut at = Decoder::of(RecapConfig::shape());
    for text in overrides {
        overrides::apply(&mut document.root, RecapConfig::SCALARS, text, &mut at)?;
    }
    places::settle(&mut document.root, environment, &mut at);
    let config = RecapConfig::decode(&document.root, &mut at);
    validate::check(&config, &mut at);
    document.warn_of_repeated(&mut at.warnings);
    document.refuse_unreadable(&mut at);
    document.warn_of_unset(&mut at.warnings);
    let Decoder {
        origins, warnings, ..
    } = at.finish(path)?;
    Ok(Loaded {
        config,
        origins: Origins { marks: origins },
        warnings,
    })
}

/// Loads one section from a file of its own, with the environment of this process; the value, and what is legal but
/// deserves a word.
///
/// # Errors
/// When the file cannot be read or parsed, an override cannot be read, or anything does not validate.
pub fn load<T: Decode>(
    path: &FilePath,
    overrides: &[String],
) -> Result<(T, Vec<String>), ConfigError> {
    decode(path, &read(path)?, overrides, &process_environment)
}

/// Parses one section from text; `$` stands for itself.
///
/// # Errors
/// When it cannot be parsed or does not validate.
pub fn parse<T: Decode>(text: &str) -> Result<T, ConfigError> {
    // `$$` is the only placeholder that an empty environment would change.
    decode(
        FilePath::new("<text>"),
        &text.replace("$$", "$$$$"),
        &[],
        &|_| None,
    )
    .map(|(value, _)| value)
}

/// Parses one section from text with an environment of the caller's.
///
/// # Errors
/// When it cannot be parsed or does not validate.
pub fn parse_with<T: Decode>(text: &str, environment: Lookup<'_>) -> Result<T, ConfigError> {
    decode(FilePath::new("<text>"), text, &[], environment).map(|(value, _)| value)
}

fn decode<T: Decode>(
    path: &FilePath,
    text: &str,
    overrides: &[String],
    environment: Lookup<'_>,
) -> Result<(T, Vec<String>), ConfigError> {
    let mut document = Document::parse(path, text, T::SCALARS, environment)?;
    let mut at = Decoder::of(T::shape());
    for text in overrides {
        overrides::apply(&mut document.root, T::SCALARS, text, &mut at)?;
    }
    places::settle(&mut document.root, environment, &mut at);
    let value = T::decode(&document.root, &mut at);
    document.warn_of_repeated(&mut at.warnings);
    document.refuse_unreadable(&mut at);
    document.warn_of_unset(&mut at.warnings);
    Ok((value, at.finish(path)?.warnings))
}

fn read(path: &FilePath) -> Result<String, ConfigError> {
    let file = || path.to_owned();
    let limit = yaml::MAX_TEXT_BYTES;
    let bytes = regular_file::read(path, limit as u64).map_err(|source| match source.kind() {
        std::io::ErrorKind::FileTooLarge => ConfigError::TooLong {
            file: file(),
            limit,
        },
        _ => ConfigError::Read {
            file: file(),
            source,
        },
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line_start = good.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        ConfigError::NotUtf8 {
            file: file(),
            line: good.iter().filter(|b| **b == b'\n').count() + 1,
            column: good.len() - line_start + 1,
        }
    })
}

/// A parsed file.
struct Document {
    text: Substituted,
    root: Node,
    repeated: Vec<Repeated>,
}

impl Document {
    fn parse(
        path: &FilePath,
        text: &str,
        scalars: Scalars,
        environment: Lookup<'_>,
    ) -> Result<Self, ConfigError> {
        let limit = yaml::MAX_TEXT_BYTES;
        let text = substitute(text, environment, limit).ok_or_else(|| ConfigError::TooLong {
            file: path.to_owned(),
            limit,
        })?;
        let marker = |range: &Range<usize>| {
            let (line, column) = text.locate(range.start);
            let source = text
                .variables(range)
                .map_or(Source::File, Source::Environment);
            Mark {
                source,
                line,
                column,
            }
        };
        let parsed = yaml::parse(&text.text, scalars, &marker).map_err(|error| {
            let (line, column) = text.locate(error.index);
            let range = error.index..error.index + 1;
            let from = text
                .variables(&range)
                .map(|names| format!(" (in the value of {names})"));
            let message = error.message + from.as_deref().unwrap_or_default();
            ConfigError::Syntax {
                file: path.to_owned(),
                line,
                column,
                message,
            }
        })?;
        Ok(Self {
            text,
            root: parsed.root,
            repeated: parsed.repeated,
        })
    }

    /// Warns of every key that stands twice in one mapping.
    fn warn_of_repeated(&self, warnings: &mut Vec<String>) {
        warnings.extend(self.repeated.iter().map(|Repeated { key, first }| {
            format!(
                "line {}: the key {} is there already in line {}: the later value is used, remove one of the two",
                key.mark.line,
                key_text(key).unwrap_or_else(|| key.describe()),
                first.line
            )
        }));
    }

    /// Reports the variables that are set to what is no text.
    fn refuse_unreadable(&self, at: &mut Decoder) {
        let is_unreadable =
            |name: &&String| std::env::var_os(name).is_some_and(|it| it.to_str().is_none());
        for name in self.text.unset.iter().filter(is_unreadable) {
            let problem =
                format!("the environment variable {name} is not UTF-8: write the value here");
            at.report(Path::default(), &self.root.mark, ProblemKind::Rule(problem));
        }
    }

    /// Warns of every value in which the name of an unset variable was left.
    fn warn_of_unset(&self, warnings: &mut Vec<String>) {
        if !self.text.unset.is_empty() {
            let mut found = IndexMap::new();
            self.find_unset(&self.root, &mut Path::default(), &mut found);
            warnings.extend(found.into_values());
        }
    }

    fn find_unset(
        &self,
        node: &Node,
        path: &mut Path,
        warnings: &mut IndexMap<(usize, usize), String>,
    ) {
        match &node.value {
            Value::Str(text) if text.contains('$') && warnings.len() < MAX_WARNINGS => {
                let Mark { line, column, .. } = node.mark;
                let is_left = |name: &&String| {
                    text.contains(&format!("${name}")) || text.contains(&format!("${{{name}}}"))
                };
                if let Some(name) = self.text.unset.iter().find(is_left) {
                    // An alias repeats a value, not the mistake.
                    warnings.entry((line, column)).or_insert_with(|| {
                        format!(
                            "line {line}: {path}: the environment variable {name} is not set, {:?} stays as it is: set it or write the value here",
                            shorten(text)
                        )
                    });
                }
            }
            Value::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    path.0.push(Step::Index(i));
                    self.find_unset(item, path, warnings);
                    path.0.pop();
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    path.0
                        .push(Step::Key(key.as_str().unwrap_or_default().to_owned()));
                    self.find_unset(value, path, warnings);
                    path.0.pop();
                }
            }
            _ => {}
        }
    }
}
