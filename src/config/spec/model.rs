//! The whole model: tasks with a logit each, what they share, tables that fit, columns that can exist.

use std::collections::HashMap;

use super::embeddings::{
    PositionSpec, SmallEmbeddingSpec, discrete_columns, position_debias, safe_name,
    small_embeddings,
};
use super::features::{FeatureTransformSpec, features};
use super::network::{NetworkSpec, network};
use super::number::{Finite, NonEmpty, NonNegative};
use super::{Path, Rules};
use crate::config::reports::{names, path};
use crate::config::{ModelConfig, MultiTaskType, TaskModel};

/// The ranking model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// The tasks in the order of their logits; their parameters have names of their own.
    pub tasks: NonEmpty<TaskSpec>,
    /// What the towers read.
    pub sharing: Sharing,
    /// How dense features are transformed.
    pub features: FeatureTransformSpec,
    /// Tables over discrete columns, whose names no task and no other table has.
    pub small_embeddings: Vec<SmallEmbeddingSpec>,
    /// The embedding of the position.
    pub position: Option<PositionSpec>,
}

/// What the towers read.
#[derive(Clone, Debug, PartialEq)]
pub enum Sharing {
    /// The features.
    None,
    /// The output of this backbone.
    All(NetworkSpec),
    /// The features and the output of this backbone side by side.
    Partial(NetworkSpec),
}

/// One task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSpec {
    /// Its name.
    pub name: String,
    /// Its tower, which ends in one logit where the configuration alone says in how many.
    pub network: NetworkSpec,
    /// A learned scale and shift on the logit.
    pub affine_map: Option<AffineMapSpec>,
    /// Factor of the loss of positive rows.
    pub pos_weight: NonNegative,
}

/// First values of a scale and a shift.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AffineMapSpec {
    /// The factor.
    pub scale: Finite,
    /// The summand.
    pub bias: Finite,
}

/// Reads the model by itself.
pub(in crate::config) fn model(config: &ModelConfig, rules: &mut Rules<'_>) -> ModelSpec {
    let here = path(&["model"]);
    let tasks = tasks(config, &here.key("tasks"), rules);
    let sharing = sharing(config, &here, rules);
    let features = features(
        config.featurization_config.as_ref(),
        &here.key("featurization_config"),
        rules,
    );
    if config.large_embeddings.is_some() {
        rules.broken(
            &here.key("large_embeddings"),
            "large embeddings are not supported, expected null",
        );
    };
    let position = config.position_debias_config.as_ref();
    let position =
        position.map(|config| position_debias(config, &here.key("position_debias_config"), rules));
    score_weights(config, &here.key("score_weights"), rules);
    stratifiers(config, &here.key("stratifiers"), rules);
    for (path, index) in discrete_columns(config) {
        let expected = "a column of the discrete features, from 0";
        rules.expect(index >= 0, &path, expected, index);
    }
    ModelSpec {
        tasks,
        sharing,
        features,
        small_embeddings: small_embeddings(config, &here, rules),
        position,
    }
}

/// A backbone where the towers read one, and none where they do not.
fn sharing(config: &ModelConfig, here: &Path, rules: &mut Rules<'_>) -> Sharing {
    let at = here.key("backbone");
    let backbone = config.backbone.as_ref().map(|backbone| {
        if backbone.affine_map.is_some() {
            rules.broken(
                &at.key("affine_map"),
                "a backbone has no logit to map, put affine_map on the tasks",
            );
        };
        network(backbone, &at, rules)
    });
    let problem = match (config.multi_task_type, backbone) {
        (MultiTaskType::ShareNone, None) => return Sharing::None,
        (MultiTaskType::ShareAll, Some(backbone)) => return Sharing::All(backbone),
        (MultiTaskType::SharePartial, Some(backbone)) => return Sharing::Partial(backbone),
        (MultiTaskType::ShareNone, Some(_)) => "share_none has no backbone",
        (MultiTaskType::ShareAll | MultiTaskType::SharePartial, None) => {
            "share_all and share_partial need one"
        }
    };
    // Decoding has a rule of its own for this, about the section as a whole.
    if !rules.at.is_blamed(here) {
        rules.broken(&at, problem);
    }
    Sharing::None
}

