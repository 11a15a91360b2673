//! Sizes from outside: none of them, however absurd, ends in a panic or an abort.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use recap_train::config::{self, Decode, Loaded, RecapConfig, Shape};
use recap_train::data::feature_widths;
use recap_train::model::Ranker;
use recap_train::train::setup::{Place, build_stepper, check_loader};
use recap_train::train::{fit, validation};
use tch::Device;

use crate::support::{Run, fixtures};

/// What is tried for every number of a config.
const ABSURD: [&str; 12] = [
    "0",
    "-1",
    "2147483648",
    "1099511627776",
    "9223372036854775807",
    "-9223372036854775808",
    "1.0e+19",
    ".nan",
    ".inf",
    "-.inf",
    "1.0e+300",
    "1.0e-300",
];

/// Larger models are measured and not made.
const SMALL: u64 = 1_000_000;

/// The paths of all numbers of a config as `--set` takes them; names are those of the tiny config.
fn numbers(shape: &Shape, path: &str, found: &mut Vec<String>) {
    match shape {
        Shape::Scalar(words)
            if words.starts_with("an integer") || words.starts_with("a number") =>
        {
            found.push(path.to_owned());
        }
        Shape::Scalar(_) | Shape::Any => {}
        Shape::List(item) => numbers(item, &format!("{path}[0]"), found),
        Shape::Map(value) => {
            let name = match path {
                "validation_data" => "valid",
                _ if path.ends_with("mask_mantissa_features") => "continuous",
                _ => "\"label.fav\"",
            };
            numbers(value, &format!("{path}.{name}"), found);
        }
        Shape::Section(section) => {
            let dot = if path.is_empty() { "" } else { "." };
            for field in section().fields {
                numbers(&field.shape, &format!("{path}{dot}{}", field.name), found);
            }
        }
    }
}

/// Changes of the tiny config under which other sections are in use.
fn variants() -> Vec<Vec<String>> {
    let all: [&[&str]; 5] = [
        &[],
        &[
            "train_data.preprocess.downsample_negatives={engagements_list: [label.fav], num_engagements: 3}",
            "train_data.preprocess.extract_features={extract_feature_table: [{name: a, source_tensor: binary, index: 0}]}",
            "train_data.seg_dense_schema.mask_mantissa_features={continuous: 3}",
            "model.score_weights={label.fav: 1.0}",
            "model.stratifiers=[{name: s, index: 0, value: 1}]",
        ],
        &[
            "model.backbone={dcn_config: {poly_degree: 2, projection_dim: 3, parallel_mlp: {layer_sizes: [4]}}}",
            "train_data.explicit_date_inputs={data_root: /nowhere, end_date: 2023/01/31, days: 1}",
            "train_data.inputs=null",
        ],
        &[
            "train_data.explicit_datetime_inputs={data_root: /nowhere, end_datetime: 2023/01/31/23, hours: 1}",
            "train_data.inputs=null",
            "model.featurization_config={clip_log1p_abs_config: {clip_magnitude: 3.0}}",
            "model.tasks.\"label.fav\".affine_map={scale: 1.0, bias: 0.0}",
        ],
        &[
            "optimizer.multi_task_learning_rates=null",
            "optimizer.single_task_learning_rate={piecewise_constant: {learning_rate_boundaries: [3], learning_rate_values: [0.1, 0.2]}}",
            "model.backbone.mask_net_config.mask_blocks=[{reduction_factor: 0.5, output_size: 6, input_layer_norm: true}]",
        ],
    ];
    let owned = |changes: &&[&str]| changes.iter().map(|&change| change.to_owned()).collect();
    all.iter().map(owned).collect()
}

/// As far as a training goes before it reads: the model is measured, and made if it is small.
fn prepare(loaded: &Loaded) -> anyhow::Result<()> {
    let config = &loaded.config;
    let widths = feature_widths(&config.train_data)?;
    let plan = Ranker::plan(&config.model.spec()?, &widths)?;
    fit::training(&plan, config, Place::ALONE)?;
    if plan.parameters < SMALL {
        build_stepper(config, Device::Cpu, Place::ALONE)?;
    }
    validation::check(config, Device::Cpu)?;
    check_loader(&config.train_data, config.training.seed, Place::ALONE)
}

fn load(run: &Run, changes: &[String]) -> anyhow::Result<Loaded> {
    let variable = |name: &str| match name {
        "RUN_DIR" => Some(run.path("").display().to_string()),
        "FIXTURES" => Some(fixtures().display().to_string()),
        _ => None,
    };
    let path = run.path("config.yaml");
    Ok(config::load_recap_with(&path, changes, &variable)?)
}

