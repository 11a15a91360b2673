//! `save_dir/run.json`: what made the newest checkpoint, a copy of what that one says of it.

use std::path::Path;

use serde_json::Value;

use super::{CheckpointError, regular};
use crate::whole_file;

/// Name of the record in `save_dir`.
pub const RECORD_FILE: &str = "run.json";

/// No record comes near this.
const MAX_BYTES: u64 = 1 << 30;

/// The record in `save_dir`; `None` where there is none.
///
/// # Errors
/// When it cannot be read, or is no JSON, which is damage.
pub fn read_record(save_dir: &Path) -> Result<Option<Value>, CheckpointError> {
    let path = save_dir.join(RECORD_FILE);
    if regular::open_if_there(&path)?.is_none() {
        return Ok(None);
    }
    let text = regular::read(&path, MAX_BYTES)?;
    let read = serde_json::from_slice(&text);
    read.map(Some)
        .map_err(|error| CheckpointError::damaged(&path, error.to_string()))
}

/// Puts `record` in the place of the one in `save_dir`, in one step.
///
/// # Errors
/// When it cannot be written; the one before stays then.
pub fn write_record(save_dir: &Path, record: &Value) -> Result<(), CheckpointError> {
    let path = save_dir.join(RECORD_FILE);
    let write = || -> std::io::Result<()> {
        let mut text = serde_json::to_vec_pretty(record)?;
        text.push(b'\n');
        whole_file::write(&path, &text)
    };
    write().map_err(CheckpointError::io("write", &path))
}
