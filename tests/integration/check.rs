//! `check`: what it finds in the tiny config, and how it ends.

use std::path::Path;

use serde_json::Value;

use crate::support::{Run, stderr};

/// The findings of `check` as JSON.
fn findings(run: &Run, args: &[&str]) -> Value {
    let path = run.path("findings.json");
    let output = format!("--output={}", path.display());
    run.ok(&[&["check", &output], args].concat());
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn sum(layers: &Value, key: &str) -> u64 {
    let layers = layers.as_array().unwrap().iter();
    layers.map(|layer| layer[key].as_u64().unwrap()).sum()
}

fn warnings(findings: &Value) -> Vec<&str> {
    let warnings = findings["warnings"].as_array().unwrap().iter();
    warnings.map(|warning| warning.as_str().unwrap()).collect()
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn layers_and_memory_add_up() {
    let run = Run::with_data();
    let found = findings(&run, &[]);
    let model = &found["model"];
    assert_eq!(
        model["tasks"],
        serde_json::json!(["label.fav", "label.reply"])
    );
    let parameters = model["parameters"].as_u64().unwrap();
    assert_eq!(sum(&model["layers"], "parameters"), parameters);
    let forward = model["forward_flops_per_example"].as_u64().unwrap();
    assert_eq!(sum(&model["layers"], "flops_per_example"), forward);
    let memory = &found["memory"];
    assert_eq!(memory["batch_size"], 16);
    assert_eq!(memory["gradient_bytes"].as_u64().unwrap(), 4 * parameters);
    let outputs = sum(&model["layers"], "output");
    assert_eq!(
        memory["activation_bytes"].as_u64().unwrap(),
        16 * 8 * outputs
    );
    let half = findings(&run, &["--set", "train_data.global_batch_size=8"]);
    assert_eq!(
        half["memory"]["activation_bytes"].as_u64().unwrap(),
        8 * 8 * outputs
    );
    assert!(found["dry_run"].is_null() && !run.path("save").exists());
}

#[test]
fn the_data_is_counted_and_sampled() {
    let run = Run::with_data();
    let found = findings(&run, &[]);
    let data = &found["data"];
    let files = std::fs::read_dir(run.path("data")).unwrap();
    let bytes: u64 = files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert_eq!(
        data["train"],
        serde_json::json!({"count": 3, "bytes": bytes})
    );
    // All records, those that fill no whole batch of 16 too.
    assert_eq!(data["rows"], 200);
    let names: Vec<_> = data["features"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| &f["name"])
        .collect();
    assert!(names.contains(&&Value::from("continuous")), "{names:?}");
    let continuous = &data["features"].as_array().unwrap()
        [names.iter().position(|n| **n == "continuous").unwrap()];
    assert_eq!(
        (&continuous["width"], &continuous["values"]),
        (&9.into(), &(200 * 9).into())
    );
    let labels = data["labels"].as_array().unwrap();
    assert_eq!(labels.len(), 3);
    assert!(
        labels
            .iter()
            .all(|label| (0.0..=1.0).contains(&label["positive_rate"].as_f64().unwrap()))
    );
    let used: Vec<_> = labels
        .iter()
        .map(|label| label["is_used"].as_bool().unwrap())
        .collect();
    assert_eq!(used, [false, true, true]);
}

#[test]
fn tables_go_to_stdout() {
    let run = Run::with_data();
    let text = run.ok(&["check"]);
    for part in [
        "model._backbone",
        "Linear",
        "parameters",
        "memory   about",
        "3 files",
        "label.fav",
        "first record",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains("dry run"), "{text}");
}

#[test]
fn the_resolved_config_comes_with_origins() {
    let run = Run::with_data();
    let text = run.ok(&["check", "--print", "--set", "training.seed=7"]);
    let line = |start: &str| {
        text.lines()
            .find(|line| line.trim_start().starts_with(start))
            .unwrap()
    };
    assert!(
        line("seed: 7").ends_with("# --set training.seed=7"),
        "{text}"
    );
    assert!(line("save_dir: ").contains("environment RUN_DIR"), "{text}");
    assert!(
        line("mixed_precision: false").ends_with("# default"),
        "{text}"
    );
}

#[test]
fn a_dry_run_trains_one_step_and_leaves_nothing_behind() {
    let run = Run::with_data();
    let (temporary, path) = (run.path("tmp"), run.path("findings.json"));
    std::fs::create_dir(&temporary).unwrap();
    let output = format!("--output={}", path.display());
    let mut command = run.command(&["check", "--dry_run", &output]);
    let ended = command.env("TMPDIR", &temporary).output().unwrap();
    assert!(ended.status.success(), "{}", stderr(&ended));
    assert!(is_empty(&temporary) && !run.path("save").exists());
    let found: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let dry_run = &found["dry_run"];
    // The loss is that of the first step of a run, so the step is the one that training makes.
    run.ok(&["--set", "training.num_train_steps=1"]);
    let (_, loss) = run.losses("save")[0];
    assert!(
        (dry_run["loss"].as_f64().unwrap() - loss).abs() < 1e-6,
        "{dry_run} {loss}"
    );
    assert!(
        dry_run["tensors_compared"].as_u64().unwrap() > 20,
        "{dry_run}"
    );
    assert!(
        dry_run["checkpoint_bytes"].as_u64().unwrap() > 1000,
        "{dry_run}"
    );
}

#[test]
fn a_dry_run_of_accumulated_batches_makes_an_update() {
    let run = Run::with_data();
    let found = findings(
        &run,
        &["--dry_run", "--set", "training.gradient_accumulation=3"],
    );
    assert!(
        found["dry_run"]["grad_norm"].as_f64().unwrap() > 0.0,
        "{found}"
    );
}

#[test]
fn an_accumulation_of_absurd_size_is_refused_and_a_large_one_is_tried_with_few_batches() {
    let run = Run::with_data();
    for size in ["65537", "4611686018427387904"] {
        let set = format!("training.gradient_accumulation={size}");
        let message = run.fails(&["check", "--dry_run", "--set", &set], 2);
        assert!(message.contains("gradient_accumulation"), "{message}");
        assert!(message.contains("1 to 65536"), "{message}");
    }
    let most = ["--set", "training.gradient_accumulation=65536"];
    let found = findings(&run, &[&["--dry_run"], &most[..]].concat());
    assert!(
        found["dry_run"]["grad_norm"].as_f64().unwrap() > 0.0,
        "{found}"
    );
}

#[test]
fn a_feature_that_no_record_has_is_warned_of() {
    let run = Run::new();
    let without = "train_data.seg_dense_schema.renamed_features={continuous: cont, binary: bin, discrete: disc}";
    run.ok(&[
        "generate",
        "--n_examples=64",
        "--n_files=1",
        "--set",
        without,
    ]);
    let found = findings(&run, &[]);
    let expected = "feature `user_embedding` is at its default in all 64 rows";
    let warnings = warnings(&found);
    assert!(
        warnings.iter().any(|warning| warning.starts_with(expected)),
        "{warnings:?}"
    );
    assert!(
        !warnings
            .iter()
            .any(|warning| warning.contains("`continuous` is at")),
        "{warnings:?}"
    );
}

#[test]
fn less_data_than_a_batch_is_warned_of_and_still_looked_at() {
    let run = Run::new();
    run.ok(&["generate", "--n_examples=5", "--n_files=1"]);
    let found = findings(&run, &[]);
    assert_eq!(found["data"]["rows"], 5);
    let warnings = warnings(&found);
    assert!(
        warnings
            .iter()
            .any(|w| w.contains("global_batch_size is 16") && w.contains("5 rows")),
        "{warnings:?}"
    );
}

#[test]
fn a_partition_without_files_is_warned_of() {
    let run = Run::with_data();
    let partition = format!(
        "validation_data.late={{inputs: {}/*.gz, global_batch_size: 4, tasks: {{label.fav: {{}}}}, seg_dense_schema: {{schema_path: {}, \
         renamed_features: {{continuous: cont, binary: bin, discrete: disc, user_embedding: user_emb}}}}, \
         preprocess: {{truncate_and_slice: {{continuous_feature_truncation: 9}}}}}}",
        run.path("nowhere").display(),
        crate::support::fixtures()
            .join("tiny/segdense.json")
            .display()
    );
    let found = findings(&run, &["--set", &partition]);
    let warnings = warnings(&found);
    assert!(
        warnings
            .iter()
            .any(|w| w.starts_with("validation_data.late cannot be evaluated")),
        "{warnings:?}"
    );
}

#[test]
fn problems_end_with_their_exit_codes() {
    let run = Run::with_data();
    let bad = run.fails(&["check", "--set", "training.num_train_steps=0"], 2);
    assert!(bad.contains("training.num_train_steps"), "{bad}");
    let stratifier = "model.stratifiers=[{name: s, index: 99, value: 1}]";
    // Training refuses it as well, before it writes anything.
    for command in [&["check", "--set", stratifier][..], &["--set", stratifier]] {
        let beyond = run.fails(command, 2);
        let names = beyond.contains("model.stratifiers[0].index") && beyond.contains("found 99");
        assert!(names && !run.path("save").exists(), "{beyond}");
    }
    let schema = run.fails(
        &[
            "check",
            "--set",
            "train_data.seg_dense_schema.renamed_features.binary=no_such",
        ],
        2,
    );
    assert!(schema.contains("no_such"), "{schema}");
}

#[test]
fn what_was_found_before_the_data_failed_is_printed() {
    let run = Run::new();
    let output = run.output(&["check"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("data/*.gz"), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("model._backbone"));
}

#[test]
fn statistics_are_written_where_the_config_reads_them() {
    let run = Run::with_data();
    let config = std::fs::read_to_string(run.path("config.yaml")).unwrap();
    let (before, rest) = config.split_once("    double_norm_log_config:").unwrap();
    let (_, after) = rest.split_once("  backbone:").unwrap();
    let z_score =
        "    z_score_log_config: {analysis_path: \"${RUN_DIR}/stats/log.json\"}\n  backbone:";
    std::fs::write(run.path("config.yaml"), format!("{before}{z_score}{after}")).unwrap();
    let message = run.fails(&["check"], 2);
    assert!(
        message.contains("stats/log.json: cannot be read"),
        "{message}"
    );
    run.ok(&["check", "--write_stats"]);
    // Of the rows as `inspect` shows them: truncated to 9 of 12 columns, all 200 of them.
    let batches = format!("--output={}", run.path("rows.safetensors").display());
    let all = ["--set", "train_data.global_batch_size=200"];
    run.ok(&[&["inspect", "--in_order", &batches], &all[..]].concat());
    let bytes = std::fs::read(run.path("rows.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let rows = tensors.tensor("continuous.0").unwrap();
    assert_eq!(rows.shape(), [200, 9]);
    let rows = rows.data().chunks_exact(4);
    let logs: Vec<f64> = rows
        .map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap())))
        .map(|value| value.signum() * value.abs().ln_1p())
        .collect();
    let text = std::fs::read(run.path("stats/log.json")).unwrap();
    let statistics: Value = serde_json::from_slice(&text).unwrap();
    for column in 0..9 {
        let values: Vec<f64> = logs.iter().skip(column).step_by(9).copied().collect();
        let mean = values.iter().sum::<f64>() / 200.0;
        let variance = values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>()
            / 200.0;
        let found = |key: &str| statistics[key][column].as_f64().unwrap();
        assert!((found("mean") - mean).abs() < 1e-6, "{column}");
        assert!((found("std") - variance.sqrt()).abs() < 1e-6, "{column}");
    }
    // The same numbers whatever the batches, up to rounding, and to a file of one's own.
    let own = format!("--write_stats={}", run.path("own.json").display());
    run.ok(&["check", &own, "--set", "train_data.global_batch_size=7"]);
    let own: Value = serde_json::from_slice(&std::fs::read(run.path("own.json")).unwrap()).unwrap();
    let difference = own["std"][3].as_f64().unwrap() - statistics["std"][3].as_f64().unwrap();
    assert!(difference.abs() < 1e-9);
    run.ok(&["--set", "training.num_train_steps=2"]);
}

#[test]
fn statistics_need_a_file_to_go_to() {
    let run = Run::with_data();
    let message = run.fails(&["check", "--write_stats"], 2);
    assert!(message.contains("say --write_stats=FILE"), "{message}");
}

/// Changes that a training, or its first evaluation, refuses, with a word of why.
fn refused(run: &Run) -> Vec<(Vec<String>, &'static str)> {
    let set = |changes: &[&str]| -> Vec<String> {
        let both = |change: &&str| ["--set".to_owned(), (*change).to_owned()];
        changes.iter().flat_map(both).collect()
    };
    let valid = format!(
        "validation_data.valid={{inputs: {}/*.gz, global_batch_size: 8, tasks: {{label.fav: {{}}, label.reply: {{}}}}, \
         preprocess: {{truncate_and_slice: {{continuous_feature_truncation: 9}}}}, seg_dense_schema: {{schema_path: {}, \
         renamed_features: {{continuous: cont, binary: bin, discrete: disc, user_embedding: user_emb}}}}}}",
        run.path("data").display(),
        crate::support::fixtures()
            .join("tiny/segdense.json")
            .display()
    );
    let evaluated =
        |changes: &[&str]| set(&[&[valid.as_str(), "training.evaluate=true"], changes].concat());
    let schema = "seg_dense_schema.renamed_features";
    let nowhere = format!(
        "training.initial_checkpoint_dir={}",
        run.path("nowhere").display()
    );
    vec![
        (
            set(&[
                &format!(
                    "train_data.{schema}={{binary: bin, discrete: disc, user_embedding: user_emb}}"
                ),
                "train_data.preprocess=null",
            ]),
            "feature `continuous`",
        ),
        (
            evaluated(&["training.keep_best_metric=valid/label.favv/auroc"]),
            "keep_best_metric",
        ),
        (
            evaluated(&["training.keep_best_metric=valid/label.fav/ctr"]),
            "not better",
        ),
        (evaluated(&["which_metrics=gauc"]), "meta__user_id"),
        (
            evaluated(&["which_metrics=auroc,ndcg"]),
            "unknown metric `ndcg`",
        ),
        (
            evaluated(&["validation_data.valid.preprocess=null"]),
            "12 columns there, and 9",
        ),
        (
            evaluated(&[&format!(
                "validation_data.valid.{schema}={{continuous: cont, binary: bin, discrete: disc}}"
            )]),
            "user_embedding",
        ),
        (
            evaluated(&["validation_data.valid.global_batch_size=2000000000"]),
            "memory",
        ),
        (set(&[&nowhere]), "is no checkpoint"),
        (set(&["train_data.global_batch_size=2000000000"]), "memory"),
        (
            set(&["model.backbone.mask_net_config.mlp.layer_sizes=[2000000000]"]),
            "memory",
        ),
    ]
}

#[test]
fn check_refuses_what_training_refuses_with_the_same_words() {
    let run = Run::with_data();
    let error = |text: &str| -> String {
        let mut lines = text.lines().filter(|line| line.contains("ERROR"));
        let line = lines.next_back().unwrap_or_default();
        line.split_once("ERROR").unwrap_or_default().1.to_owned()
    };
    for (changes, word) in refused(&run) {
        let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
        let checked = run.fails(&[&["check"], &changes[..]].concat(), 2);
        let trained = run.fails(&changes, 2);
        assert!(checked.contains(word), "{word}: {checked}");
        assert_eq!(error(&checked), error(&trained), "{word}");
        assert!(!run.path("save/12").exists(), "{word}");
    }
}

#[test]
fn a_metric_that_only_evaluate_would_miss_is_refused_too() {
    let run = Run::with_data();
    let (mut changes, _) = refused(&run).swap_remove(4);
    changes.extend(["--set", "training.evaluate=false"].map(str::to_owned));
    let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
    for command in ["check", "evaluate"] {
        let message = run.fails(&[&[command], &changes[..]].concat(), 2);
        assert!(message.contains("unknown metric `ndcg`"), "{message}");
    }
}
