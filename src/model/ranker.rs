//! The whole model: feature transform, embeddings, backbone, one tower per task.

use tch::{Device, Kind, Tensor};

use super::calibration::{Calibrator, LogitMap, calibrate};
use super::feature_transform::FeatureTransform;
use super::network::Network;
use super::norm::{EPSILON, LayerNorm};
use super::scope::{Builder, Layer, Scope};
use super::{LoadOptions, LoadReport, Mode, ModelError, load_state};
use crate::batch::{Batch, FeatureWidths};
use crate::config::{ModelConfig, MultiTaskType, TaskModel};
use crate::torch::TorchError;
use crate::torch::fused::TensorList;
use crate::torch::named::{NamedTensors, TensorSource, component};

/// The ranking model.
#[derive(Debug)]
pub struct Ranker {
    transform: FeatureTransform,
    embeddings: Vec<Embedding>,
    backbone: Option<Network>,
    multi_task_type: MultiTaskType,
    towers: Vec<Tower>,
    widths: FeatureWidths,
    tasks: Vec<String>,
    state: NamedTensors,
    layers: Vec<Layer>,
    batch_norms: BatchNorms,
}

/// One task's head.
#[derive(Debug)]
struct Tower {
    network: Network,
    map: Option<LogitMap>,
    calibrator: Calibrator,
}

/// An embedding that comes with the features.
#[derive(Debug)]
struct Embedding {
    name: &'static str,
    width: usize,
    norm: LayerNorm,
}

/// All BatchNorm layers together.
#[derive(Debug)]
struct BatchNorms {
    first: Option<String>,
    num_batches_tracked: TensorList,
}

/// What a forward pass gives.
#[derive(Debug)]
pub struct Outputs {
    /// `[B, T]` in the order of the model tasks, in the element type of the parameters.
    pub logits: Tensor,
    ratios: Vec<Tensor>,
}

impl Outputs {
    /// `[B, T]`: the sigmoid of the logits.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn probabilities(&self) -> Result<Tensor, ModelError> {
        Ok(self.logits.f_sigmoid()?)
    }

    /// `[B, T]`: the probabilities, corrected for the sampling of negatives and positives.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn calibrated_probabilities(&self) -> Result<Tensor, ModelError> {
        let ratios = Tensor::f_stack(&self.ratios, 0)?;
        Ok(calibrate(&self.probabilities()?, &ratios)?)
    }
}

impl Ranker {
    /// Builds the model in f32 on `device` with parameters drawn from `seed`.
    ///
    /// `sampling_ratios` holds, per model task, the share of negatives kept over the share of positives kept.
    ///
    /// # Errors
    /// When the configuration does not make a model, naming the key, or the device is out of memory.
    pub fn build(
        config: &ModelConfig,
        widths: &FeatureWidths,
        sampling_ratios: &[f64],
        seed: u64,
        device: Device,
    ) -> Result<Self, ModelError> {
        check(config, sampling_ratios)?;
        let mut builder = Builder::new(seed, device);
        let builder_ref = &mut builder;
        let [continuous, binary] = [widths.continuous, widths.binary].map(columns);
        let transform = FeatureTransform::build(
            builder_ref,
            &Scope::new("model._preprocessor", "model.featurization_config"),
            continuous,
            binary,
            config.featurization_config.as_ref(),
        )?;
        let embeddings = Embedding::build_all(builder_ref, widths)?;
        let given: i64 = embeddings.iter().map(|e| columns(e.width)).sum();
        let input = continuous + binary + given;
        let backbone = build_backbone(builder_ref, input, config)?;
        let below = backbone.as_ref().map_or(input, Network::out_features);
        let tower_input = match config.multi_task_type {
            MultiTaskType::SharePartial => input + below,
            MultiTaskType::ShareAll | MultiTaskType::ShareNone => below,
        };
        let towers = build_towers(builder_ref, tower_input, config, sampling_ratios)?;
        Ok(Self {
            transform,
            embeddings,
            backbone,
            multi_task_type: config.multi_task_type,
            towers,
            widths: widths.clone(),
            tasks: config.tasks.keys().cloned().collect(),
            batch_norms: BatchNorms::of(&builder.state),
            state: builder.state,
            layers: builder.layers,
        })
    }

    /// One forward pass.
    ///
    /// # Errors
    /// When the batch does not have the features the model was built for, when it has a single row and BatchNorm is
    /// to be trained, or when libtorch refuses (out of memory).
    pub fn forward(&self, batch: &Batch, mode: Mode) -> Result<Outputs, ModelError> {
        let input = self.tower_input(batch, mode)?;
        let logits = grad_if(mode, || self.logits(&input, mode))?;
        let ratios = self.towers.iter().map(|t| t.calibrator.ratio());
        Ok(Outputs {
            logits,
            ratios: ratios.collect(),
        })
    }

