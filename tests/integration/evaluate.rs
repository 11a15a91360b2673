//! Evaluation, in the loop and as a command: what it reports, what it leaves alone, and the best checkpoint.

use serde_json::Value;

use crate::distributed_training::exact;
use crate::resume::put;
use crate::support::{Run, fixtures, stderr};

/// The tiny config with ids in its records, one stratum, and its training data as a partition to evaluate on; data.
pub(crate) fn run_with_validation() -> Run {
    let run = Run::new();
    let schema = fixtures().join("tiny/segdense.json");
    let schema = std::fs::read_to_string(schema).unwrap();
    let ids = "{\"schema\": [
  {\"feature_name\": \"meta__user_id\", \"dtype\": \"int64_list\", \"length\": 1},
  {\"feature_name\": \"meta__name\", \"dtype\": \"bytes_list\", \"length\": 1},";
    let schema = schema.replace("{\"schema\": [", ids);
    std::fs::write(run.path("segdense.json"), schema).unwrap();
    let config = std::fs::read_to_string(run.path("config.yaml")).unwrap();
    let config = [
        ("${FIXTURES}/tiny/segdense.json", "${RUN_DIR}/segdense.json\n    features: [meta__user_id, meta__name]"),
        ("train_data:\n", "train_data: &data\n"),
        ("validation_data: {}", "validation_data:\n  valid: {<<: *data, global_batch_size: 32}"),
        ("model:\n", "model:\n  stratifiers: [{name: lang, index: 1, value: 3}]\n  score_weights: {label.fav: 0.5, label.reply: -74}\n"),
    ]
    .iter()
    .fold(config, |config, (old, new)| {
        assert!(config.contains(old), "{old}");
        config.replacen(old, new, 1)
    });
    std::fs::write(run.path("config.yaml"), config).unwrap();
    run.ok(&["generate", "--n_examples=200", "--n_files=3"]);
    run
}

/// The exact model, trained on 48 rows and stopped when it gets no better on 48 others: its best is not its newest.
pub(crate) fn run_that_overfits() -> Run {
    let run = exact();
    let config = std::fs::read_to_string(run.path("config.yaml")).unwrap();
    let other = format!("{}/*.gz", run.path("other").display());
    let valid = format!("validation_data:\n  valid: {{<<: *data, inputs: \"{other}\"}}");
    let training = "training:
  evaluate: true
  eval_log_every_n: 4
  keep_best_metric: valid/loss
  early_stopping_patience: 2";
    let config = [
        ("train_data:\n", "train_data: &data\n"),
        ("validation_data: {}", &valid),
        ("training:", training),
        ("num_train_steps: 6", "num_train_steps: 200"),
    ]
    .iter()
    .fold(config, |config, (old, new)| {
        assert!(config.contains(old), "{old}");
        config.replacen(old, new, 1)
    });
    std::fs::write(run.path("config.yaml"), config).unwrap();
    let inputs = format!("train_data.inputs={other}");
    let args = set(&[&inputs, "training.seed=5"]);
    run.ok(&[&["generate", "--n_examples=48", "--n_files=1"], &args[..]].concat());
    run
}

/// The records of `events.jsonl` with a field `key`.
fn events(run: &Run, save_dir: &str, key: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(run.path(save_dir).join("events.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|record| !record[key].is_null())
        .collect()
}

fn set<'a>(values: &[&'a str]) -> Vec<&'a str> {
    values.iter().flat_map(|&value| ["--set", value]).collect()
}

const EVALUATE: [&str; 3] = [
    "training.evaluate=true",
    "training.eval_log_every_n=3",
    "training.num_eval_steps=-1",
];

#[test]
fn evaluation_leaves_training_as_it_is_to_the_bit() {
    let run = run_with_validation();
    run.ok(&[]);
    let plain = run.checkpoint("save", 12);
    let losses = run.losses("save");
    let save_dir = format!("training.save_dir={}", run.path("evaluated").display());
    run.ok(&set(&[&EVALUATE[..], &[&save_dir]].concat()));
    assert!(
        plain == run.checkpoint("evaluated", 12),
        "the bytes of weights or optimizer differ"
    );
    assert_eq!(losses, run.losses("evaluated"));
    let evaluated = events(&run, "evaluated", "eval_loss");
    let steps: Vec<_> = evaluated.iter().map(|e| e["global_step"].clone()).collect();
    assert_eq!(steps, [3, 6, 9, 12]);
    assert!(evaluated.iter().all(|e| e["examples"] == 200));
    let tasks = events(&run, "evaluated", "auroc");
    assert_eq!(tasks.len(), 2 * 4, "one line per task");
    assert_eq!(tasks[0]["task"], "label.fav");
    assert_eq!(tasks[0]["partition"], "valid");
    assert!(tasks.iter().all(|task| task["log_loss"].is_number()));
}

#[test]
fn the_best_checkpoint_is_the_one_with_the_best_result() {
    let run = run_with_validation();
    let metric = "training.keep_best_metric=valid/label.fav/auroc";
    let common = set(&[&EVALUATE[..], &[metric]].concat());
    run.ok(&common);
    let scores = events(&run, "save", "auroc");
    let scores = scores.iter().filter(|event| event["task"] == "label.fav");
    let scores: Vec<(u64, f64)> = scores
        .map(|e| {
            (
                e["global_step"].as_u64().unwrap(),
                e["auroc"].as_f64().unwrap(),
            )
        })
        .collect();
    let best = scores
        .iter()
        .fold(scores[0], |a, &b| if b.1 > a.1 { b } else { a });
    let state = std::fs::read_to_string(run.path("save/best/state.json")).unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["state"]["step"], best.0, "{scores:?}");
    assert_eq!(state["state"]["best"]["value"], best.1);
    // A run that goes on knows what it has to beat.
    run.ok(&[&common[..], &set(&["training.num_train_steps=15"])].concat());
    let compared = events(&run, "save", "is_better");
    assert_eq!(compared.last().unwrap()["best"], best.1);
    // The best one is a checkpoint like any other.
    let from = format!(
        "training.initial_checkpoint_dir={}",
        run.path("save/best").display()
    );
    let warm = format!("training.save_dir={}", run.path("warm").display());
    run.ok(&set(&[&from, &warm, "training.num_train_steps=1"]));
}

