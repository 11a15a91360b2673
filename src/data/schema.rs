//! The segdense schema: which features a record holds, and which of them are used under which name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::error::DataError;
use super::tfrecord::MAX_RECORD_BYTES;
use crate::config::{MissingColumn, RecapDataConfig};
use crate::regular_file::{self, MAX_TEXT_BYTES};

/// Most values of a feature of fixed length: as many as the longest record could hold, one byte each.
const MAX_LENGTH: i64 = MAX_RECORD_BYTES.cast_signed();

/// Type of the values of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Dtype {
    #[serde(rename = "int64_list")]
    Int64,
    #[serde(rename = "float_list")]
    Float,
    #[serde(rename = "bytes_list")]
    Bytes,
}

impl Dtype {
    /// As the schema writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Int64 => "int64_list",
            Self::Float => "float_list",
            Self::Bytes => "bytes_list",
        }
    }
}

/// How many values a feature has in each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// Always so many.
    Fixed(usize),
    /// Any number.
    Variable,
}

/// One feature that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Feature {
    /// Name in the record.
    pub(crate) key: String,
    /// Name in the batch.
    pub(crate) name: Arc<str>,
    pub(crate) dtype: Dtype,
    pub(crate) length: Length,
    /// The keys that it is made of, instead of a list under its own.
    pub(crate) parts: Option<Arc<Parts>>,
}

/// Keys that each hold one of the numbers of a feature.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// In the order of the columns.
    pub(crate) keys: Vec<String>,
    /// What a record without one of them is.
    pub(crate) absent: Absent,
}

/// What a record is that lacks a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// One that has 0 there.
    Zero,
    /// A bad one, as the config says of columns.
    Column,
    /// A bad one, as nothing can be learned of it: the key is a label or a weight.
    Target,
}

impl Feature {
    /// A feature of one number for each of `keys`.
    fn of_parts(name: &str, dtype: Dtype, parts: Parts) -> Self {
        Self {
            key: name.to_owned(),
            name: name.into(),
            dtype,
            length: Length::Fixed(parts.keys.len()),
            parts: Some(Arc::new(parts)),
        }
    }
}

#[derive(Deserialize)]
struct File {
    schema: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    feature_name: String,
    dtype: Dtype,
    length: i64,
}

/// What is known of the features of a record.
#[derive(Debug)]
pub(crate) struct Schema {
    path: PathBuf,
    /// By name in the record. `None`: there is no file, and everything is one number.
    entries: Option<HashMap<String, (Dtype, Length)>>,
}

fn unusable(path: &Path, reason: String) -> DataError {
    DataError::Support {
        what: "schema",
        path: path.to_owned(),
        reason,
    }
}

impl Schema {
    /// Loads the segdense JSON file that `config` names, if it does.
    pub(crate) fn of(config: &RecapDataConfig) -> Result<Self, DataError> {
        match &config.seg_dense_schema.schema_path {
            Some(path) => Self::load(path.as_ref()),
            None => Ok(Self {
                path: PathBuf::new(),
                entries: None,
            }),
        }
    }

    /// Loads a segdense JSON file.
    fn load(path: &Path) -> Result<Self, DataError> {
        let text = regular_file::read(path, MAX_TEXT_BYTES);
        let text = text.map_err(|error| unusable(path, error.to_string()))?;
        Self::parse(path, &text)
    }

    /// Reads `text`, which came from `path`.
    pub(crate) fn parse(path: &Path, text: &[u8]) -> Result<Self, DataError> {
        let unusable = |reason: String| unusable(path, reason);
        let file: File =
            serde_json::from_slice(text).map_err(|error| unusable(error.to_string()))?;
        let mut entries = HashMap::with_capacity(file.schema.len());
        for entry in file.schema {
            let length = match entry.length {
                -1 => Length::Variable,
                length @ 0..=MAX_LENGTH => {
                    Length::Fixed(usize::try_from(length).unwrap_or(usize::MAX))
                }
                length => {
                    return Err(unusable(format!(
                        "feature `{}` has length {length}, expected -1 or 0 to {MAX_LENGTH}",
                        entry.feature_name
                    )));
                }
            };
            entries.insert(entry.feature_name, (entry.dtype, length));
        }
        Ok(Self {
            path: path.to_owned(),
            entries: Some(entries),
        })
    }

