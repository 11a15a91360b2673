//! The mistakes on which the original was tried: each works here, or is refused at the start by its key.

use std::fmt::Write as _;
use std::path::Path;

use recap_train::config::{self, RecapConfig};
use recap_train::exit::Exit;
use recap_train::loss::MultiTaskLoss;
use recap_train::model::{Mode, Ranker};
use recap_train::optim::Optimizer;
use serde_json::Value;
use tch::Kind;

use crate::golden_model::{
    Case, build_loss, build_optimizer, build_ranker, first_row, json, widths,
};
use crate::support::fixtures;

const BASE: &str = "i_share_all_parallel";

/// What becomes of a configuration.
enum Outcome {
    Trains,
    /// The message names this; `TASK` is the first task.
    Names(&'static str),
}

use Outcome::{Names, Trains};

const FIRST_TASK: &str = "\"recap.engagement.is_favorited\"";

/// Every mistake, and what becomes of it here.
const OUTCOMES: [(&str, Outcome); 34] = [
    ("baseline", Trains),
    ("stacked_with_mlp", Trains),
    ("mlp_single_linear_no_final_activation", Trains),
    ("tower_single_linear", Trains),
    // Cross layers alone end in as many numbers as they read.
    ("dcn", Names("model.tasks.TASK.dcn_config: ")),
    // The towers read the backbone, not the features.
    ("dlrm_first_task", Names("model.tasks.TASK.dlrm_config: ")),
    (
        "dlrm_second_task",
        Names("model.tasks.\"recap.engagement.is_negative_feedback_v2\".dlrm_config: "),
    ),
    ("small_embeddings", Trains),
    ("large_embeddings", Names("model.large_embeddings")),
    ("position_debias", Trains),
    ("featurization_none", Names("model.featurization_config")),
    ("featurization_log1p", Trains),
    ("featurization_clip_log1p", Trains),
    // The statistics file does not exist.
    (
        "featurization_z_score",
        Names("z_score_log_config.analysis_path"),
    ),
    ("ln_center_ne_scale", Names("layer_norm_config.center")),
    ("ln_no_affine", Trains),
    ("ln_axis_0", Names("layer_norm_config.axis")),
    ("tower_output_2", Names("TASK.mlp_config.layer_sizes")),
    ("all_towers_output_2", Names("TASK.mlp_config.layer_sizes")),
    ("model_task_missing_in_data", Names("model.tasks.TASK")),
    // Mistakes of the batch, not of the configuration: see below.
    ("fewer_data_columns_than_tasks", Trains),
    ("batch_of_one_train", Trains),
    ("bad_label_values", Trains),
    ("lr_missing_tower", Names("tower_learning_rates")),
    ("lr_extra_tower", Names("tower_learning_rates")),
    ("lr_no_backbone", Names("backbone_learning_rate")),
    ("lr_single_task", Trains),
    ("lr_empty_towers", Names("tower_learning_rates")),
    ("reduction_factor_zero_size", Trains),
    (
        "empty_mask_blocks_parallel",
        Names("mask_net_config.mask_blocks"),
    ),
    ("empty_layer_sizes", Names("TASK.mlp_config.layer_sizes")),
    ("dropout_rate_over_1", Names("TASK.mlp_config.dropout.rate")),
    ("stratifiers", Trains),
    (
        "backbone_affine_map_ignored",
        Names("model.backbone.affine_map"),
    ),
];

/// The base configuration with the lines changed that a mistake changes.
fn mutated(edits: &Value) -> String {
    let path = fixtures().join(format!("model/{BASE}/config.yaml"));
    let base = std::fs::read_to_string(path).unwrap();
    let mut lines: Vec<&str> = base.lines().collect();
    for edit in edits.as_array().unwrap().iter().rev() {
        let first = edit["line"].as_u64().unwrap() as usize - 1;
        let removed = edit["remove"].as_u64().unwrap() as usize;
        let inserted = edit["insert"].as_array().unwrap().iter();
        lines.splice(
            first..first + removed,
            inserted.map(|line| line.as_str().unwrap()),
        );
    }
    lines.join("\n")
}

struct Started {
    config: RecapConfig,
    ranker: Ranker,
    loss: MultiTaskLoss,
    optimizer: Optimizer,
}

/// Everything that a run does before it reads data.
fn start(text: &str) -> anyhow::Result<Started> {
    let environment = |name: &str| (name == "GOLDEN_DIR").then(|| "/golden".to_owned());
    let config = config::parse_recap(Path::new("c.yaml"), text, &[], &environment)?.config;
    let ranker = build_ranker(&config, &widths(&config), 0)?;
    let columns: Vec<String> = config.train_data.tasks.keys().cloned().collect();
    let loss = build_loss(&config, &columns)?;
    let optimizer = build_optimizer(&config, &ranker)?;
    Ok(Started {
        config,
        ranker,
        loss,
        optimizer,
    })
}

/// One whole step, after which every parameter is finite.
fn train_one_step(mut run: Started) {
    let case = Case::load(BASE, Kind::Float);
    let batch = &case.batches[0];
    let outputs = run.ranker.forward(batch, Mode::Train).unwrap();
    assert_eq!(outputs.logits.size(), [16, 4]);
    let labels = batch.labels.as_ref().unwrap();
    let losses = run.loss.forward(&outputs.logits, labels, None).unwrap();
    assert!(losses.total.double_value(&[]).is_finite());
    losses.total.backward();
    run.optimizer.step(5).unwrap();
    for (name, parameter) in run.ranker.state().parameters() {
        assert!(parameter.isfinite().all().int64_value(&[]) == 1, "{name}");
    }
}

fn chain(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |mut text, cause| {
        let _ = write!(text, "{cause}: ");
        text
    })
}