    /// What the towers read, `[B, I]`: the features, the backbone's output, or both.
    ///
    /// # Errors
    /// As for [`Ranker::forward`].
    pub fn tower_input(&self, batch: &Batch, mode: Mode) -> Result<Tensor, ModelError> {
        self.check_batch(batch, mode)?;
        if mode.is_train() {
            self.batch_norms.num_batches_tracked.add_one()?;
        }
        grad_if(mode, || {
            let features = self.features(batch, mode)?;
            let Some(backbone) = &self.backbone else {
                return Ok(features);
            };
            let shared = backbone.forward(&features, mode)?;
            match self.multi_task_type {
                MultiTaskType::SharePartial => Ok(Tensor::f_cat(&[features, shared], 1)?),
                MultiTaskType::ShareAll | MultiTaskType::ShareNone => Ok(shared),
            }
        })
    }

    /// The transformed dense features and the normalised embeddings side by side.
    fn features(&self, batch: &Batch, mode: Mode) -> Result<Tensor, ModelError> {
        let dense = self
            .transform
            .forward(&batch.continuous, &batch.binary, mode)?;
        if self.embeddings.is_empty() {
            return Ok(dense);
        }
        let mut parts = vec![dense];
        for embedding in &self.embeddings {
            parts.push(embedding.norm.forward(embedding.of(batch)?)?);
        }
        Ok(Tensor::f_cat(&parts, 1)?)
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
    /// When `options` are strict and something does not fit (nothing is changed then), or a tensor cannot be read.
    pub fn load_state(
        &self,
        source: &impl TensorSource,
        options: &LoadOptions,
    ) -> Result<LoadReport, ModelError> {
        load_state::load(&self.state, source, options)
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

    /// Converts every floating-point tensor to `kind` in place. Gradients are lost; an optimizer must be built after.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn set_kind(&mut self, kind: Kind) -> Result<(), ModelError> {
        for (_, entry) in self.state.iter() {
            if entry.tensor.is_floating_point() {
                let converted = tch::no_grad(|| entry.tensor.f_to_kind(kind))?;
                entry.tensor.shallow_clone().f_set_data(&converted)?;
            }
        }
        Ok(())
    }

    fn check_batch(&self, batch: &Batch, mode: Mode) -> Result<(), ModelError> {
        check_width("continuous", self.widths.continuous, &batch.continuous)?;
        check_width("binary", self.widths.binary, &batch.binary)?;
        for embedding in &self.embeddings {
            check_width(embedding.name, embedding.width, embedding.of(batch)?)?;
        }
        match &self.batch_norms.first {
            Some(layer) if mode.is_train() && batch.rows() == 1 => Err(ModelError::SingleRow {
                layer: layer.clone(),
            }),
            _ => Ok(()),
        }
    }
}

impl Tower {
    /// `[B, I]` → `[B, 1]`.
    fn forward(&self, input: &Tensor, mode: Mode) -> Result<Tensor, TorchError> {
        let logit = self.network.forward(input, mode)?;
        match &self.map {
            Some(map) => map.forward(&logit),
            None => Ok(logit),
        }
    }
}

impl Embedding {
    /// The embeddings that come with the features, in the order they are concatenated.
    fn build_all(builder: &mut Builder, widths: &FeatureWidths) -> Result<Vec<Self>, ModelError> {
        let present = [
            ("user_embedding", widths.user_embedding),
            ("user_eng_embedding", widths.user_eng_embedding),
            ("author_embedding", widths.author_embedding),
        ];
        let mut embeddings = Vec::new();
        for (name, width) in present {
            let Some(width) = width else { continue };
            let scope = Scope::new(format!("model._{name}_layer_norm"), "");
            let norm = LayerNorm::build(builder, &scope, columns(width), EPSILON, true)?;
            embeddings.push(Self { name, width, norm });
        }
        Ok(embeddings)
    }

    /// This embedding of every row, `[B, width]`.
    fn of<'a>(&self, batch: &'a Batch) -> Result<&'a Tensor, ModelError> {
        let tensor = match self.name {
            "user_embedding" => &batch.user_embedding,
            "user_eng_embedding" => &batch.user_eng_embedding,
            _ => &batch.author_embedding,
        };
        tensor
            .as_ref()
            .ok_or(ModelError::MissingFeature { name: self.name })
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
}

