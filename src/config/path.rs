//! Dotted paths such as `model.tasks."a.b".layer_sizes[2]`: printed in messages, read from overrides.

use std::fmt;

/// One step down the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// Where a value is in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path(pub(crate) Vec<Step>);

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{problem} at character {at} of the path; write it like model.tasks.\"a.b\".layer_sizes[2]"
)]
pub struct PathError {
    problem: &'static str,
    /// From 1.
    at: usize,
}

impl Path {
    /// This path and one key.
    pub(crate) fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    /// This path and one index.
    pub(crate) fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }

    /// True when `self` is `other` or contains it.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// Reads a path and returns what follows it: the `=` that ends it, or nothing.
    ///
    /// Keys are separated by dots, quoted with `"` or `'` where they contain a dot or another sign; `[i]` is an index.
    pub(crate) fn read(text: &str) -> Result<(Self, &str), PathError> {
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            let at = text[..text.len() - rest.len()].chars().count() + 1;
            let fail = |problem| Err(PathError { problem, at });
            if let Some(inner) = rest.strip_prefix('[') {
                let Some((index, after)) = inner.split_once(']') else {
                    return fail("the bracket is not closed");
                };
                let Ok(index) = index.trim().parse() else {
                    return fail("expected an index from 0 in brackets");
                };
                steps.push(Step::Index(index));
                rest = after;
            } else if rest.is_empty() || rest.starts_with('=') {
                return if steps.is_empty() {
                    fail("expected a key")
                } else {
                    Ok((Self(steps), rest))
                };
            } else {
                let key = match rest.strip_prefix('.') {
                    Some(key) if !steps.is_empty() => key,
                    None if steps.is_empty() => rest,
                    _ => return fail("expected a dot, a bracket or `=`"),
                };
                match read_key(key) {
                    Ok((key, after)) => {
                        steps.push(Step::Key(key.to_owned()));
                        rest = after;
                    }
                    Err(problem) => return fail(problem),
                }
            }
        }
    }
}

/// Reads one key, quoted or bare, and returns what follows it.
fn read_key(text: &str) -> Result<(&str, &str), &'static str> {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote) {
            return inner.split_once(quote).ok_or("the quote is not closed");
        }
    }
    let end = text.find(['.', '[', '=']).unwrap_or(text.len());
    if end == 0 {
        return Err("expected a key");
    }
    Ok(text.split_at(end))
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if i > 0 {
                        f.write_str(".")?;
                    }
                    let bare = !key.is_empty()
                        && key
                            .chars()
                            .all(|c| c.is_alphanumeric() || c == '_' || c == '-');
                    if bare {
                        f.write_str(key)?;
                    } else if key.contains('"') {
                        write!(f, "'{key}'")?;
                    } else {
                        write!(f, "\"{key}\"")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_back_as_printed() {
        for text in [
            "a",
            "a.b[0].c",
            "model.tasks.\"a.b\".x",
            "a.'say \"hi\"'[1][2]",
            "a.\"\".b-c",
        ] {
            let (path, rest) = Path::read(text).unwrap();
            assert_eq!((path.to_string().as_str(), rest), (text, ""));
        }
        let (path, rest) = Path::read("a.\"k=[\".b=c=d").unwrap();
        assert_eq!((path.to_string().as_str(), rest), ("a.\"k=[\".b", "=c=d"));
    }

    #[test]
    fn a_bad_path_names_the_place() {
        let at = |text: &str| Path::read(text).unwrap_err().at;
        assert_eq!(
            [
                at(""),
                at("=1"),
                at("a..b"),
                at("a[x]"),
                at("a[0]b"),
                at("a.\"b"),
                at("a[1")
            ],
            [1, 1, 2, 2, 5, 2, 2]
        );
    }
}
