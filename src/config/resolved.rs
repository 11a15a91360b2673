//! The configuration as it will be used: all defaults filled in, as YAML, with origins, and its digest.

use std::fmt::Write as _;

use serde_yaml::Value;
use sha2::{Digest, Sha256};

use super::loaded::Loaded;
use super::path::Path;
use super::{ConfigError, RecapConfig};

/// Longest key that stands before its colon; YAML allows 1,024 characters, quotes and escapes included.
const MAX_KEY_BYTES: usize = 1000;

impl RecapConfig {
    /// The whole configuration as YAML, defaults filled in; keys stand in the order of the declarations, maps in that
    /// of the file.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        // A tree of plain values with text for keys always has a YAML form.
        serde_yaml::to_string(self).unwrap_or_else(|error| format!("# not printable: {error}\n"))
    }

    /// SHA-256 of [`Self::to_yaml`] in hexadecimal: equal for configurations that mean the same.
    #[must_use]
    pub fn digest(&self) -> String {
        let digest = Sha256::digest(self.to_yaml());
        digest.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl Loaded {
    /// [`RecapConfig::to_yaml`] with the origin of every value behind it as a comment.
    ///
    /// # Errors
    /// Never for a configuration that was loaded; an error of the YAML printer otherwise.
    pub fn to_annotated_yaml(&self) -> Result<String, serde_yaml::Error> {
        let mut lines = Vec::new();
        let value = serde_yaml::to_value(&self.config)?;
        self.annotate(&value, &Path::default(), String::new(), 0, &mut lines)?;
        let width = lines
            .iter()
            .map(|(line, _)| line.chars().count())
            .filter(|w| *w <= 80)
            .max();
        let width = width.unwrap_or(0);
        Ok(lines
            .iter()
            .fold(String::new(), |mut text, (line, origin)| {
                let _ = match origin {
                    Some(origin) => writeln!(text, "{line:width$}  # {origin}"),
                    None => writeln!(text, "{line}"),
                };
                text
            }))
    }

    /// Adds the lines of `value`; `head` is what stands before it on its first line.
    fn annotate(
        &self,
        value: &Value,
        path: &Path,
        head: String,
        indent: usize,
        lines: &mut Vec<(String, Option<String>)>,
    ) -> Result<(), serde_yaml::Error> {
        let pad = " ".repeat(indent);
        match value {
            Value::Mapping(map) if !map.is_empty() => {
                let is_item = head.ends_with("- ");
                if !head.is_empty() && !is_item {
                    lines.push((head.clone(), None));
                }
                for (i, (key, value)) in map.iter().enumerate() {
                    let name = key.as_str().unwrap_or_default();
                    let before = if is_item && i == 0 {
                        head.as_str()
                    } else {
                        pad.as_str()
                    };
                    let key = one_line(key)?;
                    let head = if key.len() > MAX_KEY_BYTES {
                        lines.push((format!("{before}? {key}"), None));
                        format!("{pad}:")
                    } else {
                        format!("{before}{key}:")
                    };
                    self.annotate(value, &path.key(name), head, indent + 2, lines)?;
                }
            }
            Value::Sequence(items) if !items.is_empty() => {
                lines.push((head, None));
                for (i, item) in items.iter().enumerate() {
                    self.annotate(item, &path.index(i), format!("{pad}- "), indent + 2, lines)?;
                }
            }
            scalar => {
                let space = if head.ends_with(' ') { "" } else { " " };
                let text = one_line(scalar)?;
                lines.push((format!("{head}{space}{text}"), self.origin_of(path)));
            }
        }
        Ok(())
    }

    /// The origin of a value; one inside of a default is a default.
    fn origin_of(&self, path: &Path) -> Option<String> {
        let mut path = path.clone();
        loop {
            if let Some(origin) = self.origins.get(&path.to_string()) {
                return Some(origin.to_string());
            }
            path.0.pop()?;
        }
    }

    /// Checks the columns that the configuration names against the width of the discrete features.
    ///
    /// # Errors
    /// When an index of a stratifier, of the position or of a small embedding is not below `width`.
    pub fn check_discrete_width(
        &self,
        file: &std::path::Path,
        width: usize,
    ) -> Result<(), ConfigError> {
        super::validate::check_discrete_width(self, file, width)
    }
}

/// A scalar or key as YAML on one line: through JSON where YAML would take several; numbers that JSON lacks never do.
fn one_line(scalar: &Value) -> Result<String, serde_yaml::Error> {
    let text = match serde_yaml::to_string(scalar)?.trim_end() {
        text if text.contains('\n') => serde_json::to_string(scalar).unwrap_or_default(),
        text => text.to_owned(),
    };
    Ok(text)
}