    /// The features `config` uses, labels first, in the order of the config.
    pub(crate) fn used(&self, config: &RecapDataConfig) -> Result<Vec<Feature>, DataError> {
        let mut used: Vec<Feature> = Vec::new();
        for task in config.tasks.keys() {
            used.push(self.feature(task, task)?);
        }
        let renamed = &config.seg_dense_schema.renamed_features;
        for name in &config.seg_dense_schema.features {
            let is_known = used.iter().any(|feature| feature.key == *name);
            if !is_known && !renamed.values().any(|key| key == name) {
                used.push(self.feature(name, name)?);
            }
        }
        for (name, key) in renamed {
            if used.iter().any(|feature| feature.key == *key) {
                return Err(DataError::setting(
                    format!("seg_dense_schema.renamed_features.{name}"),
                    format!("`{key}` is already used under another name, or is a label"),
                ));
            }
            if used.iter().any(|feature| *feature.name == **name) {
                return Err(DataError::setting(
                    format!("seg_dense_schema.renamed_features.{name}"),
                    "a feature of that name is already there",
                ));
            }
            used.push(self.feature(key, name)?);
        }
        self.add_columns(config, &mut used)?;
        Ok(used)
    }

    /// Adds the features that `columns` of `config` makes; of `binary`, which the model needs, one without columns if there is none.
    fn add_columns(
        &self,
        config: &RecapDataConfig,
        used: &mut Vec<Feature>,
    ) -> Result<(), DataError> {
        let Some(columns) = &config.seg_dense_schema.columns else {
            return Ok(());
        };
        for (name, keys) in columns.features() {
            let is_there = used.iter().any(|feature| *feature.name == *name);
            if keys.is_empty() && (name != "binary" || is_there) {
                continue;
            }
            keys.iter()
                .try_for_each(|key| self.check_scalar(name, key))?;
            let parts = Parts {
                keys: keys.to_vec(),
                absent: match columns.missing {
                    MissingColumn::Zero => Absent::Zero,
                    MissingColumn::Error => Absent::Column,
                },
            };
            let dtype = match name {
                "discrete" => Dtype::Int64,
                _ => Dtype::Float,
            };
            used.push(Feature::of_parts(name, dtype, parts));
        }
        Ok(())
    }

    /// Checks that `key` of the feature `name` can be one number in each record.
    fn check_scalar(&self, name: &str, key: &str) -> Result<(), DataError> {
        let Some(entries) = &self.entries else {
            return Ok(());
        };
        match entries.get(key) {
            Some((Dtype::Float | Dtype::Int64, Length::Fixed(1))) => Ok(()),
            Some((dtype, length)) => {
                let reason = format!(
                    "the schema has `{key}` as {} of {length:?} length, expected one number",
                    dtype.name()
                );
                Err(DataError::setting(
                    format!("seg_dense_schema.columns.{name}"),
                    reason,
                ))
            }
            None => Err(DataError::NotInSchema {
                feature: key.to_owned(),
                path: self.path.clone(),
            }),
        }
    }

    fn feature(&self, key: &str, name: &str) -> Result<Feature, DataError> {
        let Some(entries) = &self.entries else {
            // Without a schema only labels and weights are used under their own keys.
            let parts = Parts {
                keys: vec![key.to_owned()],
                absent: Absent::Target,
            };
            return Ok(Feature {
                key: key.to_owned(),
                ..Feature::of_parts(name, Dtype::Float, parts)
            });
        };
        match entries.get(key) {
            Some(&(dtype, length)) => Ok(Feature {
                key: key.to_owned(),
                name: name.into(),
                dtype,
                length,
                parts: None,
            }),
            None => Err(DataError::NotInSchema {
                feature: key.to_owned(),
                path: self.path.clone(),
            }),
        }
    }
}
