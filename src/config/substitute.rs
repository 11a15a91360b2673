//! `$NAME` in the raw text, before YAML is parsed, and the way back from the result to the source.

use std::ops::Range;
use std::sync::Arc;

/// What a name of the environment stands for; `None` when it is not set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Text after substitution, with what is needed to find places of the source again.
#[derive(Debug, Default)]
pub(crate) struct Substituted {
    pub(crate) text: String,
    /// Names that are not set and therefore stand in the text as they were.
    pub(crate) unset: Vec<String>,
    pieces: Vec<Piece>,
    /// Character index of each line's first character in the source.
    line_starts: Vec<usize>,
}

/// One replacement; both ranges count characters.
#[derive(Debug)]
struct Piece {
    result: Range<usize>,
    source: Range<usize>,
    /// The variable; `None` for `$$`.
    name: Option<Arc<str>>,
}

impl Substituted {
    /// Line and column, both from 1, in the source of the character `index` of the result.
    pub(crate) fn locate(&self, index: usize) -> (usize, usize) {
        let after = self.pieces.partition_point(|p| p.result.start <= index);
        let source = match after.checked_sub(1).map(|i| &self.pieces[i]) {
            None => index,
            Some(piece) if index < piece.result.end => piece.source.start,
            Some(piece) => piece.source.end + (index - piece.result.end),
        };
        let line = self.line_starts.partition_point(|start| *start <= source);
        let start = self.line_starts.get(line.saturating_sub(1)).copied();
        (line.max(1), source - start.unwrap_or(0) + 1)
    }

    /// The variables that went into the characters `range` of the result, joined by commas.
    pub(crate) fn variables(&self, range: &Range<usize>) -> Option<Arc<str>> {
        let first = self.pieces.partition_point(|p| p.result.end < range.start);
        let mut names = self.pieces[first..]
            .iter()
            .take_while(|p| p.result.start <= range.end)
            .filter(|p| p.result.start < range.end || p.result.is_empty())
            .filter(|p| p.result.end > range.start || p.result.is_empty())
            .filter_map(|p| p.name.clone());
        let first = names.next()?;
        Some(names.fold(first, |all, name| {
            if all.split(", ").any(|known| *known == *name) {
                all
            } else {
                format!("{all}, {name}").into()
            }
        }))
    }
}

/// A `$` and what belongs to it at the start of a text.
enum Dollar<'a> {
    /// `$$`.
    Escaped,
    /// `$NAME` or `${NAME}` and its length in bytes.
    Name(&'a str, usize),
    /// Anything else.
    Literal,
}

/// Replaces `$NAME`, `${NAME}` and `$$`; a name that is not set and a malformed `$` stay as they are.
///
/// Line breaks become `\n`. Stops early, with `None`, when the result grows beyond `max_bytes`.
pub(crate) fn substitute(
    source: &str,
    lookup: Lookup<'_>,
    max_bytes: usize,
) -> Option<Substituted> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = Substituted {
        line_starts: std::iter::once(0)
            .chain(
                source
                    .chars()
                    .enumerate()
                    .filter(|(_, c)| *c == '\n')
                    .map(|(i, _)| i + 1),
            )
            .collect(),
        ..Substituted::default()
    };
    let (mut rest, mut read, mut written) = (source.as_str(), 0, 0);
    while let Some(at) = rest.find('$') {
        let plain = rest[..at].chars().count();
        out.text.push_str(&rest[..at]);
        (read, written, rest) = (read + plain, written + plain, &rest[at..]);
        let (value, length, name) = match dollar(rest) {
            Dollar::Escaped => (Some("$".to_owned()), 2, None),
            Dollar::Literal => (None, 1, None),
            Dollar::Name(name, length) => (lookup(name), length, Some(name)),
        };
        if let (None, Some(name)) = (&value, name)
            && out.unset.len() < 100
            && !out.unset.iter().any(|known| known == name)
        {
            out.unset.push(name.to_owned());
        }
        // Names are ASCII, so that bytes and characters of the placeholder are the same number.
        let new = value.as_deref().unwrap_or(&rest[..length]);
        out.text.push_str(new);
        let new_length = new.chars().count();
        if value.is_some() {
            out.pieces.push(Piece {
                result: written..written + new_length,
                source: read..read + length,
                name: name.map(Arc::from),
            });
        }
        (read, written, rest) = (read + length, written + new_length, &rest[length..]);
        if out.text.len() > max_bytes {
            return None;
        }
    }
    out.text.push_str(rest);
    (out.text.len() <= max_bytes).then_some(out)
}

