//! Configurations, states, batches and numbers of the original Python trainer, as the tests of the model use them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use recap_train::batch::FeatureWidths;
use recap_train::config::{self, PositiveFloat, RecapConfig, TaskModel};
use recap_train::loss::{Losses, MultiTaskLoss};
use recap_train::model::{Mode, NamedTensors, Ranker};
use recap_train::optim::Optimizer;
use recap_train::torch::batch::Batch;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

pub(crate) const CASES: [&str; 6] = [
    "i_share_all_parallel",
    "ii_share_none",
    "iii_share_partial_stacked",
    "iv_pos_weights_sampling",
    "v_dropout",
    "vi_masknet_tower_single_task",
];

/// How far numbers may be apart, relative to the largest of their tensor.
pub(crate) struct Tolerance {
    pub(crate) outputs: f64,
    pub(crate) gradients: f64,
    /// Absolute, after five steps; the expected values are f32.
    pub(crate) parameters: f64,
}

const F32: Tolerance = Tolerance {
    outputs: 3e-6,
    gradients: 1e-5,
    parameters: 4e-6,
};

const F64: Tolerance = Tolerance {
    outputs: 1e-10,
    gradients: 1e-10,
    parameters: 4e-6,
};

pub(crate) fn fixture(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/model", path]
        .iter()
        .collect()
}

pub(crate) fn json(path: &str) -> Value {
    let text = std::fs::read_to_string(fixture(path)).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().unwrap().iter();
    list.map(|v| v.as_str().unwrap().to_owned()).collect()
}

pub(crate) type Tensors = BTreeMap<String, Tensor>;

pub(crate) fn tensors(path: &str) -> Tensors {
    let bytes = std::fs::read(fixture(path)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let read = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let kind = match view.dtype() {
            safetensors::Dtype::F32 => Kind::Float,
            safetensors::Dtype::F64 => Kind::Double,
            safetensors::Dtype::I64 => Kind::Int64,
            other => panic!("{name} is {other:?}"),
        };
        let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
        let tensor = Tensor::f_from_data_size(view.data(), &shape, kind).unwrap();
        (name, tensor)
    };
    file.tensors().into_iter().map(read).collect()
}

pub(crate) fn named(tensors: &Tensors) -> NamedTensors {
    let mut named = NamedTensors::new();
    for (name, tensor) in tensors {
        named
            .push(name.clone(), tensor.shallow_clone(), false)
            .unwrap();
    }
    named
}

/// The largest difference over the largest expected magnitude.
fn relative(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    let expected = expected.to_kind(Kind::Double);
    let difference = (found.to_kind(Kind::Double) - &expected).abs().max();
    difference.double_value(&[]) / expected.abs().max().double_value(&[]).max(1e-12)
}

#[track_caller]
pub(crate) fn assert_close(name: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    let difference = relative(found, expected);
    assert!(
        difference <= tolerance,
        "{name}: {difference:e} apart, at most {tolerance:e} allowed"
    );
}

/// One golden configuration.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) config: RecapConfig,
    pub(crate) info: Value,
    pub(crate) ranker: Ranker,
    pub(crate) loss: MultiTaskLoss,
    pub(crate) batches: Vec<Batch>,
}

impl Case {
    pub(crate) fn load(name: &'static str, kind: Kind) -> Self {
        let text = std::fs::read_to_string(fixture(&format!("{name}/config.yaml"))).unwrap();
        let config: RecapConfig = config::parse(&text).unwrap();
        Self::build(name, kind, config)
    }

    /// The same with every dropout rate next to 0, as the expected numbers of training were computed.
    pub(crate) fn load_without_dropout(name: &'static str, kind: Kind) -> Self {
        let mut case = Self::load(name, kind);
        let model = &mut case.config.model;
        for task in model.tasks.values_mut().chain(&mut model.backbone) {
            silence_dropout(task);
        }
        Self::build(name, kind, case.config)
    }

    fn build(name: &'static str, kind: Kind, config: RecapConfig) -> Self {
        let info = json(&format!("{name}/info.json"));
        let ranker = build_ranker(&config, &widths(&config), 0).unwrap();
        let init = named(&tensors(&format!("{name}/init_state.safetensors")));
        ranker.load_state(&init).unwrap();
        set_kind(&ranker, kind);
        // The original takes label columns by position.
        let columns = label_columns_by_position(&info);
        let loss = build_loss(&config, &columns);
        let stored = tensors(&format!("{name}/batches.safetensors"));
        let batches = (0..5).map(|i| batch(&stored, i, kind)).collect();
        Self {
            name,
            kind,
            config,
            info,
            ranker,
            loss: loss.unwrap(),
            batches,
        }
    }

    pub(crate) fn expected(&self) -> Tensors {
        let kind = if self.kind == Kind::Float {
            "f32"
        } else {
            "f64"
        };
        tensors(&format!("{}/forward_{kind}.safetensors", self.name))
    }

    pub(crate) fn tolerance(&self) -> Tolerance {
        if self.kind == Kind::Float { F32 } else { F64 }
    }

    pub(crate) fn losses(&self, logits: &Tensor, batch: &Batch) -> Losses {
        let labels = batch.labels.as_ref().unwrap();
        self.loss
            .forward(logits, labels, batch.weights.as_ref())
            .unwrap()
    }

    /// Names whose exact value is rounding noise.
    pub(crate) fn noise(&self, key: &str) -> Vec<String> {
        strings(&self.info[key])
    }

