//! What the program meets around it: pipes in place of files, full disks behind stdout, folders that hold something else.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use recap_train::whole_file::Draft;

use crate::files::names;
use crate::support::{Run, stderr};

fn pipe(path: &Path) {
    let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, path, fifo, mode, 0).unwrap();
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recap-train"));
    command.args(args).stdin(Stdio::null());
    command
}

fn ended(output: &Output, code: i32, words: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word} is missing in {text}");
    }
}

#[test]
fn a_pipe_or_a_device_in_place_of_a_file_is_refused_at_once() {
    let run = Run::with_data();
    pipe(&run.path("pipe"));
    let pipe = run.path("pipe").display().to_string();
    let flag = |name: &str, path: &str| format!("--{name}={path}");
    for (path, what) in [(&*pipe, "is a pipe"), ("/dev/zero", "is a device")] {
        ended(
            &program(&[&flag("config_path", path)]).output().unwrap(),
            2,
            &[path, what],
        );
        let mapping = program(&["convert", &flag("mapping", path)]);
        ended(&{ mapping }.output().unwrap(), 2, &[path, what]);
        let schema = format!("train_data.seg_dense_schema.schema_path={path}");
        run.fails(&["check", "--set", &schema], 2);
        let message = run.fails(&["--set", &schema], 2);
        assert!(
            message.contains(path) && message.contains(what),
            "{message}"
        );
        let mask =
            format!("train_data.preprocess.truncate_and_slice.continuous_feature_mask_path={path}");
        let message = run.fails(&["check", "--set", &mask], 2);
        assert!(
            message.contains(path) && message.contains(what),
            "{message}"
        );
    }
    std::fs::write(run.path("t.csv"), "a,y\n1,0\n2,1\n").unwrap();
    std::fs::write(
        run.path("map.yaml"),
        "continuous: [a]\nlabels: {fav: \"y == 1\"}\n",
    )
    .unwrap();
    let [mapping, inputs, out] = [
        ("mapping", "map.yaml"),
        ("inputs", "t.csv"),
        ("output_dir", "out"),
    ]
    .map(|(name, path)| flag(name, run.path(path).to_str().unwrap()));
    let args = [
        "convert",
        &mapping,
        &inputs,
        &out,
        &flag("vocabulary", &pipe),
    ];
    ended(
        &program(&args).output().unwrap(),
        2,
        &["is a pipe", "to a file first"],
    );
}

#[test]
fn what_cannot_be_printed_is_not_done() {
    let run = Run::with_data();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for args in [
        &["--help"][..],
        &["--version"],
        &["check", "--help"],
        &["man"],
        &["completions", "bash"],
    ] {
        let output = program(args).stdout(full()).output().unwrap();
        ended(&output, 1, &["cannot write to stdout", "No space"]);
    }
    for args in [
        &["check"][..],
        &["inspect"],
        &["doctor"],
        &["--debug_loop"],
        &[],
    ] {
        let output = run.command(args).stdout(full()).output().unwrap();
        ended(&output, 1, &["No space"]);
    }
    assert!(!run.path("save/12").exists());
}

