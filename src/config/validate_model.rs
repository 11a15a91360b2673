//! Rules of `model`: layers that can be built, indices that can exist.

use std::collections::HashMap;

use super::path::Path;
use super::validate::{Rules, names, path};
use super::{
    BatchNormConfig, FeaturizationConfig, LayerNormConfig, MaskNetConfig, MlpConfig, ModelConfig,
    TaskModel,
};

/// Checks the model by itself.
pub(super) fn check(model: &ModelConfig, rules: &mut Rules<'_>) {
    let here = path(&["model"]);
    tasks(model, &here.key("tasks"), rules);
    if let Some(backbone) = &model.backbone {
        let here = here.key("backbone");
        network(backbone, &here, rules);
        if backbone.affine_map.is_some() {
            rules.broken(
                &here.key("affine_map"),
                "a backbone has no logit to map, put affine_map on the tasks",
            );
        };
    }
    match &model.featurization_config {
        Some(config) => featurization(config, &here.key("featurization_config"), rules),
        None => rules.broken(
            &here.key("featurization_config"),
            "the ranking model needs a feature transform, expected a mapping",
        ),
    }
    if model.large_embeddings.is_some() {
        rules.broken(
            &here.key("large_embeddings"),
            "large embeddings are not supported, expected null",
        );
    };
    position(model, &here, rules);
    score_weights(model, &here.key("score_weights"), rules);
    stratifiers(model, &here.key("stratifiers"), rules);
    for (path, index) in discrete_columns(model) {
        rules.expect(
            index >= 0,
            &path,
            "a column of the discrete features, from 0",
            index,
        );
    }
}

/// A weight is a number, and of a task.
fn score_weights(model: &ModelConfig, here: &Path, rules: &mut Rules<'_>) {
    for (name, weight) in model.score_weights.iter().flatten() {
        let here = here.key(name);
        rules.expect(weight.is_finite(), &here, "a finite number", weight);
        if !model.tasks.contains_key(name) {
            let hint = rules.at.suggest(name, names(&model.tasks));
            rules.at_odds(&here, format!("model.tasks has no such task{hint}"));
        }
    }
}

/// A name in reports stands for one column.
fn stratifiers(model: &ModelConfig, here: &Path, rules: &mut Rules<'_>) {
    let mut columns = HashMap::new();
    for (i, stratifier) in model.stratifiers.iter().flatten().enumerate() {
        let column = *columns.entry(&stratifier.name).or_insert(stratifier.index);
        rules.expect(
            column == stratifier.index,
            &here.index(i).key("index"),
            &format!("column {column}, as for the other stratifiers of this name"),
            stratifier.index,
        );
    }
}

/// The columns of the discrete features that the model names, with the path of each.
pub(super) fn discrete_columns(model: &ModelConfig) -> Vec<(Path, i64)> {
    let here = path(&["model"]);
    let mut columns = Vec::new();
    for (i, stratifier) in model.stratifiers.iter().flatten().enumerate() {
        columns.push((
            here.key("stratifiers").index(i).key("index"),
            stratifier.index,
        ));
    }
    if let Some(position) = &model.position_debias_config {
        let path = here
            .key("position_debias_config")
            .key("position_feature_index");
        columns.push((path, position.position_feature_index));
    }
    let tables = model
        .small_embeddings
        .iter()
        .flat_map(|small| &small.tables);
    for (i, table) in tables.enumerate() {
        let path = here
            .key("small_embeddings")
            .key("tables")
            .index(i)
            .key("index");
        columns.push((path, table.index));
    }
    columns
}

fn tasks(model: &ModelConfig, here: &Path, rules: &mut Rules<'_>) {
    rules.expect(
        !model.tasks.is_empty(),
        here,
        "at least one task",
        "an empty mapping",
    );
    let mut safe_names = HashMap::new();
    for (name, task) in &model.tasks {
        let here = here.key(name);
        if let Some(other) = safe_names.insert(name.replace('.', "__"), name) {
            rules.broken(
                &here,
                format!("its parameters would have the same names as those of {other:?}, rename one of the two"),
            );
        }
        network(task, &here, rules);
        let weight_fits = task.pos_weight >= 0.0 && task.pos_weight.is_finite();
        rules.expect(
            weight_fits,
            &here.key("pos_weight"),
            "a finite number of at least 0",
            task.pos_weight,
        );
        if let Some(map) = &task.affine_map {
            for (key, value) in [("scale", map.scale), ("bias", map.bias)] {
                let here = here.key("affine_map").key(key);
                rules.expect(value.is_finite(), &here, "a finite number", value);
            }
        }
        if let Some((at, width)) = output_width(task).filter(|(_, width)| *width != 1) {
            let at = at.iter().fold(here, |path, key| path.key(key));
            rules.broken(
                &at,
                format!("a task has one logit, expected a last width of 1, found {width}"),
            );
        }
    }
}

