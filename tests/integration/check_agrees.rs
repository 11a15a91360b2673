//! `check` refuses what training refuses, in the same words and with the same exit code.

use std::io::Write;
use std::path::Path;

use crate::resume::put;
use crate::support::{Run, stderr};

/// What the last error of a run says.
fn said(output: &std::process::Output) -> String {
    let text = stderr(output);
    let error = text.lines().rfind(|line| line.contains("ERROR"));
    let error = error.and_then(|line| line.split_once("ERROR "));
    error.map_or(text.clone(), |(_, said)| said.to_owned())
}

/// The error that `check` and training end with, which is one, with `code`.
fn both(run: &Run, args: &[&str], code: i32) -> String {
    let [check, train] = [&["check"][..], &[]].map(|command| run.output(&[command, args].concat()));
    assert_eq!(check.status.code(), Some(code), "{}", stderr(&check));
    assert_eq!(train.status.code(), Some(code), "{}", stderr(&train));
    let (check, train) = (said(&check), said(&train));
    assert_eq!(check, train);
    check
}

fn gzip_of_nothing(path: &Path) {
    let writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::fs::write(path, writer.finish().unwrap()).unwrap();
}

#[test]
fn a_batch_of_one_row_for_a_batch_norm() {
    let run = Run::with_data();
    let message = both(&run, &["--set", "train_data.global_batch_size=1"], 2);
    assert!(
        message.starts_with("train_data.global_batch_size: ")
            && message.contains("at least 2 rows"),
        "{message}"
    );
}

#[test]
fn a_folder_that_cannot_be_written() {
    let run = Run::with_data();
    std::fs::write(run.path("file"), "").unwrap();
    let in_the_way = run.path("file");
    let in_the_way = in_the_way.to_str().unwrap();
    for folder in [
        in_the_way,
        &format!("{in_the_way}/below"),
        "/proc/x",
        "/dev/null/x",
    ] {
        let save = format!("training.save_dir={folder}");
        let message = both(&run, &["--set", &save], 2);
        assert!(
            message.starts_with(&format!("training.save_dir: cannot create {folder}: "))
                && message.contains("; name a folder"),
            "{message}"
        );
        let cache = format!("train_data.cache_dir={folder}");
        let message = both(
            &run,
            &["--set", "train_data.cache=true", "--set", &cache],
            2,
        );
        assert!(
            message.starts_with(&format!("train_data: cache_dir: cannot create {folder}: ")),
            "{message}"
        );
    }
}

#[test]
fn data_without_a_record_is_named() {
    let run = Run::new();
    std::fs::create_dir(run.path("data")).unwrap();
    gzip_of_nothing(&run.path("data/nothing.gz"));
    let message = both(&run, &[], 3);
    let none = "nothing.gz) has no usable record: there is none in them";
    assert!(
        message.starts_with("train_data: ") && message.ends_with(none),
        "{message}"
    );
    std::fs::write(run.path("data/nothing.gz"), "<html>").unwrap();
    let message = both(&run, &["--set", "train_data.ignore_data_errors=true"], 3);
    assert!(
        message.contains("nothing.gz) has no usable record: bad ones"),
        "{message}"
    );
    run.ok(&["generate", "--n_examples=200", "--n_files=3", "--beside"]);
    gzip_of_nothing(&run.path("data/nothing.gz"));
    for command in [&["check"][..], &[]] {
        let output = run.output(command);
        let text = stderr(&output);
        assert!(output.status.success(), "{text}");
        let warnings = text.lines().filter(|line| line.contains("nothing.gz"));
        assert!(
            warnings.clone().all(|line| line.contains("has no record")),
            "{text}"
        );
        // `check` reads the data once, training epoch after epoch.
        assert_eq!(warnings.count(), 1, "{text}");
    }
}