#[test]
fn no_number_of_a_config_panics() {
    let run = Run::with_data();
    let mut paths = Vec::new();
    numbers(&RecapConfig::shape(), "", &mut paths);
    assert!(paths.len() > 60, "{paths:?}");
    let (mut used, mut wrong) = (0, Vec::new());
    for variant in variants() {
        load(&run, &variant).unwrap();
        // What a variant changes is what it brings into use.
        let keys = variant.iter().filter_map(|change| change.split('=').next());
        let keys: Vec<&str> = keys.collect();
        let is_in_use =
            |path: &&String| keys.is_empty() || keys.iter().any(|key| path.starts_with(key));
        for path in paths.iter().filter(is_in_use) {
            for value in ABSURD {
                let change = format!("{path}={value}");
                let changes = [variant.clone(), vec![change.clone()]].concat();
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    let loaded = load(&run, &changes).ok()?;
                    Some(prepare(&loaded))
                }));
                let Ok(outcome) = outcome else {
                    wrong.push(format!("{change} panics"));
                    continue;
                };
                if let Some(Err(error)) = &outcome {
                    let code = recap_train::exit::Exit::code_of(error);
                    if ![2, 3].contains(&code) {
                        wrong.push(format!("{change}: exit code {code}, {error:#}"));
                    }
                }
                used += usize::from(outcome.is_some());
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(used > 100, "{used} values got beyond the parser");
}

#[test]
fn absurd_sizes_of_a_schema_are_refused() {
    let run = Run::with_data();
    let text = std::fs::read_to_string(fixtures().join("tiny/segdense.json")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    let place = format!(
        "train_data.seg_dense_schema.schema_path={}",
        run.path("schema.json").display()
    );
    for feature in ["cont", "bin", "disc", "user_emb", "label.fav"] {
        for length in [-2_i64, 1 << 27, 1 << 40, i64::MAX] {
            let mut schema = schema.clone();
            let entries = schema["schema"].as_array_mut().unwrap();
            let entry = entries
                .iter_mut()
                .find(|e| e["feature_name"] == feature)
                .unwrap();
            entry["length"] = length.into();
            write(&run.path("schema.json"), &schema.to_string());
            let error =
                load(&run, std::slice::from_ref(&place)).and_then(|loaded| prepare(&loaded));
            let error = error.unwrap_err();
            assert_eq!(recap_train::exit::Exit::code_of(&error), 2, "{error:#}");
            let message = format!("{error:#}");
            assert!(
                message.contains(feature) && message.contains(&length.to_string()),
                "{message}"
            );
        }
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[test]
fn the_program_itself_ends_with_2_in_training_check_and_generate() {
    let run = Run::with_data();
    let layer = "model.backbone.mask_net_config.mlp.layer_sizes=[1000000000000]";
    for change in [
        layer,
        "model.backbone.mask_net_config.mlp.layer_sizes=[2000000000]",
        "train_data.global_batch_size=4000000000000",
        "train_data.map_num_parallel_calls=400000",
        "train_data.interleave_num_parallel_calls=9000000000000000000",
    ] {
        for command in [&["check"][..], &[]] {
            run.fails(&[command, &["--set", change]].concat(), 2);
        }
    }
    for flag in ["--n_files=18446744073709551615", "--n_examples=1e19"] {
        run.fails(&["generate", flag], 2);
    }
    run.fails(&["--nproc_per_node=18446744073709551615"], 2);
}

#[test]
fn settings_mean_what_is_written() {
    let run = Run::with_data();
    let outcome =
        |change: &str| load(&run, &[change.to_owned()]).and_then(|loaded| prepare(&loaded));
    let extract = |index: i64| {
        format!(
            "train_data.preprocess.extract_features={{extract_feature_table: [{{name: a, source_tensor: binary, index: \
             {index}}}]}}"
        )
    };
    outcome(&extract(-1)).unwrap();
    let beyond = format!("{:#}", outcome(&extract(-1000)).unwrap_err());
    assert!(beyond.contains("column -1000 of `binary`"), "{beyond}");
    let downsample = |multiplier: &str, engagements: u8| {
        format!(
            "train_data.preprocess.downsample_negatives={{engagements_list: [label.fav], batch_multiplier: {multiplier}, \
             num_engagements: {engagements}}}"
        )
    };
    outcome(&downsample("null", 3)).unwrap();
    let other = format!("{:#}", outcome(&downsample("2", 2)).unwrap_err());
    assert!(other.contains("3, the number of tasks"), "{other}");
    let ramp = "optimizer.multi_task_learning_rates.tower_learning_rates.\"label.reply\".linear_ramp_to_cosine.final_num_steps";
    for (steps, fits) in [(2, false), (3, false), (4, true)] {
        let found = outcome(&format!("{ramp}={steps}"));
        assert_eq!(found.is_ok(), fits, "{steps}: {found:?}");
    }
}
