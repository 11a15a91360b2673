//! What makes a model and what does not: the production model, every part, every mistake.

use std::collections::BTreeSet;

use recap_train::batch::FeatureWidths;
use recap_train::config::{self, MultiTaskType, PositiveFloat, RecapConfig, TaskModel};
use recap_train::model::{Mode, Ranker};
use recap_train::torch::batch::Batch;
use tch::Kind;

use crate::golden_model::{Case, build_ranker, first_row, json, shape, widths};
use crate::support::fixtures;

fn local_prod() -> Ranker {
    let text = std::fs::read_to_string(fixtures().join("config/local_prod.yaml")).unwrap();
    let config: RecapConfig = config::parse(&text).unwrap();
    let widths = FeatureWidths {
        continuous: 2117,
        binary: 59,
        discrete: 0,
        user_embedding: Some(200),
        user_eng_embedding: Some(200),
        author_embedding: Some(200),
    };
    build_ranker(&config, &widths, 1).unwrap()
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
    let expected: BTreeSet<_> = stats
        .iter()
        .filter(|(name, _)| *name != NOT_SAVED)
        .map(|(name, stats)| (name.as_str(), shape(&stats["shape"])))
        .collect();
    let found = ranker.state().iter();
    let found: BTreeSet<_> = found.map(|(name, t)| (name, t.tensor.size())).collect();
    assert_eq!([found.len(), expected.len()], [179; 2]);
    let differences: Vec<_> = found.symmetric_difference(&expected).collect();
    assert!(differences.is_empty(), "{differences:?}");
    for (name, expected) in stats.iter().filter(|(name, _)| *name != NOT_SAVED) {
        let entry = ranker.state().get(name).unwrap();
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

fn rebuild(change: impl FnOnce(&mut config::ModelConfig)) -> anyhow::Result<Ranker> {
    let mut case = Case::load("i_share_all_parallel", Kind::Float);
    change(&mut case.config.model);
    let widths = widths(&case.config);
    build_ranker(&case.config, &widths, 0)
}

fn mask_net(model: &mut config::ModelConfig) -> &mut config::MaskNetConfig {
    model
        .backbone
        .as_mut()
        .unwrap()
        .mask_net_config
        .as_mut()
        .unwrap()
}

fn first_mlp(model: &mut config::ModelConfig) -> &mut config::MlpConfig {
    model.tasks[0].mlp_config.as_mut().unwrap()
}

fn double_norm(model: &mut config::ModelConfig) -> &mut config::LayerNormConfig {
    let featurization = model.featurization_config.as_mut().unwrap();
    let double_norm = featurization.double_norm_log_config.as_mut().unwrap();
    double_norm.layer_norm_config.as_mut().unwrap()
}

#[test]
fn what_makes_no_model_is_refused_by_its_key() {
    type Change = fn(&mut config::ModelConfig);
    let task = "model.tasks.\"recap.engagement.is_favorited\"";
    let cases: [(&str, Change); 11] = [
        ("model.tasks", |m| m.tasks.clear()),
        ("model.featurization_config", |m| {
            m.featurization_config = None
        }),
        (
            "model.featurization_config.double_norm_log_config.layer_norm_config.axis",
            |m| double_norm(m).axis = 0,
        ),
        (
            "model.featurization_config.double_norm_log_config.layer_norm_config.center",
            |m| double_norm(m).center = false,
        ),
        ("model.featurization_config.feature_names_to_concat", |m| {
            m.featurization_config
                .as_mut()
                .unwrap()
                .feature_names_to_concat
                .clear();
        }),
        ("model.backbone", |m| m.backbone = None),
        ("model.backbone.affine_map", |m| {
            m.backbone.as_mut().unwrap().affine_map = Some(config::AffineMap {
                scale: 1.0,
                bias: 0.0,
            });
        }),
        ("model.backbone.mask_net_config.mask_blocks", |m| {
            mask_net(m).mask_blocks.clear()
        }),
        ("TASK.mlp_config.layer_sizes", |m| {
            first_mlp(m).layer_sizes.clear()
        }),
        ("TASK.mlp_config.layer_sizes", |m| {
            first_mlp(m).layer_sizes.pop();
        }),
        ("TASK.mlp_config.dropout.rate", |m| {
            let rate = PositiveFloat::new(1.0).unwrap();
            first_mlp(m).dropout = Some(config::DropoutConfig { rate });
        }),
    ];
    for (key, change) in cases {
        let message = rebuild(change).unwrap_err().to_string();
        let expected = format!("{}: ", key.replace("TASK", task));
        assert!(message.contains(&expected), "{expected}{message}");
    }
}

#[test]
fn one_row_trains_where_there_is_no_batch_norm() {
    let case = Case::load("i_share_all_parallel", Kind::Float);
    let row = first_row(&case.batches[0]);
    let message = case
        .ranker
        .forward(&row, Mode::Train)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("`model._preprocessor._before_concat_layers.2.layer`"),
        "{message}"
    );
    let case = Case::load("vi_masknet_tower_single_task", Kind::Float);
    let row = first_row(&case.batches[0]);
    let logits = case.ranker.forward(&row, Mode::Train).unwrap().logits;
    assert!(logits.isfinite().all().int64_value(&[]) == 1);
}

#[test]
fn a_batch_of_other_features_is_refused() {
    let case = Case::load("i_share_all_parallel", Kind::Float);
    let mut batch = first_row(&case.batches[0]);
    batch.author_embedding = None;
    let message = case
        .ranker
        .forward(&batch, Mode::Evaluate)
        .unwrap_err()
        .to_string();
    assert!(message.contains("`author_embedding`"), "{message}");
    batch.continuous = batch.continuous.narrow(1, 0, 20);
    let message = case
        .ranker
        .forward(&batch, Mode::Evaluate)
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "feature `continuous`: the model was built for 24 columns, the batch has 20"
    );
}

