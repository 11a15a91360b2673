//! What a user types and reads: results on stdout, one clear message on stderr, the right exit code.

use std::path::Path;
use std::process::Command;

use crate::support::{Run, stderr};

#[test]
fn help_and_version_are_results() {
    let program = || Command::new(env!("CARGO_BIN_EXE_recap-train"));
    let help = program().arg("--help").output().unwrap();
    assert!(help.status.success() && help.stderr.is_empty());
    let text = String::from_utf8(help.stdout).unwrap();
    for word in [
        "--config_path",
        "--debug_loop",
        "--set",
        "generate",
        "Exit codes",
    ] {
        assert!(text.contains(word), "{word} is missing in:\n{text}");
    }
    let version = program().arg("--version").output().unwrap();
    let text = String::from_utf8(version.stdout).unwrap();
    assert!(
        text.starts_with(concat!("recap-train ", env!("CARGO_PKG_VERSION")))
            && text.contains("libtorch 2."),
        "{text}"
    );
}

#[test]
fn no_config_is_bad_usage() {
    let output = Command::new(env!("CARGO_BIN_EXE_recap-train"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("--config_path"),
        "{}",
        stderr(&output)
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn an_unknown_flag_is_bad_usage() {
    let message = Run::new().fails(&["--debug_lop"], 2);
    assert!(
        message.contains("--debug_loop"),
        "suggests the flag: {message}"
    );
}

#[test]
fn a_config_that_is_not_there_is_named() {
    let run = Run::new();
    std::fs::remove_file(run.path("config.yaml")).unwrap();
    let message = run.fails(&[], 2);
    assert!(message.contains("config.yaml"), "{message}");
}

#[test]
fn missing_data_names_the_pattern_and_writes_nothing() {
    let run = Run::new();
    let message = run.fails(&[], 3);
    assert!(message.contains("data/*.gz"), "{message}");
    assert!(!run.path("data").exists());
}

#[test]
fn a_save_dir_that_cannot_be_written_is_named_before_training() {
    let run = Run::with_data();
    std::fs::write(run.path("save"), "a file").unwrap();
    let message = run.fails(&[], 2);
    assert!(
        message.contains(run.path("save").to_str().unwrap()),
        "{message}"
    );
    assert!(!message.contains("Step:"), "{message}");
}

#[test]
fn a_schema_that_lacks_a_feature_is_named() {
    let run = Run::with_data();
    let message = run.fails(
        &[
            "--set",
            "train_data.seg_dense_schema.renamed_features.binary=no_such",
        ],
        2,
    );
    assert!(
        message.contains("no_such") && message.contains("segdense.json"),
        "{message}"
    );
}

#[test]
fn a_corrupt_record_is_named_with_file_and_record() {
    let run = Run::with_data();
    let file = std::fs::read_dir(run.path("data"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&file, bytes).unwrap();
    let message = run.fails(&[], 3);
    assert!(
        message.contains(file.to_str().unwrap()) && message.contains("record"),
        "{message}"
    );
}

#[test]
fn the_debug_loop_prints_every_step_and_saves_nothing() {
    let run = Run::with_data();
    let output = run.output(&["--debug_loop", "--set", "training.num_train_steps=2"]);
    let log = stderr(&output);
    assert!(output.status.success(), "{log}");
    assert!(
        log.contains("Step 0 completed. Loss = ") && log.contains("Step 1 completed. Loss = "),
        "{log}"
    );
    assert!(!log.contains("Step 2 completed"), "{log}");
    assert!(!run.path("save").exists());
}

#[test]
fn both_loops_compute_the_same() {
    let run = Run::with_data();
    run.ok(&["--set", "training.num_train_steps=3"]);
    let log = stderr(&run.output(&["--debug_loop", "--set", "training.num_train_steps=3"]));
    for (step, loss) in run.losses("save") {
        let line = format!("Step {} completed. Loss = {loss}", step - 1);
        assert!(
            log.lines().any(|logged| logged.ends_with(&line)),
            "no line `{line}` in\n{log}"
        );
    }
}

#[test]
fn stdout_holds_the_banner_and_the_time_and_nothing_else() {
    let run = Run::with_data();
    let stdout = run.ok(&["--set", "training.num_train_steps=1"]);
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[0], "#".repeat(100));
    assert!(
        chrono::NaiveDateTime::parse_from_str(lines[1], "%Y_%m_%d_%H_%M").is_ok(),
        "{stdout}"
    );
    assert_eq!(lines.len(), 2, "{stdout}");
}

#[test]
fn the_log_can_be_json() {
    let run = Run::with_data();
    let output = run.output(&["--log_format=json", "--set", "training.num_train_steps=1"]);
    for line in stderr(&output).lines() {
        let record: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(
            record["timestamp"].is_string() && record["level"].is_string(),
            "{line}"
        );
    }
}

#[test]
fn random_data_is_not_written_into_a_folder_called_like_a_store() {
    let run = Run::new();
    let inputs = "--set=train_data.inputs=s3://bucket/data/*.gz";
    let message = run.fails(&["generate", inputs], 2);
    assert!(message.contains("--output_dir"), "{message}");
    assert!(!Path::new("s3:").exists());
}

#[test]
fn why_a_command_ends_is_written_whatever_the_log_is_to_show() {
    let run = Run::new();
    for (filter, is_heeded) in [
        ("off", true),
        ("tch=info", true),
        ("inof", false),
        ("=,=", false),
    ] {
        let mut command = run.command(&["--set", "training.num_train_steps=x"]);
        let output = command.env("RUST_LOG", filter).output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("num_train_steps"), "{filter}: {text}");
        assert_eq!(
            text.contains("is not heeded"),
            !is_heeded,
            "{filter}: {text}"
        );
    }
}

#[test]
fn a_variable_that_is_no_text_is_not_one_that_is_not_set() {
    use std::os::unix::ffi::OsStrExt;
    let run = Run::new();
    let mut command = run.command(&["check"]);
    let odd = std::ffi::OsStr::from_bytes(b"/tmp/x\xff");
    let output = command.env("RUN_DIR", odd).output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("the environment variable RUN_DIR is not UTF-8"),
        "{text}"
    );
}

#[test]
fn a_number_that_is_zero_in_32_bits_is_refused() {
    let run = Run::new();
    let text = run.fails(&["check", "--set", "training.max_grad_norm=1e-300"], 2);
    assert!(text.contains("a number that 32 bits hold"), "{text}");
}
