//! Which parameter is trained at which rate.

use super::OptimError;
use super::schedule::Schedule;
use crate::config::{MultiTaskLearningRates, RecapOptimizerConfig};
use crate::torch::named::{NamedTensors, component};

/// Name of the group of everything that is no tower.
const BACKBONE: &str = "backbone";

/// Name of the only group where one rate serves all.
const SINGLE: &str = "all";

/// Parameters that share a learning rate.
#[derive(Debug)]
pub(super) struct Group {
    /// The task, `backbone`, or `all`.
    pub(super) name: String,
    /// Its rate.
    pub(super) schedule: Schedule,
    /// Names of its parameters, in the order of the model.
    pub(super) parameters: Vec<String>,
}

/// Sorts the parameters into groups: those of the towers in the order of their rates, then the backbone.
///
/// # Errors
/// When a group has no rate, or a rate no group.
pub(super) fn groups(
    config: &RecapOptimizerConfig,
    parameters: &NamedTensors,
    tasks: &[String],
) -> Result<Vec<Group>, OptimError> {
    let names = || parameters.parameters().map(|(name, _)| name.to_owned());
    if names().next().is_none() {
        return Err(OptimError::NoParameters);
    }
    if let Some(rate) = &config.single_task_learning_rate {
        return Ok(vec![Group {
            name: SINGLE.to_owned(),
            schedule: Schedule::build(rate, "optimizer.single_task_learning_rate")?,
            parameters: names().collect(),
        }]);
    }
    let Some(rates) = &config.multi_task_learning_rates else {
        return Err(error(
            "",
            "expected multi_task_learning_rates or single_task_learning_rate",
        ));
    };
    by_task(rates, names().collect(), tasks)
}

fn by_task(
    rates: &MultiTaskLearningRates,
    names: Vec<String>,
    tasks: &[String],
) -> Result<Vec<Group>, OptimError> {
    let towers = &rates.tower_learning_rates;
    if let Some(task) = tasks.iter().find(|task| !towers.contains_key(*task)) {
        let problem = format!("the model task `{task}` has no rate, add one");
        return Err(error(
            ".multi_task_learning_rates.tower_learning_rates",
            &problem,
        ));
    }
    let mut rest = names;
    let mut groups = Vec::new();
    for (task, rate) in towers {
        let key = format!(".multi_task_learning_rates.tower_learning_rates.{task}");
        if !tasks.contains(task) {
            return Err(error(&key, "the model has no such task, remove the rate"));
        }
        let (own, others) = rest.into_iter().partition(|name| belongs_to(name, task));
        rest = others;
        groups.push(Group {
            name: task.clone(),
            schedule: Schedule::build(rate, &format!("optimizer{key}"))?,
            parameters: own,
        });
    }
    groups.extend(backbone(rates, rest)?);
    Ok(groups)
}

fn backbone(
    rates: &MultiTaskLearningRates,
    parameters: Vec<String>,
) -> Result<Option<Group>, OptimError> {
    let key = ".multi_task_learning_rates.backbone_learning_rate";
    match (&rates.backbone_learning_rate, parameters.first()) {
        (Some(rate), Some(_)) => Ok(Some(Group {
            name: BACKBONE.to_owned(),
            schedule: Schedule::build(rate, &format!("optimizer{key}"))?,
            parameters,
        })),
        (None, None) => Ok(None),
        (None, Some(name)) => {
            let problem = format!(
                "required: {} parameters belong to no tower, the first is `{name}`",
                parameters.len()
            );
            Err(error(key, &problem))
        }
        (Some(_), None) => Err(error(
            key,
            "every parameter of the model belongs to a tower, remove the rate",
        )),
    }
}

/// Whether a parameter is part of a task's tower or affine map.
fn belongs_to(parameter: &str, task: &str) -> bool {
    let safe = component(task);
    let mut parts = parameter.split('.');
    let place = parts.find(|part| matches!(*part, "_towers" | "_affine_maps"));
    place.is_some() && parts.next() == Some(safe.as_str())
}

fn error(key: &str, problem: &str) -> OptimError {
    OptimError::Config {
        key: format!("optimizer{key}"),
        problem: problem.to_owned(),
    }
}
