//! Records with one key per column: read like lists of the same numbers, and suggested where the config lacks them.

use std::path::Path;

use recap_train::batch::HostValues;
use recap_train::config::{self, RecapDataConfig};
use recap_train::data::random::{Compression, GenerateOptions, generate};
use recap_train::data::{LoadedBatch, Loader, LoaderOptions, Mode};

use crate::data::{drain, in_order};
use crate::support::{Run, stderr};

/// The sections of a run on such records, without a schema.
const CONFIG: &str = "\
training: {save_dir: ${RUN_DIR}/save, num_train_steps: 6, checkpoint_every_n: 3, num_eval_steps: -1}
model:
  multi_task_type: share_none
  small_embeddings: {tables: [{name: city, num_embeddings: 10, embedding_dim: 2, index: 0}]}
  featurization_config: {log1p_abs_config: {}}
  tasks: {click: {mlp_config: {layer_sizes: [8, 1]}}}
train_data: &data
  inputs: ${RUN_DIR}/data/*.gz
  global_batch_size: 16
  seg_dense_schema:
    columns: {continuous: [price, age, \"time of day\"], binary: [is_new], discrete: [city]}
  tasks: {click: {}}
validation_data: {v: {<<: *data}}
optimizer: {adam: {}, single_task_learning_rate: {constant: 0.01}}
";

fn run() -> Run {
    let run = Run::new();
    std::fs::write(run.path("config.yaml"), CONFIG).unwrap();
    run.ok(&["generate", "--n_examples=100", "--n_files=2"]);
    run
}

#[test]
fn they_are_trained_on_evaluated_and_predicted_without_a_schema() {
    let run = run();
    let table = run.ok(&["check"]);
    assert!(table.contains("continuous"), "{table}");
    assert!(!table.contains("warning: feature"), "{table}");
    run.ok(&[]);
    // Nothing is substituted in an override.
    let two = format!("training.save_dir={}", run.path("two").display());
    run.ok(&["--set", &two, "--set", "training.num_train_steps=3"]);
    run.ok(&["--set", &two]);
    assert!(
        run.checkpoint("save", 6) == run.checkpoint("two", 6),
        "resumed bit for bit"
    );
    assert!(run.ok(&["evaluate"]).contains("click"));
    assert!(run.ok(&["inspect", "--batches=2"]).contains("discrete"));
    let inputs = format!("--inputs={}", run.path("data/*.gz").display());
    let output = format!("--output={}", run.path("scores.csv").display());
    run.ok(&["predict", &inputs, &output]);
    let scores = std::fs::read_to_string(run.path("scores.csv")).unwrap();
    assert_eq!(scores.lines().count(), 101);
}

/// Without `columns`, as someone has it who does not know of them.
fn without_columns(run: &Run) {
    let schema = |(name, dtype): &(&str, &str)| {
        format!(r#"{{"feature_name": "{name}", "dtype": "{dtype}", "length": 1}}"#)
    };
    let names = [
        ("price", "float_list"),
        ("is_new", "int64_list"),
        ("city", "int64_list"),
        ("click", "int64_list"),
    ];
    let entries: Vec<String> = names.iter().map(schema).collect();
    let text = format!(r#"{{"schema": [{}]}}"#, entries.join(", "));
    std::fs::write(run.path("segdense.json"), text).unwrap();
    let begin = CONFIG.find("    columns:").unwrap();
    let end = CONFIG.find("  tasks: {click: {}}").unwrap();
    let schema = "    schema_path: ${RUN_DIR}/segdense.json\n    features: [price, is_new, city]\n";
    let config = format!("{}{schema}{}", &CONFIG[..begin], &CONFIG[end..]);
    std::fs::write(run.path("config.yaml"), config).unwrap();
}

#[test]
fn check_suggests_what_training_lacks_and_the_piece_works() {
    let run = run();
    without_columns(&run);
    let said = run.fails(&[], 2);
    assert!(
        said.contains("have one key per column (age, city, is_new, price, time of day; 5 keys)"),
        "{said}"
    );
    assert!(
        said.contains("name them in seg_dense_schema.columns"),
        "{said}"
    );
    let output = run.output(&["check"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let piece = String::from_utf8(output.stdout).unwrap();
    assert!(
        piece.contains("continuous: [age, price, \"time of day\", "),
        "{piece}"
    );
    assert!(
        piece.contains("integers 0 to 9; of ids and categories"),
        "{piece}"
    );
    // Put in as it is, with the schema and the embedding of what is no category any more taken out.
    let lines: String = piece
        .lines()
        .filter(|line| !line.starts_with('#'))
        .fold(String::new(), |text, line| text + "  " + line + "\n");
    let begin = CONFIG.find("  seg_dense_schema:").unwrap();
    let end = CONFIG.find("  tasks: {click: {}}").unwrap();
    let config = format!("{}{lines}{}", &CONFIG[..begin], &CONFIG[end..]);
    let table = config
        .lines()
        .find(|line| line.contains("small_embeddings"))
        .unwrap();
    std::fs::write(run.path("config.yaml"), config.replace(table, "")).unwrap();
    run.ok(&[]);
}

/// `${FOLDER}` of 40 continuous keys and what `more` says.
fn wide(folder: &Path, more: &str) -> RecapDataConfig {
    let keys: Vec<String> = (0..40).map(|n| format!("c{n}")).collect();
    let text = format!(
        "inputs: {}/*.gz\nglobal_batch_size: 10\ntasks: {{click: {{}}}}\nseg_dense_schema:\n  columns:\n    \
         continuous: [{}]\n{more}",
        folder.display(),
        keys.join(", ")
    );
    config::parse(&text).unwrap()
}

fn continuous(batches: &[LoadedBatch]) -> Vec<f32> {
    let values =
        batches.iter().flat_map(
            |batch| match &batch.batch.feature("continuous").unwrap().values {
                HostValues::F32(values) => values.clone(),
                other => panic!("{other:?}"),
            },
        );
    values.collect()
}

#[test]
fn columns_are_truncated_and_kept_like_lists() {
    let folder = tempfile::tempdir().unwrap();
    let options = GenerateOptions {
        n_examples: 50,
        n_files: 2,
        seed: 4,
        noise: false,
        output_dir: None,
        compression: Compression::Gzip,
        beside_others: false,
    };
    let all = wide(folder.path(), "");
    generate(&all, &options).unwrap();
    let read = |config: &RecapDataConfig| {
        continuous(&drain(Loader::open(config, in_order(Mode::Train), None).unwrap()).unwrap())
    };
    let whole = read(&all);
    assert_eq!(whole.len(), 50 * 40);
    let first = wide(
        folder.path(),
        "preprocess: {truncate_and_slice: {continuous_feature_truncation: 7}}",
    );
    let cut: Vec<f32> = whole
        .chunks(40)
        .flat_map(|row| &row[..7])
        .copied()
        .collect();
    assert_eq!(read(&first), cut);
    let epochs = |cache: &str| {
        let options = LoaderOptions {
            in_order: false,
            repeat: true,
            ..in_order(Mode::Train)
        };
        let mut loader = Loader::open(&wide(folder.path(), cache), options, None).unwrap();
        let batches: Vec<_> = (0..15)
            .map(|_| loader.next_batch().unwrap().unwrap())
            .collect();
        continuous(&batches)
    };
    let disk = format!("cache: true\ncache_dir: {}/kept", folder.path().display());
    assert_eq!(epochs("cache: true"), epochs(""));
    assert_eq!(epochs(&disk), epochs(""));
    assert_eq!(epochs(&disk), epochs(""), "of an earlier run");
}

#[test]
fn mistakes_in_columns_are_told_with_line_and_remedy() {
    let run = Run::new();
    for (from, to, expected) in [
        (
            "binary: [is_new]",
            "binary: [age]",
            "columns.binary[0]: \"age\" is already in columns.continuous",
        ),
        (
            "binary: [is_new]",
            "binary: [click]",
            "\"click\" is already a label",
        ),
        (
            "{continuous: [price, age, \"time of day\"], binary: [is_new], discrete: [city]}",
            "{}",
            "expected at least one key",
        ),
        (
            "    columns:",
            "    features: [other]\n    columns:",
            "the schema is needed for \"other\"",
        ),
        (
            "discrete: [city]",
            "discrete: [city], missing: zeros",
            "one of zero, error",
        ),
        ("    columns: {", "    colums: {", "did you mean columns?"),
    ] {
        assert!(CONFIG.contains(from), "{from}");
        std::fs::write(run.path("config.yaml"), CONFIG.replacen(from, to, 1)).unwrap();
        let said = run.fails(&["check"], 2);
        assert!(
            said.contains(expected) && said.contains("config.yaml:"),
            "{said}"
        );
    }
}

#[test]
fn a_key_that_no_record_has_is_warned_of_or_refused() {
    let run = run();
    let misspelt = CONFIG.replace("[price,", "[prise,");
    std::fs::write(run.path("config.yaml"), &misspelt).unwrap();
    let output = run.output(&["check"]);
    assert!(
        output.status.success() && stderr(&output).contains("first=\"prise\""),
        "{}",
        stderr(&output)
    );
    let strict = misspelt.replace("discrete: [city]", "discrete: [city], missing: error");
    std::fs::write(run.path("config.yaml"), strict).unwrap();
    let said = run.fails(&[], 3);
    assert!(
        said.contains("record ") && said.contains("there is no `prise`"),
        "{said}"
    );
}

#[test]
fn a_record_without_a_label_is_no_negative_one() {
    let run = run();
    let other = CONFIG.replace("click", "bought");
    for columns in ["discrete: [city]", "discrete: [city], missing: error"] {
        let config = other.replace("discrete: [city]", columns);
        std::fs::write(run.path("config.yaml"), config).unwrap();
        for command in [&[][..], &["check"]] {
            let said = run.fails(command, 3);
            let expected = "there is no `bought`, which is a label or a weight";
            assert!(
                said.contains("record ") && said.contains(expected),
                "{said}"
            );
        }
    }
}

#[test]
fn records_that_lack_what_the_schema_names_are_warned_of_in_training_too() {
    let run = Run::with_data();
    let other = "train_data.seg_dense_schema.renamed_features.continuous=recap.other";
    let schema = run.path("other.json");
    let fixture = crate::support::fixtures().join("tiny/segdense.json");
    let text = std::fs::read_to_string(fixture).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let entries = json["schema"].as_array_mut().unwrap();
    entries.push(
        serde_json::json!({"feature_name": "recap.other", "dtype": "float_list", "length": 3}),
    );
    std::fs::write(&schema, json.to_string()).unwrap();
    let path = format!(
        "train_data.seg_dense_schema.schema_path={}",
        schema.display()
    );
    let output = run.output(&["--set", &path, "--set", other]);
    let log = stderr(&output);
    let said = log
        .lines()
        .filter(|line| line.contains("keys are in none of the first records"));
    let said: Vec<&str> = said.collect();
    assert!(said.len() == 1 && said[0].contains("recap.other"), "{log}");
}

#[test]
fn a_config_that_names_no_feature_is_told_what_the_records_hold() {
    let run = run();
    let begin = CONFIG.find("  seg_dense_schema:").unwrap();
    let rest = CONFIG[begin..]
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with("    "));
    let length: usize = rest.map(|line| line.len() + 1).sum();
    let end = begin + "  seg_dense_schema:\n".len() + length;
    let text = format!(
        "{}  seg_dense_schema: {{}}\n{}",
        &CONFIG[..begin],
        &CONFIG[end..]
    );
    std::fs::write(run.path("config.yaml"), text).unwrap();
    let output = run.output(&["check"]);
    let piece = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        piece.contains("continuous: [") && piece.contains("price"),
        "{piece}"
    );
}