/// Width of a network's output and the keys that say so, where they alone say it.
fn output_width(task: &TaskModel) -> Option<(&'static [&'static str], i64)> {
    let last = |mlp: &MlpConfig| i64::try_from(mlp.layer_sizes.last()?.get()).ok();
    if let Some(mlp) = &task.mlp_config {
        return Some((&["mlp_config", "layer_sizes"], last(mlp)?));
    }
    if let Some(dcn) = &task.dcn_config {
        return Some((
            &["dcn_config", "output_mlp", "layer_sizes"],
            last(dcn.output_mlp.as_ref()?)?,
        ));
    }
    if let Some(dlrm) = &task.dlrm_config {
        return Some((
            &["dlrm_config", "top_mlp", "layer_sizes"],
            last(&dlrm.top_mlp)?,
        ));
    }
    let net = task.mask_net_config.as_ref()?;
    if let Some(mlp) = &net.mlp {
        return Some((&["mask_net_config", "mlp", "layer_sizes"], last(mlp)?));
    }
    let sizes = net
        .mask_blocks
        .iter()
        .map(|block| block.output_size.get().cast_signed());
    let width = if net.use_parallel {
        sizes.fold(0, i64::saturating_add)
    } else {
        net.mask_blocks.last()?.output_size.get().cast_signed()
    };
    Some((&["mask_net_config", "mask_blocks"], width))
}

/// Checks a tower or the backbone.
fn network(task: &TaskModel, here: &Path, rules: &mut Rules<'_>) {
    if let Some(config) = &task.mlp_config {
        mlp(config, &here.key("mlp_config"), rules);
    }
    if let Some(config) = &task.mask_net_config {
        mask_net(config, &here.key("mask_net_config"), rules);
    }
    if let Some(config) = &task.dcn_config {
        let here = here.key("dcn_config");
        for (key, part) in [
            ("parallel_mlp", &config.parallel_mlp),
            ("output_mlp", &config.output_mlp),
        ] {
            if let Some(part) = part {
                mlp(part, &here.key(key), rules);
            }
        }
    }
    if let Some(config) = &task.dlrm_config {
        let here = here.key("dlrm_config");
        mlp(&config.bottom_mlp, &here.key("bottom_mlp"), rules);
        mlp(&config.top_mlp, &here.key("top_mlp"), rules);
    }
}

/// The share of a new batch in the statistics.
fn batch_norm(norm: Option<&BatchNormConfig>, here: &Path, rules: &mut Rules<'_>) {
    let momentum = norm.map_or(1.0, |norm| norm.momentum.get());
    let here = here.key("momentum");
    rules.expect(momentum <= 1.0, &here, "a share of at most 1", momentum);
}

fn mlp(mlp: &MlpConfig, here: &Path, rules: &mut Rules<'_>) {
    batch_norm(mlp.batch_norm.as_ref(), &here.key("batch_norm"), rules);
    rules.expect(
        !mlp.layer_sizes.is_empty(),
        &here.key("layer_sizes"),
        "at least one layer",
        "an empty list",
    );
    let rate = mlp
        .dropout
        .as_ref()
        .map_or(0.0, |dropout| dropout.rate.get());
    rules.expect(
        rate < 1.0,
        &here.key("dropout").key("rate"),
        "a probability below 1",
        rate,
    );
}

fn mask_net(net: &MaskNetConfig, here: &Path, rules: &mut Rules<'_>) {
    let blocks = here.key("mask_blocks");
    rules.expect(
        !net.mask_blocks.is_empty(),
        &blocks,
        "at least one block",
        "an empty list",
    );
    for (i, block) in net.mask_blocks.iter().enumerate() {
        let here = blocks.index(i);
        let factor = block.reduction_factor.map_or(1.0, |factor| factor.get());
        rules.expect(
            factor.is_finite(),
            &here.key("reduction_factor"),
            "a finite number",
            factor,
        );
    }
    if let Some(config) = &net.mlp {
        mlp(config, &here.key("mlp"), rules);
    }
}

fn featurization(config: &FeaturizationConfig, here: &Path, rules: &mut Rules<'_>) {
    rules.expect(
        config.feature_names_to_concat == ["binary"],
        &here.key("feature_names_to_concat"),
        "[binary], the only features that can be concatenated",
        format!("[{}]", config.feature_names_to_concat.join(", ")),
    );
    if let Some(double_norm) = &config.double_norm_log_config {
        let here = here.key("double_norm_log_config");
        rules.expect(
            double_norm.clip_magnitude >= 0.0,
            &here.key("clip_magnitude"),
            "a number of at least 0",
            double_norm.clip_magnitude,
        );
        let norm = double_norm.batch_norm_config.as_ref();
        batch_norm(norm, &here.key("batch_norm_config"), rules);
        if let Some(norm) = &double_norm.layer_norm_config {
            layer_norm(norm, &here.key("layer_norm_config"), rules);
        }
    }
}

fn layer_norm(norm: &LayerNormConfig, here: &Path, rules: &mut Rules<'_>) {
    rules.expect(
        norm.axis == -1,
        &here.key("axis"),
        "-1, the only dimension that can be normalised",
        norm.axis,
    );
    rules.expect(
        norm.center == norm.scale,
        &here.key("center"),
        "the same value as scale, for both are learned or neither",
        norm.center,
    );
    let fits = norm.epsilon >= 0.0 && norm.epsilon.is_finite();
    rules.expect(
        fits,
        &here.key("epsilon"),
        "a finite number of at least 0",
        norm.epsilon,
    );
}

/// The position embedding.
fn position(model: &ModelConfig, here: &Path, rules: &mut Rules<'_>) {
    if let Some(position) = &model.position_debias_config {
        rules.expect(
            (0.0..=1.0).contains(&position.drop_probability),
            &here.key("position_debias_config").key("drop_probability"),
            "a probability from 0 to 1",
            position.drop_probability,
        );
    }
}
