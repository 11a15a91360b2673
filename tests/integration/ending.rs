//! How a run ends when a signal asks for it: saved, with the evaluation that was under way still to come, and soon, even
//! where a read does not return.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::evaluate::run_with_validation;
use crate::store_server::{Server, Shared, Trick};
use crate::support::{Run, with_default_signals};

/// A run that has not ended.
struct Process {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    seen: String,
}

impl Process {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self {
            child,
            stderr,
            seen: String::new(),
        }
    }

    /// Reads the log up to a line that contains `part`.
    fn wait_for(&mut self, part: &str) {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            let read = self.stderr.read_line(&mut line).unwrap();
            assert!(read > 0, "the run ended before {part}:\n{}", self.seen);
            self.seen += &line;
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// The exit code and the log, which must come to an end; the deadline only catches hangs.
    fn end(mut self, seconds: u64) -> (Option<i32>, String) {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if begin.elapsed().as_secs() > seconds {
                self.child.kill().unwrap();
                panic!("still there after {seconds} s:\n{}", self.seen);
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        self.stderr.read_to_string(&mut self.seen).unwrap();
        (status.code(), self.seen)
    }
}

const LONG: &str = "--set=training.num_train_steps=1000000";

fn save_dir(run: &Run, name: &str) -> String {
    format!("--set=training.save_dir={}", run.path(name).display())
}

#[test]
fn what_schedulers_send_saves_and_is_named() {
    let run = Run::with_data();
    for signal in ["HUP", "USR1", "USR2", "XCPU", "ALRM", "INT"] {
        let command = run.command(&[LONG, &save_dir(&run, signal)]);
        let mut process = Process::start(with_default_signals(&command));
        process.wait_for("Step: 1,");
        process.signal(&format!("-{signal}"));
        process.wait_for(&format!("SIG{signal} asked this run to end"));
        // A scheduler's next step does not cut the save off.
        process.signal("-TERM");
        let (code, text) = process.end(60);
        assert_eq!(code, Some(75), "{signal}: {text}");
        assert!(
            text.contains(&format!("interrupted by SIG{signal} after step")),
            "{text}"
        );
    }
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let run = Run::with_data();
    let inner = run.command(&[LONG]);
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' HUP; exec \"$0\" \"$@\""])
        .arg(inner.get_program());
    command.args(inner.get_args());
    for (key, value) in inner.get_envs() {
        value.map(|value| command.env(key, value));
    }
    let mut process = Process::start(command);
    process.wait_for("Step: 1,");
    process.signal("-HUP");
    process.wait_for("Step: ");
    process.wait_for("Step: ");
    process.signal("-TERM");
    let (code, text) = process.end(60);
    assert_eq!(code, Some(75), "{text}");
    assert!(text.contains("interrupted by SIGTERM"), "{text}");
}

/// A server with the data of `run`, the way to its files, and the program on one of them.
fn served(run: &Run, trick: Trick) -> (Server, String) {
    let server = Server::start(Shared::with(trick));
    server.add(&run.path("data"), "bucket/train");
    server.add(&run.path("data"), "bucket/valid");
    let inputs = "--set=train_data.inputs=s3://bucket/train/random-00000*".to_owned();
    (server, inputs)
}

#[test]
fn a_run_whose_data_does_not_come_ends_all_the_same() {
    let run = Run::with_data();
    // The first listing, the first size, the first bytes: nothing is trained, and nothing is lost.
    for (part, trick) in [
        ("GET /bucket?", Trick::Hang("GET bucket", 0)),
        ("GET /bucket/train/", Trick::Hang("GET bucket/train/", 0)),
    ] {
        let (server, inputs) = served(&run, trick);
        let process = Process::start(server.command(&run, &[&inputs, LONG]));
        server.wait_for(part, 1);
        process.signal("-TERM");
        let (code, text) = process.end(60);
        assert_eq!(code, Some(75), "{text}");
        assert!(
            text.contains("SIGTERM") && text.contains("run the same command again"),
            "{text}"
        );
    }
}

#[test]
fn a_run_whose_data_stops_coming_saves_what_it_has() {
    let run = Run::with_data();
    let (server, inputs) = served(&run, Trick::None);
    let mut process = Process::start(server.command(&run, &[&inputs, LONG]));
    process.wait_for("Step: 3,");
    // Each epoch opens the file again.
    server.play(Trick::Hang("GET bucket/train/", 0));
    server.wait_for("GET /bucket/train/", 1);
    process.signal("-TERM");
    let (code, text) = process.end(60);
    assert_eq!(code, Some(75), "{text}");
    assert!(text.contains("the state is saved in"), "{text}");
}

/// Evaluates every fifth of ten steps on a partition in the store, and keeps the best.
const EVALUATES: [&str; 6] = [
    "--set=training.num_train_steps=10",
    "--set=training.checkpoint_every_n=10",
    "--set=training.evaluate=true",
    "--set=training.eval_log_every_n=5",
    "--set=training.keep_best_metric=valid/loss",
    "--set=validation_data.valid.inputs=s3://bucket/valid/*",
];

/// Steps and losses of the evaluations, and whether each was the best.
fn evaluations(run: &Run, save_dir: &str) -> Vec<(Value, Value, Value)> {
    let events = run.events(save_dir);
    let of = |name: &str| -> Vec<Value> {
        events
            .iter()
            .filter(|event| event["event"] == name)
            .cloned()
            .collect()
    };
    let best = of("best");
    let found = of("evaluated");
    assert_eq!(found.len(), best.len(), "{events:?}");
    let pair = |(found, best): (Value, Value)| {
        (
            found["global_step"].clone(),
            found["eval_loss"].clone(),
            best["is_better"].clone(),
        )
    };
    found.into_iter().zip(best).map(pair).collect()
}

fn state(run: &Run, save_dir: &str, folder: &str) -> Value {
    let path = run.path(save_dir).join(folder).join("state.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    file["state"].clone()
}

/// Stops a run in its `nth` evaluation, runs it again, and compares with the run left alone.
fn stopped_in_an_evaluation(nth: usize, launch: &[&str], signal: &str, expected: Option<i32>) {
    let run = run_with_validation();
    let (server, _) = served(&run, Trick::None);
    let args = |save: &str| -> Vec<String> {
        let all = EVALUATES.iter().chain(launch).map(|&arg| arg.to_owned());
        all.chain([save_dir(&run, save)]).collect()
    };
    let whole = args("whole");
    server.ok(&run, &whole.iter().map(String::as_str).collect::<Vec<_>>());
    let parts = args("parts");
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    // Two ranks both read the last of the three files.
    let files = if launch.is_empty() { 3 } else { 4 };
    let before = (nth - 1) * files;
    server.play(Trick::Hang("GET bucket/valid/", before));
    let process = Process::start(server.command(&run, &parts));
    server.wait_for("GET /bucket/valid/", before + 1);
    process.signal(signal);
    let (code, text) = process.end(60);
    assert_eq!(code, expected, "{text}");
    server.play(Trick::None);
    server.ok(&run, &parts);
    assert_eq!(evaluations(&run, "whole"), evaluations(&run, "parts"));
    let best = |save: &str| {
        (
            state(&run, save, "best")["step"].clone(),
            state(&run, save, "best")["best"].clone(),
        )
    };
    assert_eq!(best("whole"), best("parts"));
    let last = if launch.is_empty() { 10 } else { 20 };
    assert!(
        run.checkpoint("whole", last) == run.checkpoint("parts", last),
        "the bytes differ"
    );
    let state = state(&run, "parts", &last.to_string());
    assert!(state.get("evaluation_due").is_none(), "{state}");
    let text = server.ok(&run, &parts);
    assert!(text.contains("training is finished"), "{text}");
}

#[test]
fn an_evaluation_that_a_signal_cuts_short_comes_when_the_run_goes_on() {
    stopped_in_an_evaluation(1, &[], "-TERM", Some(75));
}

#[test]
fn a_run_is_finished_only_when_its_last_evaluation_is() {
    stopped_in_an_evaluation(2, &[], "-USR1", Some(75));
}

#[test]
fn a_kill_in_an_evaluation_changes_nothing() {
    stopped_in_an_evaluation(1, &[], "-KILL", None);
}

#[test]
fn ranks_leave_an_evaluation_together() {
    stopped_in_an_evaluation(2, &["--nproc_per_node=2"], "-TERM", Some(75));
}
