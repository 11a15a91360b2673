//! The step and the warm start against runs of the original's loop on a tiny model.

use recap_train::checkpoint::TorchSnapshot;
use recap_train::model::NamedTensors;
use recap_train::torch::named::TensorSource;
use recap_train::train::TrainError;
use recap_train::train::checks::{Checks, Verdicts};
use recap_train::train::restore;
use recap_train::train::statistics::Statistics;
use recap_train::train::step::{StepOptions, Stepper};
use tch::{Kind, Tensor};

use crate::golden_model::{Case, Tensors, batch, build_optimizer, fixture, json, named, tensors};

/// The model of the runs in its first state.
fn stepper() -> (Stepper, Vec<String>) {
    let case = Case::load("i_share_all_parallel", Kind::Float);
    let noise = case.noise("zero_true_gradient_params");
    let init = named(&tensors("../loop/init_state.safetensors"));
    case.ranker.load_state(&init).unwrap();
    let tasks = case.ranker.tasks().to_vec();
    let optimizer = build_optimizer(&case.config, &case.ranker).unwrap();
    let options = StepOptions {
        accumulation: 1,
        mixed_precision: false,
        max_grad_norm: None,
        seed: 0,
        rank: 0,
        watch_groups: false,
        checks: Checks::EachStep,
        time_device: false,
    };
    let stepper = Stepper {
        ranker: case.ranker,
        loss: case.loss,
        optimizer,
        parallel: None,
        options,
        verdicts: Verdicts::new(&tasks),
    };
    (stepper, noise)
}

#[test]
fn seven_steps_are_those_of_the_originals_debug_loop() {
    let (mut stepper, noise) = stepper();
    let expected = json("../loop/expected.json");
    let params = tensors("../loop/debug_params.safetensors");
    let stored = tensors("../loop/batches.safetensors");
    for step in 0..7 {
        for (group, rate) in stepper.optimizer.learning_rates(step) {
            let used = expected["debug_rates"][step as usize][&group]
                .as_f64()
                .unwrap();
            assert_eq!(
                rate.to_bits(),
                used.to_bits(),
                "rate of {group} at step {step}"
            );
        }
        let output = stepper
            .run(step, &batch(&stored, step as usize, Kind::Float))
            .unwrap();
        let (found, loss) = (
            output.loss.double_value(&[]),
            expected["debug_losses"][step as usize].as_f64().unwrap(),
        );
        assert!(
            (found - loss).abs() <= 2e-5 * loss,
            "loss {found} instead of {loss} at step {step}"
        );
        check_parameters(&stepper, &params, step, &noise);
    }
}

/// The stepper as it trains on a GPU.
fn deferred() -> Stepper {
    let (mut stepper, _) = stepper();
    stepper.options.checks = Checks::Deferred;
    stepper
}

fn parameters(stepper: &Stepper) -> Vec<Tensor> {
    let parameters = stepper.ranker.state().parameters();
    let state = stepper.optimizer.state().iter();
    let moments = state.map(|(_, entry)| entry.tensor.copy());
    parameters
        .map(|(_, tensor)| tensor.copy())
        .chain(moments)
        .collect()
}

fn assert_same(found: &[Tensor], expected: &[Tensor]) {
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().zip(expected).all(|(a, b)| a.equal(b)));
}

#[test]
fn steps_that_nobody_waits_for_are_the_same() {
    let stored = tensors("../loop/batches.safetensors");
    for (accumulation, max_grad_norm) in [(1, None), (2, None), (1, Some(0.01))] {
        let (mut waiting, mut deferred) = (stepper().0, deferred());
        for stepper in [&mut waiting, &mut deferred] {
            stepper.options.accumulation = accumulation;
            stepper.options.max_grad_norm = max_grad_norm;
            for step in 0..4 {
                let batch = batch(&stored, step as usize, Kind::Float);
                let _ = stepper.run(step, &batch).unwrap();
            }
            stepper.settle().unwrap();
        }
        assert_same(&parameters(&deferred), &parameters(&waiting));
    }
}

/// The step that `error` says has diverged, and what.
fn diverged(error: &anyhow::Error) -> (u64, String) {
    match error.downcast_ref() {
        Some(TrainError::Diverged { step, what, .. }) => (*step, what.clone()),
        _ => panic!("{error}"),
    }
}

#[test]
fn a_bad_batch_moves_nothing_from_then_on() {
    let stored = tensors("../loop/batches.safetensors");
    let good = |step: usize| batch(&stored, step, Kind::Float);
    let mut stepper = deferred();
    let _ = stepper.run(0, &good(0)).unwrap();
    let before = parameters(&stepper);
    let mut bad = good(1);
    bad.labels = bad.labels.map(|labels| labels * f64::NAN);
    let error = stepper.run(1, &bad).unwrap_err();
    let (step, what) = diverged(&error);
    let task = &stepper.ranker.tasks()[0];
    assert_eq!((step, what), (1, format!("the loss of task {task}")));
    // A GPU would be given this step before the outcome of the one before it is known.
    let error = stepper.run(2, &good(2)).unwrap_err();
    assert_eq!(diverged(&error).0, 2);
    assert_same(&parameters(&stepper), &before);
}

#[test]
fn a_gradient_that_is_not_finite_moves_nothing() {
    let stored = tensors("../loop/batches.safetensors");
    for checks in [Checks::EachStep, Checks::Deferred] {
        let (mut stepper, _) = stepper();
        stepper.options.checks = checks;
        let before = parameters(&stepper);
        let (name, parameter) = stepper.ranker.state().parameters().last().unwrap();
        let mut poison = NamedTensors::new();
        let gradient = Tensor::full_like(&parameter.detach(), f64::NAN);
        let name = format!("{name}/grad");
        poison.push(name, gradient, false).unwrap();
        stepper.restore_gradients(&poison).unwrap();
        let error = stepper.run(0, &batch(&stored, 0, Kind::Float)).unwrap_err();
        let (step, what) = diverged(&error);
        assert_eq!(step, 0);
        assert!(what.contains("gradient"), "{what}");
        assert_same(&parameters(&stepper), &before);
    }
}

