//! Which parameter is trained at which rate.

use super::OptimError;
use crate::config::{Rates, Schedule};
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
/// When the backbone has parameters and no rate, or a rate and no parameters.
pub(super) fn groups(rates: &Rates, parameters: &NamedTensors) -> Result<Vec<Group>, OptimError> {
    let mut rest: Vec<String> = parameters
        .parameters()
        .map(|(name, _)| name.to_owned())
        .collect();
    if rest.is_empty() {
        return Err(OptimError::NoParameters);
    }
    let (towers, backbone) = match rates {
        Rates::Single(schedule) => {
            return Ok(vec![Group {
                name: SINGLE.to_owned(),
                schedule: schedule.clone(),
                parameters: rest,
            }]);
        }
        Rates::PerTask { towers, backbone } => (towers, backbone),
    };
    let mut groups = Vec::new();
    for (task, schedule) in towers {
        let (own, others) = rest.into_iter().partition(|name| belongs_to(name, task));
        rest = others;
        groups.push(Group {
            name: task.clone(),
            schedule: schedule.clone(),
            parameters: own,
        });
    }
    groups.extend(of_backbone(backbone.as_ref(), rest)?);
    Ok(groups)
}

/// Only the model knows whether something is left for the backbone's rate.
fn of_backbone(
    rate: Option<&Schedule>,
    parameters: Vec<String>,
) -> Result<Option<Group>, OptimError> {
    let error = |problem: String| OptimError::Config {
        key: "optimizer.multi_task_learning_rates.backbone_learning_rate".to_owned(),
        problem,
    };
    match (rate, parameters.first()) {
        (Some(rate), Some(_)) => Ok(Some(Group {
            name: BACKBONE.to_owned(),
            schedule: rate.clone(),
            parameters,
        })),
        (None, None) => Ok(None),
        (None, Some(name)) => Err(error(format!(
            "required: {} parameters belong to no tower, the first is `{name}`",
            parameters.len()
        ))),
        (Some(_), None) => Err(error(
            "every parameter of the model belongs to a tower, remove the rate".to_owned(),
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
