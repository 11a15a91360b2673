//! Rules of `seg_dense_schema.columns`: each key is read once, and what has no schema is one number.

use std::collections::HashMap;

use super::path::Path;
use super::reports::Rules;
use super::{FeatureColumns, RecapDataConfig};

/// Checks `seg_dense_schema` of `data`, which stands at `here`.
pub(super) fn check(data: &RecapDataConfig, here: &Path, rules: &mut Rules<'_>) {
    let schema = &data.seg_dense_schema;
    let Some(columns) = &schema.columns else {
        return;
    };
    let at = here.key("columns");
    let count: usize = columns.features().iter().map(|(_, keys)| keys.len()).sum();
    let expected = "at least one key in continuous, binary or discrete";
    rules.expect(count > 0, &at, expected, "none");
    keys(data, columns, &at, rules);
    for (name, keys) in columns.features() {
        let is_new = |known: &str| known == name && !keys.is_empty();
        if schema.renamed_features.keys().any(|known| is_new(known)) {
            let message = "columns makes this feature too, keep one";
            rules.broken(&here.key("renamed_features").key(name), message);
        }
        if let Some(i) = schema.features.iter().position(|known| is_new(known)) {
            let message = format!("columns makes the feature {name:?} too, keep one");
            rules.broken(&here.key("features").index(i), message);
        }
    }
    if schema.schema_path.is_none() {
        without_schema(data, here, rules);
    }
}

/// No key may be read twice.
fn keys(data: &RecapDataConfig, columns: &FeatureColumns, at: &Path, rules: &mut Rules<'_>) {
    let schema = &data.seg_dense_schema;
    let labels = data.tasks.keys().map(|key| (key, "a label".to_owned()));
    let features = schema.features.iter();
    let features = features.map(|key| (key, "one of features".to_owned()));
    let renamed = schema.renamed_features.iter();
    let renamed = renamed.map(|(name, key)| (key, format!("renamed to {name}")));
    let mut known: HashMap<&String, String> = labels.chain(features).chain(renamed).collect();
    for (name, keys) in columns.features() {
        for (i, key) in keys.iter().enumerate() {
            if let Some(use_) = known.get(key) {
                let message = format!("{key:?} is already {use_}: a key is read once");
                rules.broken(&at.key(name).index(i), message);
            }
            known.insert(key, format!("in columns.{name}"));
        }
    }
}

/// Without a schema only labels and weights are known to be one number.
fn without_schema(data: &RecapDataConfig, here: &Path, rules: &mut Rules<'_>) {
    let is_weight = |key: &String| {
        let mut weights = data.tasks.values().map(|task| task.weight_feature.as_ref());
        weights.any(|weight| weight == Some(key))
    };
    let schema = &data.seg_dense_schema;
    let features = schema.features.iter().filter(|key| !is_weight(key));
    let renamed = schema.renamed_features.iter();
    let renamed = renamed
        .filter(|(name, _)| !is_weight(name))
        .map(|(_, key)| key);
    if let Some(key) = features.chain(renamed).next() {
        let message = format!(
            "the schema is needed for {key:?}: without one only columns, labels and weights can be read"
        );
        rules.broken(&here.key("schema_path"), message);
    }
}
