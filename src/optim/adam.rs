//! Adam over the groups of the configuration, on libtorch's fused kernel.

use tch::{Kind, Tensor};

use super::groups::{Group, groups};
use super::{OptimError, clip};
use crate::config::{AdamSpec, OptimizerSpec, Schedule};
use crate::torch::fused::{self, AdamLists, AdamStep, TensorList};
use crate::torch::named::{NamedTensors, TensorSource};

/// Adam with one learning rate per group (`torch.optim.Adam` semantics, no weight decay).
#[derive(Debug)]
pub struct Optimizer {
    groups: Vec<AdamGroup>,
    adam: AdamSpec,
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
    /// Builds the optimizer of the trainable tensors among `parameters`, which it will change in place.
    ///
    /// # Errors
    /// When what belongs to no tower has no rate, or nothing has that rate; when there is nothing to train.
    pub fn build(spec: &OptimizerSpec, parameters: &NamedTensors) -> Result<Self, OptimError> {
        let groups = groups(&spec.rates, parameters)?;
        let state = zero_state(parameters)?;
        let built = groups
            .into_iter()
            .map(|group| AdamGroup::build(group, parameters, &state));
        Ok(Self {
            groups: built.collect(),
            adam: spec.adam,
            params: TensorList::new(parameters.parameters().map(|(_, tensor)| tensor)),
            state,
        })
    }

