//! Evaluation, in the loop and as a command: what it reports, what it leaves alone, and the best checkpoint.

use serde_json::Value;

use crate::support::{Run, stderr};

/// The tiny config with its training data as a partition to evaluate on, and data.
pub fn run_with_validation() -> Run {
    let run = Run::with_data();
    let config = std::fs::read_to_string(run.path("config.yaml")).unwrap();
    let config = config
        .replace("train_data:\n", "train_data: &data\n")
        .replace(
            "validation_data: {}",
            "validation_data:\n  valid: {<<: *data, global_batch_size: 32}",
        );
    std::fs::write(run.path("config.yaml"), config).unwrap();
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
        ("which_metrics=gauc", "group id"),
        (
            "validation_data.valid.evaluation_tasks=[label.unused]",
            "label.unused",
        ),
        ("validation_data={}", "nothing to evaluate on"),
    ] {
        let metric = "training.keep_best_metric=valid/loss";
        let args = set(&[&EVALUATE[..], &[metric, change]].concat());
        let message = run.fails(&args, 2);
        assert!(message.contains(word), "{change}: {message}");
        assert!(
            !message.contains("finished training"),
            "{change}: {message}"
        );
    }
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
