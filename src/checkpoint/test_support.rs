//! Small checkpoints for the tests of this room.

use std::path::Path;

use tch::Tensor;

use super::format::{MODEL_FILE, Snapshot};
use super::manager::Manager;
use super::writer::Targets;

pub(super) fn snapshot(global_step: u64) -> Snapshot {
    let tensor = Tensor::from_slice(&[global_step as f32]);
    Snapshot {
        global_step,
        model: vec![("model.w".to_owned(), tensor)],
        optimizer: Vec::new(),
        state: serde_json::json!({ "step": global_step }),
        run: Some(serde_json::json!({ "made": global_step })),
    }
}

pub(super) fn kept() -> Targets {
    Targets {
        step: true,
        best: None,
    }
}

pub(super) fn save(manager: &mut Manager, steps: &[u64]) {
    for &step in steps {
        manager.save(snapshot(step), kept()).unwrap();
    }
    manager.wait().unwrap();
}

/// Makes a tensor file another one of the same size.
pub(super) fn damage(folder: &Path) {
    let path = folder.join(MODEL_FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}
