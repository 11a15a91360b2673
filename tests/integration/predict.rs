//! Prediction: every row in its order, in every format, and the metrics of `evaluate` recomputed from them.

use std::collections::{BTreeMap, BTreeSet};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::evaluate::run_with_validation;
use crate::support::Run;

/// Columns of text by name.
type Table = BTreeMap<String, Vec<String>>;

/// Predicts into `name` and returns the path.
fn predict(run: &Run, name: &str, args: &[&str]) -> std::path::PathBuf {
    let path = run.path(name);
    let output = format!("--output={}", path.display());
    let stdout = run.ok(&[&["predict", output.as_str()], args].concat());
    assert!(stdout.contains(path.to_str().unwrap()), "{stdout}");
    path
}

fn csv(path: &std::path::Path) -> Table {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut table: Table = names
        .iter()
        .map(|&name| (name.to_owned(), Vec::new()))
        .collect();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells.len(), names.len(), "{line}");
        for (name, cell) in names.iter().zip(cells) {
            table.get_mut(*name).unwrap().push(cell.to_owned());
        }
    }
    table
}

fn numbers(table: &Table, name: &str) -> Vec<f64> {
    let cells = table
        .get(name)
        .unwrap_or_else(|| panic!("{name} is not in {:?}", table.keys()));
    cells.iter().map(|cell| cell.parse().unwrap()).collect()
}

