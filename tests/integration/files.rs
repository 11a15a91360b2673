//! Files of results and of the log: whole or not there, however a command ends, and free of what a terminal would obey.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Run, stderr, with_default_signals};

/// No command here takes longer.
const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Starts a command that takes long, and waits until it has begun to write into `folder`.
fn begun(command: &Command, folder: &Path) -> Child {
    let mut command = with_default_signals(command);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let begin = Instant::now();
    let own = format!(".{}-", child.id());
    let is_own = |name: &String| name.contains(&own) && name.ends_with(".recap-draft");
    while !names(folder).iter().any(is_own) {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        assert!(begin.elapsed() < DEADLINE, "{:?}", names(folder));
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

const LONG: [&str; 3] = ["generate", "--n_examples=10000000", "--n_files=2"];

#[test]
fn a_command_that_a_signal_ends_leaves_nothing() {
    for signal in [
        Signal::TERM,
        Signal::INT,
        Signal::HUP,
        Signal::USR1,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::POWER,
    ] {
        let run = Run::new();
        let child = begun(&run.command(&LONG), &run.path("data"));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let ended_by = output.status.code().map(|code| code - 128);
        assert_eq!(output.status.signal().or(ended_by), Some(signal.as_raw()));
        assert_eq!(names(&run.path("data")), [""; 0], "{}", stderr(&output));
    }
}

#[test]
fn what_a_killed_command_leaves_is_removed_by_the_next_and_said() {
    let run = Run::new();
    let mut child = begun(&run.command(&LONG), &run.path("data"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(names(&run.path("data")).len(), 1);
    let output = run.output(&["generate", "--n_examples=20", "--n_files=2"]);
    assert!(output.status.success());
    assert!(stderr(&output).contains("removed what a killed process left over"));
    let found = names(&run.path("data"));
    assert_eq!(
        found,
        ["random-00000.tfrecord.gz", "random-00001.tfrecord.gz"]
    );
}

#[test]
fn a_killed_conversion_is_removed_by_the_next() {
    let run = Run::new();
    let table: String = (0..300_000).map(|i| format!("{i}.5,{}\n", i % 2)).collect();
    std::fs::write(run.path("t.csv"), format!("a,y\n{table}")).unwrap();
    let mapping = "continuous: [a]\nlabels: {fav: \"y == 1\"}\n";
    std::fs::write(run.path("map.yaml"), mapping).unwrap();
    let paths = [
        ("--mapping", "map.yaml"),
        ("--inputs", "t.csv"),
        ("--output_dir", "made/out"),
    ];
    let args = paths.map(|(flag, name)| format!("{flag}={}", run.path(name).display()));
    let convert = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recap-train"));
        command.arg("convert").args(&args);
        command
    };
    for signal in [Signal::KILL, Signal::TERM] {
        let child = begun(&convert(), &run.path("made"));
        kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait_with_output().unwrap();
    }
    assert_eq!(names(&run.path("made")), [""; 0]);
    std::fs::write(run.path("t.csv"), "a,y\n1,0\n2,1\n3,0\n4,1\n").unwrap();
    assert!(convert().output().unwrap().status.success());
    assert_eq!(names(&run.path("made")), ["out"]);
}

#[test]
fn a_name_with_a_line_break_stays_in_its_line_of_results() {
    let run = Run::new();
    std::fs::write(run.path("t\n.csv"), "a,y\n1,0\n2,1\n3,0\n4,1\n").unwrap();
    let mapping = "continuous: [a]\nlabels: {fav: \"y == 1\"}\n";
    std::fs::write(run.path("map.yaml"), mapping).unwrap();
    let paths = [
        ("--mapping", "map.yaml"),
        ("--inputs", "t\n.csv"),
        ("--output_dir", "made\n/out"),
    ];
    let args = paths.map(|(flag, name)| format!("{flag}={}", run.path(name).display()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_recap-train"));
    let output = command.arg("convert").args(&args).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let last = stdout.lines().last().unwrap();
    assert!(last.ends_with("made\\n/out/config.yaml"), "{stdout}");
}

#[test]
fn predictions_of_no_rows_are_a_file_without_rows() {
    let run = Run::with_data();
    run.ok(&["--set", "training.num_train_steps=4"]);
    let empty = run.path("empty.tfrecord.gz");
    let one = [
        "--set",
        "train_data.inputs=none/*",
        "generate",
        "--n_examples=0",
        "--n_files=1",
    ];
    let folder = format!("--output_dir={}", run.path("none").display());
    run.ok(&[&one[..], &[folder.as_str()]].concat());
    std::fs::rename(run.path("none/random.tfrecord.gz"), &empty).unwrap();
    for labels in [&[][..], &["--labels"]] {
        for ending in ["csv", "jsonl", "parquet", "safetensors"] {
            let output = run.path(&format!("none.{ending}"));
            let args = [
                "predict".to_owned(),
                format!("--inputs={}", empty.display()),
                format!("--output={}", output.display()),
            ];
            let args: Vec<&str> = args
                .iter()
                .map(String::as_str)
                .chain(labels.iter().copied())
                .collect();
            let done = run.output(&args);
            assert!(done.status.success(), "{}", stderr(&done));
            assert!(stderr(&done).contains("no record"), "{}", stderr(&done));
            assert!(String::from_utf8_lossy(&done.stdout).starts_with("0 rows in "));
            assert!(output.exists());
            if ending == "csv" {
                let text = std::fs::read_to_string(&output).unwrap();
                assert_eq!(text.lines().count(), 1, "{text}");
                assert!(text.contains("label.fav/calibrated_probability"), "{text}");
            }
        }
    }
}

#[test]
fn steps_that_are_trained_again_are_in_the_log_once() {
    let run = Run::with_data();
    run.ok(&["--set", "training.log_task_losses=true"]);
    let whole = run.losses("save");
    // As if the run had been killed after step 12 was logged and before it was saved, with half a record on the disk.
    for step in [8, 12] {
        std::fs::remove_dir_all(run.path(&format!("save/{step}"))).unwrap();
    }
    let path = run.path("save/events.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text + "{\"schema\":1,\"timest").unwrap();
    let output = run.output(&["--set", "training.log_task_losses=true"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(run.losses("save"), whole);
    let events = run.events("save");
    let count = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!(count("task_loss"), 2 * whole.len());
    assert_eq!((count("resumed"), count("verdict")), (1, 2));
    let log = stderr(&output);
    assert!(
        log.contains("cut off half a record") && log.contains("trained again"),
        "{log}"
    );
}

/// Damages the payload of every second record of the uncompressed TFRecord file `path`.
fn damage_every_second(path: &Path) -> usize {
    let mut bytes = std::fs::read(path).unwrap();
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        if count % 2 == 1 {
            bytes[at + 12 + length / 2] ^= 0x55;
        }
        at += 16 + length;
        count += 1;
    }
    std::fs::write(path, bytes).unwrap();
    count / 2
}

#[test]
fn a_flood_of_damaged_records_is_counted_instead_of_written() {
    let run = Run::new();
    let inputs = format!("train_data.inputs={}", run.path("data/*").display());
    let generate = [
        "--set",
        &inputs,
        "generate",
        "--n_examples=400",
        "--n_files=1",
        "--compression=none",
    ];
    run.ok(&generate);
    let damaged = damage_every_second(&run.path("data/random.tfrecord"));
    assert_eq!(damaged, 200);
    let ignore = "train_data.ignore_data_errors=true";
    let output = run.output(&[
        "--set",
        &inputs,
        "--set",
        ignore,
        "--set",
        "training.num_train_steps=60",
    ]);
    let log = stderr(&output);
    assert!(output.status.success(), "{log}");
    let written = log.matches("skipping a damaged record").count();
    assert!((6..=12).contains(&written), "{log}");
    assert!(log.contains("100 like this so far"), "{log}");
    let events = run.events("save");
    let total = events
        .iter()
        .find(|event| event["event"] == "repeated")
        .unwrap();
    // Five epochs, at most one of them begun.
    assert!(total["count"].as_u64().unwrap() >= 800, "{total}");
    assert!(
        log.contains(&format!("{} times in all", total["count"])),
        "{log}"
    );
}

#[test]
fn names_from_outside_reach_no_terminal_as_they_are() {
    let run = Run::with_data();
    let evil = "x\u{1b}[2J\n2026-01-01T00:00:00Z  INFO finished\r\u{202e}\u{9b}";
    let folder = run.path(evil);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("damaged.gz"), "no gzip").unwrap();
    let inputs = format!("train_data.inputs={}/*.gz", folder.display());
    // As a value of YAML.
    let inputs = inputs.replace(evil, "\"*\"").replace("\"*\"", "x*");
    for format in ["text", "json"] {
        let output = run.output(&["--set", &inputs, &format!("--log_format={format}")]);
        let log = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{log}");
        let is_harmless = |c: char| c == '\n' || !c.is_control() && c != '\u{202e}';
        assert!(log.chars().all(is_harmless) || format == "json", "{log:?}");
        assert!(
            !log.contains('\u{1b}') && !log.contains("\n2026-01-01"),
            "{log}"
        );
        assert!(log.contains("INFO finished"), "the name is shown: {log}");
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_with_a_remedy() {
    let run = Run::new();
    let mut command = std::process::Command::new("sh");
    command.args([
        "-c",
        "ulimit -f 1; exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_recap-train"),
    ]);
    command.arg(format!(
        "--config_path={}",
        run.path("config.yaml").display()
    ));
    command.args(["generate", "--n_examples=2000", "--n_files=1"]);
    command
        .env("RUN_DIR", run.path(""))
        .env("FIXTURES", crate::support::fixtures());
    let output = command.output().unwrap();
    let log = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(
        log.contains("ulimit -f") && log.contains("random.tfrecord.gz"),
        "{log}"
    );
    assert_eq!(names(&run.path("data")), [""; 0]);
}

#[test]
fn the_loops_that_look_for_trouble_name_the_records_and_not_themselves() {
    let run = Run::with_data();
    let nan = ["--set", "model.tasks.\"label.fav\".pos_weight=3e38"];
    for looking in [&["--debug_loop"][..], &["check", "--dry_run"]] {
        let log = run.fails(&[&nan[..], looking].concat(), 4);
        assert!(
            log.contains("batch from ") && log.contains(" records "),
            "{log}"
        );
        assert!(
            !log.contains("batch from ;") && !log.contains("--debug_loop to"),
            "{log}"
        );
        assert_eq!(log.matches("batch from").count(), 1, "{log}");
    }
}
