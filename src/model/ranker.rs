//! The whole model: features, backbone, one tower per task.

use tch::{Device, Kind, Tensor};

use super::features::Features;
use super::input::{Input, Layout};
use super::network::Network;
use super::outputs::Outputs;
use super::scope::{Builder, Layer, Scope, Tally};
use super::tower::Tower;
use super::{Mode, ModelError, load_state};
use crate::batch::FeatureWidths;
use crate::config::{ModelSpec, NetworkSpec, Sharing};
use crate::torch::batch::Batch;
use crate::torch::fused::TensorList;
use crate::torch::named::{NamedTensors, TensorSource};

/// The ranking model.
#[derive(Debug)]
pub struct Ranker {
    features: Features,
    shared: Shared,
    towers: Vec<Tower>,
    tasks: Vec<String>,
    state: NamedTensors,
    layers: Vec<Layer>,
    tally: Tally,
    batch_norms: BatchNorms,
}

/// What lies below the towers.
#[derive(Debug)]
enum Shared {
    /// The features.
    Nothing,
    /// This backbone.
    All(Network),
    /// The features and this backbone side by side.
    Partial(Network),
}

/// How large a model would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Numbers that are trained; `u64::MAX` where 64 bits do not hold it.
    pub parameters: u64,
    /// Name and shape of the largest parameter.
    pub largest: (String, Vec<i64>),
    /// Columns that all layers make of a row together.
    pub outputs: u64,
}

/// All BatchNorm layers together.
#[derive(Debug)]
struct BatchNorms {
    first: Option<String>,
    num_batches_tracked: TensorList,
}

impl Ranker {
    /// Builds the model in f32 on `device` with parameters drawn from `seed`.
    ///
    /// `sampling_ratio` says, for a task, the share of negatives kept over the share of positives kept.
    ///
    /// # Errors
    /// When data of these widths does not fit the model, naming the key, or the device is out of memory.
    pub fn build(
        spec: &ModelSpec,
        widths: &FeatureWidths,
        sampling_ratio: &dyn Fn(&str) -> f64,
        seed: u64,
        device: Device,
    ) -> Result<Self, ModelError> {
        Self::assemble(Builder::new(seed, device), spec, widths, sampling_ratio)
    }

    /// Measures the model without making it.
    ///
    /// # Errors
    /// When data of these widths does not fit the model, naming the key.
    pub fn plan(spec: &ModelSpec, widths: &FeatureWidths) -> Result<Plan, ModelError> {
        let planned = Self::assemble(Builder::plan(), spec, widths, &|_| 1.0)?;
        let outputs = planned.layers.iter();
        let outputs = outputs.map(|layer| layer.output.unsigned_abs());
        let Tally {
            parameters,
            largest,
            ..
        } = planned.tally;
        Ok(Plan {
            parameters: u64::try_from(parameters).unwrap_or(u64::MAX),
            largest,
            outputs: outputs.fold(0, u64::saturating_add),
        })
    }

    fn assemble(
        mut builder: Builder,
        spec: &ModelSpec,
        widths: &FeatureWidths,
        sampling_ratio: &dyn Fn(&str) -> f64,
    ) -> Result<Self, ModelError> {
        let features = Features::build(&mut builder, widths, spec)?;
        let layout = features.layout();
        let shared = Shared::build(&mut builder, &layout, &spec.sharing)?;
        let input = match &shared {
            Shared::Nothing => Input::Features(&layout),
            Shared::All(backbone) => Input::Computed(backbone.out_features()),
            Shared::Partial(backbone) => Input::Computed(layout.width() + backbone.out_features()),
        };
        let towers = Tower::build_all(&mut builder, input, &spec.tasks, sampling_ratio)?;
        Ok(Self {
            features,
            shared,
            towers,
            tasks: spec.tasks.iter().map(|task| task.name.clone()).collect(),
            batch_norms: BatchNorms::of(&builder.state),
            state: builder.state,
            layers: builder.layers,
            tally: builder.tally,
        })
    }

    /// Whether batches of `rows` rows can train it.
    ///
    /// # Errors
    /// When they have a single row and there is a BatchNorm.
    pub fn check_rows(&self, rows: usize) -> Result<(), ModelError> {
        self.batch_norms
            .check(i64::try_from(rows).unwrap_or(i64::MAX))
    }