#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    let run = Run::with_data();
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    for args in [&["--help"][..], &["man"]] {
        assert!(
            program(args).stdout(closed()).status().unwrap().success(),
            "{args:?}"
        );
    }
    for args in [
        &["check"][..],
        &["inspect"],
        &["--set", "training.num_train_steps=2"],
    ] {
        let output = run.command(args).stdout(closed()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn random_data_takes_the_place_of_nothing() {
    let run = Run::new();
    let mine = run.path("data/random-00001.tfrecord.gz");
    std::fs::create_dir(run.path("data")).unwrap();
    std::fs::write(&mine, "my own").unwrap();
    let elsewhere = format!("--output_dir={}", run.path("data").display());
    for args in [
        &["generate", "--n_files=2"][..],
        &["generate", "--n_files=2", "--beside"],
        &["generate", "--n_files=2", &elsewhere],
    ] {
        let message = run.fails(args, 2);
        assert!(
            message.contains("random-00001.tfrecord.gz is there already"),
            "{message}"
        );
    }
    let one: &[&str] = &["generate", "--n_examples=20", "--n_files=1"];
    let message = run.fails(one, 2);
    assert!(
        message.contains("other data") && message.contains("--beside"),
        "{message}"
    );
    assert_eq!(names(&run.path("data")), ["random-00001.tfrecord.gz"]);
    run.ok(&[one, &["--beside"]].concat());
    assert_eq!(
        names(&run.path("data")),
        ["random-00001.tfrecord.gz", "random.tfrecord.gz"]
    );
    assert_eq!(std::fs::read(mine).unwrap(), b"my own");
}

#[test]
fn two_conversions_into_one_folder_are_told_apart_at_the_start() {
    let run = Run::new();
    std::fs::write(run.path("t.csv"), "a,y\n1,0\n2,1\n3,0\n4,1\n").unwrap();
    std::fs::write(
        run.path("map.yaml"),
        "continuous: [a]\nlabels: {fav: \"y == 1\"}\n",
    )
    .unwrap();
    let args = [
        ("mapping", "map.yaml"),
        ("inputs", "t.csv"),
        ("output_dir", "made/out"),
    ]
    .map(|(name, path)| format!("--{name}={}", run.path(path).display()));
    let convert = || {
        let mut command = program(&["convert"]);
        command.args(&args);
        command
    };
    let first = Draft::folder(&run.path("made/out")).unwrap();
    let second = convert().output().unwrap();
    ended(&second, 2, &["made/out", "another conversion"]);
    drop(first);
    ended(&convert().output().unwrap(), 0, &[]);
}

#[test]
fn the_doctor_recognises_what_training_does() {
    let run = Run::new();
    std::fs::create_dir(run.path("data")).unwrap();
    for (bytes, words) in [
        (&b"<html><body>404"[..], "an HTML page"),
        (b"PAR1\x15\x04\x15\x10", "a Parquet file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            "git lfs pull",
        ),
        (b"", "empty (0 bytes)"),
    ] {
        std::fs::write(run.path("data/a.gz"), bytes).unwrap();
        let output = run.output(&["doctor"]);
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(3), "{report}{}", stderr(&output));
        assert!(
            report.contains("a.gz") && report.contains(words),
            "{report}"
        );
        assert!(run.fails(&[], 3).contains(words));
    }
    run.ok(&["generate", "--n_examples=200", "--n_files=3", "--beside"]);
    let report = run.ok(&["doctor"]);
    assert!(
        report.contains("1 of no use") && report.contains("a.gz has no record"),
        "{report}"
    );
}

#[test]
fn addresses_and_homes_of_others_are_no_folders() {
    let run = Run::with_data();
    for (place, words) in [
        ("s3:/b/x", "`s3:`"),
        ("gs:b/x", "`gs:`"),
        ("file:///tmp/x", "`file:`"),
        ("http:/h/x", "`http:`"),
        ("~root/x", "in full"),
        ("~nobody", "in full"),
    ] {
        for flag in [
            "generate --output_dir",
            "predict --output",
            "check --output",
            "--config_path",
        ] {
            let (command, flag) = flag.rsplit_once(' ').unwrap_or(("", flag));
            let flag = format!("{flag}={place}");
            let args = [command, &flag];
            let args = &args[usize::from(command.is_empty())..];
            let message = run.fails(args, 2);
            assert!(
                message.contains(words) && message.contains(place),
                "{args:?}: {message}"
            );
        }
        for key in ["training.save_dir", "train_data.cache_dir"] {
            let set = format!("{key}={place}");
            let message = run.fails(
                &["check", "--set", "train_data.cache=true", "--set", &set],
                2,
            );
            assert!(
                message.contains(words) && message.contains(key),
                "{message}"
            );
        }
    }
    let message = run.fails(&["check", "--set", "training.save_dir=${RUN}/save"], 2);
    assert!(message.contains("holds ${RUN}"), "{message}");
    let message = run.fails(&["check", "--set", "training.seed=9223372036854775808"], 2);
    assert!(message.contains("9223372036854775807"), "{message}");
}
