//! What usually lies behind a text that is no YAML, told in the words of someone who wrote it.

/// Why a text is no YAML document; `index` counts characters.
#[derive(Debug)]
pub(crate) struct YamlError {
    pub(crate) index: usize,
    pub(crate) message: String,
}

/// One line of a text.
#[derive(Clone, Copy)]
struct Line<'a> {
    text: &'a str,
    /// Character index of its first character.
    start: usize,
}

impl<'a> Line<'a> {
    fn indent(self) -> &'a str {
        let body = self.text.trim_start_matches([' ', '\t']);
        &self.text[..self.text.len() - body.len()]
    }

    fn body(self) -> &'a str {
        self.text.trim()
    }
}

/// Replaces the message, and the place where it is known better, if the mistake is a usual one.
pub(super) fn explain(text: &str, error: YamlError) -> YamlError {
    let lines = around(text, error.index);
    if let Some(error) = tab(&lines).or_else(|| colon_without_space(&lines, &error.message)) {
        return error;
    }
    match advice(text, &lines, &error) {
        Some(advice) => YamlError {
            message: format!("{}; {advice}", error.message),
            ..error
        },
        None => error,
    }
}

/// The line of the character `index`, up to two before it that are not empty, and the one after.
fn around(text: &str, index: usize) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut start = 0;
    for text in text.split('\n') {
        let is_after = start > index;
        if !text.trim().is_empty() {
            lines.push(Line { text, start });
        }
        if is_after {
            break;
        }
        start += text.chars().count() + 1;
    }
    lines.split_off(lines.len().saturating_sub(4))
}

fn tab(lines: &[Line<'_>]) -> Option<YamlError> {
    lines.iter().find_map(|line| {
        let column = line.indent().find('\t')?;
        Some(YamlError {
            index: line.start + column,
            message: "the indentation holds a tab, use spaces".to_owned(),
        })
    })
}

/// `key:value`, which is one word for YAML.
fn colon_without_space(lines: &[Line<'_>], message: &str) -> Option<YamlError> {
    if !message.contains("simple key") && !message.contains("mapping values") {
        return None;
    }
    lines.iter().find_map(|line| {
        let (key, value) = line.body().split_once(':')?;
        let is_key = key
            .chars()
            .all(|c| c.is_alphanumeric() || "_-.\"'".contains(c));
        let is_joined = value.starts_with(|c: char| !c.is_whitespace() && c != '/');
        (is_key && is_joined && !line.text.contains(": ")).then(|| YamlError {
            index: line.start + line.indent().len() + key.chars().count(),
            message: "a space is missing after the colon".to_owned(),
        })
    })
}

fn advice(text: &str, lines: &[Line<'_>], error: &YamlError) -> Option<&'static str> {
    let message = error.message.as_str();
    let has = |part: &str| message.contains(part);
    if has("unknown anchor") {
        return Some(
            "`*` refers to an anchor written `&name` before it, put a value that starts with * in quotes",
        );
    }
    if has("unexpected character") || has("% directive") {
        return Some("put a value that starts with this character in quotes");
    }
    if has("escape") {
        return Some("in double quotes a backslash starts an escape, use single quotes");
    }
    if has("mapping values are not allowed") {
        return Some(misplaced_key(lines, error.index));
    }
    if has("simple key") {
        return Some("a key ends in a colon and a space");
    }
    let is_open = ["flow", "quoted", "':' indicator", "',' or", "node content"];
    if is_open.iter().any(|part| has(part)) || error.index + 1 >= text.chars().count() {
        return Some("is a quote or bracket before it not closed?");
    }
    None
}

/// Why the line of `index` cannot be a key.
fn misplaced_key(lines: &[Line<'_>], index: usize) -> &'static str {
    let here = lines.iter().rposition(|line| line.start <= index);
    let Some([before, line]) = here.and_then(|i| lines.get(i.checked_sub(1)?..=i)) else {
        return "put a value that holds a colon in quotes";
    };
    if line.indent().len() > before.indent().len() && before.body().contains(": ") {
        "this line is indented deeper than the one before, which has a value: give both the same indentation"
    } else if !before.body().contains(':') {
        "is a colon missing in the line before?"
    } else {
        "put a value that holds a colon in quotes"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place and message for a text that the parser refused at `index` with `message`.
    fn explained(text: &str, index: usize, message: &str) -> (usize, String) {
        let message = message.to_owned();
        let YamlError { index, message } = explain(text, YamlError { index, message });
        (index, message)
    }

    #[test]
    fn a_tab_is_found_near_the_place() {
        let (at, message) = explained("ä: 1\n \tb: 2\nc: 3", 3, "found a tab");
        assert_eq!(
            (at, message.as_str()),
            (6, "the indentation holds a tab, use spaces")
        );
        // One far away, or inside of a line, is no mistake.
        let far = "a:\tx\n".repeat(9) + "b: [";
        let (at, message) = explained(&far, far.len(), "did not find expected node content");
        assert_eq!(at, far.len());
        assert!(message.ends_with("is a quote or bracket before it not closed?"));
    }

    #[test]
    fn a_colon_without_space_is_told_from_an_address() {
        let message = "mapping values are not allowed in this context";
        let (at, found) = explained("ü1:2\nb: 3", 7, message);
        assert_eq!(
            (at, found.as_str()),
            (2, "a space is missing after the colon")
        );
        let (_, found) = explained("hdfs://x\nb: 3", 10, message);
        assert!(found.starts_with(message), "{found}");
    }

    #[test]
    fn what_is_unknown_stays_as_it_is() {
        let text = "a: 1\nb: 2\nc: 3\n";
        assert_eq!(explained(text, 5, "no idea"), (5, "no idea".to_owned()));
        assert_eq!(explained("", 0, "x").0, 0);
    }
}
