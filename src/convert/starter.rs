//! A config to begin with: the data as it was written, and a small MaskNet.

use std::fmt::Write;
use std::path::Path;

use super::encode::Encoder;
use super::vocabulary::Vocabulary;

/// Rows per step.
const BATCH: u64 = 512;
/// How often the rows are gone through.
const EPOCHS: u64 = 4;
/// Evaluations per time that the rows are gone through.
const EVALUATIONS: u64 = 4;
/// Width of the embedding of an id.
const EMBEDDING: usize = 8;

/// The text of the config for data in `folder`, of which `rows` are trained on.
pub(super) fn config(
    folder: &Path,
    rows: u64,
    encoder: &Encoder<'_>,
    vocabulary: &Vocabulary,
) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, folder, rows, encoder, vocabulary);
    text
}

fn write(
    out: &mut String,
    folder: &Path,
    rows: u64,
    encoder: &Encoder<'_>,
    vocabulary: &Vocabulary,
) -> std::fmt::Result {
    let batch = BATCH.min(rows.max(2) / 2).max(1);
    let steps = (rows / batch).max(1);
    let every = (steps / EVALUATIONS).max(1);
    let others = &encoder.plan.splitter.parts[1..];
    let save_dir = quoted(&folder.with_file_name("run").to_string_lossy());
    writeln!(
        out,
        "# A first config for this data: every key is described in configs/REFERENCE.md.\n\
         training:\n  save_dir: {save_dir}\n  num_train_steps: {}\n  checkpoint_every_n: {every}\n\
         \x20 checkpoint_max_to_keep: 1\n  train_log_every_n: {every}\n  eval_log_every_n: {every}\n\
         \x20 num_eval_steps: -1",
        steps * EPOCHS
    )?;
    if let Some(part) = others.first() {
        writeln!(
            out,
            "  evaluate: true\n  evaluate_partitions: [{part}]\n  keep_best_metric: {part}/loss"
        )?;
    }
    model(out, encoder, vocabulary)?;
    data(out, folder, batch, encoder)?;
    writeln!(
        out,
        "optimizer:\n  adam: {{}}\n  single_task_learning_rate:\n    linear_ramp_to_cosine: \
         {{learning_rate: 0.001, final_learning_rate: 0.00001, num_ramp_steps: {}, final_num_steps: {}}}",
        every.min(100),
        (steps * EPOCHS).max(every.min(100) + 1)
    )
}

fn model(out: &mut String, encoder: &Encoder<'_>, vocabulary: &Vocabulary) -> std::fmt::Result {
    out.push_str("model:\n  multi_task_type: share_all\n");
    if !vocabulary.discrete.is_empty() {
        out.push_str("  small_embeddings:\n    tables:\n");
        for (index, (column, values)) in vocabulary.discrete.iter().enumerate() {
            let (name, rows) = (quoted(column), values.width());
            writeln!(
                out,
                "      - {{name: {name}, num_embeddings: {rows}, embedding_dim: {EMBEDDING}, index: {index}}}"
            )?;
        }
    }
    out.push_str(
        "  featurization_config:\n    double_norm_log_config:\n\
         \x20     batch_norm_config: {affine: true, momentum: 0.01}\n\
         \x20     layer_norm_config: {epsilon: 0.001}\n\
         \x20 backbone:\n    mask_net_config:\n      use_parallel: true\n      mask_blocks:\n\
         \x20       - &block {aggregation_size: 64, output_size: 64, input_layer_norm: false}\n\
         \x20       - *block\n\
         \x20     mlp: {layer_sizes: [64], final_layer_activation: true}\n\
         \x20 tasks:\n",
    );
    for (place, label) in encoder.plan.labels.iter().enumerate() {
        let tower = if place == 0 {
            "&tower {mlp_config: {layer_sizes: [32, 1], dropout: {rate: 0.4}}}"
        } else {
            "*tower"
        };
        writeln!(out, "    {}: {tower}", quoted(&label.task))?;
    }
    Ok(())
}

fn data(out: &mut String, folder: &Path, batch: u64, encoder: &Encoder<'_>) -> std::fmt::Result {
    let plan = encoder.plan;
    let parts = &plan.splitter.parts;
    let path = |part: &str| {
        let escaped = glob::Pattern::escape(&folder.to_string_lossy());
        quoted(&format!("{escaped}/{part}/*.gz"))
    };
    let schema = quoted(&folder.join("segdense.json").to_string_lossy());
    let labels: Vec<&str> = plan
        .labels
        .iter()
        .map(|label| label.task.as_str())
        .collect();
    let features = encoder.schema();
    let features = features.iter().map(|(name, _, _)| *name);
    let features: Vec<String> = features
        .filter(|name| !labels.contains(name))
        .map(quoted)
        .collect();
    writeln!(
        out,
        "train_data: &data\n  inputs: {}\n  global_batch_size: {batch}\n\
         \x20 examples_shuffle_buffer_size: 16384\n\
         \x20 seg_dense_schema:\n    schema_path: {schema}\n    features: [{}]\n  tasks:",
        path(&parts[0]),
        features.join(", ")
    )?;
    for label in &plan.labels {
        let weight = plan.weights.iter().find(|weight| weight.task == label.task);
        let options = match weight {
            Some(weight) => format!("{{weight_feature: {}}}", quoted(&weight.key)),
            None => "{}".to_owned(),
        };
        writeln!(out, "    {}: {options}", quoted(&label.task))?;
    }
    if parts.len() == 1 {
        return writeln!(out, "validation_data: {{}}");
    }
    writeln!(out, "validation_data:")?;
    for part in &parts[1..] {
        writeln!(out, "  {part}:\n    <<: *data\n    inputs: {}", path(part))?;
    }
    Ok(())
}

/// `text` as a YAML scalar after which `$` still stands for itself.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    let begins = text
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '/');
    let is_word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .contains(&text.to_ascii_lowercase().as_str());
    if begins && !is_word && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let json = serde_json::Value::from(text).to_string();
    json.replace('$', "$$")
}