/// The name of the first `${NAME}` in `text`.
pub(crate) fn braced_variable(text: &str) -> Option<&str> {
    let mut starts = text.match_indices("${").map(|(at, _)| &text[at..]);
    starts.find_map(|placeholder| match dollar(placeholder) {
        Dollar::Name(name, _) => Some(name),
        _ => None,
    })
}

/// Reads the placeholder at the start of `text`, which begins with `$`.
fn dollar(text: &str) -> Dollar<'_> {
    let after = &text[1..];
    if after.starts_with('$') {
        return Dollar::Escaped;
    }
    if let Some(inner) = after.strip_prefix('{') {
        let name = identifier(inner);
        let closed = inner[name.len()..].starts_with('}');
        return if name.is_empty() || !closed {
            Dollar::Literal
        } else {
            Dollar::Name(name, name.len() + 3)
        };
    }
    match identifier(after) {
        "" => Dollar::Literal,
        name => Dollar::Name(name, name.len() + 1),
    }
}

/// The longest `[A-Za-z_][A-Za-z0-9_]*` at the start of `text`; empty when there is none.
fn identifier(text: &str) -> &str {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return "";
    }
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    &text[..end]
}

/// The environment of this process, in which `USER` is always the login name.
pub(crate) fn process_environment(name: &str) -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok();
    if name == "USER" {
        return login_name(&variable);
    }
    variable(name)
}

/// The login name: the first of four variables that is set and not empty, else the password database.
pub(crate) fn login_name(variable: Lookup<'_>) -> Option<String> {
    ["LOGNAME", "USER", "LNAME", "USERNAME"]
        .iter()
        .filter_map(|name| variable(name))
        .find(|value| !value.is_empty())
        .or_else(|| {
            let user = nix::unistd::User::from_uid(nix::unistd::getuid());
            user.ok().flatten().map(|user| user.name)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "HOME" => Some("/home/ann".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("$HOME".to_owned()),
            _ => None,
        }
    }

    fn result(text: &str) -> String {
        substitute(text, &environment, 1000).unwrap().text
    }

    #[test]
    fn names_end_where_an_ascii_identifier_ends() {
        assert_eq!(
            result("$HOME.gz $HOMEé ${HOME}x"),
            "/home/ann.gz /home/anné /home/annx"
        );
        assert_eq!(
            result("$HOMER ${home} $1 ${HOME ${ HOME } $"),
            "$HOMER ${home} $1 ${HOME ${ HOME } $"
        );
        assert_eq!(
            result("$$HOME $${HOME} a$$$HOME"),
            "$HOME ${HOME} a$/home/ann"
        );
        assert_eq!(result("x${EMPTY}y $NESTED"), "xy $HOME");
    }

    #[test]
    fn places_of_the_result_are_found_in_the_source() {
        let text = "é: 1\r\nb: ${HOME}/x q\nc: 2\n";
        let done = substitute(text, &environment, 1000).unwrap();
        let index = |what: &str| done.text[..done.text.find(what).unwrap()].chars().count();
        assert_eq!(done.locate(index("b:")), (2, 1));
        assert_eq!(done.locate(index("home")), (2, 4));
        assert_eq!(done.locate(index("q")), (2, 14));
        assert_eq!(done.locate(index("c:")), (3, 1));
        let value = index("/home")..index(" q");
        assert_eq!(done.variables(&value).as_deref(), Some("HOME"));
        assert_eq!(done.variables(&(index("c:")..index("c:") + 1)), None);
    }

    #[test]
    fn unset_names_are_remembered() {
        let done = substitute("$A ${B} $HOME", &environment, 1000).unwrap();
        assert_eq!(done.unset, ["A", "B"]);
    }

    #[test]
    fn a_result_beyond_the_limit_is_refused() {
        assert!(substitute(&"$HOME".repeat(20), &environment, 100).is_none());
        assert!(substitute(&"$HOME".repeat(11), &environment, 100).is_some());
    }

    #[test]
    fn the_login_name_has_an_order() {
        let set = |pairs: &'static [(&str, &str)]| {
            move |name: &str| {
                let found = pairs.iter().find(|(k, _)| *k == name);
                found.map(|(_, v)| (*v).to_owned())
            }
        };
        let both = set(&[("USER", "u"), ("LOGNAME", "l")]);
        assert_eq!(login_name(&both).as_deref(), Some("l"));
        let empty = set(&[("USERNAME", "n"), ("LOGNAME", "")]);
        assert_eq!(login_name(&empty).as_deref(), Some("n"));
    }
}
