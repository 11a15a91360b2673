//! What every command says of itself, held still: a change shows in a review, not to a user first.

use std::process::{Command, Output};

use crate::support::{Run, stderr};

fn program(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recap-train"));
    command
        .args(args)
        .env_remove("RUST_LOG")
        .env("COLUMNS", "100");
    command.output().unwrap()
}

fn stdout(args: &[&str]) -> String {
    let output = program(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_help_of_every_command_is_as_reviewed() {
    insta::assert_snapshot!("help", stdout(&["--help"]));
    let commands = [
        "convert",
        "generate",
        "inspect",
        "check",
        "evaluate",
        "predict",
        "doctor",
        "completions",
        "man",
    ];
    for command in commands {
        insta::assert_snapshot!(format!("help_{command}"), stdout(&[command, "--help"]));
    }
    let help = stdout(&["--help"]);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    let listed: Vec<&str> = listed
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(listed, commands, "every command is held");
}

#[test]
fn the_version_names_every_part_of_the_build() {
    let text = stdout(&["--version"]);
    let mut lines = text.lines();
    let first = lines.next().unwrap();
    let version = concat!("recap-train ", env!("CARGO_PKG_VERSION"), " (libtorch 2.");
    assert!(first.starts_with(version), "{text}");
    for (line, fact) in lines.by_ref().zip(["commit ", "cuda ", "nccl ", "rustc "]) {
        assert!(line.starts_with(fact) && line.len() > fact.len(), "{text}");
    }
    assert_eq!(text.lines().count(), 5, "{text}");
    assert_eq!(stdout(&["-V"]).lines().count(), 1);
}

#[test]
fn shells_and_man_get_what_they_can_read() {
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef"),
        ("fish", "complete -c"),
    ] {
        let script = stdout(&["completions", shell]);
        assert!(
            script.contains(word) && script.contains("config_path"),
            "{shell}"
        );
    }
    let page = stdout(&["man"]);
    for part in [
        ".TH recap-train 1",
        "COMMAND GENERATE",
        "n_examples",
        "Exit codes",
    ] {
        assert!(page.contains(part), "{part} is missing in:\n{page}");
    }
    assert_eq!(program(&["completions", "tcsh"]).status.code(), Some(2));
}

/// `text` without what differs from run to run.
fn steady(text: &str, run: &Run) -> String {
    let folder = run.path("");
    let folder = folder.to_str().unwrap().trim_end_matches('/');
    let words = |line: &str| -> String {
        // The time at the start of a line.
        let time = line
            .split_once("Z ")
            .filter(|(time, _)| time.starts_with("20"));
        let line = time.map_or(line, |(_, rest)| rest.trim_start());
        line.replace(folder, "RUN")
    };
    text.lines().map(|line| words(line) + "\n").collect()
}

fn message(run: &Run, args: &[&str], code: i32) -> String {
    let log = run.fails(args, code);
    let last: Vec<&str> = log
        .lines()
        .skip_while(|line| !line.contains("ERROR"))
        .collect();
    steady(&last.join("\n"), run)
}

#[test]
fn the_main_messages_are_as_reviewed() {
    let run = Run::new();
    insta::assert_snapshot!("message_no_data", message(&run, &[], 3));
    run.ok(&["generate", "--n_examples=200", "--n_files=3"]);
    let unknown = ["--set", "training.num_train_step=3"];
    insta::assert_snapshot!("message_unknown_key", message(&run, &unknown, 2));
    insta::assert_snapshot!(
        "message_no_checkpoint",
        message(&run, &["predict", "--output=a.csv"], 2)
    );
    let diverge = [
        "--set",
        "optimizer.multi_task_learning_rates.backbone_learning_rate.linear_ramp_to_constant.learning_rate=1e38",
    ];
    let diverged = message(&run, &diverge, 4);
    let head = diverged.split("; batch from").next().unwrap_or_default();
    insta::assert_snapshot!("message_diverged", head);
    let output = Command::new(env!("CARGO_BIN_EXE_recap-train"))
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    insta::assert_snapshot!("message_no_config", steady(&stderr(&output), &run));
}

#[test]
fn the_doctor_finds_this_machine_fit_and_says_what_is_not() {
    let run = Run::with_data();
    let report = run.ok(&["doctor"]);
    for what in [
        "libtorch", "cuda", "threads", "memory", "files", "launch", "clock", "save_dir", "data",
    ] {
        let line = report
            .lines()
            .find(|line| line.contains(&format!("  {what} ")));
        let line = line.unwrap_or_else(|| panic!("nothing about {what} in\n{report}"));
        assert!(
            line.starts_with("ok") || line.starts_with("warn"),
            "{report}"
        );
    }
    assert!(!report.contains('\x1b'), "no colours in a pipe: {report}");
    assert!(!run.path("save").exists(), "nothing is left behind");
    std::fs::write(run.path("save"), "a file").unwrap();
    let output = run.output(&["doctor"]);
    assert_eq!(output.status.code(), Some(2));
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed = report
        .lines()
        .find(|line| line.starts_with("fail"))
        .unwrap();
    assert!(failed.contains("save_dir"), "{report}");
    assert!(report.contains("-> set training.save_dir"), "{report}");
    let broken = run.command(&["doctor"]).env("RANK", "0").output().unwrap();
    let report = String::from_utf8_lossy(&broken.stdout).into_owned();
    assert!(
        report.lines().any(|line| line.starts_with("fail  launch")),
        "{report}"
    );
}

/// Under a pseudo-terminal (`script` of util-linux makes one): a bar, short lines, colours unless `NO_COLOR`.
#[test]
fn a_terminal_gets_a_bar_and_a_pipe_gets_none() {
    let run = Run::with_data();
    let log = stderr(&run.output(&[]));
    assert!(
        !log.contains('\x1b') && log.contains("INFO Step: 12, training. global_step=12"),
        "{log}"
    );
    let has_script = Command::new("script").arg("--version").output();
    if !has_script.is_ok_and(|output| output.status.success()) {
        println!("skipped: there is no `script` to make a terminal with");
        return;
    }
    for (no_color, name) in [("", "a"), ("1", "b")] {
        let mut inner = run.command(&[]);
        inner.args([
            "--set",
            &format!("training.save_dir={}", run.path(name).display()),
        ]);
        let words = inner
            .get_args()
            .map(|arg| format!("'{}'", arg.to_str().unwrap()));
        let line = format!(
            "stty cols 80; {} {}",
            env!("CARGO_BIN_EXE_recap-train"),
            words.collect::<Vec<_>>().join(" ")
        );
        let mut outer = Command::new("script");
        outer
            .args(["-qec", &line, "/dev/null"])
            .stdin(std::process::Stdio::null());
        for (key, value) in inner.get_envs() {
            match value {
                Some(value) => outer.env(key, value),
                None => outer.env_remove(key),
            };
        }
        let output = outer
            .env("TERM", "xterm")
            .env("NO_COLOR", no_color)
            .output()
            .unwrap();
        let screen = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{screen}");
        let plain = screen.replace("\x1b[1m", "").replace("\x1b[0m", "");
        assert!(plain.contains("step 12  loss "), "{screen}");
        assert!(
            screen.contains("training ") && screen.contains("/12"),
            "a bar: {screen}"
        );
        assert!(
            screen.contains(&"#".repeat(80)) && !screen.contains(&"#".repeat(81)),
            "{screen}"
        );
        assert_eq!(
            screen.contains("\x1b[2m"),
            no_color.is_empty(),
            "{screen:?}"
        );
    }
}