    /// One forward pass.
    ///
    /// # Errors
    /// When the batch does not have the features the model was built for, when it has a single row and BatchNorm is
    /// to be trained, or when libtorch refuses (out of memory).
    pub fn forward(&self, batch: &Batch, mode: Mode) -> Result<Outputs, ModelError> {
        let input = self.tower_input(batch, mode)?;
        let logits = grad_if(mode, || self.logits(&input, mode))?;
        Ok(Outputs {
            logits,
            ratios: self.towers.iter().map(Tower::sampling_ratio).collect(),
        })
    }

    /// What the towers read, `[B, I]`: the features, the backbone's output, or both.
    ///
    /// # Errors
    /// As for [`Ranker::forward`].
    pub fn tower_input(&self, batch: &Batch, mode: Mode) -> Result<Tensor, ModelError> {
        self.features.check(batch)?;
        if mode.is_train() {
            self.batch_norms.count(batch.rows())?;
        }
        grad_if(mode, || {
            let features = self.features.forward(batch, mode)?;
            match &self.shared {
                Shared::Nothing => Ok(features),
                Shared::All(backbone) => Ok(backbone.forward(&features, mode)?),
                Shared::Partial(backbone) => {
                    let shared = backbone.forward(&features, mode)?;
                    Ok(Tensor::f_cat(&[features, shared], 1)?)
                }
            }
        })
    }

    /// `[B, I]` → `[B, T]`.
    fn logits(&self, input: &Tensor, mode: Mode) -> Result<Tensor, ModelError> {
        let logits = self.towers.iter().map(|tower| tower.forward(input, mode));
        let logits = Tensor::f_cat(&logits.collect::<Result<Vec<_>, _>>()?, 1)?;
        Ok(logits.f_to_kind(self.kind())?)
    }

    /// Every parameter and buffer by its name, in the order of the original trainer. The tensors share memory with
    /// the model.
    #[must_use]
    pub fn state(&self) -> &NamedTensors {
        &self.state
    }

    /// Copies a state into the model.
    ///
    /// # Errors
    /// When something does not fit (nothing is changed then), or a tensor cannot be read.
    pub fn load_state(&self, source: &impl TensorSource) -> Result<(), ModelError> {
        load_state::load(&self.state, source)
    }

    /// The model tasks: the columns of every output.
    #[must_use]
    pub fn tasks(&self) -> &[String] {
        &self.tasks
    }

    /// The layers in the order they are built, with sizes and cost.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Element type of the parameters.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let first = self.state.parameters().next();
        first.map_or(Kind::Float, |(_, tensor)| tensor.kind())
    }
}

impl BatchNorms {
    fn of(state: &NamedTensors) -> Self {
        let suffix = ".num_batches_tracked";
        let counters: Vec<_> = state
            .iter()
            .filter(|(name, _)| name.ends_with(suffix))
            .collect();
        let first = counters
            .first()
            .and_then(|(name, _)| name.strip_suffix(suffix));
        Self {
            first: first.map(str::to_owned),
            num_batches_tracked: TensorList::new(counters.iter().map(|(_, entry)| &entry.tensor)),
        }
    }

    /// One row has no variance.
    fn check(&self, rows: i64) -> Result<(), ModelError> {
        match &self.first {
            Some(layer) if rows == 1 => Err(ModelError::SingleRow {
                layer: layer.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Counts a batch of `rows` rows in every layer.
    fn count(&self, rows: i64) -> Result<(), ModelError> {
        self.check(rows)?;
        Ok(self.num_batches_tracked.add_one()?)
    }
}

impl Shared {
    fn build(
        builder: &mut Builder,
        layout: &Layout,
        sharing: &Sharing,
    ) -> Result<Self, ModelError> {
        let scope = Scope::new("model._backbone", "model.backbone");
        let mut backbone =
            |spec: &NetworkSpec| Network::build(builder, &scope, Input::Features(layout), spec);
        match sharing {
            Sharing::None => Ok(Self::Nothing),
            Sharing::All(spec) => backbone(spec).map(Self::All),
            Sharing::Partial(spec) => backbone(spec).map(Self::Partial),
        }
    }
}

/// Runs `body` with gradients when training, without otherwise.
fn grad_if<T>(mode: Mode, body: impl FnOnce() -> T) -> T {
    match mode {
        Mode::Train => body(),
        Mode::Evaluate => tch::no_grad(body),
    }
}