/// Share of pairs of a positive and a negative that are in order; draws count half.
fn auroc(scores: &[f64], labels: &[f64]) -> Option<f64> {
    let (mut won, mut pairs) = (0.0, 0.0);
    for (positive, _) in scores.iter().zip(labels).filter(|(_, label)| **label > 0.5) {
        for (negative, _) in scores.iter().zip(labels).filter(|(_, label)| **label < 0.5) {
            pairs += 1.0;
            won += match positive.total_cmp(negative) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    (pairs > 0.0).then(|| won / pairs)
}

/// Mean AUROC within groups that have both classes, each weighing as much as its rows.
fn gauc(scores: &[f64], labels: &[f64], groups: &[String]) -> f64 {
    let names: BTreeSet<&String> = groups.iter().collect();
    assert!(names.len() > 5);
    let (mut sum, mut weight) = (0.0, 0.0);
    for name in names {
        let rows = (0..groups.len()).filter(|&row| groups[row] == *name);
        let rows: Vec<(f64, f64)> = rows.map(|row| (scores[row], labels[row])).collect();
        let (scores, labels): (Vec<f64>, Vec<f64>) = rows.into_iter().unzip();
        if let Some(area) = auroc(&scores, &labels) {
            sum += area * labels.len() as f64;
            weight += labels.len() as f64;
        }
    }
    sum / weight
}

#[test]
fn metrics_recomputed_from_predictions_are_those_of_evaluate() {
    let run = run_with_validation();
    run.ok(&[]);
    let table = csv(&predict(&run, "out.csv", &["--labels"]));
    let output = format!("--output={}", run.path("report.json").display());
    run.ok(&["evaluate", &output, "--set", "training.num_eval_steps=-1"]);
    let report = std::fs::read_to_string(run.path("report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let metrics = &report["partitions"]["valid"]["metrics"];
    let mut mean_loss = 0.0;
    for task in ["label.fav", "label.reply"] {
        let labels = numbers(&table, &format!("{task}/label"));
        let logits = numbers(&table, &format!("{task}/logit"));
        assert_eq!(labels.len(), 200);
        let check = |metric: &str, expected: f64| {
            let found = metrics[task][metric].as_f64().unwrap();
            assert!(
                (found - expected).abs() < 1e-5,
                "{task}/{metric}: {found} is not {expected}"
            );
        };
        let count: f64 = labels.iter().sum();
        check("count", count);
        check("ctr", count / 200.0);
        check("auroc", auroc(&logits, &labels).unwrap());
        check("gauc", gauc(&logits, &labels, &table["meta__user_id"]));
        let loss = |(logit, label): (&f64, &f64)| {
            logit.max(0.0) - logit * label + (-logit.abs()).exp().ln_1p()
        };
        let loss = logits.iter().zip(&labels).map(loss).sum::<f64>() / 200.0;
        check("log_loss", loss);
        mean_loss += loss / 2.0;
        let probabilities = numbers(&table, &format!("{task}/probability"));
        check("pctr", probabilities.iter().sum::<f64>() / 200.0);
        for (probability, logit) in probabilities.iter().zip(&logits) {
            assert!((probability - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-6);
        }
        assert!(
            metrics[&format!("{task}/lang=3")]["count"]
                .as_f64()
                .unwrap()
                < count
        );
    }
    let found = report["partitions"]["valid"]["loss"].as_f64().unwrap();
    assert!(
        (found - mean_loss).abs() < 1e-5,
        "{found} is not {mean_loss}"
    );
}

#[test]
#[allow(
    clippy::too_many_lines,
    reason = "four formats of one table, side by side"
)]
fn every_format_holds_the_same() {
    let run = run_with_validation();
    run.ok(&["--set", "training.num_train_steps=2"]);
    let table = csv(&predict(&run, "out.csv", &[]));
    assert!(
        !table.contains_key("label.fav/label"),
        "labels only where asked for"
    );
    let names = [
        "meta__user_id",
        "label.fav/logit",
        "label.reply/calibrated_probability",
        "score",
    ];
    let lines = std::fs::read_to_string(predict(&run, "out.jsonl", &[])).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let bytes = std::fs::read(predict(&run, "out.safetensors", &[])).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert!(
        tensors.tensor("meta__name").is_err(),
        "strings are no tensors"
    );
    let file = std::fs::File::open(predict(&run, "out.parquet", &[])).unwrap();
    let rows: Vec<_> = SerializedFileReader::new(file)
        .unwrap()
        .get_row_iter(None)
        .unwrap()
        .map(|row| {
            row.unwrap()
                .into_columns()
                .into_iter()
                .collect::<BTreeMap<_, _>>()
        })
        .collect();
    assert_eq!((lines.len(), rows.len()), (200, 200));
    for name in names {
        let expected: Vec<f32> = table[name]
            .iter()
            .map(|cell| cell.parse().unwrap())
            .collect();
        let in_lines: Vec<f32> = lines
            .iter()
            .map(|line| line[name].as_f64().unwrap() as f32)
            .collect();
        assert_eq!(in_lines, expected, "{name} in JSONL");
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!(tensor.shape(), [200]);
        let float = |four: &[u8]| f32::from_le_bytes(four.try_into().unwrap());
        let integer = |eight: &[u8]| i64::from_le_bytes(eight.try_into().unwrap()) as f32;
        let in_tensor: Vec<f32> = match tensor.dtype() {
            safetensors::Dtype::F32 => tensor.data().chunks(4).map(float).collect(),
            _ => tensor.data().chunks(8).map(integer).collect(),
        };
        assert_eq!(in_tensor, expected, "{name} in safetensors");
        let in_rows: Vec<f32> = rows
            .iter()
            .map(|row| match &row[name] {
                Field::Float(value) => *value,
                Field::Long(value) => *value as f32,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(in_rows, expected, "{name} in Parquet");
    }
    for (row, name) in table["meta__name"].iter().enumerate() {
        assert_eq!(lines[row]["meta__name"], *name);
        assert!(
            matches!(&rows[row]["meta__name"], Field::Bytes(bytes) if bytes.data() == name.as_bytes())
        );
    }
}

#[test]
fn the_score_is_the_weighted_sum_of_probabilities() {
    let run = run_with_validation();
    run.ok(&["--set", "training.num_train_steps=2"]);
    let table = csv(&predict(&run, "out.csv", &[]));
    let parts = ["label.fav/probability", "label.reply/probability", "score"];
    let [fav, reply, score] = parts.map(|name| numbers(&table, name));
    for row in 0..200 {
        assert!((score[row] - (0.5 * fav[row] - 74.0 * reply[row])).abs() < 1e-4);
    }
}

#[test]
fn rows_come_in_the_order_of_the_input() {
    let run = run_with_validation();
    run.ok(&["--set", "training.num_train_steps=1"]);
    let whole = csv(&predict(&run, "whole.csv", &["--labels"]));
    let mut files: Vec<_> = std::fs::read_dir(run.path("data"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut parts = Table::new();
    for (i, file) in files.iter().enumerate() {
        let inputs = format!("--inputs={}", file.display());
        for (name, mut cells) in csv(&predict(&run, &format!("{i}.csv"), &["--labels", &inputs])) {
            parts.entry(name).or_default().append(&mut cells);
        }
    }
    for name in [
        "meta__user_id",
        "meta__name",
        "label.fav/label",
        "label.unused/label",
    ] {
        assert_eq!(whole[name], parts[name], "{name}");
    }
    // Batches are cut elsewhere, so that sums may be made in another order.
    let pairs = numbers(&whole, "label.fav/logit")
        .into_iter()
        .zip(numbers(&parts, "label.fav/logit"));
    for (whole, part) in pairs {
        assert!((whole - part).abs() < 1e-5, "{whole} {part}");
    }
}

#[test]
fn records_without_labels_can_be_predicted() {
    let run = run_with_validation();
    run.ok(&["--set", "training.num_train_steps=1"]);
    let expected = csv(&predict(&run, "with.csv", &[]));
    // The same records with labels of other names.
    for name in ["config.yaml", "segdense.json"] {
        let text = std::fs::read_to_string(run.path(name)).unwrap();
        std::fs::write(run.path(&format!("kept.{name}")), &text).unwrap();
        std::fs::write(run.path(name), text.replace("label.", "other.")).unwrap();
    }
    let folder = format!("--output_dir={}", run.path("bare").display());
    run.ok(&["generate", "--n_examples=200", "--n_files=3", &folder]);
    for name in ["config.yaml", "segdense.json"] {
        std::fs::rename(run.path(&format!("kept.{name}")), run.path(name)).unwrap();
    }
    let inputs = format!("--inputs={}", run.path("bare/*.gz").display());
    assert_eq!(csv(&predict(&run, "without.csv", &[&inputs])), expected);
    // A feature that a record lacks reads as zero.
    let table = csv(&predict(&run, "labels.csv", &["--labels", &inputs]));
    assert!(table["label.fav/label"].iter().all(|label| label == "0"));
}
