//! Tensors by name: what a state dict is here, and where one can be read from.

use std::error::Error;

use indexmap::IndexMap;
use tch::Tensor;

use super::TorchError;

/// `text` as one part of a dotted tensor name: every `.` becomes `__`.
#[must_use]
pub fn component(text: &str) -> String {
    text.replace('.', "__")
}

/// One tensor of a state.
#[derive(Debug)]
pub struct NamedTensor {
    /// The tensor itself; it shares memory with whoever uses it.
    pub tensor: Tensor,
    /// Whether an optimizer may change it; buffers such as running statistics are not trainable.
    pub trainable: bool,
}

/// Tensors by name, in a stable order.
#[derive(Debug, Default)]
pub struct NamedTensors {
    entries: IndexMap<String, NamedTensor>,
}

impl NamedTensors {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a tensor.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn push(
        &mut self,
        name: String,
        tensor: Tensor,
        trainable: bool,
    ) -> Result<(), TorchError> {
        if self.entries.contains_key(&name) {
            return Err(TorchError {
                message: format!("two tensors are called `{name}`"),
            });
        }
        self.entries.insert(name, NamedTensor { tensor, trainable });
        Ok(())
    }

    /// The tensor called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&NamedTensor> {
        self.entries.get(name)
    }

    /// All tensors, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &NamedTensor)> {
        self.entries
            .iter()
            .map(|(name, entry)| (name.as_str(), entry))
    }

    /// The trainable tensors, in their order.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let trainable = self.iter().filter(|(_, entry)| entry.trainable);
        trainable.map(|(name, entry)| (name, &entry.tensor))
    }

    /// How many numbers are trained.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.parameters().map(|(_, tensor)| tensor.numel()).sum()
    }

    /// How many tensors there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Why a source could not hand out a tensor.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// A place that tensors can be read from by name: a state in memory, a checkpoint on disk.
pub trait TensorSource {
    /// The names of all tensors there.
    fn names(&self) -> Vec<String>;

    /// The sizes of the tensor called `name`; `None` where there is none.
    fn shape(&self, name: &str) -> Option<Vec<i64>>;

    /// Reads the tensor called `name`.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    fn read(&self, name: &str) -> Result<Tensor, SourceError>;
}

impl TensorSource for NamedTensors {
    fn names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<i64>> {
        self.get(name).map(|entry| entry.tensor.size())
    }

    fn read(&self, name: &str) -> Result<Tensor, SourceError> {
        let entry = self
            .get(name)
            .ok_or_else(|| format!("no tensor is called `{name}`"))?;
        Ok(entry.tensor.shallow_clone())
    }
}
