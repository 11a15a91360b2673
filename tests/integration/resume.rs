//! Interrupted and resumed runs equal the run that was left alone, to the bit.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::support::{Run, stderr};

fn save_dir(name: &str, run: &Run) -> String {
    format!("training.save_dir={}", run.path(name).display())
}

#[test]
fn a_run_in_two_parts_equals_a_run_in_one() {
    let run = Run::with_data();
    run.ok(&["--set", &save_dir("whole", &run)]);
    let parts = save_dir("parts", &run);
    run.ok(&["--set", &parts, "--set", "training.num_train_steps=5"]);
    run.ok(&["--set", &parts]);
    assert!(
        run.checkpoint("whole", 12) == run.checkpoint("parts", 12),
        "the bytes differ"
    );
    assert_eq!(run.losses("whole"), run.losses("parts"));
    let steps: Vec<u64> = run.losses("whole").iter().map(|(step, _)| *step).collect();
    assert_eq!(
        steps,
        (1..=12).collect::<Vec<_>>(),
        "exactly num_train_steps batches are trained"
    );
}

#[test]
fn another_seed_gives_another_run() {
    let run = Run::with_data();
    run.ok(&[
        "--set",
        &save_dir("a", &run),
        "--set",
        "training.num_train_steps=2",
    ]);
    run.ok(&[
        "--set",
        &save_dir("b", &run),
        "--set",
        "training.num_train_steps=2",
        "--set",
        "training.seed=1",
    ]);
    assert!(run.checkpoint("a", 2) != run.checkpoint("b", 2));
}

