//! What one checkpoint holds, and the names of its files.

use serde_json::Value;
use tch::Tensor;

/// Parameters and buffers.
pub const MODEL_FILE: &str = "model.safetensors";
/// Optimizer state.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// Everything else, and the checksums of the two.
pub const STATE_FILE: &str = "state.json";

/// The folder of the checkpoint that was best by some metric.
pub const BEST: &str = "best";

/// Tensors by name, in a stable order.
pub type Tensors = Vec<(String, Tensor)>;

/// What is to be saved, on any device; the tensors may be the ones that train.
#[derive(Debug)]
pub struct Snapshot {
    /// Names the folder.
    pub global_step: u64,
    /// Parameters and buffers.
    pub model: Tensors,
    /// Optimizer state.
    pub optimizer: Tensors,
    /// Step, wall time, data position and the like.
    pub state: Value,
    /// What makes the checkpoint, for `run.json`.
    pub run: Option<Value>,
}

impl Snapshot {
    /// Size of the tensors.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let tensors = self.model.iter().chain(&self.optimizer);
        tensors
            .map(|(_, tensor)| tensor.numel() * tensor.kind().elt_size_in_bytes())
            .sum()
    }
}