#[test]
fn a_feature_that_is_not_finite_is_told_with_its_place() {
    let run = Run::new();
    let inputs = format!("train_data.inputs={}/*", run.path("data").display());
    let plain = [
        "--n_examples=64",
        "--n_files=1",
        "--compression=none",
        "--set",
        &inputs,
    ];
    run.ok(&[&["generate"][..], &plain].concat());
    put(&run.path("data/random.tfrecord"), f32::NAN);
    let message = both(&run, &["--set", &inputs], 3);
    let place = "random.tfrecord: record 0 at byte 0: `user_emb`, value 0, is NaN";
    assert!(
        message.starts_with("train_data: ") && message.contains(place),
        "{message}"
    );
    let skip = [
        "--set",
        &inputs,
        "--set",
        "train_data.ignore_data_errors=true",
    ];
    assert!(
        run.ok(&[&["check"], &skip[..]].concat())
            .contains("every row of train_data, 63")
    );
}

#[test]
fn bad_validation_data_has_one_name() {
    let run = Run::with_data();
    std::fs::create_dir(run.path("late")).unwrap();
    let partition = format!(
        "validation_data.late={{inputs: {}/*.gz, global_batch_size: 4, tasks: {{label.fav: {{}}}}, seg_dense_schema: {{schema_path: {}, \
         renamed_features: {{continuous: cont, binary: bin, discrete: disc, user_embedding: user_emb}}}}, \
         preprocess: {{truncate_and_slice: {{continuous_feature_truncation: 9}}}}}}",
        run.path("late").display(),
        crate::support::fixtures()
            .join("tiny/segdense.json")
            .display()
    );
    let evaluate = ["--set", &partition, "--set", "training.evaluate=true"];
    let evaluate = [&evaluate[..], &["--set", "training.eval_log_every_n=4"]].concat();
    let mut file = std::fs::File::create(run.path("late/a.gz")).unwrap();
    file.write_all(b"<html>").unwrap();
    let message = both(&run, &evaluate, 3);
    assert!(
        message.starts_with("validation_data.late: ") && message.contains("an HTML page"),
        "{message}"
    );
    gzip_of_nothing(&run.path("late/a.gz"));
    std::fs::remove_dir_all(run.path("save")).unwrap();
    let message = both(&run, &evaluate, 3);
    assert!(
        message.starts_with("validation_data.late: there is no row"),
        "{message}"
    );
}

#[test]
fn more_open_files_than_there_are_change_nothing_but_a_line() {
    let run = Run::with_data();
    let losses = |width: &str, save: &str| {
        let width = format!("train_data.interleave_num_parallel_calls={width}");
        let save_dir = format!("training.save_dir={}", run.path(save).display());
        let output = run.output(&["--set", &width, "--set", &save_dir]);
        assert!(output.status.success(), "{}", stderr(&output));
        (run.losses(save), stderr(&output))
    };
    let (three, quiet) = losses("3", "a");
    let (many, text) = losses("65536", "b");
    assert_eq!(three, many);
    assert!(
        text.contains("65536 files were to be open at once, and there are 3"),
        "{text}"
    );
    assert!(!quiet.contains("to be open at once"), "{quiet}");
}

#[test]
fn how_far_check_looks_is_said() {
    let run = Run::with_data();
    assert!(
        run.ok(&["check"])
            .contains("looked at every row of train_data, 200")
    );
    std::fs::remove_dir_all(run.path("data")).unwrap();
    run.ok(&["generate", "--n_examples=4200", "--n_files=1"]);
    let text = run.ok(&["check"]);
    assert!(
        text.contains("looked at the first 4,096 rows of each"),
        "{text}"
    );
}

#[test]
fn features_in_one_list_are_not_told_as_one_key_per_column() {
    let run = Run::with_data();
    let schema = "train_data.seg_dense_schema.renamed_features={binary: bin}";
    let without = ["--set", schema, "--set", "train_data.preprocess=null"];
    let tasks = ["--set", "train_data.tasks={label.reply: {}, label.fav: {}}"];
    let message = both(&run, &[&without[..], &tasks].concat(), 2);
    assert!(
        message.contains("a list of 12 numbers, `cont`") && message.contains("continuous: cont"),
        "{message}"
    );
}