#[test]
fn what_cannot_be_evaluated_is_said_before_the_first_step() {
    let run = run_with_validation();
    for (change, word) in [
        (
            "training.keep_best_metric=valid/label.fav/auc",
            "valid/label.fav/auroc",
        ),
        (
            "training.keep_best_metric=valid/label.fav/ctr",
            "not better",
        ),
        ("training.evaluate=false", "keep_best_metric"),
        ("which_metrics=auc", "pr_auc"),
        (
            "validation_data.valid.seg_dense_schema.features=[]",
            "meta__user_id",
        ),
        (
            "validation_data.valid.evaluation_tasks=[label.unused]",
            "label.unused",
        ),
        ("validation_data={}", "nothing to evaluate on"),
    ] {
        let metric = "training.keep_best_metric=valid/loss";
        let which = "which_metrics=gauc,auroc,ctr,log_loss";
        let args = set(&[&EVALUATE[..], &[metric, which, change]].concat());
        let message = run.fails(&args, 2);
        assert!(message.contains(word), "{change}: {message}");
        assert!(
            !message.contains("finished training"),
            "{change}: {message}"
        );
    }
}

#[test]
fn a_row_without_a_prediction_is_named_or_left_out_and_counted() {
    let run = run_with_validation();
    run.ok(&["--set", "training.num_train_steps=1"]);
    let inputs = format!("train_data.inputs={}", run.path("bad/*").display());
    let form = ["--n_examples=40", "--n_files=1", "--compression=none"];
    run.ok(&[&["generate", "--set", &inputs], &form[..]].concat());
    let mut files = std::fs::read_dir(run.path("bad")).unwrap();
    put(&files.next().unwrap().unwrap().path(), f32::NAN);
    let inputs = inputs.replace("train_data", "validation_data.valid");
    let evaluate = ["evaluate", "--partition=valid", "--set", &inputs];
    let message = run.fails(&evaluate, 3);
    for words in [
        "validation_data.valid: ",
        "record 0 ",
        "`user_emb`",
        "user_embedding",
    ] {
        assert!(message.contains(words), "no {words:?} in {message}");
    }
    let ignore = ["--set", "validation_data.valid.ignore_data_errors=true"];
    let path = run.path("report.json");
    let report = format!("--output={}", path.display());
    let output = run.output(&[&evaluate, &ignore[..], &[&report]].concat());
    let log = stderr(&output);
    assert!(output.status.success(), "{log}");
    assert!(
        log.contains("skipping a bad record") && log.contains("record 0"),
        "{log}"
    );
    let report = std::fs::read_to_string(path).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["partitions"]["valid"]["examples"], 39, "{report}");
}

#[test]
fn num_eval_steps_limits_the_batches() {
    let run = run_with_validation();
    let args = set(&[
        "training.evaluate=true",
        "training.eval_log_every_n=1",
        "training.num_train_steps=1",
        "training.num_eval_steps=2",
    ]);
    let output = run.output(&args);
    assert!(output.status.success(), "{}", stderr(&output));
    let evaluated = events(&run, "save", "eval_loss");
    assert_eq!(evaluated[0]["examples"], 64);
}

