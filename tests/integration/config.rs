//! The configuration against what the original does with the same documents.

use std::collections::BTreeSet;
use std::path::Path;

use recap_train::config::*;
use serde_json::Value;

/// Keys of this project's own, which the original's dump lacks.
const OWN_KEYS: [&str; 7] = [
    "seed",
    "mixed_precision",
    "max_grad_norm",
    "checkpoint_every_secs",
    "max_skipped_steps",
    "log_task_losses",
    "log_learning_rates",
];

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/config")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

fn cases() -> (Value, Vec<Value>) {
    let mut all: Value = serde_json::from_str(&fixture("cases.json")).unwrap();
    let Value::Array(cases) = all["cases"].take() else {
        panic!("no cases")
    };
    (all["environment"].take(), cases)
}

/// The environment of the cases, with the login name in `USER`.
fn environment(values: &Value) -> impl Fn(&str) -> Option<String> {
    |name| values[name].as_str().map(str::to_owned)
}

/// Parses `text` as the class that the original calls `class`.
fn parse_as(class: &str, text: &str, lookup: Lookup<'_>) -> Result<Value, ConfigError> {
    macro_rules! classes {
        ($($name:literal => $type:ty),+ $(,)?) => {
            match class {
                $($name => parse_with::<$type>(text, lookup).map(|c| dump(&c)),)+
                _ => panic!("no type for {class}"),
            }
        };
    }
    classes! {
        "RecapConfig" => RecapConfig, "TrainingConfig" => TrainingConfig, "ModelConfig" => ModelConfig,
        "TaskModel" => TaskModel, "MlpConfig" => MlpConfig, "BatchNormConfig" => BatchNormConfig,
        "DropoutConfig" => DropoutConfig, "LayerNormConfig" => LayerNormConfig,
        "MaskBlockConfig" => MaskBlockConfig, "AffineMap" => AffineMap,
        "FeaturizationConfig" => FeaturizationConfig, "RecapDataConfig" => RecapDataConfig,
        "ExplicitDateInputs" => ExplicitDateInputs, "TaskData" => TaskData,
        "SegDenseSchema" => SegDenseSchema, "Preprocess" => Preprocess, "DownCast" => Downcast,
        "TruncateAndSlice" => TruncateAndSlice, "RectifyLabels" => RectifyLabels,
        "DownsampleNegatives" => DownsampleNegatives, "RecapOptimizerConfig" => RecapOptimizerConfig,
        "LearningRate" => LearningRate,
    }
}

/// A config as the original dumps it: without own keys, all numbers as floats, infinity in words.
fn dump(config: &impl serde::Serialize) -> Value {
    // JSON has no infinity; YAML has.
    let yaml = serde_yaml::to_value(config).unwrap();
    plain(&yaml)
}

fn plain(value: &serde_yaml::Value) -> Value {
    match value {
        serde_yaml::Value::Number(number) if number.is_infinite() => "Infinity".into(),
        serde_yaml::Value::Sequence(items) => items.iter().map(plain).collect(),
        serde_yaml::Value::Mapping(map) => {
            let entries = map
                .iter()
                .map(|(k, v)| (k.as_str().unwrap().to_owned(), plain(v)));
            Value::Object(
                entries
                    .filter(|(key, _)| !OWN_KEYS.contains(&key.as_str()))
                    .collect(),
            )
        }
        other => same_numbers(serde_json::to_value(other).unwrap()),
    }
}

/// Integers as floats, so that 3600 equals 3600.0.
fn same_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(items) => items.into_iter().map(same_numbers).collect(),
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(k, v)| (k, same_numbers(v))).collect())
        }
        other => other,
    }
}

/// The keys of every object in order: maps keep the order of the file.
fn key_order(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(key_order).collect(),
        Value::Object(map) => map
            .iter()
            .flat_map(|(k, v)| std::iter::once(k.clone()).chain(key_order(v)))
            .collect(),
        _ => Vec::new(),
    }
}

/// The place of one of the original's errors, written as this project writes paths.
fn place(loc: &Value) -> String {
    let steps = loc.as_array().unwrap().iter();
    steps
        .filter(|step| **step != "__root__")
        .fold(String::new(), |path, step| match step {
            Value::Number(index) => format!("{path}[{index}]"),
            key if path.is_empty() => key.as_str().unwrap().to_owned(),
            key => format!("{path}.{}", key.as_str().unwrap()),
        })
}

/// Where the original fails, without what only follows from another error in the list: a field that does not
/// validate counts as absent there, so that its group complains as well.
fn expected_places(errors: &[Value]) -> BTreeSet<String> {
    let all: Vec<String> = errors.iter().map(|e| place(&e["loc"])).collect();
    let follows = |i: usize| {
        let (message, here) = (errors[i]["message"].as_str().unwrap(), &all[i]);
        let is_root = errors[i]["loc"].as_array().unwrap().last().unwrap() == "__root__";
        let below = |other: &&String| {
            let rest = if here.is_empty() {
                Some(other.as_str())
            } else {
                other.strip_prefix(&format!("{here}."))
            };
            let field = rest.and_then(|rest| rest.split(['.', '[']).next());
            field.is_some_and(|field| !field.is_empty() && message.contains(field))
        };
        is_root && all.iter().any(|other| below(&other))
    };
    (0..all.len())
        .filter(|i| !follows(*i))
        .map(|i| all[i].clone())
        .collect()
}

#[test]
fn every_document_has_the_originals_outcome() {
    let (values, cases) = cases();
    let lookup = environment(&values);
    let mut wrong = Vec::new();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let got = parse_as(
            case["class"].as_str().unwrap(),
            case["text"].as_str().unwrap(),
            &lookup,
        );
        let fits = match (&got, case.get("dump")) {
            (Ok(got), Some(dump)) => {
                let dump = same_numbers(dump.clone());
                *got == dump && key_order(got) == key_order(&dump)
            }
            (Err(ConfigError::Invalid(report)), None) => {
                let errors = case["errors"].as_array().unwrap();
                let got = report.problems().iter().map(Problem::path).collect();
                // An exception of the original without a place: any problem will do.
                expected_places(errors) == got || errors.is_empty()
            }
            (Err(ConfigError::Syntax { .. }), None) => {
                case["errors"].as_array().unwrap().is_empty()
            }
            _ => false,
        };
        if !fits {
            wrong.push(format!(
                "{name}: {got:?}, expected {}",
                case.get("dump").unwrap_or(&case["errors"])
            ));
        }
    }
    assert!(
        cases.len() == 192 && wrong.is_empty(),
        "{}",
        wrong.join("\n")
    );
}

#[test]
fn the_production_config_equals_the_originals_dump() {
    let (values, _) = cases();
    let text = fixture("local_prod.yaml");
    let loaded = parse_recap(
        Path::new("local_prod.yaml"),
        &text,
        &[],
        &environment(&values),
    )
    .unwrap();
    let expected: Value = serde_json::from_str(&fixture("local_prod_dump.json")).unwrap();
    let expected = same_numbers(expected);
    let got = dump(&loaded.config);
    assert_eq!(got, expected);
    assert_eq!(key_order(&got), key_order(&expected));
    assert_eq!(loaded.warnings, Vec::<String>::new());
}
