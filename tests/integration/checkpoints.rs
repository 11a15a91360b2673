//! What stands in a `save_dir`: what is damaged, what cannot be read, what is kept, what made it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::evaluate::run_with_validation;
use crate::support::{Run, stderr};

/// Twelve steps, with checkpoints at 4, 8 and 12.
fn trained() -> Run {
    let run = Run::with_data();
    run.ok(&[]);
    run
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn checkpoints(run: &Run) -> Vec<u64> {
    recap_train::checkpoint::global_steps(&run.path("save")).unwrap()
}

/// Links in a circle: what root cannot read either.
fn make_unreadable(path: &Path) {
    fs::remove_file(path).unwrap();
    symlink(path.file_name().unwrap(), path).unwrap();
}

#[test]
fn a_newest_checkpoint_that_cannot_be_read_ends_every_command_with_the_cause() {
    let run = run_with_validation();
    run.ok(&[]);
    make_unreadable(&run.path("save/12/state.json"));
    let more = ["--set", "training.num_train_steps=14"];
    for args in [
        &more[..],
        &["evaluate"],
        &[
            "evaluate",
            "--watch",
            "--set",
            "training.eval_timeout_in_s=1",
        ],
    ] {
        let message = run.fails(args, 1);
        let cause = "Too many levels of symbolic links";
        assert!(
            message.contains("save/12") && message.contains(cause),
            "{args:?}: {message}"
        );
    }
    assert_eq!(checkpoints(&run), [4, 8, 12]);
    assert_eq!(run.losses("save").len(), 12, "nothing was trained");
}

#[test]
fn a_best_checkpoint_that_cannot_be_read_is_not_replaced() {
    let run = run_with_validation();
    let evaluate = [
        "--set",
        "training.evaluate=true",
        "--set",
        "training.eval_log_every_n=2",
        "--set",
        "training.keep_best_metric=valid/loss",
        "--set",
    ];
    let steps = |n: &'static str| [&evaluate[..], &[n]].concat();
    run.ok(&steps("training.num_train_steps=4"));
    let model = fs::read(run.path("save/best/model.safetensors")).unwrap();
    make_unreadable(&run.path("save/best/state.json"));
    let message = run.fails(&steps("training.num_train_steps=6"), 1);
    assert!(message.contains("save/best cannot be read"), "{message}");
    assert!(fs::read(run.path("save/best/model.safetensors")).unwrap() == model);
}

#[test]
fn a_state_with_another_digit_is_passed_over_and_an_old_one_without_checksum_is_not() {
    let run = trained();
    let whole = run.checkpoint("save", 12);
    let path = run.path("save/12/state.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"step\": 12", "\"step\": 10", 1)).unwrap();
    let output = run.output(&[]);
    let log = stderr(&output);
    assert!(output.status.success(), "{log}");
    assert!(
        log.contains("state.json is damaged") && log.contains("save/8"),
        "{log}"
    );
    assert!(whole == run.checkpoint("save", 12), "the bytes differ");
    // As versions before the checksum wrote it.
    let path = run.path("save/8/state.json");
    let mut state = json(&path);
    state["format"] = 1.into();
    let object = state.as_object_mut().unwrap();
    object.remove("checksum").unwrap();
    object.remove("run").unwrap();
    fs::write(&path, state.to_string()).unwrap();
    fs::remove_dir_all(run.path("save/12")).unwrap();
    let output = run.output(&[]);
    assert!(stderr(&output).contains("resumed"), "{}", stderr(&output));
    assert!(whole == run.checkpoint("save", 12), "the bytes differ");
}

#[test]
fn a_pipe_where_a_file_of_a_checkpoint_was_is_damage_and_nobody_waits() {
    let run = trained();
    let whole = run.checkpoint("save", 12);
    let path = run.path("save/12/optimizer.safetensors");
    fs::remove_file(&path).unwrap();
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let output = run.output(&[]);
    let log = stderr(&output);
    assert!(
        output.status.success() && log.contains("it is a pipe"),
        "{log}"
    );
    assert!(whole == run.checkpoint("save", 12), "the bytes differ");
}

#[test]
fn only_valid_checkpoints_of_this_program_count_and_only_they_are_removed() {
    let run = trained();
    fs::create_dir(run.path("save/1")).unwrap();
    fs::write(run.path("save/1/notes.txt"), "mine").unwrap();
    fs::write(run.path("save/3"), "a file").unwrap();
    let model = run.path("save/12/model.safetensors");
    let mut bytes = fs::read(&model).unwrap();
    bytes[100] ^= 1;
    fs::write(&model, bytes).unwrap();
    // The damaged one is newer than all that this run saves.
    let keep_one = [
        "--set",
        "training.checkpoint_max_to_keep=1",
        "--set",
        "training.num_train_steps=10",
        "--set",
        "training.checkpoint_every_n=3",
    ];
    run.ok(&keep_one);
    assert_eq!(checkpoints(&run), [10, 12]);
    assert_eq!(fs::read(run.path("save/1/notes.txt")).unwrap(), b"mine");
    assert_eq!(fs::read(run.path("save/3")).unwrap(), b"a file");
    // What a kill between a save and the removal of an old one leaves.
    let copied = Command::new("cp")
        .arg("-r")
        .args([run.path("save/10"), run.path("save/2")])
        .status()
        .unwrap();
    assert!(copied.success());
    let output = run.output(&keep_one);
    let log = stderr(&output);
    assert!(log.contains("training is finished"), "{log}");
    assert_eq!(checkpoints(&run), [10, 12]);
}

