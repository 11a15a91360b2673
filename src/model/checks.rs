//! Rules across the parts of a model.

use super::ModelError;
use crate::config::{ModelConfig, MultiTaskType};
use crate::torch::named::component;

/// Checks what no part can check alone.
pub(super) fn check(config: &ModelConfig, sampling_ratios: &[f64]) -> Result<(), ModelError> {
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
    if config.large_embeddings.is_some() {
        let message =
            "tables sharded over ranks are not supported, remove it or use small_embeddings";
        return Err(problem("large_embeddings", message));
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
