//! Model, loss and optimizer against numbers computed by the original Python trainer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use recap_train::batch::{Batch, FeatureWidths};
use recap_train::config::{self, LearningRate, PositiveFloat, RecapConfig, TaskModel};
use recap_train::loss::{Losses, MultiTaskLoss, Reductions};
use recap_train::model::{LoadOptions, Mode, NamedTensors, Ranker};
use recap_train::optim::{Optimizer, schedule::Schedule};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

const CASES: [&str; 6] = [
    "i_share_all_parallel",
    "ii_share_none",
    "iii_share_partial_stacked",
    "iv_pos_weights_sampling",
    "v_dropout",
    "vi_masknet_tower_single_task",
];

/// How far numbers may be apart, relative to the largest of their tensor.
struct Tolerance {
    outputs: f64,
    gradients: f64,
    /// Absolute, after five steps; the expected values are f32.
    parameters: f64,
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

fn fixture(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/model", path]
        .iter()
        .collect()
}

fn json(path: &str) -> Value {
    let text = std::fs::read_to_string(fixture(path)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().unwrap().iter();
    list.map(|v| v.as_str().unwrap().to_owned()).collect()
}

type Tensors = BTreeMap<String, Tensor>;

fn tensors(path: &str) -> Tensors {
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

fn named(tensors: &Tensors) -> NamedTensors {
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
fn assert_close(name: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    let difference = relative(found, expected);
    assert!(
        difference <= tolerance,
        "{name}: {difference:e} apart, at most {tolerance:e} allowed"
    );
}

/// One golden configuration.
struct Case {
    name: &'static str,
    kind: Kind,
    config: RecapConfig,
    info: Value,
    ranker: Ranker,
    loss: MultiTaskLoss,
    batches: Vec<Batch>,
}

impl Case {
    fn load(name: &'static str, kind: Kind) -> Self {
        let text = std::fs::read_to_string(fixture(&format!("{name}/config.yaml"))).unwrap();
        let config: RecapConfig = config::parse(&text).unwrap();
        Self::build(name, kind, config)
    }

    /// The same with every dropout rate next to 0, as the expected numbers of training were computed.
    fn load_without_dropout(name: &'static str, kind: Kind) -> Self {
        let mut case = Self::load(name, kind);
        let model = &mut case.config.model;
        for task in model.tasks.values_mut().chain(&mut model.backbone) {
            silence_dropout(task);
        }
        Self::build(name, kind, case.config)
    }

    fn build(name: &'static str, kind: Kind, config: RecapConfig) -> Self {
        let info = json(&format!("{name}/info.json"));
        let ratios = sampling_ratios(&config);
        let widths = widths(&config);
        let mut ranker = Ranker::build(&config.model, &widths, &ratios, 0, Device::Cpu).unwrap();
        let init = named(&tensors(&format!("{name}/init_state.safetensors")));
        let report = ranker.load_state(&init, &LoadOptions::default()).unwrap();
        assert_eq!(report.loaded.len(), ranker.state().len());
        ranker.set_kind(kind).unwrap();
        // The original takes label columns by position.
        let columns = label_columns_by_position(&info);
        let weights: Vec<f64> = config.model.tasks.values().map(|t| t.pos_weight).collect();
        let loss = MultiTaskLoss::build(
            ranker.tasks(),
            &columns,
            &weights,
            Device::Cpu,
            Reductions::default(),
        );
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

    fn expected(&self) -> Tensors {
        let kind = if self.kind == Kind::Float {
            "f32"
        } else {
            "f64"
        };
        tensors(&format!("{}/forward_{kind}.safetensors", self.name))
    }

    fn tolerance(&self) -> Tolerance {
        if self.kind == Kind::Float { F32 } else { F64 }
    }

    fn losses(&self, logits: &Tensor, batch: &Batch) -> Losses {
        let labels = batch.labels.as_ref().unwrap();
        self.loss
            .forward(logits, labels, batch.weights.as_ref())
            .unwrap()
    }

    /// Names whose exact value is rounding noise.
    fn noise(&self, key: &str) -> Vec<String> {
        strings(&self.info[key])
    }

    #[track_caller]
    fn check_outputs(&self, prefix: &str, batch: &Batch, mode: Mode) -> Losses {
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

fn sampling_ratios(config: &RecapConfig) -> Vec<f64> {
    let data = &config.train_data.tasks;
    let ratio = |task| {
        let data: &config::TaskData = &data[task];
        data.neg_downsampling_rate / data.pos_downsampling_rate
    };
    config.model.tasks.keys().map(ratio).collect()
}

fn widths(config: &RecapConfig) -> FeatureWidths {
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

fn batch(stored: &Tensors, index: usize, kind: Kind) -> Batch {
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

fn first_row(batch: &Batch) -> Batch {
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

fn for_every_case(check: impl Fn(&'static str, Kind)) {
    for name in CASES {
        for kind in [Kind::Float, Kind::Double] {
            check(name, kind);
        }
    }
}

#[test]
fn state_names_and_shapes_are_the_originals() {
    for name in CASES {
        let case = Case::load(name, Kind::Float);
        let found = case.ranker.state().iter();
        let found: Vec<_> = found
            .map(|(name, entry)| (name.to_owned(), entry.tensor.size()))
            .collect();
        let expected = case.info["state_dict_keys"].as_array().unwrap().iter();
        let expected: Vec<_> = expected
            .map(|entry| (entry[0].as_str().unwrap().to_owned(), shape(&entry[1])))
            .collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn evaluation_gives_the_originals_numbers() {
    for_every_case(|name, kind| {
        let case = Case::load(name, kind);
        let expected = case.expected();
        for i in 0..2 {
            let batch = &case.batches[i];
            case.check_outputs(&format!("eval/{i}"), batch, Mode::Evaluate);
            let input = case.ranker.tower_input(batch, Mode::Evaluate).unwrap();
            // Without a backbone the original does not say what its towers read.
            if let Some(expected) = expected.get(&format!("eval/{i}/backbone")) {
                assert_close(name, &input, expected, case.tolerance().outputs);
            }
        }
    });
}

#[test]
fn a_single_row_can_be_evaluated() {
    for_every_case(|name, kind| {
        let case = Case::load(name, kind);
        let row = first_row(&case.batches[0]);
        let outputs = case.ranker.forward(&row, Mode::Evaluate).unwrap();
        let expected = &case.expected()["eval_single/logits"];
        assert_close(name, &outputs.logits, expected, case.tolerance().outputs);
    });
}

#[test]
fn training_gives_the_originals_outputs_gradients_and_statistics() {
    for_every_case(|name, kind| {
        let case = Case::load_without_dropout(name, kind);
        let losses = case.check_outputs("train", &case.batches[0], Mode::Train);
        losses.total.backward();
        let expected = case.expected();
        let noise = case.noise("zero_true_gradient_params");
        for (name, parameter) in case.ranker.state().parameters() {
            if !noise.iter().any(|n| n == name) {
                let expected = &expected[&format!("grad/{name}")];
                let tolerance = case.tolerance().gradients;
                assert_close(
                    &format!("{} {kind:?} {name}", case.name),
                    &parameter.grad(),
                    expected,
                    tolerance,
                );
            }
        }
        let statistics = expected
            .iter()
            .filter_map(|(n, t)| Some((n.strip_prefix("bn_after/")?, t)));
        for (name, expected) in statistics {
            let found = &case.ranker.state().get(name).unwrap().tensor;
            assert_close(name, found, expected, case.tolerance().outputs);
        }
    });
}

#[test]
fn five_steps_of_adam_end_where_the_originals_end() {
    for_every_case(|name, kind| {
        let case = Case::load_without_dropout(name, kind);
        let state = case.ranker.state();
        let mut optimizer =
            Optimizer::build(&case.config.optimizer, state, case.ranker.tasks()).unwrap();
        let trace = if kind == Kind::Float {
            "trace_no_init_state_f32"
        } else {
            "trace_no_init_state_f64"
        };
        for (i, batch) in case.batches.iter().enumerate() {
            let expected = &case.info[trace][i];
            for (group, rate) in optimizer.learning_rates(i as u64) {
                assert_eq!(
                    expected["lrs_used"][&group].as_f64(),
                    Some(rate),
                    "{name} {group} {i}"
                );
            }
            let outputs = case.ranker.forward(batch, Mode::Train).unwrap();
            let losses = case.losses(&outputs.logits, batch);
            let loss = losses.total.double_value(&[]);
            let expected = expected["loss"].as_f64().unwrap();
            let tolerance = if kind == Kind::Float { 1e-6 } else { 1e-9 };
            assert!(
                (loss / expected - 1.0).abs() < tolerance,
                "{name} {kind:?} step {i}: {loss} {expected}"
            );
            losses.total.backward();
            optimizer.step(i as u64).unwrap();
            optimizer.zero_grad();
        }
        let noise = [
            case.noise("zero_true_gradient_params"),
            case.noise("running_means_that_drift_with_them"),
        ]
        .concat();
        let expected = tensors(&format!("{name}/steps_no_init_state_f32.safetensors"));
        for (name, expected) in &expected {
            let name = name.strip_prefix("4/").unwrap();
            if noise.iter().any(|n| n == name) {
                continue;
            }
            let found = state.get(name).unwrap().tensor.to_kind(Kind::Double);
            let difference = (found - expected).abs().max().double_value(&[]);
            let allowed =
                case.tolerance().parameters * expected.abs().max().double_value(&[]).max(1.0);
            assert!(
                difference <= allowed,
                "{} {kind:?} {name}: {difference:e}",
                case.name
            );
        }
    });
}

#[test]
fn groups_hold_the_originals_parameters() {
    for name in CASES {
        let case = Case::load(name, Kind::Float);
        let optimizer = Optimizer::build(
            &case.config.optimizer,
            case.ranker.state(),
            case.ranker.tasks(),
        )
        .unwrap();
        let found: Vec<_> = optimizer
            .learning_rates(0)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let expected = case.info["param_groups"].as_object().unwrap();
        assert_eq!(
            found,
            expected.keys().cloned().collect::<Vec<_>>(),
            "{name}"
        );
        for (group, names) in optimizer.groups() {
            assert_eq!(names, strings(&expected[group]), "{name} {group}");
        }
    }
}

#[test]
fn schedules_follow_the_originals_tables() {
    let mut rates = 0;
    for (name, table) in json("learning_rates.json").as_object().unwrap() {
        let text = serde_json::to_string(&table["config"]).unwrap();
        let config: LearningRate = config::parse(&text).unwrap();
        let schedule = Schedule::build(&config, "lr");
        if name == "piecewise_too_few_values" || name == "piecewise_unsorted" {
            assert!(schedule.is_err(), "{name}");
            continue;
        }
        let schedule = schedule.unwrap();
        for (step, rate) in table["values"].as_object().unwrap() {
            // Where the original divides by zero there is no rate to compare.
            let Some(expected) = rate.as_f64() else {
                continue;
            };
            let found = schedule.rate(step.parse().unwrap());
            assert_eq!(
                found.to_bits(),
                expected.to_bits(),
                "{name} at {step}: {found} {expected}"
            );
            rates += 1;
        }
    }
    assert!(rates > 400, "{rates}");
}

fn local_prod() -> Ranker {
    let text = std::fs::read_to_string(fixture("local_prod.yaml")).unwrap();
    let config: RecapConfig = config::parse(&text).unwrap();
    let widths = FeatureWidths {
        continuous: 2117,
        binary: 59,
        discrete: 0,
        user_embedding: Some(200),
        user_eng_embedding: Some(200),
        author_embedding: Some(200),
    };
    Ranker::build(
        &config.model,
        &widths,
        &sampling_ratios(&config),
        1,
        Device::Cpu,
    )
    .unwrap()
}

fn shape(value: &Value) -> Vec<i64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_i64().unwrap())
        .collect()
}

/// The original keeps one more tensor, the fill value for what is not finite, that it does not save.
const NOT_SAVED: &str = "model._preprocessor._before_concat_layers.0.fill_value";

#[test]
fn the_production_model_has_the_originals_tensors_and_first_values() {
    let ranker = local_prod();
    assert_eq!(ranker.state().parameter_count(), 48_115_108);
    let counted: i64 = ranker.layers().iter().map(|layer| layer.parameters).sum();
    assert_eq!(counted, 48_115_108);
    let stats = json("local_prod_init_stats.json");
    let stats = stats["tensors"].as_object().unwrap();
    assert_eq!(stats.len(), 180);
    assert_eq!(ranker.state().len(), 179);
    let expected = stats.iter().filter(|(name, _)| *name != NOT_SAVED);
    for (name, expected) in expected {
        let entry = ranker
            .state()
            .get(name)
            .unwrap_or_else(|| panic!("no tensor {name}"));
        assert_eq!(entry.tensor.size(), shape(&expected["shape"]), "{name}");
        let values = entry.tensor.to_kind(Kind::Double);
        let bound = expected["xavier_bound"]
            .as_f64()
            .filter(|_| name.ends_with("weight"));
        let (Some(bound), true) = (bound, values.dim() == 2) else {
            for edge in ["min", "max"] {
                let found = if edge == "min" {
                    values.min()
                } else {
                    values.max()
                };
                assert_eq!(
                    Some(found.double_value(&[])),
                    expected[edge].as_f64(),
                    "{name} {edge}"
                );
            }
            continue;
        };
        let n = values.numel() as f64;
        let deviation = bound / 3f64.sqrt();
        assert!(
            values.abs().max().double_value(&[]) <= bound * 1.000_001,
            "{name}"
        );
        assert!(
            values.mean(Kind::Double).double_value(&[]).abs() < 5.0 * deviation / n.sqrt(),
            "{name}"
        );
        assert!(
            (values.std(true).double_value(&[]) / deviation - 1.0).abs() < 4.0 / n.sqrt(),
            "{name}"
        );
    }
}