#[test]
fn the_record_describes_what_made_the_newest_checkpoint_and_what_was_before() {
    let run = Run::with_data();
    let steps = |n: u64| format!("training.num_train_steps={n}");
    let set = |pairs: &[&str]| -> Vec<String> {
        let pairs = pairs.iter();
        pairs
            .flat_map(|pair| ["--set".to_owned(), (*pair).to_owned()])
            .collect()
    };
    let ok = |pairs: &[&str]| {
        let args = set(pairs);
        run.ok(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let record = || json(&run.path("save/run.json"));
    ok(&[&steps(4)]);
    let first = record();
    assert_eq!(first["config"]["training"]["num_train_steps"], 4);
    assert_eq!(first["from_step"], 0);
    // A config that the checkpoint does not fit, one that fails later, and one that finds the training finished.
    let width = "model.backbone.mask_net_config.mlp.layer_sizes=[11]";
    let rejected = set(&[&steps(9), width]);
    let rejected: Vec<&str> = rejected.iter().map(String::as_str).collect();
    let message = run.fails(&rejected, 2);
    assert!(message.contains("run.json"), "{message}");
    assert_eq!(record(), first);
    let rate = "optimizer.multi_task_learning_rates.backbone_learning_rate={constant: 1.0e38}";
    let diverging = set(&[&steps(9), rate]);
    run.fails(&diverging.iter().map(String::as_str).collect::<Vec<_>>(), 4);
    assert_eq!(record(), first);
    ok(&[&steps(3)]);
    assert_eq!(record(), first);
    // The next one goes on from the first, and says so.
    ok(&[&steps(6), "training.train_log_every_n=2"]);
    let second = record();
    assert_eq!(second["from_step"], 4);
    let before = &second["history"][0];
    assert_eq!(before["started"], first["started"]);
    assert_eq!(before["config"]["training"]["num_train_steps"], 4);
    assert!(before.get("data_files").is_none(), "the same as after it");
    assert_eq!(json(&run.path("save/6/state.json"))["run"], second);
    // Killed between the save and the record: the checkpoint knows.
    fs::write(run.path("save/run.json"), first.to_string()).unwrap();
    ok(&[&steps(6)]);
    assert_eq!(record(), second);
    // With the newest one gone the record is that of the one before.
    fs::remove_dir_all(run.path("save/6")).unwrap();
    ok(&[&steps(4)]);
    assert_eq!(record(), first);
}

#[test]
fn a_lock_file_that_was_removed_lets_no_second_run_in() {
    use std::fs::File;
    let run = Run::with_data();
    fs::create_dir(run.path("save")).unwrap();
    // As a run holds it whose `.lock` was removed.
    let held = File::open(run.path("save")).unwrap();
    held.lock().unwrap();
    let message = run.fails(&[], 1);
    assert!(message.contains("in use by another run"), "{message}");
}

#[test]
fn snapshots_of_the_original_that_cannot_be_are_refused_with_the_tensor() {
    let run = Run::with_data();
    fs::create_dir(run.path("snapshot")).unwrap();
    let from = format!(
        "training.initial_checkpoint_dir={}",
        run.path("snapshot").display()
    );
    let entry = |shape: &str| {
        format!(
            r#"{{"manifest": {{"0/model/w": {{"type": "ChunkedTensor", "dtype": "torch.float32", "shape": {shape}, "chunks": []}}}}}}"#
        )
    };
    for (manifest, expected) in [
        (entry("[-1]"), "no tensor has the shape [-1]"),
        (
            entry("[1125899906842624]"),
            "hold 0 of 1125899906842624 rows",
        ),
        (
            format!("manifest: {}", "[".repeat(200_000)),
            "recursion limit exceeded",
        ),
        ("manifest: {}".to_owned(), "missing"),
    ] {
        fs::write(run.path("snapshot/.snapshot_metadata"), &manifest).unwrap();
        // A state that lacks tensors does not fit the config; the others are damaged.
        let code = if manifest.ends_with("{}") { 2 } else { 1 };
        let message = run.fails(&["--set", &from], code);
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains("run.json"), "{message}");
    }
}

#[test]
fn an_update_that_overflows_costs_no_checkpoint() {
    let run = Run::with_data();
    let rate = "optimizer.multi_task_learning_rates.backbone_learning_rate={constant: 3.0e38}";
    let steps = [
        "--set=training.checkpoint_every_n=1",
        "--set=training.checkpoint_max_to_keep=1",
    ];
    run.ok(&[&steps[..], &["--set=training.num_train_steps=2"]].concat());
    let before = run.checkpoint("save", 2);
    let rate = format!("--set={rate}");
    let text = run.fails(
        &[&steps[..], &[&rate, "--set=training.num_train_steps=9"]].concat(),
        4,
    );
    assert!(text.contains("diverged"), "{text}");
    assert!(run.checkpoint("save", 2) == before, "the good one stays");
    run.ok(&[&steps[..], &["--set=training.num_train_steps=3"]].concat());
}
