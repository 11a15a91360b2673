//! The configuration against what the original does with the same documents.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use recap_train::config::*;
use serde_json::Value;

/// Keys of this project's own, which the original's dump lacks: those whose description says so.
fn own_keys() -> &'static BTreeSet<&'static str> {
    static KEYS: OnceLock<BTreeSet<&'static str>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let mut keys = BTreeSet::new();
        add_own_keys(&RecapConfig::shape(), &mut keys);
        assert!(keys.contains("seed") && !keys.contains("save_dir"));
        keys
    })
}

fn add_own_keys(shape: &Shape, keys: &mut BTreeSet<&'static str>) {
    match shape {
        Shape::Section(section) => {
            for field in section().fields {
                if field.doc.trim().starts_with("Own key:") {
                    keys.insert(field.name);
                }
                add_own_keys(&field.shape, keys);
            }
        }
        Shape::Map(value) | Shape::List(value) => add_own_keys(value, keys),
        Shape::Scalar(_) | Shape::Any => {}
    }
}

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
                    .filter(|(key, _)| !own_keys().contains(key.as_str()))
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
        if name == "maskblock_neg_output" {
            // Refused where it is written, as every size is; the original refuses it when it builds the layer.
            assert!(got.is_err(), "{name}");
            continue;
        }
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