/// The numbers of `evaluate --output`.
fn report(run: &Run, args: &[&str]) -> Value {
    let path = run.path("report.json");
    let output = format!("--output={}", path.display());
    let all = set(&["training.num_eval_steps=-1"]);
    run.ok(&[&["evaluate", output.as_str()], args, &all].concat());
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_command_reports_what_the_loop_reported() {
    let run = run_with_validation();
    run.ok(&set(&EVALUATE));
    let plot = format!("--plot={}", run.path("curves.svg").display());
    let found = report(&run, &[&plot]);
    let logged = events(&run, "save", "auroc");
    let last = logged.last().unwrap();
    assert_eq!(
        (&last["global_step"], &found["global_step"]),
        (&12.into(), &12.into())
    );
    let valid = &found["partitions"]["valid"];
    assert_eq!(valid["examples"], 200);
    for metric in [
        "count", "ctr", "pctr", "log_loss", "rce", "nrce", "auroc", "pr_auc",
    ] {
        assert_eq!(
            last[metric], valid["metrics"]["label.reply"][metric],
            "{metric}"
        );
    }
    let loss = events(&run, "save", "eval_loss");
    assert_eq!(loss.last().unwrap()["eval_loss"], valid["loss"]);
    assert!(valid["metrics"]["label.fav/lang=3"]["auroc"].is_number());
    let picture = std::fs::read_to_string(run.path("curves.svg")).unwrap();
    assert!(picture.contains("label.fav (valid): AUROC 0."));
    // Another checkpoint, named, has other numbers.
    let other = format!("--checkpoint={}", run.path("save/4").display());
    let table = run.ok(&["evaluate", &other, "--partition=valid"]);
    assert!(
        table.contains("save/4") && table.contains("label.fav/lang=3") && table.contains("auroc")
    );
    let named = report(&run, &[&other]);
    assert_eq!(named["global_step"], 4);
    assert_ne!(named["partitions"]["valid"]["loss"], valid["loss"]);
}

#[test]
fn the_best_checkpoint_is_evaluated_and_predicts_unless_another_is_named() {
    let run = run_that_overfits();
    run.ok(&[]);
    let kept = events(&run, "save", "is_better");
    let newest = kept.last().unwrap()["global_step"].as_u64().unwrap();
    let is_best = |event: &&Value| event["is_better"] == true;
    let best = kept.iter().rfind(is_best).unwrap();
    let best = best["global_step"].as_u64().unwrap();
    assert!(best < newest, "{kept:?}");
    let scores = |name: &str, args: &[&str]| {
        let path = run.path(&format!("{name}.csv"));
        let output = format!("--output={}", path.display());
        run.ok(&[&["predict", &output], args].concat());
        std::fs::read(path).unwrap()
    };
    let named = |name: &str| format!("--checkpoint={}", run.path("save").join(name).display());
    let of = |name: &str| (report(&run, &[&named(name)]), scores(name, &[&named(name)]));
    let (of_best, of_newest) = (of("best"), of(&newest.to_string()));
    assert_ne!(of_best.1, of_newest.1);
    assert_eq!(of_best.0["global_step"], best);
    assert_eq!((report(&run, &[]), scores("default", &[])), of_best);
    // Where the config keeps no best one, and where that one is damaged, it is the newest.
    let nothing = [
        "training.keep_best_metric=null",
        "training.early_stopping_patience=null",
    ];
    let nothing = set(&nothing);
    let without = (report(&run, &nothing), scores("without", &nothing));
    assert_eq!(without, of_newest);
    let state = run.path("save/best/state.json");
    std::fs::write(
        &state,
        std::fs::read(&state).unwrap().split_last().unwrap().1,
    )
    .unwrap();
    assert_eq!((report(&run, &[]), scores("damaged", &[])), of_newest);
    let output = format!("--output={}", run.path("again.csv").display());
    let said = stderr(&run.output(&["predict", &output]));
    assert!(said.contains("passing over the best checkpoint"), "{said}");
}

#[test]
fn a_damaged_checkpoint_is_named_and_passed_over_where_none_is() {
    let run = run_with_validation();
    run.ok(&[]);
    let model = run.path("save/12/model.safetensors");
    let mut bytes = std::fs::read(&model).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&model, bytes).unwrap();
    let named = format!("--checkpoint={}", run.path("save/12").display());
    let out = format!("--output={}", run.path("out.csv").display());
    for args in [vec!["evaluate", &named], vec!["predict", &named, &out]] {
        let message = run.fails(&args, 1);
        assert!(
            message.contains("damaged") && message.contains(model.to_str().unwrap()),
            "{message}"
        );
    }
    assert!(!run.path("out.csv").exists());
    assert_eq!(report(&run, &[])["global_step"], 8, "the newest valid one");
}

