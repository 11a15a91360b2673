//! MLP: Linear layers with BatchNorm, ReLU and dropout between them.

use tch::Tensor;

use super::linear::Linear;
use super::norm::{BatchNorm, Dropout};
use super::scope::{Builder, Scope};
use super::{Mode, ModelError};
use crate::config::MlpSpec;
use crate::torch::TorchError;

/// One module of the stack; its position in the stack is its parameter name.
#[derive(Debug)]
enum Module {
    Linear(Linear),
    BatchNorm(BatchNorm),
    Relu,
    Dropout(Dropout),
}

/// A multi-layer perceptron.
#[derive(Debug)]
pub(super) struct Mlp {
    layers: Vec<Module>,
    out_features: i64,
}

impl Mlp {
    pub(super) fn build(
        builder: &mut Builder,
        scope: &Scope,
        input: i64,
        spec: &MlpSpec,
    ) -> Result<Self, ModelError> {
        let mut stack = Stack::new(builder, scope);
        let mut width = input;
        for size in &spec.hidden {
            stack.hidden(width, size.to_i64(), spec)?;
            width = size.to_i64();
        }
        let out_features = spec.output.to_i64();
        stack.linear(width, out_features)?;
        if spec.final_layer_activation {
            stack.layers.push(Module::Relu);
        }
        Ok(Self {
            layers: stack.layers,
            out_features,
        })
    }

    /// Columns of the output.
    pub(super) fn out_features(&self) -> i64 {
        self.out_features
    }

    /// `[B, in]` → `[B, out_features]`.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor, TorchError> {
        let mut x = x.shallow_clone();
        for layer in &self.layers {
            x = match layer {
                Module::Linear(linear) => linear.forward(&x)?,
                Module::BatchNorm(norm) => norm.forward(&x, mode)?,
                Module::Relu => x.f_relu()?,
                Module::Dropout(dropout) => dropout.forward(&x, mode)?,
            };
        }
        Ok(x)
    }
}

/// The modules so far.
struct Stack<'a> {
    builder: &'a mut Builder,
    scope: &'a Scope,
    layers: Vec<Module>,
}

impl<'a> Stack<'a> {
    fn new(builder: &'a mut Builder, scope: &'a Scope) -> Self {
        Self {
            builder,
            scope,
            layers: Vec::new(),
        }
    }

    fn hidden(&mut self, input: i64, output: i64, spec: &MlpSpec) -> Result<(), ModelError> {
        self.linear(input, output)?;
        if let Some(norm) = spec.batch_norm {
            let scope = self.next();
            let norm = BatchNorm::build(self.builder, &scope, output, norm)?;
            self.layers.push(Module::BatchNorm(norm));
        }
        self.layers.push(Module::Relu);
        if let Some(rate) = spec.dropout {
            self.layers.push(Module::Dropout(Dropout { rate }));
        }
        Ok(())
    }

    fn linear(&mut self, input: i64, output: i64) -> Result<(), ModelError> {
        let scope = self.next();
        let linear = Linear::build(self.builder, &scope, input, output)?;
        self.layers.push(Module::Linear(linear));
        Ok(())
    }

    /// The scope of the next module.
    fn next(&self) -> Scope {
        self.scope
            .child(&format!("layers.{}", self.layers.len()), "")
    }
}