    /// One update of every parameter that has a gradient, at the rates of `step`; steps count batches from 0.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn step(&mut self, step: u64) -> Result<(), OptimError> {
        self.update(step, None)
    }

    /// The same unless `found_inf`, an f32 scalar on the device, holds 1: then nothing changes. Waits for nothing.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn step_unless(&mut self, step: u64, found_inf: &Tensor) -> Result<(), OptimError> {
        self.update(step, Some(found_inf))
    }

    fn update(&self, step: u64, found_inf: Option<&Tensor>) -> Result<(), OptimError> {
        for group in &self.groups {
            fused::adam(
                &group.lists,
                AdamStep {
                    learning_rate: group.schedule.rate(step),
                    beta_1: self.adam.beta_1.get(),
                    beta_2: self.adam.beta_2.get(),
                    epsilon: self.adam.epsilon.get(),
                },
                found_inf,
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

    /// L2 norm of the gradients of every group, by group name; a group without gradients is left out.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn group_norms(&self) -> Result<Vec<(String, Tensor)>, OptimError> {
        let mut norms = Vec::new();
        for group in &self.groups {
            let gradients = group.lists.params.gradients();
            if !gradients.is_empty() {
                norms.push((group.name.clone(), gradients.global_norm()?));
            }
        }
        Ok(norms)
    }

    /// Scales all gradients so that their L2 norm, which `norm` holds ([`Optimizer::gradient_norm`]), is at most
    /// `max_norm`. Waits for nothing.
    ///
    /// # Errors
    /// When no parameter has a gradient.
    pub fn clip_gradients(&mut self, norm: &Tensor, max_norm: f64) -> Result<(), OptimError> {
        clip::clip(&self.params.gradients(), norm, max_norm)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, ModelConfig, RecapOptimizerConfig};

    fn parameters() -> NamedTensors {
        let mut parameters = NamedTensors::new();
        for name in ["model._backbone.w", "model._towers.a__b.w"] {
            let tensor = Tensor::from_slice(&[1.0, -2.0]).set_requires_grad(true);
            parameters.push(name.to_owned(), tensor, true).unwrap();
        }
        parameters
    }

    fn build(rates: &str, parameters: &NamedTensors) -> Result<Optimizer, OptimError> {
        let text = format!("{{adam: {{epsilon: 0.5}}, {rates}}}");
        let config: RecapOptimizerConfig = config::parse(&text).unwrap();
        let model = "{tasks: {a.b: {mlp_config: {layer_sizes: [1]}}}}";
        let model: ModelConfig = config::parse(model).unwrap();
        Optimizer::build(&config.spec(&model).unwrap(), parameters)
    }

    fn single() -> &'static str {
        "single_task_learning_rate: {constant: 0.1}"
    }

    /// A loss whose gradients are 3 and 4 in each parameter's elements.
    fn backward(parameters: &NamedTensors) {
        let factor = Tensor::from_slice(&[3.0, 4.0]);
        let sums = parameters
            .parameters()
            .map(|(_, tensor)| (tensor * &factor).sum(Kind::Double));
        sums.sum::<Tensor>().backward();
    }

    #[test]
    fn one_update_is_the_textbooks() {
        let parameters = parameters();
        let mut optimizer = build(single(), &parameters).unwrap();
        backward(&parameters);
        optimizer.step(0).unwrap();
        for (_, tensor) in parameters.parameters() {
            // The corrected moments of a first update are the gradient and its square.
            for (i, start, gradient) in [(0, 1.0, 3.0), (1, -2.0, 4.0)] {
                let expected = start - 0.1 * gradient / (gradient + 0.5);
                assert!((tensor.double_value(&[i]) - expected).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn clipping_scales_down_to_the_norm_and_never_up() {
        let parameters = parameters();
        let mut optimizer = build(single(), &parameters).unwrap();
        backward(&parameters);
        let clip = |optimizer: &mut Optimizer, max_norm| {
            let norm = optimizer.gradient_norm().unwrap();
            optimizer.clip_gradients(&norm, max_norm).unwrap();
            norm.double_value(&[])
        };
        let before = clip(&mut optimizer, 100.0);
        assert!((before - 50f64.sqrt()).abs() < 1e-9);
        let kept = clip(&mut optimizer, 1.0);
        assert!((kept - 50f64.sqrt()).abs() < 1e-9);
        let after = optimizer.gradient_norm().unwrap().double_value(&[]);
        assert!((after - 1.0).abs() < 1e-6);
    }

    #[test]
    fn parameters_without_a_gradient_stay() {
        let parameters = parameters();
        let mut optimizer = build(single(), &parameters).unwrap();
        backward(&parameters);
        optimizer.zero_grad();
        optimizer.step(0).unwrap();
        for (name, tensor) in parameters.parameters() {
            assert_eq!(Vec::<f64>::try_from(tensor).unwrap(), [1.0, -2.0]);
            let step = &optimizer
                .state()
                .get(&format!("{name}/step"))
                .unwrap()
                .tensor;
            assert_eq!(step.int64_value(&[]), 0);
        }
    }

    #[test]
    fn an_update_with_a_flag_is_the_plain_one_or_none_at_all() {
        let [plain, flagged, stopped] = [parameters(), parameters(), parameters()];
        let mut optimizer = build(single(), &plain).unwrap();
        let mut with_flag = build(single(), &flagged).unwrap();
        let mut no_update = build(single(), &stopped).unwrap();
        for step in 0..2 {
            backward(&plain);
            optimizer.step(step).unwrap();
            backward(&flagged);
            let flag = |value: f32| Tensor::from(value);
            with_flag.step_unless(step, &flag(0.0)).unwrap();
            backward(&stopped);
            no_update.step_unless(step, &flag(1.0)).unwrap();
        }
        for ((_, a), (_, b)) in plain.parameters().zip(flagged.parameters()) {
            assert!(a.equal(b));
        }
        for ((_, a), (_, b)) in optimizer.state().iter().zip(with_flag.state().iter()) {
            assert!(a.tensor.equal(&b.tensor));
        }
        for (_, tensor) in stopped.parameters() {
            assert_eq!(Vec::<f64>::try_from(tensor).unwrap(), [1.0, -2.0]);
        }
        for (name, entry) in no_update.state().iter() {
            assert!(entry.tensor.eq(0.0).all().int64_value(&[]) == 1, "{name}");
        }
    }

    #[test]
    fn a_restored_state_goes_on_bit_for_bit() {
        let [straight, resumed] = [parameters(), parameters()];
        let mut optimizer = build(single(), &straight).unwrap();
        let mut other = build(single(), &resumed).unwrap();
        for step in 0..3 {
            backward(&straight);
            optimizer.step(step).unwrap();
            optimizer.zero_grad();
            if step == 0 {
                other.load_state(optimizer.state()).unwrap();
                for ((_, from), (_, to)) in straight.parameters().zip(resumed.parameters()) {
                    tch::no_grad(|| to.shallow_clone().copy_(from));
                }
            } else {
                backward(&resumed);
                other.step(step).unwrap();
                other.zero_grad();
            }
        }
        for ((_, a), (_, b)) in straight.parameters().zip(resumed.parameters()) {
            assert!(a.equal(b));
        }
    }

    #[test]
    fn a_state_that_does_not_fit_is_refused() {
        let parameters = parameters();
        let mut optimizer = build(single(), &parameters).unwrap();
        let error = optimizer.load_state(&NamedTensors::new()).unwrap_err();
        assert!(
            error.to_string().contains("`model._backbone.w/exp_avg`"),
            "{error}"
        );
    }

    #[test]
    fn rates_and_groups_must_match() {
        let parameters = parameters();
        let rates = |towers: &str, rest: &str| {
            let rates = format!(
                "multi_task_learning_rates: {{tower_learning_rates: {{{towers}}}, {rest}}}"
            );
            build(&rates, &parameters)
        };
        let backbone = "backbone_learning_rate: {constant: 1.0}";
        let tower = "a.b: {constant: 2.0}";
        let built = rates(tower, backbone).unwrap();
        assert_eq!(
            built.learning_rates(0),
            [("a.b".to_owned(), 2.0), ("backbone".to_owned(), 1.0)]
        );
        let message = rates(tower, "").unwrap_err().to_string();
        assert!(
            message.contains("backbone_learning_rate: required"),
            "{message}"
        );
    }
}