fn check(config: &ModelConfig, sampling_ratios: &[f64]) -> Result<(), ModelError> {
    let problem = |key: &str, problem: &str| ModelError::Config {
        key: format!("model.{key}"),
        problem: problem.to_owned(),
    };
    if config.tasks.is_empty() {
        return Err(problem("tasks", "expected at least one task, found none"));
    }
    if sampling_ratios.len() != config.tasks.len() {
        return Err(ModelError::SamplingRatios {
            expected: config.tasks.len(),
            found: sampling_ratios.len(),
        });
    }
    for (key, given) in [
        ("large_embeddings", config.large_embeddings.is_some()),
        ("small_embeddings", config.small_embeddings.is_some()),
        (
            "position_debias_config",
            config.position_debias_config.is_some(),
        ),
    ] {
        if given {
            return Err(problem(key, "not supported, remove it or set it to null"));
        }
    }
    for (i, first) in config.tasks.keys().enumerate() {
        for second in config.tasks.keys().skip(i + 1) {
            if component(first) == component(second) {
                return Err(ModelError::SameSafeName {
                    first: first.clone(),
                    second: second.clone(),
                });
            }
        }
    }
    match (config.multi_task_type, &config.backbone) {
        (MultiTaskType::ShareNone, Some(_)) => {
            Err(problem("backbone", "share_none has no backbone"))
        }
        (MultiTaskType::ShareAll | MultiTaskType::SharePartial, None) => {
            Err(problem("backbone", "share_all and share_partial need one"))
        }
        _ => Ok(()),
    }
}

fn build_backbone(
    builder: &mut Builder,
    input: i64,
    config: &ModelConfig,
) -> Result<Option<Network>, ModelError> {
    let Some(config) = &config.backbone else {
        return Ok(None);
    };
    let scope = Scope::new("model._backbone", "model.backbone");
    if config.affine_map.is_some() {
        return Err(scope.error("affine_map", "only a task has a logit to map, remove it"));
    }
    Network::build(builder, &scope, input, config).map(Some)
}

/// All towers, then all affine maps, then all calibrators: the order of the original's state.
fn build_towers(
    builder: &mut Builder,
    input: i64,
    config: &ModelConfig,
    sampling_ratios: &[f64],
) -> Result<Vec<Tower>, ModelError> {
    let scope = |part: &str, task: &str| {
        Scope::new(
            format!("model.{part}.{}", component(task)),
            format!("model.tasks.{task}"),
        )
    };
    let mut networks = Vec::new();
    for (name, task) in &config.tasks {
        networks.push(build_tower(builder, &scope("_towers", name), input, task)?);
    }
    let mut maps = Vec::new();
    for (name, task) in &config.tasks {
        let scope = scope("_affine_maps", name).child("", "affine_map");
        let map = task.affine_map.as_ref();
        maps.push(
            map.map(|map| LogitMap::build(builder, &scope, map))
                .transpose()?,
        );
    }
    let mut calibrators = Vec::new();
    for (name, &ratio) in config.tasks.keys().zip(sampling_ratios) {
        let scope = scope("_calibrators", name);
        calibrators.push(Calibrator::build(builder, &scope, ratio)?);
    }
    let parts = networks.into_iter().zip(maps).zip(calibrators);
    let towers = parts.map(|((network, map), calibrator)| Tower {
        network,
        map,
        calibrator,
    });
    Ok(towers.collect())
}

fn build_tower(
    builder: &mut Builder,
    scope: &Scope,
    input: i64,
    task: &TaskModel,
) -> Result<Network, ModelError> {
    let network = Network::build(builder, scope, input, task)?;
    match network.out_features() {
        1 => Ok(network),
        found => Err(scope.error(
            "",
            format!("expected a tower that ends in one logit, found {found}"),
        )),
    }
}

fn check_width(name: &'static str, expected: usize, tensor: &Tensor) -> Result<(), ModelError> {
    let found = tensor.size().get(1).copied().unwrap_or(1);
    if found == columns(expected) {
        return Ok(());
    }
    Err(ModelError::FeatureWidth {
        name,
        expected,
        found,
    })
}

/// Runs `body` with gradients when training, without otherwise.
fn grad_if<T>(mode: Mode, body: impl FnOnce() -> T) -> T {
    match mode {
        Mode::Train => body(),
        Mode::Evaluate => tch::no_grad(body),
    }
}

fn columns(width: usize) -> i64 {
    i64::try_from(width).unwrap_or(i64::MAX)
}
