//! One glob, or a list of them.

use serde::Serialize;

use super::decode::{Decode, Decoder};
use super::node::{Node, Value};
use super::schema::Shape;

/// At least one glob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Patterns(Vec<String>);

impl Patterns {
    /// The globs, in the order in which they were written.
    #[must_use]
    pub fn get(&self) -> &[String] {
        &self.0
    }
}

impl Decode for Patterns {
    fn decode(node: &Node, at: &mut Decoder) -> Self {
        match &node.value {
            Value::List(items) if items.is_empty() => {
                at.leaf(node);
                at.unexpected(node, "a glob or a list of globs", "");
                Self::placeholder()
            }
            Value::List(_) => Self(Vec::decode(node, at)),
            _ => Self(vec![String::decode(node, at)]),
        }
    }

    fn placeholder() -> Self {
        Self(vec![String::new()])
    }

    fn shape() -> Shape {
        Shape::Scalar("a glob or a list of globs")
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{ConversionConfig, parse};

    #[test]
    fn one_glob_and_a_list_are_read() {
        let read = |inputs: &str| {
            let config: ConversionConfig = parse(&format!("labels: {{}}\n{inputs}")).unwrap();
            config.inputs.map(|patterns| patterns.get().to_vec())
        };
        assert_eq!(read(""), None);
        assert_eq!(read("inputs: \"*.csv\""), Some(vec!["*.csv".to_owned()]));
        let two = Some(vec!["{a,b}".to_owned(), "c".to_owned()]);
        assert_eq!(read("inputs: [\"{a,b}\", c]"), two);
        let empty = parse::<ConversionConfig>("labels: {}\ninputs: []").unwrap_err();
        assert!(
            empty.to_string().contains("a glob or a list of globs"),
            "{empty}"
        );
    }
}