    #[track_caller]
    pub(crate) fn check_outputs(&self, prefix: &str, batch: &Batch, mode: Mode) -> Losses {
        let expected = self.expected();
        let tolerance = self.tolerance().outputs;
        let check = |name: &str, found: &Tensor| {
            let name = format!("{prefix}/{name}");
            let what = format!("{} {:?} {name}", self.name, self.kind);
            assert_close(&what, found, &expected[&name], tolerance);
        };
        let outputs = self.ranker.forward(batch, mode).unwrap();
        check("logits", &outputs.logits);
        check("probabilities", &outputs.probabilities().unwrap());
        let calibrated = outputs.calibrated_probabilities().unwrap();
        check("calibrated_probabilities", &calibrated);
        let losses = self.losses(&outputs.logits, batch);
        check("loss", &losses.total);
        for (t, task) in self.ranker.tasks().iter().enumerate() {
            check(&format!("loss/{task}"), &losses.per_task.get(t as i64));
        }
        losses
    }
}

fn silence_dropout(task: &mut TaskModel) {
    let mask_net = task.mask_net_config.as_mut();
    let mlps = task
        .mlp_config
        .iter_mut()
        .chain(mask_net.and_then(|m| m.mlp.as_mut()));
    for dropout in mlps.filter_map(|mlp| mlp.dropout.as_mut()) {
        dropout.rate = PositiveFloat::new(1e-30).unwrap();
    }
}

/// The model of `config` with the sampling ratios of its data.
pub(crate) fn build_ranker(
    config: &RecapConfig,
    widths: &FeatureWidths,
    seed: u64,
) -> anyhow::Result<Ranker> {
    let ratio = |task: &str| {
        let data = &config.train_data.tasks[task];
        data.neg_downsampling_rate / data.pos_downsampling_rate
    };
    let spec = config.model.spec()?;
    Ok(Ranker::build(&spec, widths, &ratio, seed, Device::Cpu)?)
}

/// The loss of `config` on labels of these tasks.
pub(crate) fn build_loss(
    config: &RecapConfig,
    columns: &[String],
) -> anyhow::Result<MultiTaskLoss> {
    let spec = config.model.spec()?;
    let tasks: Vec<_> = spec
        .tasks
        .iter()
        .map(|task| (task.name.as_str(), task.pos_weight))
        .collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    Ok(MultiTaskLoss::build(&tasks, &columns, Device::Cpu)?)
}

/// The optimizer of `config` for `ranker`.
pub(crate) fn build_optimizer(config: &RecapConfig, ranker: &Ranker) -> anyhow::Result<Optimizer> {
    let spec = config.optimizer.spec(&config.model)?;
    Ok(Optimizer::build(&spec, ranker.state())?)
}

/// Computes in `kind` from here on.
fn set_kind(ranker: &Ranker, kind: Kind) {
    for (_, entry) in ranker.state().iter() {
        if entry.tensor.is_floating_point() {
            let converted = entry.tensor.detach().to_kind(kind);
            entry.tensor.shallow_clone().set_data(&converted);
        }
    }
}

pub(crate) fn widths(config: &RecapConfig) -> FeatureWidths {
    let renamed = &config.train_data.seg_dense_schema.renamed_features;
    let embedding = |name: &str| renamed.contains_key(name).then_some(8);
    FeatureWidths {
        continuous: 24,
        binary: 8,
        discrete: 6,
        user_embedding: embedding("user_embedding"),
        user_eng_embedding: embedding("user_eng_embedding"),
        author_embedding: embedding("author_embedding"),
    }
}

/// The data's task names, each label column under the name of the model task that the original trains with it.
fn label_columns_by_position(info: &Value) -> Vec<String> {
    let mut columns: Vec<String> = strings(&info["data_tasks"])
        .iter()
        .map(|task| format!("{task} (unused)"))
        .collect();
    let used = info["label_column_used_per_model_task"]
        .as_object()
        .unwrap();
    for (task, column) in used {
        let unused = format!("{} (unused)", column.as_str().unwrap());
        let place = columns.iter().position(|c| *c == unused).unwrap();
        columns[place].clone_from(task);
    }
    columns
}

pub(crate) fn batch(stored: &Tensors, index: usize, kind: Kind) -> Batch {
    let get = |name: &str| stored.get(&format!("{index}/{name}"));
    let float = |name: &str| get(name).map(|tensor| tensor.to_kind(kind));
    Batch {
        continuous: float("continuous_features").unwrap(),
        binary: float("binary_features").unwrap(),
        discrete: get("discrete_features").map(Tensor::shallow_clone),
        user_embedding: float("user_embedding"),
        user_eng_embedding: float("user_eng_embedding"),
        author_embedding: float("author_embedding"),
        labels: get("labels").map(|tensor| tensor.to_kind(Kind::Float)),
        weights: get("weights").map(|tensor| tensor.to_kind(Kind::Float)),
    }
}

pub(crate) fn first_row(batch: &Batch) -> Batch {
    let row = |tensor: &Tensor| tensor.narrow(0, 0, 1);
    let optional = |tensor: &Option<Tensor>| tensor.as_ref().map(row);
    Batch {
        continuous: row(&batch.continuous),
        binary: row(&batch.binary),
        discrete: optional(&batch.discrete),
        user_embedding: optional(&batch.user_embedding),
        user_eng_embedding: optional(&batch.user_eng_embedding),
        author_embedding: optional(&batch.author_embedding),
        labels: optional(&batch.labels),
        weights: optional(&batch.weights),
    }
}

pub(crate) fn for_every_case(check: impl Fn(&'static str, Kind)) {
    for name in CASES {
        for kind in [Kind::Float, Kind::Double] {
            check(name, kind);
        }
    }
}

/// Sizes in JSON.
pub(crate) fn shape(value: &Value) -> Vec<i64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_i64().unwrap())
        .collect()
}