#[test]
fn a_finished_run_says_so_and_changes_nothing() {
    let run = Run::with_data();
    run.ok(&[]);
    let before = run.checkpoint("save", 12);
    let output = run.output(&[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stderr(&output).contains("training is finished"),
        "{}",
        stderr(&output)
    );
    assert!(before == run.checkpoint("save", 12));
}

#[test]
fn retention_keeps_the_newest() {
    let run = Run::with_data();
    run.ok(&[
        "--set",
        "training.checkpoint_every_n=2",
        "--set",
        "training.checkpoint_max_to_keep=2",
    ]);
    let mut kept: Vec<String> = std::fs::read_dir(run.path("save"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.parse::<u64>().is_ok())
        .collect();
    kept.sort();
    assert_eq!(kept, ["10", "12"]);
}

#[test]
fn a_warm_start_takes_the_weights_and_begins_at_step_0() {
    let run = Run::with_data();
    run.ok(&[
        "--set",
        &save_dir("first", &run),
        "--set",
        "training.num_train_steps=4",
    ]);
    let from = format!(
        "training.initial_checkpoint_dir={}",
        run.path("first/4").display()
    );
    run.ok(&[
        "--set",
        &save_dir("warm", &run),
        "--set",
        &from,
        "--set",
        "training.num_train_steps=3",
    ]);
    let cold = run.losses("first")[0];
    let warm = run.losses("warm")[0];
    assert_eq!((cold.0, warm.0), (1, 1));
    assert_ne!(
        cold.1.to_bits(),
        warm.1.to_bits(),
        "the first batch is the same, the weights are not"
    );
    // Weights alone are enough.
    std::fs::remove_file(run.path("first/4/state.json")).unwrap();
    std::fs::remove_file(run.path("first/4/optimizer.safetensors")).unwrap();
    run.ok(&[
        "--set",
        &save_dir("bare", &run),
        "--set",
        &from,
        "--set",
        "training.num_train_steps=1",
    ]);
    assert_eq!(run.losses("bare")[0], warm);
}

#[test]
fn a_signal_saves_and_the_same_command_goes_on() {
    let run = Run::with_data();
    run.ok(&[
        "--set",
        &save_dir("whole", &run),
        "--set",
        "training.num_train_steps=400",
    ]);
    let args = [
        "--set".to_owned(),
        save_dir("parts", &run),
        "--set".to_owned(),
        "training.num_train_steps=400".to_owned(),
    ];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut child = run.command(&args).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_step(&mut child, 3);
    signal(&child, "-TERM");
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(75));
    run.ok(&args);
    assert!(
        run.checkpoint("whole", 400) == run.checkpoint("parts", 400),
        "the bytes differ"
    );
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let run = Run::with_data();
    let common = [
        "--set",
        "training.num_train_steps=300",
        "--set",
        "training.checkpoint_every_n=3",
    ];
    let whole = save_dir("whole", &run);
    run.ok(&[&common[..], &["--set", &whole]].concat());
    let parts = save_dir("parts", &run);
    let args = [&common[..], &["--set", &parts]].concat();
    for kill_after in [2, 9, 31] {
        let mut child = run.command(&args).stderr(Stdio::piped()).spawn().unwrap();
        wait_for_step(&mut child, kill_after);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    run.ok(&args);
    assert!(
        run.checkpoint("whole", 300) == run.checkpoint("parts", 300),
        "the bytes differ"
    );
}

/// Reads the log until `count` steps are logged.
fn wait_for_step(child: &mut Child, count: usize) {
    let lines = BufReader::new(child.stderr.take().expect("a piped stderr")).lines();
    let steps = lines
        .map_while(Result::ok)
        .filter(|line| line.contains("Step: "));
    let seen = steps.take(count).count();
    assert_eq!(seen, count, "the run ended early");
}

fn signal(child: &Child, signal: &str) {
    let sent = std::process::Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

#[test]
fn an_accumulation_survives_an_end_in_its_middle() {
    let run = Run::with_data();
    let common = ["--set", "training.gradient_accumulation=3"];
    let whole = save_dir("whole", &run);
    run.ok(&[&common[..], &["--set", &whole]].concat());
    let parts = save_dir("parts", &run);
    for end in ["4", "8", "12"] {
        let end = format!("training.num_train_steps={end}");
        run.ok(&[&common[..], &["--set", &parts, "--set", &end]].concat());
    }
    assert!(
        run.checkpoint("whole", 12) == run.checkpoint("parts", 12),
        "the bytes differ"
    );
}

#[test]
fn the_number_of_loader_threads_changes_nothing() {
    let run = Run::with_data();
    let steps = ["--set", "training.num_train_steps=6"];
    for threads in ["1", "3"] {
        let threads_key = format!("train_data.map_num_parallel_calls={threads}");
        let folder = save_dir(threads, &run);
        run.ok(&[&steps[..], &["--set", &threads_key, "--set", &folder]].concat());
    }
    assert!(
        run.checkpoint("1", 6) == run.checkpoint("3", 6),
        "the bytes differ"
    );
}

#[test]
fn a_divergence_ends_with_its_own_code_before_the_update() {
    let run = Run::with_data();
    let rate = "optimizer.multi_task_learning_rates.backbone_learning_rate={constant: 1.0e38}";
    let message = run.fails(&["--set", rate], 4);
    for word in [
        "diverged at step",
        "first such tensor",
        "random-0000",
        "records",
    ] {
        assert!(message.contains(word), "{word} is missing in\n{message}");
    }
}

#[test]
fn a_damaged_newest_checkpoint_is_reported_and_the_one_before_used() {
    let run = Run::with_data();
    run.ok(&[]);
    let whole = run.checkpoint("save", 12);
    let path = run.path("save/12/optimizer.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let output = run.output(&[]);
    let log = stderr(&output);
    assert!(output.status.success(), "{log}");
    assert!(log.contains("damaged") && log.contains("save/8"), "{log}");
    assert!(whole == run.checkpoint("save", 12), "the bytes differ");
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let run = Run::with_data();
    let forever = ["--set", "training.num_train_steps=100000"];
    let mut child = run
        .command(&forever)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_step(&mut child, 1);
    let message = run.fails(&[], 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(message.contains("in use by another run"), "{message}");
}

/// Makes the first record of an uncompressed file one that no model of the tiny config stays finite with, although all its
/// numbers are.
pub(crate) fn poison(file: &std::path::Path) {
    put(file, f32::MAX);
}

/// Puts `number` in place of a value of `user_emb` in the first record of an uncompressed file, and the checksum right.
pub(crate) fn put(file: &std::path::Path, number: f32) {
    let mut bytes = std::fs::read(file).unwrap();
    let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let payload = &mut bytes[12..12 + length];
    let key = payload
        .windows(8)
        .position(|window| window == b"user_emb")
        .unwrap();
    // Behind the key: the feature, its float list, and the four packed values, 16 bytes.
    let packed = payload[key..]
        .windows(2)
        .position(|window| window == [0x0a, 16])
        .unwrap();
    let value = key + packed + 2;
    payload[value..value + 4].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(payload)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8);
    bytes[12 + length..16 + length].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_bad_batch_may_be_skipped_within_a_budget() {
    let run = Run::new();
    let inputs = format!("train_data.inputs={}/*", run.path("data").display());
    run.ok(&[
        "generate",
        "--n_examples=64",
        "--n_files=1",
        "--compression=none",
        "--set",
        &inputs,
    ]);
    let file = std::fs::read_dir(run.path("data"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    poison(&file);
    let steps = ["--set", &inputs, "--set", "training.num_train_steps=4"];
    let message = run.fails(&steps, 4);
    assert!(
        message.contains("first such tensor") && message.contains("records"),
        "{message}"
    );
    let budget = [&steps[..], &["--set", "training.max_skipped_steps=1"]].concat();
    let output = run.output(&budget);
    assert!(
        output.status.success() && stderr(&output).contains("skipped"),
        "{}",
        stderr(&output)
    );
    // Sixty-four records are four batches: the second epoch meets the bad one again, and the budget is spent.
    let more = [&budget[..], &["--set", "training.num_train_steps=9"]].concat();
    run.fails(&more, 4);
}

#[test]
fn logged_rates_are_those_the_step_was_made_with() {
    let run = Run::with_data();
    run.ok(&[
        "--set",
        "training.num_train_steps=2",
        "--set",
        "training.log_learning_rates=true",
    ]);
    let text = std::fs::read_to_string(run.path("save/events.jsonl")).unwrap();
    let records = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let backbone: Vec<(u64, f64)> = records
        .filter(|record| record["group"] == "backbone")
        .map(|record| {
            (
                record["global_step"].as_u64().unwrap(),
                record["learning_rate"].as_f64().unwrap(),
            )
        })
        .collect();
    // A ramp to 0.01 over 4 steps: the first step is made at 0, the second at a quarter.
    assert_eq!(backbone, [(1, 0.0), (2, 0.0025)]);
}
