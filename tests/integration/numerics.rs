//! Model, loss and optimizer against numbers computed by the original Python trainer.

use recap_train::config::{self, ModelConfig, Rates, RecapOptimizerConfig};
use recap_train::model::Mode;
use tch::Kind;

use crate::golden_model::{
    CASES, Case, assert_close, build_optimizer, first_row, for_every_case, json, shape, strings,
    tensors,
};

#[test]
fn state_names_and_shapes_are_the_originals() {
    for name in CASES {
        let case = Case::load(name, Kind::Float);
        let found = case.ranker.state().iter();
        let found: Vec<_> = found
            .map(|(name, entry)| (name.to_owned(), entry.tensor.size()))
            .collect();
        let expected = case.info["state_dict_keys"].as_array().unwrap().iter();
        let expected: Vec<_> = expected
            .map(|entry| (entry[0].as_str().unwrap().to_owned(), shape(&entry[1])))
            .collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn evaluation_gives_the_originals_numbers() {
    for_every_case(|name, kind| {
        let case = Case::load(name, kind);
        let expected = case.expected();
        for i in 0..2 {
            let batch = &case.batches[i];
            case.check_outputs(&format!("eval/{i}"), batch, Mode::Evaluate);
            let input = case.ranker.tower_input(batch, Mode::Evaluate).unwrap();
            // Without a backbone the original does not say what its towers read.
            if let Some(expected) = expected.get(&format!("eval/{i}/backbone")) {
                assert_close(name, &input, expected, case.tolerance().outputs);
            }
        }
    });
}

#[test]
fn a_single_row_can_be_evaluated() {
    for_every_case(|name, kind| {
        let case = Case::load(name, kind);
        let row = first_row(&case.batches[0]);
        let outputs = case.ranker.forward(&row, Mode::Evaluate).unwrap();
        let expected = &case.expected()["eval_single/logits"];
        assert_close(name, &outputs.logits, expected, case.tolerance().outputs);
    });
}

#[test]
fn training_gives_the_originals_outputs_gradients_and_statistics() {
    for_every_case(|name, kind| {
        let case = Case::load_without_dropout(name, kind);
        let losses = case.check_outputs("train", &case.batches[0], Mode::Train);
        losses.total.backward();
        let expected = case.expected();
        let noise = case.noise("zero_true_gradient_params");
        for (name, parameter) in case.ranker.state().parameters() {
            if !noise.iter().any(|n| n == name) {
                let expected = &expected[&format!("grad/{name}")];
                let tolerance = case.tolerance().gradients;
                assert_close(
                    &format!("{} {kind:?} {name}", case.name),
                    &parameter.grad(),
                    expected,
                    tolerance,
                );
            }
        }
        let statistics = expected
            .iter()
            .filter_map(|(n, t)| Some((n.strip_prefix("bn_after/")?, t)));
        for (name, expected) in statistics {
            let found = &case.ranker.state().get(name).unwrap().tensor;
            assert_close(name, found, expected, case.tolerance().outputs);
        }
    });
}

#[test]
fn five_steps_of_adam_end_where_the_originals_end() {
    for_every_case(|name, kind| {
        let case = Case::load_without_dropout(name, kind);
        let state = case.ranker.state();
        let mut optimizer = build_optimizer(&case.config, &case.ranker).unwrap();
        let trace = if kind == Kind::Float {
            "trace_no_init_state_f32"
        } else {
            "trace_no_init_state_f64"
        };
        for (i, batch) in case.batches.iter().enumerate() {
            let expected = &case.info[trace][i];
            for (group, rate) in optimizer.learning_rates(i as u64) {
                assert_eq!(
                    expected["lrs_used"][&group].as_f64(),
                    Some(rate),
                    "{name} {group} {i}"
                );
            }
            let outputs = case.ranker.forward(batch, Mode::Train).unwrap();
            let losses = case.losses(&outputs.logits, batch);
            let loss = losses.total.double_value(&[]);
            let expected = expected["loss"].as_f64().unwrap();
            let tolerance = if kind == Kind::Float { 1e-6 } else { 1e-9 };
            assert!(
                (loss / expected - 1.0).abs() < tolerance,
                "{name} {kind:?} step {i}: {loss} {expected}"
            );
            losses.total.backward();
            optimizer.step(i as u64).unwrap();
            optimizer.zero_grad();
        }
        let noise = [
            case.noise("zero_true_gradient_params"),
            case.noise("running_means_that_drift_with_them"),
        ]
        .concat();
        let expected = tensors(&format!("{name}/steps_no_init_state_f32.safetensors"));
        for (name, expected) in &expected {
            let name = name.strip_prefix("4/").unwrap();
            if noise.iter().any(|n| n == name) {
                continue;
            }
            let found = state.get(name).unwrap().tensor.to_kind(Kind::Double);
            let difference = (found - expected).abs().max().double_value(&[]);
            let allowed =
                case.tolerance().parameters * expected.abs().max().double_value(&[]).max(1.0);
            assert!(
                difference <= allowed,
                "{} {kind:?} {name}: {difference:e}",
                case.name
            );
        }
    });
}

#[test]
fn groups_hold_the_originals_parameters() {
    for name in CASES {
        let case = Case::load(name, Kind::Float);
        let optimizer = build_optimizer(&case.config, &case.ranker).unwrap();
        let found: Vec<_> = optimizer
            .learning_rates(0)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let expected = case.info["param_groups"].as_object().unwrap();
        assert_eq!(
            found,
            expected.keys().cloned().collect::<Vec<_>>(),
            "{name}"
        );
        for (group, names) in optimizer.groups() {
            assert_eq!(names, strings(&expected[group]), "{name} {group}");
        }
    }
}

/// Schedules of the table that the configuration refuses.
const REFUSED: [&str; 5] = [
    "piecewise_too_few_values",
    "piecewise_unsorted",
    "ramp_constant_negative",
    "ramp_cosine_equal",
    "ramp_cosine_final_lt_ramp",
];

#[test]
fn schedules_follow_the_originals_tables() {
    let model = "{tasks: {t: {mlp_config: {layer_sizes: [1]}}}}";
    let model: ModelConfig = config::parse(model).unwrap();
    let mut rates = 0;
    for (name, table) in json("learning_rates.json").as_object().unwrap() {
        let rate = &table["config"];
        let text = format!("{{adam: {{}}, single_task_learning_rate: {rate}}}");
        let config: RecapOptimizerConfig = config::parse(&text).unwrap();
        let spec = config.spec(&model);
        assert_eq!(spec.is_err(), REFUSED.contains(&name.as_str()), "{name}");
        let Ok(Rates::Single(schedule)) = spec.map(|spec| spec.rates) else {
            continue;
        };
        for (step, rate) in table["values"].as_object().unwrap() {
            // Where the original divides by zero there is no rate to compare.
            let Some(expected) = rate.as_f64() else {
                continue;
            };
            let found = schedule.rate(step.parse().unwrap());
            assert_eq!(
                found.to_bits(),
                expected.to_bits(),
                "{name} at {step}: {found} {expected}"
            );
            rates += 1;
        }
    }
    assert!(rates > 300, "{rates}");
}