#[test]
fn first_values_depend_on_the_seed_alone() {
    let build = |seed| {
        let case = Case::load("i_share_all_parallel", Kind::Float);
        let widths = widths(&case.config);
        let ranker = build_ranker(&case.config, &widths, seed).unwrap();
        ranker
            .state()
            .get("model._backbone._dense_layers.layers.0.weight")
            .unwrap()
            .tensor
            .shallow_clone()
    };
    assert!(build(3).equal(&build(3)));
    assert!(!build(3).equal(&build(4)));
}

/// The first batch of the case that every change starts from.
fn some_batch() -> Batch {
    Case::load("i_share_all_parallel", Kind::Float)
        .batches
        .remove(0)
}

fn task(text: &str) -> TaskModel {
    config::parse(text).unwrap()
}

const DLRM: &str =
    "{dlrm_config: {bottom_mlp: {layer_sizes: [16, 8]}, top_mlp: {layer_sizes: [6, 1]}}}";

#[test]
fn every_architecture_trains_in_every_place_it_fits() {
    type Change = fn(&mut config::ModelConfig);
    let changes: [Change; 6] = [
        |m| m.backbone = Some(task(DLRM)),
        |m| m.backbone = Some(task("{dcn_config: {poly_degree: 2}}")),
        |m| {
            m.multi_task_type = MultiTaskType::SharePartial;
            m.backbone = Some(task("{dcn_config: {poly_degree: 1, projection_dim: 3}}"));
        },
        |m| m.tasks[0] = task("{dcn_config: {poly_degree: 2, output_mlp: {layer_sizes: [1]}}}"),
        |m| {
            m.multi_task_type = MultiTaskType::ShareNone;
            m.backbone = None;
            m.tasks[0] = task(DLRM);
            m.tasks[1] = task(
                "{dcn_config: {poly_degree: 2, use_parallel: false, parallel_mlp: {layer_sizes: [4, 1]}}}",
            );
        },
        |m| {
            m.backbone = Some(task(DLRM));
            m.small_embeddings = Some(small_embeddings(8));
            m.position_debias_config = Some(position_debias(8));
        },
    ];
    let batch = some_batch();
    for (i, change) in changes.into_iter().enumerate() {
        let ranker = rebuild(change).unwrap();
        let logits = ranker.forward(&batch, Mode::Train).unwrap().logits;
        assert_eq!(logits.size(), [16, 4]);
        logits.square().sum(Kind::Float).backward();
        for (name, parameter) in ranker.state().parameters() {
            let gradient = parameter.grad();
            assert!(gradient.defined(), "{i}: {name} has no part in the logits");
            assert!(
                gradient.isfinite().all().int64_value(&[]) == 1,
                "{i}: {name}"
            );
        }
        let counted: i64 = ranker.layers().iter().map(|layer| layer.parameters).sum();
        assert_eq!(counted, ranker.state().parameter_count() as i64, "{i}");
    }
}

