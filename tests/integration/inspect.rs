//! `inspect`: the table and the tensors are what training would see.

use safetensors::SafeTensors;
use serde_json::Value;

use crate::support::{Run, fixtures, stderr};

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (values, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    values
        .iter()
        .map(|&value| f32::from_le_bytes(value))
        .collect()
}

#[test]
fn every_batch_is_written_and_the_table_describes_them_all() {
    let run = Run::with_data();
    let output = run.path("seen.safetensors");
    let output_flag = format!("--output={}", output.display());
    let table = run.ok(&["inspect", "--batches=3", &output_flag]);
    let bytes = std::fs::read(&output).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    for batch in 0..3 {
        for name in ["continuous", "binary", "labels", "weights"] {
            let view = tensors.tensor(&format!("{name}.{batch}")).unwrap();
            assert_eq!(view.shape()[0], 16, "{name}");
        }
    }
    assert!(tensors.tensor("continuous.3").is_err());
    let all: Vec<f32> = (0..3)
        .flat_map(|batch| {
            floats(
                tensors
                    .tensor(&format!("continuous.{batch}"))
                    .unwrap()
                    .data(),
            )
        })
        .collect();
    let max = all.iter().copied().fold(f32::MIN, f32::max);
    let line = table
        .lines()
        .find(|line| line.starts_with("continuous "))
        .unwrap();
    let cells: Vec<&str> = line.split_whitespace().collect();
    let shown: f32 = cells[cells.len() - 3].parse().unwrap();
    assert!((shown - max).abs() < 1e-3, "{line}");
    assert!(table.ends_with("3 batches\n"), "{table}");
}

#[test]
fn two_runs_see_the_same_and_in_order_sees_the_sorted_files_once() {
    let run = Run::with_data();
    let read = |name: &str, more: &[&str]| {
        let flag = format!("--output={}", run.path(name).display());
        let mut args = vec!["inspect", "--batches=100", &flag];
        args.extend(more);
        let output = run.output(&args);
        assert!(output.status.success(), "{}", stderr(&output));
        (std::fs::read(run.path(name)).unwrap(), stderr(&output))
    };
    let (first, _) = read("a.safetensors", &[]);
    let (second, _) = read("b.safetensors", &[]);
    assert!(first == second);
    let (ordered, log) = read("c.safetensors", &["--in_order"]);
    assert!(ordered != first);
    // 200 examples are 12 batches of 16 and a rest.
    let tensors = SafeTensors::deserialize(&ordered).unwrap();
    assert!(tensors.tensor("continuous.11").is_ok() && tensors.tensor("continuous.12").is_err());
    assert!(log.contains("ended before"), "{log}");
}

#[test]
fn what_it_writes_is_what_the_original_made_of_the_same_files() {
    let run = Run::new();
    let variants = fixtures().join("data/variants");
    let plain: serde_yaml::Value =
        serde_yaml::from_str(&std::fs::read_to_string(variants.join("plain.yaml")).unwrap())
            .unwrap();
    let data = serde_json::to_string(&plain).unwrap();
    let data = data.replace("${GOLDEN_DIR}", &fixtures().display().to_string());
    let output = run.path("seen.safetensors");
    let flag = format!("--output={}", output.display());
    let set = format!("train_data={data}");
    let mut args = vec!["inspect", "--in_order", "--batches=2", &flag, "--set", &set];
    // One task of the model that the data has, or the config would not hold together.
    let task = "recap.engagement.is_favorited";
    let model = format!("model.tasks={{{task}: {{mlp_config: {{layer_sizes: [1]}}}}}}");
    let rates = format!(
        "{{backbone_learning_rate: {{constant: 0.1}}, tower_learning_rates: {{{task}: {{constant: 0.1}}}}}}"
    );
    let rates = format!("optimizer.multi_task_learning_rates={rates}");
    args.extend(["--set", &model, "--set", &rates]);
    let result = run.output(&args);
    assert!(result.status.success(), "{}", stderr(&result));
    let seen = std::fs::read(&output).unwrap();
    let seen = SafeTensors::deserialize(&seen).unwrap();
    let golden = std::fs::read(variants.join("plain.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&golden).unwrap();
    for batch in 0..2 {
        for name in ["continuous", "binary", "discrete", "user_embedding"] {
            let ours = seen.tensor(&format!("{name}.{batch}")).unwrap();
            let theirs = golden.tensor(&format!("{batch}/features/{name}")).unwrap();
            assert_eq!(ours.shape(), theirs.shape(), "{name}");
            assert!(ours.data() == theirs.data(), "{name} of batch {batch}");
        }
    }
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let run = Run::with_data();
    let message = run.fails(&["inspect", "--output=/nowhere/x.safetensors"], 1);
    assert!(message.contains("/nowhere/x.safetensors"), "{message}");
    let message = run.fails(&["inspect", "--batches=0"], 2);
    assert!(message.contains("--batches"), "{message}");
}

#[test]
fn the_log_says_what_was_read() {
    let run = Run::with_data();
    let output = run.output(&["inspect", "--log_format=json"]);
    let log = stderr(&output);
    let records = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let read: Vec<u64> = records
        .filter_map(|record| find(&record, "records_read"))
        .collect();
    assert!(read.len() == 1 && read[0] >= 16, "{log}");
}

/// The number called `name` anywhere in `value`.
fn find(value: &Value, name: &str) -> Option<u64> {
    let members = value.as_object()?;
    let own = members.get(name).and_then(Value::as_u64);
    own.or_else(|| members.values().find_map(|member| find(member, name)))
}
