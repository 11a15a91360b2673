//! From YAML to the typed config.

use indexmap::IndexMap;
use serde_yaml::Value;

use super::value::{PositiveFloat, PositiveInt};

/// Why a config cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Loads a config file: substitution of environment variables, YAML, types.
///
/// # Errors
/// When the file cannot be read or does not validate.
pub fn load<T: Decode>(path: &std::path::Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| ConfigError(format!("cannot read {}: {e}", path.display())))?;
    let text = text
        .replace("${HOME}", &std::env::var("HOME").unwrap_or_default())
        .replace(
            "${TML_BASE}",
            &std::env::var("TML_BASE").unwrap_or_else(|_| "${TML_BASE}".into()),
        )
        .replace(
            "${GOLDEN_DIR}",
            &std::env::var("GOLDEN_DIR").unwrap_or_else(|_| "${GOLDEN_DIR}".into()),
        );
    parse(&text)
}

/// Parses a document.
///
/// # Errors
/// When it does not validate.
pub fn parse<T: Decode>(text: &str) -> Result<T, ConfigError> {
    let mut value: Value = serde_yaml::from_str(text).map_err(|e| ConfigError(e.to_string()))?;
    value
        .apply_merge()
        .map_err(|e| ConfigError(e.to_string()))?;
    T::decode(&value, "").map_err(ConfigError)
}

/// A type that can be read from a config value.
pub trait Decode: Sized {
    /// Reads `value`, found at `path`.
    #[allow(clippy::missing_errors_doc, reason = "interim")]
    fn decode(value: &Value, path: &str) -> Result<Self, String>;
}

/// The keys of one section.
pub(crate) struct Keys<'a> {
    map: &'a serde_yaml::Mapping,
    path: &'a str,
}

impl<'a> Keys<'a> {
    pub(crate) fn of(value: &'a Value, path: &'a str, known: &[&str]) -> Result<Self, String> {
        let map = value
            .as_mapping()
            .ok_or_else(|| format!("{path}: expected a mapping"))?;
        for key in map.keys() {
            let key = key.as_str().unwrap_or("?");
            if !known.contains(&key) {
                return Err(format!("{path}: unknown key {key}"));
            }
        }
        Ok(Self { map, path })
    }
    fn given(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }
    pub(crate) fn optional<T: Decode>(&self, key: &str) -> Result<Option<T>, String> {
        self.given(key)
            .map(|v| T::decode(v, &format!("{}.{key}", self.path)))
            .transpose()
    }
    pub(crate) fn required<T: Decode>(&self, key: &str) -> Result<T, String> {
        self.optional(key)?
            .ok_or_else(|| format!("{}.{key}: missing", self.path))
    }
    pub(crate) fn exactly_one(&self, group: &str, members: &[&str]) -> Result<(), String> {
        let n = members.iter().filter(|m| self.given(m).is_some()).count();
        if n == 1 {
            Ok(())
        } else {
            Err(format!(
                "{}: exactly one of {members:?} (group {group}) must be given",
                self.path
            ))
        }
    }
    pub(crate) fn at_most_one(&self, group: &str, members: &[&str]) -> Result<(), String> {
        let n = members.iter().filter(|m| self.given(m).is_some()).count();
        if n <= 1 {
            Ok(())
        } else {
            Err(format!(
                "{}: at most one of {members:?} (group {group}) may be given",
                self.path
            ))
        }
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(value: &Value, path: &str) -> Result<Self, String> {
        if value.is_null() {
            Ok(None)
        } else {
            T::decode(value, path).map(Some)
        }
    }
}
impl<T: Decode> Decode for Vec<T> {
    fn decode(value: &Value, path: &str) -> Result<Self, String> {
        value
            .as_sequence()
            .ok_or_else(|| format!("{path}: expected a list"))?
            .iter()
            .map(|v| T::decode(v, path))
            .collect()
    }
}
impl<T: Decode> Decode for IndexMap<String, T> {
    fn decode(value: &Value, path: &str) -> Result<Self, String> {
        value
            .as_mapping()
            .ok_or_else(|| format!("{path}: expected a mapping"))?
            .iter()
            .map(|(k, v)| Ok((k.as_str().ok_or("key")?.to_owned(), T::decode(v, path)?)))
            .collect()
    }
}
impl Decode for String {
    fn decode(v: &Value, p: &str) -> Result<Self, String> {
        v.as_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("{p}: expected a string"))
    }
}
impl Decode for bool {
    fn decode(v: &Value, p: &str) -> Result<Self, String> {
        v.as_bool().ok_or_else(|| format!("{p}: expected a bool"))
    }
}
impl Decode for i64 {
    fn decode(v: &Value, p: &str) -> Result<Self, String> {
        v.as_i64().ok_or_else(|| format!("{p}: expected an int"))
    }
}
impl Decode for f64 {
    fn decode(v: &Value, p: &str) -> Result<Self, String> {
        v.as_f64().ok_or_else(|| format!("{p}: expected a number"))
    }
}
impl Decode for PositiveInt {
    fn decode(v: &Value, p: &str) -> Result<Self, String> {
        v.as_u64()
            .and_then(PositiveInt::new)
            .ok_or_else(|| format!("{p}: expected an int of at least 1"))
    }
}
impl Decode for PositiveFloat {
    fn decode(v: &Value, p: &str) -> Result<Self, String> {
        v.as_f64()
            .and_then(PositiveFloat::new)
            .ok_or_else(|| format!("{p}: expected a number above 0"))
    }
}
impl Decode for Value {
    fn decode(v: &Value, _: &str) -> Result<Self, String> {
        Ok(v.clone())
    }
}
