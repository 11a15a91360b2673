//! Writes YAML in which text from outside stays text: it always stands in double quotes, so that no part called `01`,
//! `no` or `2024_05` is read as something else.

use std::fmt::Write as _;

/// Longest mapping that stands on one line.
const WIDTH: usize = 100;
/// Longest key that stands before its colon; YAML allows 1,024 characters, quotes and escapes included.
const MAX_KEY: usize = 1000;

/// A piece of YAML.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// A word or number of this program's, as it is.
    Word(String),
    /// Text from outside.
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// The same with a name that [`Node::Alias`] refers to.
    Anchor(&'static str, Box<Node>),
    Alias(&'static str),
}

/// A mapping with keys of this program's.
pub(super) fn map<const N: usize>(entries: [(&'static str, Node); N]) -> Node {
    Node::Map(entries.map(|(key, value)| (word(key), value)).to_vec())
}

/// A word, number or truth value of this program's.
#[allow(
    clippy::needless_pass_by_value,
    reason = "numbers read better by value"
)]
pub(super) fn word(value: impl ToString) -> Node {
    Node::Word(value.to_string())
}

/// Text from outside.
pub(super) fn text(value: impl Into<String>) -> Node {
    Node::Text(value.into())
}

impl Node {
    /// Adds an entry to a mapping.
    pub(super) fn add(&mut self, key: &'static str, value: Node) {
        if let Self::Map(entries) = self {
            entries.push((word(key), value));
        }
    }

    /// The whole as a document.
    pub(super) fn document(&self) -> String {
        let mut out = String::new();
        self.block(&mut out, 0);
        out
    }

    /// Appends the value of a key, or a document, indented by `indent`.
    fn block(&self, out: &mut String, indent: usize) {
        match self {
            Self::Map(entries) if !entries.is_empty() => entries.iter().for_each(|(key, value)| {
                let (key, pad) = (key.flow(), " ".repeat(indent));
                if key.len() > MAX_KEY {
                    let _ = write!(out, "{pad}? {key}\n{pad}:");
                } else {
                    let _ = write!(out, "{pad}{key}:");
                }
                value.after_colon(out, indent + 2);
            }),
            Self::List(items) => items.iter().for_each(|item| {
                let _ = writeln!(out, "{}- {}", " ".repeat(indent), item.flow());
            }),
            other => {
                let _ = writeln!(out, "{}{}", " ".repeat(indent), other.flow());
            }
        }
    }

    fn after_colon(&self, out: &mut String, indent: usize) {
        match self {
            Self::Anchor(name, node) => {
                let _ = write!(out, " &{name}");
                node.after_colon(out, indent);
            }
            node if node.is_on_one_line() => {
                let _ = writeln!(out, " {}", node.flow());
            }
            node => {
                out.push('\n');
                node.block(out, indent);
            }
        }
    }

    /// Lists of scalars stand on one line, and short mappings that hold no anchors.
    fn is_on_one_line(&self) -> bool {
        match self {
            Self::Map(entries) => {
                let is_plain =
                    |node: &Self| node.is_on_one_line() && !matches!(node, Self::Alias(_));
                entries.iter().all(|(_, value)| is_plain(value)) && self.flow().len() <= WIDTH
            }
            Self::List(items) => items.iter().all(Self::is_scalar),
            Self::Anchor(..) => false,
            _ => true,
        }
    }

    fn is_scalar(&self) -> bool {
        matches!(self, Self::Word(_) | Self::Text(_))
    }

    /// The node on one line.
    fn flow(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Text(text) => quoted(text),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::flow).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Map(entries) => {
                let entry = |(key, value): &(Self, Self)| match key.flow() {
                    key if key.len() > MAX_KEY => format!("? {key} : {}", value.flow()),
                    key => format!("{key}: {}", value.flow()),
                };
                let entries: Vec<String> = entries.iter().map(entry).collect();
                format!("{{{}}}", entries.join(", "))
            }
            Self::Anchor(name, node) => format!("&{name} {}", node.flow()),
            Self::Alias(name) => format!("*{name}"),
        }
    }
}

/// `text` in double quotes, on one line of printable characters, after which `$` still stands for itself.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        let is_shown = !c.is_control() && !"\u{2028}\u{2029}\u{feff}\u{fffe}\u{ffff}".contains(c);
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '$' => out.push_str("$$"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if is_shown => out.push(c),
            c => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 36] = [
        "01",
        "007",
        "2024_05",
        "2024-05-01",
        "2024-05-01 10:00:00",
        "no",
        "y",
        "on",
        "True",
        "null",
        "~",
        "",
        " ",
        "1e3",
        "0x1F",
        "0o7",
        "1_000",
        "12:30:45",
        ".inf",
        ".NaN",
        "-",
        "- a",
        "a: b",
        "a #b",
        "#",
        "'q'",
        "\"",
        "\\",
        "a\nb\n",
        "\u{85}\u{2028}\u{7f}\u{1b}[0m",
        "${HOME}",
        "$HOME $$",
        "<<",
        "*data",
        "é 日本 😀",
        "[a, {b",
    ];

    fn read_back(node: &Node) -> serde_yaml::Value {
        let text = node.document().replace("$$", "$");
        serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
    }

    #[test]
    fn text_reads_back_as_the_same_text_wherever_it_stands() {
        for sample in HOSTILE.into_iter().chain([&*"k".repeat(2000)]) {
            let entry = |value| Node::Map(vec![(text(sample), value)]);
            let node = map([
                ("value", text(sample)),
                ("list", Node::List(vec![text(sample), word(1)])),
                ("key", entry(word("null"))),
                ("deep", entry(entry(Node::List(vec![entry(text(sample))])))),
            ]);
            let read = read_back(&node);
            let key = serde_yaml::Value::from(sample);
            assert_eq!(read["value"], key);
            assert_eq!(read["list"][0], key);
            assert!(read["key"][&key].is_null(), "{sample}");
            assert_eq!(read["deep"][&key][&key][0][&key], key);
        }
    }

    #[test]
    fn short_mappings_stand_on_one_line_and_anchors_are_found() {
        let node = map([
            (
                "first",
                Node::Anchor("a", Box::new(map([("x", word(1)), ("y", word(true))]))),
            ),
            ("second", Node::Alias("a")),
            ("empty", map([])),
        ]);
        let expected = "first: &a {x: 1, y: true}\nsecond: *a\nempty: {}\n";
        assert_eq!(node.document(), expected);
        let long = map([("k", map([("x", text("z".repeat(WIDTH)))]))]);
        assert_eq!(
            long.document(),
            format!("k:\n  x: \"{}\"\n", "z".repeat(WIDTH))
        );
    }
}
