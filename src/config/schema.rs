//! What the configuration looks like from outside: the shape of every section, for overrides and for the reference.

/// The shape of a value.
#[derive(Clone, Debug)]
pub enum Shape {
    /// A single value, in words: "an integer of at least 1".
    Scalar(&'static str),
    /// A mapping with known keys.
    Section(fn() -> SectionShape),
    /// A mapping with free keys.
    Map(Box<Shape>),
    /// A list.
    List(Box<Shape>),
    /// Anything.
    Any,
}

/// A section: its keys and its group rules.
#[derive(Clone, Debug)]
pub struct SectionShape {
    /// Name of the type.
    pub name: &'static str,
    /// What it describes.
    pub doc: &'static str,
    /// Its keys, in the order of the declaration.
    pub fields: Vec<Field>,
    /// Its group rules in words.
    pub rules: Vec<String>,
}

/// One key of a section.
#[derive(Clone, Debug)]
pub struct Field {
    /// Name of the key.
    pub name: &'static str,
    /// Meaning, unit, range, effect.
    pub doc: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// The default as YAML; `None` for a required key.
    pub default: Option<String>,
}

impl Shape {
    /// What a value of this shape is, in words.
    pub(crate) fn expected(&self) -> &'static str {
        match self {
            Self::Scalar(words) => words,
            Self::Section(_) | Self::Map(_) => "a mapping",
            Self::List(_) => "a list",
            Self::Any => "a value",
        }
    }
}

/// A default as one line of YAML.
pub(crate) fn default_text<T: serde::Serialize>(value: &T) -> String {
    let json = serde_json::to_string(value).unwrap_or_default();
    match json.parse::<f64>() {
        Ok(number) if json.contains(['.', 'e']) => super::node::float_text(number),
        _ => json,
    }
}