#[test]
fn each_mistake_works_or_is_refused_at_the_start_by_its_key() {
    let mutations = json("errors/mutations.json");
    let mutations = mutations.as_object().unwrap();
    assert_eq!(mutations.len(), OUTCOMES.len());
    for (name, outcome) in &OUTCOMES {
        let started = start(&mutated(&mutations[*name]["edits"]));
        match (outcome, started) {
            (Trains, Ok(run)) => train_one_step(run),
            (Names(key), Err(error)) => {
                assert_eq!(Exit::code_of(&error), Exit::Usage as u8, "{name}");
                let (key, message) = (key.replace("TASK", FIRST_TASK), chain(&error));
                assert!(
                    message.contains(&key),
                    "{name}: expected {key} in {message}"
                );
            }
            (Trains, Err(error)) => panic!("{name} should work: {error:#}"),
            (Names(key), Ok(_)) => panic!("{name} should be refused by {key}"),
        }
    }
}

#[test]
fn mistakes_of_a_batch_are_told_apart() {
    let run = start(&mutated(&Value::Array(Vec::new()))).unwrap();
    let case = Case::load(BASE, Kind::Float);
    let batch = &case.batches[0];
    let row = first_row(batch);
    let message = run.ranker.forward(&row, Mode::Train).unwrap_err();
    assert!(
        message.to_string().contains("a batch of one row"),
        "{message}"
    );
    let logits = run.ranker.forward(batch, Mode::Evaluate).unwrap().logits;
    let labels = batch.labels.as_ref().unwrap();
    let message = run.loss.forward(&logits, &labels.narrow(1, 0, 3), None);
    assert_eq!(
        message.unwrap_err().to_string(),
        format!(
            "the loss was built for {} data tasks, the batch has labels of 3",
            run.config.train_data.tasks.len()
        )
    );
    let odd = labels * 7.0 - 1.0;
    let losses = run.loss.forward(&logits, &odd, None).unwrap();
    assert!(losses.total.double_value(&[]).is_finite());
}
