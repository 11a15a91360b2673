//! For the tests of layers: parameters of known values, and gradients by finite differences.

use tch::{Device, Kind, Tensor};

use super::scope::Builder;
use crate::config::{self, FeatureTransformSpec, ModelConfig, ModelSpec, NetworkSpec, Sharing};

/// A model of one task with these sections besides.
fn spec(sections: &str) -> ModelSpec {
    let text = format!("{{tasks: {{t: {{mlp_config: {{layer_sizes: [1]}}}}}}, {sections}}}");
    let config: ModelConfig = config::parse(&text).unwrap();
    config.spec().unwrap()
}

/// The network that `config` describes.
pub(super) fn network(config: &str) -> NetworkSpec {
    let transform = "featurization_config: {log1p_abs_config: {}}";
    let sections = format!("multi_task_type: share_all, backbone: {config}, {transform}");
    match spec(&sections).sharing {
        Sharing::All(network) => network,
        other => panic!("{other:?}"),
    }
}

/// The feature transform that `config` describes.
pub(super) fn features(config: &str) -> FeatureTransformSpec {
    spec(&format!("featurization_config: {config}")).features
}

/// A builder on the CPU.
pub(super) fn builder() -> Builder {
    Builder::new(1, Device::Cpu)
}

/// Sets a tensor of the state.
pub(super) fn fill(builder: &Builder, name: &str, values: &[f32]) {
    let tensor = &builder.state.get(name).unwrap().tensor;
    let values = Tensor::from_slice(values).view(tensor.size().as_slice());
    tch::no_grad(|| tensor.shallow_clone().copy_(&values));
}

/// Every value of a tensor, row by row.
pub(super) fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.detach().contiguous().view(-1)).unwrap()
}

/// Values between -1 and 1 that look like no simple pattern, in f64.
pub(super) fn wave(shape: &[i64]) -> Tensor {
    let count = shape.iter().product::<i64>();
    let positions = Tensor::arange(count, (Kind::Double, Device::Cpu));
    (positions * 1.7 + 0.3).sin().view(shape)
}

/// Makes the whole state f64 and gives every parameter values of its own; returns the parameters.
pub(super) fn double(builder: &Builder) -> Vec<Tensor> {
    for (_, entry) in builder.state.iter() {
        let converted = entry.tensor.detach().to_kind(Kind::Double);
        entry.tensor.shallow_clone().set_data(&converted);
    }
    let parameters = builder.state.parameters();
    let parameters = parameters.map(|(_, tensor)| tensor.shallow_clone());
    let parameters: Vec<Tensor> = parameters.collect();
    for (i, parameter) in parameters.iter().enumerate() {
        let values = (wave(&parameter.size()) + i as f64).cos() * 0.8;
        tch::no_grad(|| parameter.shallow_clone().copy_(&values));
    }
    parameters
}

/// Compares the gradients of the scalar `f` with respect to `inputs` with central differences.
#[track_caller]
pub(super) fn check_gradients(inputs: &[Tensor], f: impl Fn() -> Tensor) {
    const STEP: f64 = 1e-5;
    f().backward();
    for (i, input) in inputs.iter().enumerate() {
        let gradient = input.grad().view(-1);
        let flat = input.detach().view(-1);
        for at in 0..flat.size()[0] {
            let value = flat.double_value(&[at]);
            let at_value = |value: f64| {
                let _ = flat.get(at).fill_(value);
                tch::no_grad(&f).double_value(&[])
            };
            let slope = (at_value(value + STEP) - at_value(value - STEP)) / (2.0 * STEP);
            at_value(value);
            let found = gradient.double_value(&[at]);
            let apart = (found - slope).abs();
            assert!(
                apart <= 1e-7 * slope.abs().max(1.0),
                "input {i}, value {at}: {found} by backward, {slope} by differences"
            );
        }
    }
}
