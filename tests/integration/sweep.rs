//! A disk that fails, and a process that is killed, at every system call on a file of a short training with evaluation,
//! best checkpoint, disk cache and TensorBoard: never success with damage, and the same bytes after running again.
//!
//! `make soak` goes through all calls (`RECAP_SWEEP=all`), `make test` through a few; a number says how many.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::evaluate::run_with_validation;
use crate::support::{Run, stderr};

/// Calls that a test tries of each kind of fault, where not all are asked for.
const FEW: usize = 5;
const KILLED: i32 = 137;
/// `inject` could not listen for system calls.
const NOT_ALLOWED: i32 = 98;
const STEPS: u64 = 6;

/// What happens at a call, as `inject` takes it.
const FAULTS: [(&str, &str); 3] = [("EIO", "5"), ("ENOSPC", "28"), ("kill", "kill")];

/// Compiles the program that meddles with system calls; or why it cannot be.
fn injector(folder: &Path) -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/inject.c");
    let program = folder.join("inject");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let mut command = Command::new(&compiler);
    command.args(["-O1", "-o"]).arg(&program).arg(source);
    match command.output() {
        Ok(output) if output.status.success() => Ok(program),
        Ok(output) => Err(format!("{compiler}: {}", stderr(&output))),
        Err(error) => Err(format!("{compiler}: {error}")),
    }
}

/// The training in `folder`, which is relative to the run's.
fn training(run: &Run, folder: &str) -> Command {
    let set = |key: &str, value: String| format!("--set={key}={value}");
    let path = |name: &str| run.path(&format!("{folder}/{name}")).display().to_string();
    let args = [
        set("training.save_dir", path("save")),
        set("training.num_train_steps", STEPS.to_string()),
        set("training.checkpoint_every_n", "2".to_owned()),
        set("training.checkpoint_max_to_keep", "2".to_owned()),
        set("training.evaluate", "true".to_owned()),
        set("training.eval_log_every_n", "3".to_owned()),
        set("training.num_eval_steps", "1".to_owned()),
        set("training.keep_best_metric", "valid/loss".to_owned()),
        set("train_data.cache", "true".to_owned()),
        set("train_data.cache_dir", path("rows")),
        set("train_data.map_num_parallel_calls", "1".to_owned()),
    ];
    run.command(&args.each_ref().map(String::as_str))
}

/// Runs the training with `fault` at call `nth`; with 0 there is none. Returns how many calls there were, too.
fn meddled(run: &Run, (program, folder): (&Path, &str), fault: (&str, usize)) -> (Output, usize) {
    meddled_below(run, (program, folder), folder, fault)
}

/// The same for calls on what begins with `below` alone.
fn meddled_below(
    run: &Run,
    (program, folder): (&Path, &str),
    below: &str,
    (fault, nth): (&str, usize),
) -> (Output, usize) {
    let plain = training(run, folder);
    let below = run.path(below);
    std::fs::create_dir_all(run.path(folder)).unwrap();
    let count = run.path(&format!("{folder}.count"));
    let mut command = Command::new("sh");
    // The shell opens descriptor 3 for the count.
    command
        .args(["-c", "exec 3>\"$0\"; exec \"$@\""])
        .arg(&count)
        .arg(program)
        .arg(&below)
        .args([fault, &nth.to_string(), "--"])
        .arg(plain.get_program())
        .args(plain.get_args())
        .stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.output().unwrap();
    let count = std::fs::read_to_string(count).unwrap_or_default();
    (output, count.trim().parse().unwrap_or(0))
}

/// Bytes of what a training leaves: the newest checkpoint and the best.
fn result(run: &Run, folder: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let save = format!("{folder}/save");
    let best = run.path(&format!("{save}/best"));
    let read = |name: &str| std::fs::read(best.join(name)).unwrap_or_default();
    vec![
        run.checkpoint(&save, STEPS),
        (read("model.safetensors"), read("optimizer.safetensors")),
    ]
}

/// What is wrong with the files that a training which ended well has left in `folder`.
fn faults_of(run: &Run, folder: &str, expected: &[(Vec<u8>, Vec<u8>)]) -> String {
    let mut wrong = String::new();
    if result(run, folder) != expected {
        wrong += "other bytes; ";
    }
    let mut all: BTreeSet<String> = names(&run.path(&format!("{folder}/save")), true);
    let kept: Vec<_> = all
        .iter()
        .filter(|name| name.parse::<u64>().is_ok())
        .collect();
    if kept != ["4", "6"] {
        let _ = write!(wrong, "checkpoints {kept:?}; ");
    }
    all.extend(names(&run.path(&format!("{folder}/rows")), true));
    let is_left = |name: &&String| {
        ["draft", "part", "writing", "rest", "deleting", "replaced"]
            .iter()
            .any(|word| name.contains(word))
    };
    let left: Vec<_> = all.iter().filter(is_left).collect();
    if !left.is_empty() {
        let _ = write!(wrong, "left over {left:?}; ");
    }
    let steps: Vec<u64> = run
        .losses(&format!("{folder}/save"))
        .iter()
        .map(|(step, _)| *step)
        .collect();
    if steps != (1..=STEPS).collect::<Vec<_>>() {
        let _ = write!(wrong, "steps in the log {steps:?}; ");
    }
    wrong
}

