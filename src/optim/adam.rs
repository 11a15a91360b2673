//! Adam over the groups of the configuration, on libtorch's fused kernel.

use tch::{Kind, Tensor};

use super::groups::{Group, groups};
use super::schedule::Schedule;
use super::{OptimError, clip};
use crate::config::{AdamConfig, RecapOptimizerConfig};
use crate::torch::fused::{self, AdamLists, AdamStep, TensorList};
use crate::torch::named::{NamedTensors, TensorSource};

/// Adam with one learning rate per group (`torch.optim.Adam` semantics, no weight decay).
#[derive(Debug)]
pub struct Optimizer {
    groups: Vec<AdamGroup>,
    adam: AdamConfig,
    /// All trainable parameters.
    params: TensorList,
    state: NamedTensors,
}

#[derive(Debug)]
struct AdamGroup {
    name: String,
    schedule: Schedule,
    parameters: Vec<String>,
    lists: AdamLists,
}

impl Optimizer {
    /// Builds the optimizer of the trainable tensors among `parameters`, which it will change in place. `tasks` are
    /// the model tasks.
    ///
    /// # Errors
    /// When groups of parameters and learning rates do not match one to one, naming what lacks a partner; when a
    /// constant is out of range; when there is nothing to train.
    pub fn build(
        config: &RecapOptimizerConfig,
        parameters: &NamedTensors,
        tasks: &[String],
    ) -> Result<Self, OptimError> {
        let adam = check_adam(config.adam.as_ref())?;
        let groups = groups(config, parameters, tasks)?;
        let state = zero_state(parameters)?;
        let built = groups
            .into_iter()
            .map(|group| AdamGroup::build(group, parameters, &state));
        Ok(Self {
            groups: built.collect(),
            adam,
            params: TensorList::new(parameters.parameters().map(|(_, tensor)| tensor)),
            state,
        })
    }

    /// One update of every parameter that has a gradient, at the rates of `step`; steps count batches from 0.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn step(&mut self, step: u64) -> Result<(), OptimError> {
        for group in &self.groups {
            fused::adam(
                &group.lists,
                AdamStep {
                    learning_rate: group.schedule.rate(step),
                    beta_1: self.adam.beta_1,
                    beta_2: self.adam.beta_2,
                    epsilon: self.adam.epsilon,
                },
            )?;
        }
        Ok(())
    }

    /// Lets go of all gradients.
    pub fn zero_grad(&mut self) {
        self.params.clear_gradients();
    }

    /// L2 norm of all gradients, a scalar on their device.
    ///
    /// # Errors
    /// When no parameter has a gradient.
    pub fn gradient_norm(&self) -> Result<Tensor, OptimError> {
        Ok(self.params.gradients().global_norm()?)
    }

    /// Scales all gradients so that their L2 norm is at most `max_norm`; returns the norm before, a scalar on their
    /// device. Waits for nothing.
    ///
    /// # Errors
    /// When no parameter has a gradient.
    pub fn clip_gradients(&mut self, max_norm: f64) -> Result<Tensor, OptimError> {
        clip::clip(&self.params.gradients(), max_norm)
    }

    /// The rate of every group at `step`, by group name: the tasks in the order of their rates, then `backbone`; or
    /// `all`.
    #[must_use]
    pub fn learning_rates(&self, step: u64) -> Vec<(String, f64)> {
        let rates = self.groups.iter();
        rates
            .map(|group| (group.name.clone(), group.schedule.rate(step)))
            .collect()
    }

    /// The names of the parameters of every group, by group name.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &[String])> {
        let groups = self.groups.iter();
        groups.map(|group| (group.name.as_str(), group.parameters.as_slice()))
    }

    /// The state by name: `{parameter}/exp_avg` and `{parameter}/exp_avg_sq` of the parameter's shape and type, and
    /// `{parameter}/step`, an f32 scalar. The tensors share memory with the optimizer.
    #[must_use]
    pub fn state(&self) -> &NamedTensors {
        &self.state
    }

    /// Copies a saved state in; the source may hold other tensors as well.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape (nothing is changed then), or cannot be read.
    pub fn load_state(&mut self, source: &impl TensorSource) -> Result<(), OptimError> {
        for (name, entry) in self.state.iter() {
            let expected = entry.tensor.size();
            let found = source.shape(name);
            if found.as_ref() != Some(&expected) {
                return Err(OptimError::State {
                    name: name.to_owned(),
                    expected,
                    found,
                });
            }
        }
        for (name, entry) in self.state.iter() {
            let read = source.read(name).map_err(|source| OptimError::Read {
                name: name.to_owned(),
                source,
            })?;
            entry.tensor.shallow_clone().f_copy_(&read)?;
        }
        Ok(())
    }
}

impl AdamGroup {
    fn build(group: Group, parameters: &NamedTensors, state: &NamedTensors) -> Self {
        let of = |from: &NamedTensors, suffix: &str| {
            let names = group
                .parameters
                .iter()
                .map(|name| format!("{name}{suffix}"));
            let tensors = names.filter_map(|name| Some(from.get(&name)?.tensor.shallow_clone()));
            TensorList::new(&tensors.collect::<Vec<_>>())
        };
        let lists = AdamLists {
            params: of(parameters, ""),
            exp_avgs: of(state, "/exp_avg"),
            exp_avg_sqs: of(state, "/exp_avg_sq"),
            steps: of(state, "/step"),
        };
        Self {
            name: group.name,
            schedule: group.schedule,
            parameters: group.parameters,
            lists,
        }
    }
}

/// The state before the first update.
fn zero_state(parameters: &NamedTensors) -> Result<NamedTensors, OptimError> {
    let mut state = NamedTensors::new();
    for (name, parameter) in parameters.parameters() {
        let zeros = || {
            let options = (parameter.kind(), parameter.device());
            Tensor::f_zeros(parameter.size(), options)
        };
        let step = Tensor::f_zeros([0_i64; 0], (Kind::Float, parameter.device()))?;
        state.push(format!("{name}/exp_avg"), zeros()?, false)?;
        state.push(format!("{name}/exp_avg_sq"), zeros()?, false)?;
        state.push(format!("{name}/step"), step, false)?;
    }
    Ok(state)
}

fn check_adam(config: Option<&AdamConfig>) -> Result<AdamConfig, OptimError> {
    let error = |key: &str, problem: String| OptimError::Config {
        key: format!("optimizer.adam{key}"),
        problem,
    };
    let Some(config) = config else {
        return Err(error("", "required".to_owned()));
    };
    for (key, beta) in [(".beta_1", config.beta_1), (".beta_2", config.beta_2)] {
        if !(0.0..1.0).contains(&beta) {
            return Err(error(
                key,
                format!("expected at least 0 and below 1, found {beta}"),
            ));
        }
    }
    if config.epsilon >= 0.0 {
        return Ok(config.clone());
    }
    Err(error(
        ".epsilon",
        format!("expected at least 0, found {}", config.epsilon),
    ))
}