/// Of the documents above none is judged otherwise than by the original when parsed as its class. The rules across
/// sections, which a run has to keep besides, would be stricter; no whole configuration among the documents breaks one.
#[test]
fn whole_configurations_keep_the_rules_across_sections() {
    let (values, cases) = cases();
    let lookup = environment(&values);
    let whole = |case: &&Value| case["class"] == "RecapConfig" && case.get("dump").is_some();
    let runs: Vec<&Value> = cases.iter().filter(whole).collect();
    for case in &runs {
        let text = case["text"].as_str().unwrap();
        let loaded = parse_recap(Path::new("run.yaml"), text, &[], &lookup);
        assert!(loaded.is_ok(), "{}: {}", case["name"], loaded.unwrap_err());
    }
    assert!(runs.len() > 5);
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

/// A small run that validates, with an unset variable in `save_dir`.
const RUN: &str = r#"training: {save_dir: "${NOT_SET}/x", num_train_steps: 3}
model:
  featurization_config: {double_norm_log_config: {}}
  tasks:
    a.b: {mlp_config: {layer_sizes: [4, 1]}}
    c: {mlp_config: {layer_sizes: [1]}}
  stratifiers: [{name: s, index: 5, value: 1}]
train_data:
  inputs: ${HOME}/*.gz
  global_batch_size: 2
  seg_dense_schema: {schema_path: s.json}
  tasks: {c: {}, a.b: {}}
  repeat_files: true
validation_data: {}
optimizer:
  adam: {}
  single_task_learning_rate: {constant: 0.1}
"#;

fn run(text: &str, overrides: &[&str]) -> Result<Loaded, ConfigError> {
    let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
    let home = |name: &str| (name == "HOME").then(|| "/h".to_owned());
    parse_recap(Path::new("run.yaml"), text, &overrides, &home)
}

fn report(result: Result<Loaded, ConfigError>) -> String {
    result.unwrap_err().to_string()
}

/// The lines of a report that name `path`.
fn about<'r>(report: &'r str, path: &str) -> Vec<&'r str> {
    report
        .lines()
        .filter(|line| line.contains(&format!(" {path}: ")))
        .collect()
}

#[test]
fn overrides_change_values_before_validation() {
    let loaded = run(
        RUN,
        &[
            "training.num_train_steps=1_000",
            r#"model.tasks."a.b".mlp_config.layer_sizes[0]=8"#,
            "model.tasks.c={mlp_config: {layer_sizes: [2, 1]}}",
            "train_data.preprocess.truncate_and_slice.binary_feature_truncation=7",
            "model.stratifiers=null",
        ],
    )
    .unwrap();
    let config = &loaded.config;
    assert_eq!(config.training.num_train_steps.get(), 1000);
    let sizes = |task: &str| {
        let mlp = config.model.tasks[task].mlp_config.as_ref().unwrap();
        mlp.layer_sizes
            .iter()
            .map(|size| size.get())
            .collect::<Vec<_>>()
    };
    assert_eq!((sizes("a.b"), sizes("c")), (vec![8, 1], vec![2, 1]));
    let slice = config
        .train_data
        .preprocess
        .as_ref()
        .unwrap()
        .truncate_and_slice
        .as_ref();
    assert_eq!(slice.unwrap().binary_feature_truncation.unwrap().get(), 7);
    assert_eq!(config.model.stratifiers, None);
}

#[test]
fn overrides_that_lead_nowhere_are_told_with_the_nearest_key() {
    let report = report(run(
        RUN,
        &[
            "training.num_train_step=1",
            "model.tasks.d.pos_weight=1",
            r#"model.tasks."a.b".mlp_config.layer_sizes[2]=1"#,
            "training.save_dir.x=1",
            "train_data.tasks[0]=1",
            "training.checkpoint_every_n=0",
        ],
    ));
    let problem = |path: &str| match about(&report, path)[..] {
        [line] => line.to_owned(),
        _ => panic!("no single problem with {path}: {report}"),
    };
    assert!(
        problem("training.num_train_step").ends_with("unknown key, did you mean num_train_steps?")
    );
    assert!(problem("model.tasks.d").ends_with("unknown key, known here: a.b, c"));
    assert!(problem("model.tasks.\"a.b\".mlp_config.layer_sizes").contains("found a list of 2"));
    assert!(problem("training.save_dir").ends_with("expected text, found the key x below it"));
    assert!(problem("train_data.tasks").ends_with("expected a mapping, found the index [0]"));
    assert!(
        problem("training.checkpoint_every_n")
            .starts_with("  --set training.checkpoint_every_n=0: ")
    );
    for text in [
        "training.seed",
        "=1",
        "training.seed=[1",
        "training.\"seed=1",
    ] {
        assert!(
            matches!(run(RUN, &[text]), Err(ConfigError::Override { .. })),
            "{text}"
        );
    }
}

#[test]
fn every_value_knows_where_it_comes_from() {
    let loaded = run(RUN, &["training.seed=7"]).unwrap();
    let origin = |path: &str| loaded.origins.get(path);
    assert_eq!(
        origin("training.num_train_steps"),
        Some(Origin::File {
            line: 1,
            column: 55
        })
    );
    assert_eq!(origin("training.checkpoint_every_n"), Some(Origin::Default));
    assert_eq!(
        origin("training.seed"),
        Some(Origin::Override("training.seed=7".into()))
    );
    let home = Origin::Environment {
        variables: "HOME".into(),
        line: 9,
        column: 11,
    };
    assert_eq!(origin("train_data.inputs"), Some(home));
    assert_eq!(
        origin("model.tasks.\"a.b\".mlp_config.layer_sizes[1]"),
        Some(Origin::File {
            line: 5,
            column: 41
        })
    );
    assert_eq!(origin("training.nothing"), None);
    let printed = loaded.to_annotated_yaml().unwrap();
    let line = |start: &str| {
        printed
            .lines()
            .find(|l| l.trim_start().starts_with(start))
            .unwrap()
    };
    assert!(line("inputs: /h/*.gz").ends_with("# line 9, environment HOME"));
    assert!(line("seed: 7").ends_with("# --set training.seed=7"));
    assert!(line("mixed_precision: false").ends_with("# default"));
    let again: serde_yaml::Value = serde_yaml::from_str(&printed).unwrap();
    assert_eq!(again, serde_yaml::to_value(&loaded.config).unwrap());
}

#[test]
fn keys_of_several_lines_and_long_ones_read_back_as_printed() {
    let long = "k".repeat(3000);
    for key in ["a\n\nb: c", "- x", "# y", "{", "\"", "a: b", "é\t", &long] {
        let quoted = serde_json::to_string(key).unwrap();
        let schema = "seg_dense_schema:\n    schema_path: s.json\n    renamed_features:";
        let text = RUN.replacen(
            "seg_dense_schema: {schema_path: s.json}",
            &format!("{schema}\n      ? {quoted}\n      : name"),
            1,
        );
        assert_ne!(text, RUN);
        let loaded = run(&text, &[]).unwrap();
        let printed = loaded.to_annotated_yaml().unwrap();
        let again = run(&printed, &[]).unwrap_or_else(|error| panic!("{key}: {error}\n{printed}"));
        assert_eq!(again.config.to_yaml(), loaded.config.to_yaml(), "{key}");
    }
}

#[test]
fn what_is_legal_but_doubtful_is_warned_about() {
    let warnings = run(RUN, &[]).unwrap().warnings;
    let [repeats, unset] = &warnings[..] else {
        panic!("{warnings:?}")
    };
    assert!(repeats.starts_with("train_data.repeat_files is deprecated"));
    assert!(unset.contains("training.save_dir") && unset.contains("NOT_SET is not set"));
}

#[test]
fn the_digest_depends_on_meaning_alone() {
    let digest = |text: &str| run(text, &[]).unwrap().config.digest();
    let plain = digest(RUN);
    assert_eq!(digest(&RUN.replace("index: 5", "index: '5' ")), plain);
    assert_ne!(digest(&RUN.replace("index: 5", "index: 4")), plain);
    assert_ne!(
        digest(&RUN.replace("{c: {}, a.b: {}}", "{a.b: {}, c: {}}")),
        plain
    );
}

#[test]
fn the_resolved_config_reads_back_the_same() {
    let config = run(RUN, &[]).unwrap().config;
    let again: RecapConfig = parse(&config.to_yaml()).unwrap();
    assert_eq!(again, config);
}

#[test]
fn rules_across_sections_are_told_together() {
    let text = RUN
        .replace("a.b: {mlp_config: {layer_sizes: [4, 1]}}", "a.x: {mlp_config: {layer_sizes: [4, 2], dropout: {rate: 1.5}}}")
        .replace("{c: {}, a.b: {}}", "{c: {pos_downsampling_rate: 0}, a.b: {}}")
        .replace("{double_norm_log_config: {}}", "{double_norm_log_config: {layer_norm_config: {center: false}}, feature_names_to_concat: []}")
        .replace("single_task_learning_rate: {constant: 0.1}", "multi_task_learning_rates: {tower_learning_rates: {q: {piecewise_constant: {learning_rate_boundaries: [4, 2], learning_rate_values: [1.0]}}, c: {constant: .nan}}}")
        .replace("stratifiers:", "small_embeddings: {tables: []}\n  position_debias_config: {position_feature_index: -1}\n  stratifiers:");
    let report = report(run(&text, &[]));
    let rates = "optimizer.multi_task_learning_rates.tower_learning_rates";
    for path in [
        "model.tasks.\"a.x\".mlp_config.layer_sizes",
        "model.tasks.\"a.x\".mlp_config.dropout.rate",
        "model.featurization_config.double_norm_log_config.layer_norm_config.center",
        "model.featurization_config.feature_names_to_concat",
        "model.position_debias_config.position_feature_index",
        "train_data.tasks.c.pos_downsampling_rate",
        &format!("{rates}.q.piecewise_constant.learning_rate_values"),
        &format!("{rates}.q.piecewise_constant.learning_rate_boundaries"),
        &format!("{rates}.c.constant"),
    ] {
        assert_eq!(about(&report, path).len(), 1, "{path}: {report}");
    }
    let missing = run(&RUN.replace("{c: {}, a.b: {}}", "{c: {}, a.bb: {}}"), &[]);
    assert!(self::report(missing).ends_with(
        "model.tasks.\"a.b\": train_data.tasks has no label for this task, known here: c, a.bb"
    ));
}

#[test]
fn a_broken_section_does_not_hide_or_invent_problems() {
    // The tasks cannot be read, so that nothing may be said about what they lack; the schedule can.
    let text = RUN
        .replace("tasks: {c: {}, a.b: {}}", "tasks: 3")
        .replace("constant: 0.1", "constant: -1");
    let report = report(run(&text, &[]));
    assert_eq!(report.lines().count(), 3, "{report}");
    assert_eq!(about(&report, "train_data.tasks").len(), 1);
    assert_eq!(
        about(&report, "optimizer.single_task_learning_rate.constant").len(),
        1
    );
}

#[test]
fn columns_beyond_the_discrete_width_are_refused() {
    let loaded = run(RUN, &[]).unwrap();
    let file = Path::new("run.yaml");
    loaded.check_discrete_width(file, 6).unwrap();
    let report = loaded
        .check_discrete_width(file, 5)
        .unwrap_err()
        .to_string();
    assert!(report.ends_with(
        "run.yaml:7:34: model.stratifiers[0].index: expected one of the 5 columns of the discrete features, from 0, found 5"
    ), "{report}");
}

#[test]
fn hostile_documents_are_refused_quickly() {
    let bomb = (1..40).fold("a0: &a0 [x, x]\n".to_owned(), |text, i| {
        format!("{text}a{i}: &a{i} [*a{j}, *a{j}]\n", j = i - 1)
    });
    let merges = (1..40).fold("a0: &a0 {x: 1}\n".to_owned(), |text, i| {
        format!(
            "{text}a{i}: &a{i} {{<<: [*a{j}, *a{j}], y{i}: *a{j}}}\n",
            j = i - 1
        )
    });
    let documents = [
        (bomb, "too large once its aliases are expanded"),
        (merges, "too large once its aliases are expanded"),
        ("[".repeat(100_000), "recursion limit exceeded"),
        ("- ".repeat(100_000), "nested"),
        ("{a: ".repeat(100_000), "recursion limit exceeded"),
        ("? ".repeat(100_000), "nested"),
        ("a: &a [*a]".to_owned(), "an alias stands inside"),
        ("a: {<<: 3}".to_owned(), "`<<` takes a mapping"),
        (
            "a: !!binary aGk=".to_owned(),
            "the tag !!binary is not supported",
        ),
        ("? [a]\n: b".to_owned(), "a key must be a scalar"),
        ("a: \u{1}".to_owned(), "U+0001"),
        (
            format!("a: {}", "9".repeat(50)),
            "cannot be read as a number",
        ),
        ("a: 1".repeat(2_000_000), "longer than"),
    ];
    for (text, expected) in documents {
        let error = parse::<TrainingConfig>(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let many: String = (0..50_000).map(|i| format!("k{i}: 1\n")).collect();
    let report = parse::<TrainingConfig>(&many).unwrap_err().to_string();
    assert!(report.contains("50000 problems") && report.ends_with("… and 49900 more"));
}

#[test]
fn a_file_that_cannot_be_read_names_itself() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.yaml");
    let missing = load_recap(&file, &[]).unwrap_err();
    assert!(
        matches!(missing, ConfigError::Read { .. }) && missing.to_string().contains("run.yaml")
    );
    std::fs::write(&file, b"training:\n  save_dir: \xff\n").unwrap();
    let bytes = load::<TrainingConfig>(&file, &[]).unwrap_err();
    assert!(
        matches!(
            bytes,
            ConfigError::NotUtf8 {
                line: 2,
                column: 13,
                ..
            }
        ),
        "{bytes}"
    );
}
