//! Runs the program on a tiny model in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The folder with the fixtures.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A folder with a config and, once generated, data; gone when dropped.
pub(crate) struct Run {
    dir: tempfile::TempDir,
}

impl Run {
    /// The tiny config, no data.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::copy(
            fixtures().join("tiny/config.yaml"),
            dir.path().join("config.yaml"),
        )
        .expect("the tiny config");
        Self { dir }
    }

    /// The tiny config and 3 files of data: 200 examples, so that 13 batches are more than an epoch.
    pub(crate) fn with_data() -> Self {
        let run = Self::new();
        let output = run.ok(&["generate", "--n_examples=200", "--n_files=3"]);
        assert_eq!(output.lines().count(), 3, "one path a line: {output}");
        run
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program on this config, not started yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recap-train"));
        command
            .arg(format!(
                "--config_path={}",
                self.path("config.yaml").display()
            ))
            .args(args);
        command
            .env("RUN_DIR", self.dir.path())
            .env("FIXTURES", fixtures())
            .env_remove("RUST_LOG");
        // Many tests run at once: threads of the tiny model that wait should not hold a core.
        command.env("OMP_WAIT_POLICY", "PASSIVE");
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the program starts")
    }

    /// Runs to the end, which must be a good one; returns stdout.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(
            output.status.success(),
            "{args:?} failed:\n{}",
            stderr(&output)
        );
        String::from_utf8(output.stdout).expect("stdout is text")
    }

    /// Runs to an end that must be `code`; returns stderr.
    pub(crate) fn fails(&self, args: &[&str], code: i32) -> String {
        let output = self.output(args);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}:\n{}",
            stderr(&output)
        );
        stderr(&output)
    }

    /// Bytes of the weights and of the optimizer in a checkpoint.
    pub(crate) fn checkpoint(&self, save_dir: &str, step: u64) -> (Vec<u8>, Vec<u8>) {
        let read = |name| {
            let path = self.path(save_dir).join(step.to_string()).join(name);
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        (read("model.safetensors"), read("optimizer.safetensors"))
    }

    /// The log of a save folder.
    pub(crate) fn events(&self, save_dir: &str) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.path(save_dir).join("events.jsonl"))
            .expect("events.jsonl");
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("a JSON line"))
            .collect()
    }

    /// The losses in the log of a save folder, by step, in the order they were logged.
    pub(crate) fn losses(&self, save_dir: &str) -> Vec<(u64, f64)> {
        let line = |record: serde_json::Value| {
            Some((record["global_step"].as_u64()?, record["loss"].as_f64()?))
        };
        self.events(save_dir)
            .into_iter()
            .filter(|record| record["steps_per_s"].is_number())
            .filter_map(line)
            .collect()
    }
}

/// The same with the system's default for every signal: where the tests run in the background or under nohup, some are
/// ignored, and a program leaves those alone.
pub(crate) fn with_default_signals(command: &Command) -> Command {
    let mut through_env = Command::new("env");
    through_env
        .arg("--default-signal")
        .arg(command.get_program())
        .args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => through_env.env(key, value),
            None => through_env.env_remove(key),
        };
    }
    through_env.stdin(Stdio::null());
    through_env
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
