//! The model as it is wired: layers, parameters, operations, and an estimate of memory.

use std::io::{self, Write};

use serde::Serialize;

use super::table::{bytes, grouped, write_table};
use crate::config::RecapConfig;
use crate::model::NamedTensors;
use crate::train::step::Stepper;

/// The layers in the order they are built.
#[derive(Debug, Serialize)]
pub(super) struct Wiring {
    tasks: Vec<String>,
    layers: Vec<LayerRow>,
    parameters: u64,
    /// Of one forward pass of one example; a multiply and an add are two.
    forward_flops_per_example: u64,
    /// Forward and backward, which costs about twice as much.
    training_flops_per_example: u64,
}

/// One layer.
#[derive(Debug, Serialize)]
struct LayerRow {
    name: String,
    kind: &'static str,
    input: u64,
    output: u64,
    parameters: u64,
    flops_per_example: u64,
}

impl Wiring {
    pub(super) fn of(stepper: &Stepper) -> Self {
        let count = |number: i64| number.unsigned_abs();
        let layers = stepper.ranker.layers().iter().map(|layer| LayerRow {
            name: layer.name.clone(),
            kind: layer.kind,
            input: count(layer.input),
            output: count(layer.output),
            parameters: count(layer.parameters),
            flops_per_example: count(layer.flops_per_row),
        });
        let layers: Vec<LayerRow> = layers.collect();
        let forward = layers.iter().map(|layer| layer.flops_per_example).sum();
        Self {
            tasks: stepper.ranker.tasks().to_vec(),
            layers,
            parameters: stepper.ranker.state().parameter_count() as u64,
            forward_flops_per_example: forward,
            training_flops_per_example: 3 * forward,
        }
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let rows: Vec<_> = self.layers.iter().map(LayerRow::cells).collect();
        writeln!(out, "\nlayers")?;
        let header = ["name", "kind", "shape", "parameters", "FLOPs/example"];
        write_table(out, header, &rows)?;
        writeln!(
            out,
            "\nmodel    {} tasks, {} parameters; FLOPs per example: {} forward, about {} forward and backward",
            self.tasks.len(),
            grouped(self.parameters),
            grouped(self.forward_flops_per_example),
            grouped(self.training_flops_per_example),
        )
    }
}

impl LayerRow {
    fn cells(&self) -> [String; 5] {
        [
            self.name.clone(),
            self.kind.to_owned(),
            format!("{} -> {}", self.input, self.output),
            grouped(self.parameters),
            grouped(self.flops_per_example),
        ]
    }
}

/// Bytes that training needs on its device, without what libtorch keeps in reserve.
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    batch_size: u64,
    /// Parameters and buffers.
    model_bytes: u64,
    gradient_bytes: u64,
    optimizer_bytes: u64,
    /// An estimate: the output of every layer, kept in f32 for the backward pass.
    activation_bytes: u64,
    total_bytes: u64,
}

impl Memory {
    pub(super) fn of(stepper: &Stepper, config: &RecapConfig) -> Self {
        let batch_size = config.train_data.global_batch_size.get();
        let layers = stepper.ranker.layers().iter();
        let kept: u64 = layers.map(|layer| layer.output.unsigned_abs()).sum();
        let activation_bytes = batch_size.saturating_mul(kept).saturating_mul(4);
        let state = stepper.ranker.state();
        let gradients = state.parameters().map(|(_, tensor)| size(tensor));
        let gradient_bytes = gradients.sum();
        let (model_bytes, optimizer_bytes) = (total(state), total(stepper.optimizer.state()));
        let fixed: u64 = model_bytes + gradient_bytes + optimizer_bytes;
        Self {
            batch_size,
            model_bytes,
            gradient_bytes,
            optimizer_bytes,
            activation_bytes,
            total_bytes: fixed.saturating_add(activation_bytes),
        }
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "memory   about {} for a batch of {}: model {}, gradients {}, optimizer {}, activations about {}",
            bytes(self.total_bytes),
            grouped(self.batch_size),
            bytes(self.model_bytes),
            bytes(self.gradient_bytes),
            bytes(self.optimizer_bytes),
            bytes(self.activation_bytes),
        )
    }
}

fn total(tensors: &NamedTensors) -> u64 {
    tensors.iter().map(|(_, entry)| size(&entry.tensor)).sum()
}

fn size(tensor: &tch::Tensor) -> u64 {
    tensor.numel() as u64 * tensor.kind().elt_size_in_bytes() as u64
}
