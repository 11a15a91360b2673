//! Building a model: where parameters are made and named, and what each layer says of itself.

use tch::{Device, Kind, Tensor};

use super::{ModelError, init};
use crate::torch::named::NamedTensors;

/// One layer, for the table that `check` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its parameter name without `.weight` or the like.
    pub name: String,
    /// What it is, such as `Linear`.
    pub kind: &'static str,
    /// Columns it reads.
    pub input: i64,
    /// Columns it makes.
    pub output: i64,
    /// Numbers it trains.
    pub parameters: i64,
    /// Floating-point operations of its forward pass per row (a multiply and an add are two).
    pub flops_per_row: i64,
}

/// Everything that is collected while a model is built.
pub(super) struct Builder {
    pub(super) state: NamedTensors,
    pub(super) layers: Vec<Layer>,
    pub(super) tally: Tally,
    seed: u64,
    device: Device,
    scratch: Vec<f32>,
    /// Nothing is allocated: one number stands for every tensor.
    is_plan: bool,
}

/// How much is built.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Numbers that are trained.
    pub(super) parameters: u128,
    /// The tensor with the most of them, and its shape.
    pub(super) largest: (String, Vec<i64>),
    largest_count: u128,
}

impl Tally {
    fn add(&mut self, name: &str, shape: &[i64]) {
        let sizes = shape.iter().map(|&size| u128::from(size.unsigned_abs()));
        let count = sizes.fold(1, u128::saturating_mul);
        self.parameters = self.parameters.saturating_add(count);
        if count > self.largest_count {
            self.largest_count = count;
            self.largest = (name.to_owned(), shape.to_vec());
        }
    }
}

impl Builder {
    pub(super) fn new(seed: u64, device: Device) -> Self {
        Self {
            state: NamedTensors::new(),
            layers: Vec::new(),
            tally: Tally::default(),
            seed,
            device,
            scratch: Vec::new(),
            is_plan: false,
        }
    }

    /// Of a model that is only measured.
    pub(super) fn plan() -> Self {
        Self {
            is_plan: true,
            ..Self::new(0, Device::Cpu)
        }
    }

    /// A parameter `[out, in]` drawn uniformly from ± sqrt(6 / (in + out)) (Xavier).
    pub(super) fn xavier(
        &mut self,
        name: String,
        output: i64,
        input: i64,
    ) -> Result<Tensor, ModelError> {
        let bound = (6.0 / (input as f64 + output as f64)).sqrt();
        self.uniform(name, &[output, input], bound)
    }

    /// A parameter drawn uniformly from `[-bound, bound)`.
    pub(super) fn uniform(
        &mut self,
        name: String,
        shape: &[i64],
        bound: f64,
    ) -> Result<Tensor, ModelError> {
        if self.is_plan {
            return self.trained(name, shape, 0.0);
        }
        let mut sizes = shape.iter().map(|&size| usize::try_from(size).ok());
        let count = sizes.try_fold(1_usize, |count, size| count.checked_mul(size?));
        let missing = count.and_then(|count| count.checked_sub(self.scratch.len()));
        let is_there = match missing {
            Some(missing) => self.scratch.try_reserve_exact(missing).is_ok(),
            None => count.is_some(),
        };
        let (true, Some(count)) = (is_there, count) else {
            let shape = shape.to_vec();
            return Err(ModelError::NoMemory { name, shape });
        };
        if self.scratch.len() < count {
            self.scratch.resize(count, 0.0);
        }
        let values = &mut self.scratch[..count];
        init::uniform(values, bound, self.seed, &name);
        let tensor = Tensor::f_from_slice(values)?
            .f_view(shape)?
            .f_to_device(self.device)?;
        self.tally.add(&name, shape);
        self.register(name, &tensor, true)
    }

    /// A parameter that starts as `value` everywhere.
    pub(super) fn constant(
        &mut self,
        name: String,
        shape: &[i64],
        value: f64,
    ) -> Result<Tensor, ModelError> {
        self.trained(name, shape, value)
    }

    fn trained(&mut self, name: String, shape: &[i64], value: f64) -> Result<Tensor, ModelError> {
        let made = if self.is_plan { &[] } else { shape };
        let tensor = Tensor::f_full(made, value, (Kind::Float, self.device))?;
        self.tally.add(&name, shape);
        self.register(name, &tensor, true)
    }

    /// A buffer that starts as `value` everywhere.
    pub(super) fn buffer(
        &mut self,
        name: String,
        shape: &[i64],
        value: f64,
        kind: Kind,
    ) -> Result<Tensor, ModelError> {
        let made = if self.is_plan { &[] } else { shape };
        let tensor = Tensor::f_full(made, value, (kind, self.device))?;
        self.register(name, &tensor, false)
    }

    /// A buffer `[values.len()]` that starts as `values`.
    pub(super) fn buffer_of(&mut self, name: String, values: &[f64]) -> Result<Tensor, ModelError> {
        let tensor = Tensor::f_from_slice(values)?.f_to_kind(Kind::Float)?;
        self.register(name, &tensor.f_to_device(self.device)?, false)
    }

    /// Positions `[values.len()]` i64 on the device; no part of the state.
    pub(super) fn indices(&self, values: &[i64]) -> Result<Tensor, ModelError> {
        Ok(Tensor::f_from_slice(values)?.f_to_device(self.device)?)
    }

    /// Notes a layer for the table.
    pub(super) fn record(&mut self, layer: Layer) {
        self.layers.push(layer);
    }

    fn register(
        &mut self,
        name: String,
        tensor: &Tensor,
        trainable: bool,
    ) -> Result<Tensor, ModelError> {
        let tensor = tensor.f_set_requires_grad(trainable)?;
        self.state.push(name, tensor.shallow_clone(), trainable)?;
        Ok(tensor)
    }
}

/// Where in the model and in the configuration a part sits.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    /// Parameter name of the part, such as `model._backbone`.
    pub(super) name: String,
    /// Path of its section in the configuration, such as `model.backbone`.
    pub(super) key: String,
}

impl Scope {
    pub(super) fn new(name: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            key: key.into(),
        }
    }

    /// The part `name` of this one, configured by the key `key` of its section.
    pub(super) fn child(&self, name: &str, key: &str) -> Self {
        Self::new(join(&self.name, name), join(&self.key, key))
    }

    /// The name of a tensor of this part.
    pub(super) fn tensor(&self, name: &str) -> String {
        join(&self.name, name)
    }

    /// An error about the key `key` of this part's section.
    pub(super) fn error(&self, key: &str, problem: impl Into<String>) -> ModelError {
        ModelError::Config {
            key: join(&self.key, key),
            problem: problem.into(),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    match (path.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => path.to_owned(),
        _ if name.starts_with('[') => format!("{path}{name}"),
        _ => format!("{path}.{name}"),
    }
}
