//! What machines read of a run: the records of the log, the curves for TensorBoard, the profile.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use recap_train::logging::schema::{COMMON, EVENTS, Key, SCHEMA, Type};
use serde_json::Value;

use crate::evaluate::run_with_validation;
use crate::support::{Run, stderr};

const HEAD: &str = "\
# Records of the log

Generated from `src/logging/schema.rs` (`RECAP_UPDATE=1 cargo test --test integration records`); a test compares the
two, and another one compares the records of runs with it.

`save_dir/events.jsonl` holds every record of every run in the folder, one JSON object a line; `--log_format json` writes
the same to stderr. `schema` is the version of this page: it rises when a key that is described here goes away or changes
its meaning. New events and new keys do not raise it, so ignore what you do not know. Numbers that are not finite are
null.

```sh
jq -r 'select(.event == \"step\") | [.global_step, .loss] | @tsv' save_dir/events.jsonl
```
";

fn table(text: &mut String, keys: &[Key]) {
    text.push_str("\n| key | value | meaning |\n|---|---|---|\n");
    for key in keys {
        let (name, kind, doc) = (key.name, key.kind.as_str(), key.doc);
        let absent = if key.always { "" } else { "; may be absent" };
        let _ = writeln!(text, "| `{name}` | {kind}{absent} | {doc} |");
    }
}

fn page() -> String {
    let mut text = HEAD.to_owned();
    let _ = writeln!(text, "\n## Every record (schema {SCHEMA})");
    table(&mut text, COMMON);
    text.push_str("\nRecords without `event` are words for people.\n");
    for event in EVENTS {
        let _ = writeln!(text, "\n## {}\n\nWritten when: {}.", event.name, event.doc);
        table(&mut text, event.keys);
    }
    text
}

#[test]
fn the_page_about_records_is_what_the_program_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/LOG.md");
    let expected = page();
    if std::env::var_os("RECAP_UPDATE").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "configs/LOG.md is out of date, RECAP_UPDATE=1 writes it"
    );
}

fn fits(kind: Type, value: &Value) -> bool {
    match kind {
        Type::Number => value.is_number() || value.is_null(),
        Type::Integer => value.is_i64() || value.is_u64(),
        Type::Text => value.is_string(),
        Type::Truth => value.is_boolean(),
    }
}

/// Checks every record against the schema; returns the events met.
fn check(lines: &str) -> BTreeSet<String> {
    let mut met = BTreeSet::new();
    for line in lines.lines() {
        let record: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(record["schema"], SCHEMA, "{line}");
        let timestamp = record["timestamp"].as_str().unwrap();
        assert!(
            chrono::DateTime::parse_from_rfc3339(timestamp).is_ok(),
            "{line}"
        );
        let own = match record["event"].as_str() {
            None => &[][..],
            Some(name) => {
                met.insert(name.to_owned());
                let event = EVENTS.iter().find(|event| event.name == name);
                event.unwrap_or_else(|| panic!("unknown: {line}")).keys
            }
        };
        for key in COMMON.iter().chain(own) {
            match record.get(key.name) {
                Some(value) => assert!(fits(key.kind, value), "{}: {line}", key.name),
                None => assert!(!key.always, "{} is missing: {line}", key.name),
            }
        }
        if record["event"].is_string() {
            for name in record.as_object().unwrap().keys() {
                let known = |key: &Key| key.name == name;
                let is_known = COMMON.iter().chain(own).any(known);
                assert!(is_known, "{name} is not described: {line}");
            }
        }
    }
    met
}

const EVERYTHING: [&str; 12] = [
    "--set",
    "training.evaluate=true",
    "--set",
    "training.eval_log_every_n=6",
    "--set",
    "training.log_task_losses=true",
    "--set",
    "training.log_learning_rates=true",
    "--set",
    "training.keep_best_metric=valid/loss",
    "--set",
    "training.num_eval_steps=2",
];

