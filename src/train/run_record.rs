//! `run.json`: what ran in a folder, and what a later run in it does differently.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::session::Session;
use crate::data;

const FILE: &str = "run.json";

/// Writes the record, replacing that of an earlier run; logs which config keys have changed since then.
///
/// # Errors
/// When the file cannot be written.
pub fn write(session: &Session, save_dir: &Path) -> anyhow::Result<()> {
    let path = save_dir.join(FILE);
    let record = record(session)?;
    match fs::read_to_string(&path).map(|text| serde_json::from_str::<Value>(&text)) {
        Ok(Ok(before)) => report_changes(&before["config"], &record["config"]),
        Ok(Err(error)) => {
            warn!(file = %path.display(), %error, "the record of the earlier run cannot be read")
        }
        Err(_) => {}
    }
    let part = save_dir.join(".run.json");
    let write = || -> std::io::Result<()> {
        let file = File::create(&part)?;
        serde_json::to_writer_pretty(&file, &record)?;
        file.sync_all()?;
        fs::rename(&part, &path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn record(session: &Session) -> anyhow::Result<Value> {
    let config = &session.config;
    // Data that is missing is reported where it is opened.
    let files = data::file_names(&config.train_data).unwrap_or_default();
    let files: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    Ok(json!({
        "program": "recap-train",
        "version": crate::cli::VERSION,
        "started": chrono::Local::now().to_rfc3339(),
        "device": format!("{:?}", session.device),
        "threads": tch::get_num_threads(),
        "world_size": session.place.world_size,
        "seed": config.training.seed,
        "config_digest": config.digest(),
        "data_files": files,
        "config": serde_json::to_value(config)?,
    }))
}

fn report_changes(before: &Value, now: &Value) {
    let mut changes = Vec::new();
    compare(before, now, "", &mut changes);
    for change in changes {
        info!("config has changed since the run before: {change}");
    }
}

/// Collects the leaves in which two configs differ.
fn compare(before: &Value, now: &Value, path: &str, changes: &mut Vec<String>) {
    match (before, now) {
        (Value::Object(old), Value::Object(new)) => {
            let keys = old
                .keys()
                .chain(new.keys().filter(|key| !old.contains_key(*key)));
            for key in keys {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                compare(&before[key], &now[key], &path, changes);
            }
        }
        _ if before == now => {}
        _ => changes.push(format!("{path}: {before} -> {now}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_named_by_path() {
        let before = json!({ "training": { "seed": 1, "save_dir": "a" }, "gone": true });
        let now = json!({ "training": { "seed": 2, "save_dir": "a" }, "new": [1] });
        let mut changes = Vec::new();
        compare(&before, &now, "", &mut changes);
        assert_eq!(
            changes,
            [
                "training.seed: 1 -> 2",
                "gone: true -> null",
                "new: null -> [1]"
            ]
        );
    }
}
