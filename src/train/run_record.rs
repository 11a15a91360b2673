//! What made a checkpoint: in its `state.json`, and of the newest one in `run.json`, with the segments before.

use std::path::Path;
use std::time::SystemTime;

use chrono::{DateTime, Local};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::session::Session;
use super::state::TrainState;
use crate::checkpoint::{self, Checkpoint};
use crate::data;

/// Earlier segments that a record names; older ones are counted.
const MAX_SEGMENTS: usize = 1000;

/// What is left out of an earlier segment where the one after it has the same.
const LARGE: [&str; 2] = ["config", "data_files"];

/// The record of what made the checkpoint that a run goes on from, and what the config says otherwise now, which is
/// logged. Sees to it that `run.json` is that record: a run that was killed right after its first save has not written
/// it. Checkpoints of earlier versions have none; then `run.json` is all there is.
pub fn before(session: &Session, save_dir: &Path, resume: Option<&Checkpoint>) -> Option<Value> {
    let file = match checkpoint::read_record(save_dir) {
        Ok(file) => file,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            warn!(%error, cause, "the record of the earlier run cannot be read");
            None
        }
    };
    let own = resume.and_then(Checkpoint::run);
    if let Some(own) = own.filter(|own| file.as_ref() != Some(*own))
        && let Err(error) = checkpoint::write_record(save_dir, own)
    {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        warn!(%error, cause, "run.json does not describe the newest checkpoint; its state.json does");
    }
    let before = own.cloned().or(file)?;
    if let Ok(config) = serde_json::to_value(&session.config) {
        report_changes(&before["config"], &config);
    }
    // A run that goes on from nothing has no segments before it, whatever ran in the folder once.
    resume.map(|_| before)
}

/// The record of this run, which goes on at `state`.
///
/// # Errors
/// When the config cannot be written as JSON.
pub fn record(
    session: &Session,
    state: &TrainState,
    before: Option<Value>,
) -> anyhow::Result<Value> {
    let config = &session.config;
    // Data that is missing is reported where it is opened.
    let files = data::file_names(&config.train_data).unwrap_or_default();
    let files: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let mut record = json!({
        "program": "recap-train",
        "version": crate::cli::VERSION,
        "started": DateTime::<Local>::from(SystemTime::now()).to_rfc3339(),
        "device": format!("{:?}", session.device),
        "threads": tch::get_num_threads(),
        "world_size": session.place.world_size,
        "seed": config.training.seed,
        "from_step": state.step,
        "from_global_step": state.global_step(),
        "config_digest": config.digest(),
        "data_files": files,
        "config": serde_json::to_value(config)?,
    });
    if let Some(before) = before {
        add_history(&mut record, before);
    }
    Ok(record)
}

/// Adds the segments before, oldest first, the last of them `before`.
fn add_history(record: &mut Value, mut before: Value) {
    let taken = |before: &mut Value, key: &str| before.as_object_mut()?.shift_remove(key);
    let history = taken(&mut before, "history");
    let mut history = match history {
        Some(Value::Array(history)) => history,
        _ => Vec::new(),
    };
    let dropped = taken(&mut before, "history_dropped").and_then(|count| count.as_u64());
    for key in LARGE {
        if before[key] == record[key] {
            let _ = taken(&mut before, key);
        }
    }
    history.push(before);
    let surplus = history.len().saturating_sub(MAX_SEGMENTS);
    history.drain(..surplus);
    let dropped = dropped.unwrap_or(0) + surplus as u64;
    if dropped > 0 {
        record["history_dropped"] = dropped.into();
    }
    record["history"] = history.into();
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

    #[test]
    fn segments_are_kept_with_what_differs_from_the_one_after() {
        let segment =
            |seed: u64| json!({ "seed": seed, "config": { "seed": seed }, "data_files": ["a"] });
        let mut first = segment(1);
        let mut second = segment(1);
        add_history(&mut second, first.take());
        first = segment(1);
        add_history(&mut second, first);
        let mut third = segment(3);
        add_history(&mut third, second);
        let history = third["history"].as_array().unwrap();
        assert_eq!(history.last().unwrap()["config"]["seed"], 1);
        assert!(history.last().unwrap().get("data_files").is_none());
        assert!(history[history.len() - 2].get("config").is_none());
        assert!(
            history
                .iter()
                .all(|segment| segment.get("history").is_none())
        );
    }

    #[test]
    fn the_history_is_bounded_and_says_what_it_leaves_out() {
        let mut record = json!({ "n": 0 });
        for n in 1..=MAX_SEGMENTS + 3 {
            let mut next = json!({ "n": n });
            add_history(&mut next, record);
            record = next;
        }
        let history = record["history"].as_array().unwrap();
        assert_eq!(history.len(), MAX_SEGMENTS);
        assert_eq!(record["history_dropped"], 3);
        assert_eq!(history[0]["n"], 3);
    }
}