#[test]
fn every_record_is_as_described() {
    let run = run_with_validation();
    let output = run.output(&[&EVERYTHING[..], &["--log_format=json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let on_stderr = check(&stderr(&output));
    let steps = ["--set", "training.num_train_steps=14"];
    run.ok(&steps);
    let failed = run.fails(
        &[
            "--log_format=json",
            "--set",
            "train_data.inputs=/no",
            "--set",
            "training.num_train_steps=20",
        ],
        3,
    );
    assert!(check(&failed).contains("failed"), "{failed}");
    let events = std::fs::read_to_string(run.path("save/events.jsonl")).unwrap();
    let met = check(&events);
    let expected = [
        "best",
        "config",
        "device",
        "evaluated",
        "evaluation",
        "failed",
        "finished",
        "learning_rate",
        "model",
        "resumed",
        "saved",
        "saving",
        "step",
        "task_loss",
        "verdict",
    ];
    assert_eq!(met, expected.map(str::to_owned).into());
    assert!(on_stderr.is_subset(&met) && on_stderr.len() == met.len() - 2);
}

#[test]
fn the_verdict_accounts_for_the_whole_time() {
    let run = Run::with_data();
    run.ok(&[]);
    let events = std::fs::read_to_string(run.path("save/events.jsonl")).unwrap();
    let records = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let verdict = records
        .into_iter()
        .find(|record| record["event"] == "verdict")
        .unwrap();
    let parts = [
        "start",
        "data_wait",
        "forward",
        "backward",
        "optimizer",
        "checkpoint",
        "evaluation",
        "other",
    ];
    let shares = parts.map(|part| verdict[part].as_f64().unwrap());
    assert!(
        shares.iter().all(|share| (0.0..=1.0).contains(share)),
        "{verdict}"
    );
    let sum: f64 = shares.iter().sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}: {verdict}");
    assert_eq!(verdict["steps"], 12);
    for key in [
        "forward",
        "backward",
        "optimizer",
        "inflate_secs",
        "parse_secs",
    ] {
        assert!(verdict[key].as_f64().unwrap() > 0.0, "{key}: {verdict}");
    }
}

#[test]
fn a_profile_holds_the_steps_that_were_asked_for() {
    let run = Run::with_data();
    run.ok(&["--profile_steps=3..5"]);
    let path = run.path("save/profile/steps_3_5_rank_0.json");
    let trace: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let count = |name: &str| events.iter().filter(|event| event["name"] == name).count();
    for part in ["data wait", "forward", "backward", "optimizer"] {
        assert_eq!(count(part), 2, "{part}");
    }
    assert!(count("aten::sum") > 0, "operations of libtorch are there");
}

#[test]
fn a_profile_of_steps_that_never_come_is_said() {
    let run = Run::with_data();
    let log = stderr(&run.output(&["--profile_steps=30..40"]));
    assert!(log.contains("--profile_steps 30..40"), "{log}");
    assert!(!run.path("save/profile").exists());
    for wrong in ["5..3", "5", "a..b"] {
        let message = run.fails(&[&format!("--profile_steps={wrong}")], 2);
        assert!(message.contains("--profile_steps"), "{message}");
    }
}

/// Says which Python to use.
const PYTHON: &str = "RECAP_PYTHON";

/// A Python with TensorBoard: the one that the environment names, else python3; or why there is none.
fn python_with_tensorboard() -> Result<String, String> {
    let named = std::env::var(PYTHON).ok();
    let mut reason = String::new();
    for python in named.into_iter().chain(["python3".to_owned()]) {
        let probe = Command::new(&python)
            .args([
                "-c",
                "import tensorboard.backend.event_processing.event_accumulator",
            ])
            .output();
        match probe {
            Ok(output) if output.status.success() => return Ok(python),
            Ok(output) => {
                let text = stderr(&output);
                let last = text.lines().last().unwrap_or("no message").to_owned();
                let _ = write!(reason, " {python}: {last};");
            }
            Err(error) => {
                let _ = write!(reason, " {python}: {error};");
            }
        }
    }
    Err(reason)
}

/// What TensorBoard shows of a folder.
fn read_with_tensorboard(python: &str, folder: &Path) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/read_tensorboard.py");
    let output = Command::new(python)
        .arg(script)
        .arg(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn steps_of(shown: &Value, tag: &str) -> Vec<u64> {
    let points = shown["scalars"][tag].as_array();
    let points = points.unwrap_or_else(|| panic!("no {tag} in {shown}"));
    points
        .iter()
        .map(|point| point[0].as_u64().unwrap())
        .collect()
}

#[test]
fn tensorboard_shows_curves_that_do_not_double_back() {
    let python = match python_with_tensorboard() {
        Ok(python) => python,
        Err(reason) => {
            println!("skipped, set {PYTHON} to a Python with tensorboard:{reason}");
            return;
        }
    };
    let run = run_with_validation();
    let histograms = ["--set", "training.histogram_every_n=4"];
    let args = [&EVERYTHING[..], &histograms].concat();
    run.ok(&args);
    // As if the run had been killed after step 12 was logged and before it was saved.
    std::fs::remove_dir_all(run.path("save/12")).unwrap();
    let before = run.losses("save");
    run.ok(&args);
    let shown = read_with_tensorboard(&python, &run.path("save/tensorboard"));
    let all: Vec<u64> = (1..=12).collect();
    for tag in [
        "loss",
        "grad_norm",
        "task_loss/label.fav",
        "learning_rate/backbone",
        "speed/examples_per_s",
    ] {
        assert_eq!(steps_of(&shown, tag), all, "{tag}");
    }
    for (point, (step, loss)) in shown["scalars"]["loss"]
        .as_array()
        .unwrap()
        .iter()
        .zip(before)
    {
        assert_eq!(point[0], step);
        assert!((point[1].as_f64().unwrap() - loss).abs() < 1e-6, "{point}");
    }
    assert_eq!(steps_of(&shown, "valid/loss"), [6, 12]);
    assert_eq!(steps_of(&shown, "valid/label.fav/auroc"), [6, 12]);
    let histograms =
        &shown["histograms"]["weights/model._backbone._mask_blocks.0._mask_layer.0.weight"];
    let counts: Vec<_> = histograms
        .as_array()
        .unwrap()
        .iter()
        .map(|point| (&point[0], &point[1]))
        .collect();
    assert_eq!(counts.len(), 3, "{histograms}");
    assert!(
        shown["texts"]["config"]
            .as_str()
            .unwrap()
            .contains("num_train_steps: 12"),
        "{shown}"
    );
}

#[test]
fn without_tensorboard_nothing_is_written_for_it() {
    let run = Run::with_data();
    run.ok(&["--set", "training.tensorboard=false"]);
    assert!(!run.path("save/tensorboard").exists());
    let other = format!("training.save_dir={}", run.path("other").display());
    run.ok(&["--set", &other]);
    let files = std::fs::read_dir(run.path("other/tensorboard")).unwrap();
    assert_eq!(files.count(), 1);
}

#[test]
fn an_interrupted_run_says_that_it_was_asked_to_end() {
    let run = Run::with_data();
    let mut command = run.command(&[
        "--log_format=json",
        "--set",
        "training.num_train_steps=100000",
    ]);
    let mut child = command
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let is_step = |line: &String| line.contains("\"event\":\"step\"");
    let first = lines.by_ref().map(Result::unwrap).find(is_step);
    assert!(first.is_some(), "the run has ended before its first step");
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(75));
    let met = check(&rest.join("\n"));
    for event in ["interrupted", "saved", "verdict", "stopped"] {
        assert!(met.contains(event), "no {event} in {met:?}");
    }
    assert!(!met.contains("failed"), "{met:?}");
    let last = rest.last().unwrap();
    assert!(
        last.contains("run the same command again") && last.contains("\"exit_code\":75"),
        "{last}"
    );
}

#[test]
fn a_run_goes_on_where_one_was_killed_while_it_removed_superseded_records() {
    let run = Run::with_data();
    run.ok(&[]);
    let save_dir = run.path("save");
    for step in ["8", "12"] {
        std::fs::remove_dir_all(save_dir.join(step)).unwrap();
    }
    let left = save_dir.join("..events.rest.7-0@elsewhere.recap-draft");
    std::fs::write(&left, "half").unwrap();
    run.ok(&[]);
    assert!(!left.exists());
    let told = |event: &serde_json::Value| {
        let message = event["message"].as_str().unwrap_or_default();
        message.contains("removed what a killed process left over")
    };
    assert!(run.events("save").iter().any(told));
}