/// Names of the files in `folder`, and below it if asked.
fn names(folder: &Path, deep: bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        found.insert(entry.file_name().to_string_lossy().into_owned());
        if deep && entry.path().is_dir() {
            found.extend(names(&entry.path(), true));
        }
    }
    found
}

/// One fault at one call, and the run after it; what went wrong.
fn attempt(
    run: &Run,
    program: &Path,
    expected: &[(Vec<u8>, Vec<u8>)],
    ((name, fault), nth): ((&str, &str), usize),
) -> Option<String> {
    let folder = format!("{name}-{nth}");
    let (output, _) = meddled(run, (program, &folder), (fault, nth));
    let log = stderr(&output);
    let mut wrong = String::new();
    match output.status.code() {
        Some(KILLED) if fault == "kill" => {}
        // A log that lost a record says so and is no failure of the training.
        Some(0) if log.contains("did not take every") => {}
        Some(0) => wrong += &faults_of(run, &folder, expected),
        // Neither the config nor the data is at fault.
        Some(1) if log.contains("ERROR") => {}
        other => wrong = format!("ended with {other:?}"),
    }
    let again = training(run, &folder).output().unwrap();
    let second = stderr(&again);
    if !again.status.success() {
        let _ = write!(wrong, "again: ended with {:?}; ", again.status.code());
    } else {
        let found = faults_of(run, &folder, expected);
        let is_said = log.contains("did not take every") && found.starts_with("steps in the log");
        if !found.is_empty() && !is_said {
            let _ = write!(wrong, "again: {found}");
        }
        if second.contains("damaged") {
            wrong += "again: something was damaged; ";
        }
    }
    let outcome = (!wrong.is_empty())
        .then(|| format!("{name} at call {nth}: {wrong}\n--- first\n{log}\n--- again\n{second}"));
    std::fs::remove_dir_all(run.path(&folder)).unwrap();
    outcome
}

/// A run with data, the program that meddles, and what a training without faults came to; `None`, and the reason is
/// printed, where system calls cannot be meddled with.
fn prepared() -> Option<(Run, PathBuf, Output, usize)> {
    let run = run_with_validation();
    let program = injector(&run.path(""))
        .inspect_err(|reason| {
            println!("skipped, the program that injects faults cannot be compiled: {reason}");
        })
        .ok()?;
    let (output, count) = meddled(&run, (&program, "whole"), ("0", 0));
    if output.status.code() == Some(NOT_ALLOWED) {
        println!("skipped, this kernel or container allows no seccomp notifications");
        return None;
    }
    Some((run, program, output, count))
}

#[test]
fn what_the_disk_refuses_once_is_written_later() {
    let Some((run, program, output, _)) = prepared() else {
        return;
    };
    assert!(output.status.success(), "{}", stderr(&output));
    // Records of other kinds depend on how fast the disk is.
    let named = |folder: &str| {
        let events = run.events(&format!("{folder}/save")).into_iter();
        let mut named: Vec<String> = events
            .filter_map(|event| event["event"].as_str().map(str::to_owned))
            .collect();
        named.sort();
        named
    };
    for (place, nth) in [("events.jsonl", 20), ("tensorboard/events.out", 7)] {
        let folder = format!("once-{nth}");
        let below = format!("{folder}/save/{place}");
        let (output, _) = meddled_below(&run, (&program, &folder), &below, ("28", nth));
        let log = stderr(&output);
        assert!(output.status.success(), "{log}");
        assert!(
            log.contains("wait in memory") && log.contains("written again"),
            "{log}"
        );
        assert_eq!(named(&folder), named("whole"), "{log}");
        assert_eq!(
            run.losses(&format!("{folder}/save")),
            run.losses("whole/save")
        );
    }
}

#[test]
fn a_fault_at_any_call_damages_nothing() {
    let Some((run, program, output, count)) = prepared() else {
        return;
    };
    assert!(
        output.status.success() && count > 100,
        "{count} calls\n{}",
        stderr(&output)
    );
    let expected = result(&run, "whole");
    assert_eq!(faults_of(&run, "whole", &expected), "");
    let many = match std::env::var("RECAP_SWEEP").as_deref() {
        Ok("all") => count,
        Ok(many) => many.parse().unwrap(),
        Err(_) => FEW,
    };
    let calls = (1..=count).step_by(count.div_ceil(many));
    let places: Vec<_> = calls
        .flat_map(|nth| FAULTS.map(|fault| (fault, nth)))
        .collect();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&place) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                    found
                        .lock()
                        .unwrap()
                        .extend(attempt(&run, &program, &expected, place));
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    assert!(
        found.is_empty(),
        "{} of {}\n{}",
        found.len(),
        places.len(),
        found.join("\n\n")
    );
}
