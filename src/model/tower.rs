//! One task's head: a network that ends in a logit, perhaps an affine map on it, and the correction for sampling.

use tch::Tensor;

use super::calibration::{Calibrator, LogitMap};
use super::input::Input;
use super::network::Network;
use super::scope::{Builder, Scope};
use super::{Mode, ModelError};
use crate::config::{NetworkSpec, TaskSpec};
use crate::torch::TorchError;
use crate::torch::named::component;

/// One task's head.
#[derive(Debug)]
pub(super) struct Tower {
    network: Network,
    map: Option<LogitMap>,
    calibrator: Calibrator,
}

impl Tower {
    /// All networks, then all affine maps, then all calibrators: the order of the original's state.
    ///
    /// `sampling_ratio` says by how much more negatives than positives of a task were kept.
    pub(super) fn build_all(
        builder: &mut Builder,
        input: Input<'_>,
        tasks: &[TaskSpec],
        sampling_ratio: &dyn Fn(&str) -> f64,
    ) -> Result<Vec<Self>, ModelError> {
        let mut networks = Vec::new();
        for task in tasks {
            let scope = scope("_towers", &task.name);
            networks.push(build_network(builder, &scope, input, &task.network)?);
        }
        let mut maps = Vec::new();
        for task in tasks {
            let scope = scope("_affine_maps", &task.name);
            let map = task.affine_map;
            let map = map.map(|map| LogitMap::build(builder, &scope, map));
            maps.push(map.transpose()?);
        }
        let mut calibrators = Vec::new();
        for task in tasks {
            let scope = scope("_calibrators", &task.name);
            let ratio = sampling_ratio(&task.name);
            calibrators.push(Calibrator::build(builder, &scope, ratio)?);
        }
        let parts = networks.into_iter().zip(maps).zip(calibrators);
        let towers = parts.map(|((network, map), calibrator)| Self {
            network,
            map,
            calibrator,
        });
        Ok(towers.collect())
    }

    /// `[B, I]` → `[B, 1]`.
    pub(super) fn forward(&self, input: &Tensor, mode: Mode) -> Result<Tensor, TorchError> {
        let logit = self.network.forward(input, mode)?;
        match &self.map {
            Some(map) => map.forward(&logit),
            None => Ok(logit),
        }
    }

    /// A handle to the ratio of sampling rates, a scalar.
    pub(super) fn sampling_ratio(&self) -> Tensor {
        self.calibrator.ratio()
    }
}

/// A part of the task called `task`; a key that contains dots is quoted, as in an override.
fn scope(part: &str, task: &str) -> Scope {
    let key = if task.contains('.') {
        format!("model.tasks.\"{task}\"")
    } else {
        format!("model.tasks.{task}")
    };
    Scope::new(format!("model.{part}.{}", component(task)), key)
}

fn build_network(
    builder: &mut Builder,
    scope: &Scope,
    input: Input<'_>,
    spec: &NetworkSpec,
) -> Result<Network, ModelError> {
    let network = Network::build(builder, scope, input, spec)?;
    match network.out_features() {
        1 => Ok(network),
        found => {
            // Cross layers alone end in as many columns as they read.
            let problem =
                format!("expected a tower that ends in one logit, found a last width of {found}");
            Err(scope.error("dcn_config", problem))
        }
    }
}