fn small_embeddings(width: i64) -> config::SmallEmbeddingsConfig {
    let table = |name: &str, index: i64| {
        format!("{{name: {name}, num_embeddings: 4, embedding_dim: {width}, index: {index}}}")
    };
    let tables = [table("topic.id", 1), table("hour", 5)].join(", ");
    config::parse(&format!("{{tables: [{tables}]}}")).unwrap()
}

fn position_debias(width: i64) -> config::PositionDebiasConfig {
    config::parse(&format!(
        "{{position_feature_index: 2, num_dims: {width}, max_position: 3}}"
    ))
    .unwrap()
}

#[test]
fn embeddings_stand_between_the_dense_features_and_in_the_state() {
    let ranker = rebuild(|m| {
        m.multi_task_type = MultiTaskType::ShareNone;
        m.backbone = None;
        m.small_embeddings = Some(small_embeddings(2));
        m.position_debias_config = Some(position_debias(3));
    })
    .unwrap();
    let names: Vec<&str> = ranker.state().iter().map(|(name, _)| name).collect();
    let first = names.iter().position(|n| n.contains("_small_embeddings"));
    let expected = [
        "model._small_embeddings.topic__id.weight",
        "model._small_embeddings.hour.weight",
        "model._user_embedding_layer_norm.weight",
        "model._user_embedding_layer_norm.bias",
        "model._user_eng_embedding_layer_norm.weight",
        "model._user_eng_embedding_layer_norm.bias",
        "model._author_embedding_layer_norm.weight",
        "model._author_embedding_layer_norm.bias",
        "model._position_debias._embedding.weight",
    ];
    let first = first.unwrap();
    assert_eq!(names[first..first + expected.len()], expected);
    let input = ranker.tower_input(&some_batch(), Mode::Evaluate).unwrap();
    assert_eq!(input.size(), [16, 24 + 8 + 2 * 2 + 3 * 8 + 3]);
    let tensor = |name: &str| ranker.state().get(name).unwrap().tensor.detach();
    let id = some_batch()
        .discrete
        .unwrap()
        .int64_value(&[7, 1])
        .clamp(0, 3);
    let topic = tensor("model._small_embeddings.topic__id.weight").get(id);
    assert_eq!(input.get(7).narrow(0, 32, 2), topic);
    let unknown = tensor("model._position_debias._embedding.weight").get(4);
    assert_eq!(input.get(7).narrow(0, 60, 3), unknown);
}

#[test]
fn discrete_columns_are_checked_before_and_in_the_batch() {
    type Change = fn(&mut config::ModelConfig);
    let cases: [(&str, Change); 2] = [
        ("model.small_embeddings.tables[1].index", |m| {
            let mut small = small_embeddings(2);
            small.tables[1].index = 6;
            m.small_embeddings = Some(small);
        }),
        ("model.position_debias_config.position_feature_index", |m| {
            let mut position = position_debias(2);
            position.position_feature_index = 6;
            m.position_debias_config = Some(position);
        }),
    ];
    for (key, change) in cases {
        let message = rebuild(change).unwrap_err().to_string();
        let expected = format!("{key}: expected one of the 6 columns of the discrete features");
        assert!(message.starts_with(&expected), "{message}");
    }
    let ranker = rebuild(|m| m.small_embeddings = Some(small_embeddings(2))).unwrap();
    let mut batch = some_batch();
    batch.discrete = batch.discrete.map(|discrete| discrete.narrow(1, 0, 5));
    let message = |batch: &Batch| {
        let outputs = ranker.forward(batch, Mode::Evaluate);
        outputs.unwrap_err().to_string()
    };
    assert_eq!(
        message(&batch),
        "feature `discrete`: the model was built for 6 columns, the batch has 5"
    );
    batch.discrete = None;
    assert!(message(&batch).contains("no feature `discrete`"));
}