#[test]
fn wrong_arguments_are_bad_usage() {
    let run = run_with_validation();
    for (args, word) in [
        (vec!["evaluate"], "no valid checkpoint"),
        (vec!["evaluate", "--partition=no"], "choose from valid"),
        (vec!["evaluate", "--plot=a.jpg"], ".svg or .png"),
        (
            vec!["evaluate", "--watch", "--checkpoint=x"],
            "--checkpoint",
        ),
        (vec!["predict", "--output=a.txt"], ".parquet"),
        (vec!["predict"], "--output"),
    ] {
        let message = run.fails(&args, 2);
        assert!(message.contains(word), "{args:?}: {message}");
    }
}

#[test]
fn a_checkpoint_of_another_model_does_not_fit() {
    let run = run_with_validation();
    run.ok(&set(&["training.num_train_steps=1"]));
    let args = [
        "evaluate",
        "--set",
        "model.backbone.mask_net_config.mlp.layer_sizes=[11]",
    ];
    let message = run.fails(&args, 2);
    assert!(message.contains("does not fit this config"), "{message}");
}

#[test]
fn watching_marks_every_checkpoint_once() {
    let run = run_with_validation();
    let timeout = set(&["training.eval_timeout_in_s=0.01"]);
    let watch = [&["evaluate", "--watch"][..], &timeout].concat();
    assert_eq!(
        run.ok(&watch),
        "",
        "there is nothing yet, and no time to wait"
    );
    run.ok(&[]);
    let tables = run.ok(&watch);
    for step in [4, 8, 12] {
        let folder = run.path(&format!("save/{step}"));
        assert!(tables.contains(folder.to_str().unwrap()), "{tables}");
        let mark = std::fs::read_to_string(folder.join("evaled_by/valid_DONE")).unwrap();
        assert!(mark.contains("auroc"), "{mark}");
    }
    assert_eq!(run.ok(&watch), "", "all are marked");
    // Marks do not make a checkpoint invalid: the run goes on from 12.
    run.ok(&set(&["training.num_train_steps=13"]));
    assert_eq!(run.losses("save").last().unwrap().0, 13);
    assert_eq!(run.losses("save").len(), 13);
    assert_eq!(
        run.ok(&watch).matches("checkpoint ").count(),
        1,
        "only the new one"
    );
}

#[test]
fn ranks_that_train_together_evaluate_together() {
    let run = run_with_validation();
    let args = set(&[&EVALUATE[..], &["training.keep_best_metric=mean auroc"]].concat());
    run.ok(&[&["--nproc_per_node=2"], &args[..]].concat());
    let together = events(&run, "save", "auroc");
    let last = together.last().unwrap();
    assert_eq!(together.len(), 2 * 4, "one line per task, of rank 0 alone");
    let step = last["global_step"].as_u64().unwrap();
    assert_eq!(step, 24);
    let alone = report(&run, &[]);
    assert_eq!(alone["global_step"], 24);
    let alone = &alone["partitions"]["valid"]["metrics"]["label.reply"];
    for metric in ["count", "ctr", "pctr", "log_loss", "auroc", "pr_auc"] {
        let [a, b] = [&last[metric], &alone[metric]].map(|value| value.as_f64().unwrap());
        assert!((a - b).abs() < 1e-6, "{metric}: {a} together, {b} alone");
    }
    assert!(run.path("save/best/model.safetensors").is_file());
}

#[test]
fn metrics_over_the_last_batches_are_logged_and_change_nothing() {
    let run = Run::with_data();
    run.ok(&[]);
    let window = [
        "--set",
        "training.log_metrics_window=3",
        "--set",
        "training.train_log_every_n=6",
    ];
    let save_dir = format!("training.save_dir={}", run.path("window").display());
    run.ok(&[&["--set", &save_dir], &window[..]].concat());
    assert!(run.checkpoint("save", 12) == run.checkpoint("window", 12));
    let events = std::fs::read_to_string(run.path("window/events.jsonl")).unwrap();
    let records = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let of_window = |record: &Value| record["message"] == "last batches";
    let lines: Vec<Value> = records.filter(of_window).collect();
    let steps: Vec<_> = lines
        .iter()
        .map(|line| line["global_step"].as_u64())
        .collect();
    assert_eq!(steps, [Some(6), Some(6), Some(12), Some(12)]);
    for (line, task) in lines
        .iter()
        .zip(["label.fav", "label.reply"].iter().cycle())
    {
        assert_eq!(
            (&line["task"], &line["batches"]),
            (&(*task).into(), &3.into())
        );
        // 48 rows with labels that can be learned: both kinds are among them.
        for key in [
            "loss",
            "count",
            "ctr",
            "pctr",
            "calibration",
            "rce",
            "auroc",
        ] {
            let value = line[key].as_f64();
            assert!(value.is_some_and(f64::is_finite), "{key}: {line}");
        }
        let positives = line["ctr"].as_f64().unwrap() * 48.0;
        assert!((positives - positives.round()).abs() < 1e-9, "{line}");
    }
}