/// Parameters whose true gradient is zero move by rounding noise alone; they are left out.
fn check_parameters(stepper: &Stepper, params: &Tensors, step: u64, noise: &[String]) {
    let prefix = format!("after_step{step}/");
    for (name, expected) in params {
        let Some(name) = name.strip_prefix(&prefix) else {
            continue;
        };
        if noise.iter().any(|noisy| noisy == name) {
            continue;
        }
        let found = &stepper.ranker.state().get(name).unwrap().tensor;
        let apart = (found - expected).abs().max().double_value(&[]);
        assert!(apart <= 2e-5, "{name} is {apart:e} apart after step {step}");
    }
}

#[test]
fn an_accumulation_adds_up_shares_and_updates_once() {
    let stored = tensors("../loop/batches.safetensors");
    let batches: Vec<_> = (0..3).map(|i| batch(&stored, i, Kind::Float)).collect();
    let accumulating = || {
        let (mut stepper, _) = stepper();
        stepper.options.accumulation = 3;
        stepper
    };
    let mut both = accumulating();
    let alone: Vec<Stepper> = (0..2)
        .map(|i| {
            let mut stepper = accumulating();
            let _ = stepper.run(0, &batches[i]).unwrap();
            let output = both.run(i as u64, &batches[i]).unwrap();
            assert!(
                output.grad_norm.is_none(),
                "no update before the last batch"
            );
            stepper
        })
        .collect();
    for (name, parameter) in both.ranker.state().parameters() {
        let share = |stepper: &Stepper| stepper.ranker.state().get(name).unwrap().tensor.grad();
        let expected = share(&alone[0]) + share(&alone[1]);
        assert!(
            parameter.grad().allclose(&expected, 1e-5, 1e-7, false),
            "{name}"
        );
    }
    let output = both.run(2, &batches[2]).unwrap();
    assert!(output.grad_norm.is_some(), "the last batch updates");
    let mut steps = both
        .optimizer
        .state()
        .iter()
        .filter(|(name, _)| name.ends_with("/step"));
    assert!(
        steps.all(|(_, entry)| entry.tensor.equal(&Tensor::from(1.0_f32))),
        "once"
    );
    assert!(
        both.ranker
            .state()
            .parameters()
            .all(|(_, parameter)| !parameter.grad().defined())
    );
}

#[test]
fn a_snapshot_of_the_original_reads_to_the_bit() {
    let snapshot = TorchSnapshot::open(&fixture("../loop/torchsnapshot")).unwrap();
    let contents = tensors("../loop/torchsnapshot_contents.safetensors");
    let mut compared = 0;
    let mut compare = |prefix: &str, found: &dyn TensorSource| {
        for name in found.names() {
            let expected = &contents[&format!("{prefix}{name}")];
            let found = found.read(&name).unwrap();
            assert_eq!(
                (found.kind(), found.size()),
                (expected.kind(), expected.size()),
                "{name}"
            );
            assert!(found.equal(expected), "{name} differs");
            compared += 1;
        }
    };
    compare("0/model/", &snapshot.model());
    compare("0/optimizer/state/", &snapshot.optimizer());
    assert_eq!(compared, contents.len());
}

#[test]
fn a_warm_start_from_the_original_goes_on_as_it_did() {
    let (mut stepper, _) = stepper();
    restore::warm_start(&mut stepper, &fixture("../loop/torchsnapshot")).unwrap();
    let steps = stepper
        .optimizer
        .state()
        .iter()
        .filter(|(name, _)| name.ends_with("/step"));
    for (name, entry) in steps {
        // Four steps, the one that repeats and the dummy one: the original's Adam has counted six.
        assert!(
            (entry.tensor.double_value(&[]) - 6.0).abs() < 1e-9,
            "{name}"
        );
    }
    let stored = tensors("../loop/batches.safetensors");
    let output = stepper.run(0, &batch(&stored, 0, Kind::Float)).unwrap();
    let expected = json("../loop/expected.json")["warm_start_first_loss"]
        .as_f64()
        .unwrap();
    let found = output.loss.double_value(&[]);
    assert!(
        (found - expected).abs() <= 1e-5 * expected,
        "{found} instead of {expected}"
    );
}

#[test]
fn a_bad_batch_is_named_and_can_be_undone() {
    let (mut stepper, _) = stepper();
    let stored = tensors("../loop/batches.safetensors");
    let mut bad = batch(&stored, 0, Kind::Float);
    let embedding = bad.user_embedding.take().unwrap();
    let _ = embedding.get(3).fill_(f64::NAN);
    bad.user_embedding = Some(embedding);
    let copy = |stepper: &Stepper| -> Tensors {
        let state = stepper.ranker.state().iter();
        state
            .map(|(name, entry)| (name.to_owned(), entry.tensor.detach().copy()))
            .collect()
    };
    let before = copy(&stepper);
    let statistics = Statistics::of(&stepper).unwrap();
    let error = stepper.run(0, &bad).unwrap_err().to_string();
    assert!(
        error.contains("step 0") && error.contains("batch user_embedding"),
        "{error}"
    );
    statistics.put_back(&stepper).unwrap();
    for (name, tensor) in copy(&stepper) {
        assert!(tensor.equal(&before[&name]), "{name} has changed");
    }
}