fn tasks(config: &ModelConfig, here: &Path, rules: &mut Rules<'_>) -> NonEmpty<TaskSpec> {
    rules.expect(
        !config.tasks.is_empty(),
        here,
        "at least one task",
        "an empty mapping",
    );
    let mut safe_names = HashMap::new();
    let mut tasks = Vec::with_capacity(config.tasks.len());
    for (name, config) in &config.tasks {
        let here = here.key(name);
        if let Some(other) = safe_names.insert(safe_name(name), name) {
            rules.broken(
                &here,
                format!("its parameters would have the same names as those of {other:?}, rename one of the two"),
            );
        }
        tasks.push(task(name, config, &here, rules));
    }
    NonEmpty::or(tasks, || TaskSpec {
        name: String::new(),
        network: NetworkSpec::STAND_IN,
        affine_map: None,
        pos_weight: NonNegative::STAND_IN,
    })
}

fn task(name: &str, config: &TaskModel, here: &Path, rules: &mut Rules<'_>) -> TaskSpec {
    let network = network(config, here, rules);
    let pos_weight = NonNegative::read(
        config.pos_weight,
        &here.key("pos_weight"),
        "a finite number of at least 0",
        rules,
    );
    let affine_map = config.affine_map.as_ref().map(|map| {
        let mut number = |key, value| {
            let here = here.key("affine_map").key(key);
            Finite::read(value, &here, "a finite number", rules)
        };
        AffineMapSpec {
            scale: number("scale", map.scale),
            bias: number("bias", map.bias),
        }
    });
    if let Some((keys, width)) = network.output().filter(|(_, width)| *width != 1) {
        let at = keys.iter().fold(here.clone(), |path, key| path.key(key));
        rules.broken(
            &at,
            format!("a task has one logit, expected a last width of 1, found {width}"),
        );
    }
    TaskSpec {
        name: name.to_owned(),
        network,
        affine_map,
        pos_weight,
    }
}

/// A weight is a number, and of a task.
fn score_weights(config: &ModelConfig, here: &Path, rules: &mut Rules<'_>) {
    for (name, weight) in config.score_weights.iter().flatten() {
        let here = here.key(name);
        rules.expect(weight.is_finite(), &here, "a finite number", weight);
        if !config.tasks.contains_key(name) {
            let hint = rules.at.suggest(name, names(&config.tasks));
            rules.at_odds(&here, format!("model.tasks has no such task{hint}"));
        }
    }
}

/// A name in reports stands for one column.
fn stratifiers(config: &ModelConfig, here: &Path, rules: &mut Rules<'_>) {
    let mut columns = HashMap::new();
    for (i, stratifier) in config.stratifiers.iter().flatten().enumerate() {
        let column = *columns.entry(&stratifier.name).or_insert(stratifier.index);
        rules.expect(
            column == stratifier.index,
            &here.index(i).key("index"),
            &format!("column {column}, as for the other stratifiers of this name"),
            stratifier.index,
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{ModelConfig, parse};

    /// What is said of a model with this section besides.
    fn said(section: &str) -> String {
        let config = format!(
            "{{tasks: {{t.a: {{mlp_config: {{layer_sizes: [1]}}}}}}, featurization_config: {{log1p_abs_config: {{}}}}, \
             {section}}}"
        );
        let config: ModelConfig = parse(&config).unwrap();
        let spec = config.spec();
        spec.map_or_else(|error| error.to_string(), |_| "fits".to_owned())
    }

    #[test]
    fn stratifiers_of_one_name_look_at_one_column() {
        let said = |second: u8| {
            said(&format!(
                "stratifiers: [{{name: a, index: 1, value: 3}}, {{name: a, index: {second}, value: 4}}]"
            ))
        };
        assert_eq!(said(1), "fits");
        let other = said(2);
        assert!(
            other.contains("model.stratifiers[1].index: expected column 1"),
            "{other}"
        );
    }
}
