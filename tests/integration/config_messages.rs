//! Typical mistakes, made as a new user makes them: each message names the place and the fix.

use std::path::Path;

use recap_train::config::parse_recap;

/// A small run that validates.
const RUN: &str = r#"training:
  save_dir: runs/first
  num_train_steps: 100
model:
  multi_task_type: share_all
  featurization_config:
    double_norm_log_config:
      batch_norm_config: {momentum: 0.01}
  backbone:
    mask_net_config:
      use_parallel: true
      mask_blocks: [{aggregation_size: 8, output_size: 6, input_layer_norm: false}]
  tasks:
    recap.engagement.is_favorited:
      mlp_config:
        layer_sizes: [8, 1]
        batch_norm: {affine: false}
    recap.engagement.is_replied:
      mlp_config: {layer_sizes: [8, 1]}
train_data:
  inputs: data/*.gz
  global_batch_size: 16
  seg_dense_schema: {schema_path: segdense.json}
  tasks:
    recap.engagement.is_favorited: {}
    recap.engagement.is_replied: {}
  evaluation_tasks: [recap.engagement.is_replied]
validation_data: {}
optimizer:
  adam: {}
  multi_task_learning_rates:
    backbone_learning_rate: {constant: 0.0001}
    tower_learning_rates:
      recap.engagement.is_favorited: {constant: 0.001}
      recap.engagement.is_replied: {linear_ramp_to_constant: {learning_rate: 0.001, num_ramp_steps: 100}}
"#;

/// What is said of the run with `wrong` in place of `right`, and of these overrides.
fn said(right: &str, wrong: &str, overrides: &[&str]) -> String {
    let text = RUN.replacen(right, wrong, 1);
    assert!(text != RUN || !overrides.is_empty(), "{right} is not there");
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    match parse_recap(Path::new("run.yaml"), &text, &overrides, &|_| None) {
        Ok(loaded) => loaded.warnings.join("\n"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_run_is_right_before_it_is_made_wrong() {
    let loaded = parse_recap(Path::new("run.yaml"), RUN, &[], &|_| None).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn a_misspelt_key() {
    insta::assert_snapshot!(
        said("num_train_steps: 100", "num_train_step: 100", &[]),
        @r#"
        the configuration run.yaml does not validate, 1 problem:
          run.yaml:3:3: training.num_train_step: unknown key, did you mean num_train_steps?
        "#
    );
}

#[test]
fn text_for_a_number() {
    insta::assert_snapshot!(
        said("num_train_steps: 100", "num_train_steps: 1e6", &[]),
        @r#"
        the configuration run.yaml does not validate, 1 problem:
          run.yaml:3:20: training.num_train_steps: expected an integer of at least 1, found the string "1e6" (YAML reads it as text; write 1000000)
        "#
    );
}

#[test]
fn a_missing_section() {
    insta::assert_snapshot!(
        said("optimizer:\n", "optimiser:\n", &[]),
        @r#"
        the configuration run.yaml does not validate, 2 problems:
          run.yaml:1:1: optimizer: this required key is missing, add it with a mapping of multi_task_learning_rates, single_task_learning_rate, adam
          run.yaml:29:1: optimiser: unknown key, did you mean optimizer?
        "#
    );
}

#[test]
fn two_architectures() {
    insta::assert_snapshot!(
        said("      mlp_config: {layer_sizes: [8, 1]}\n", "      mlp_config: {layer_sizes: [8, 1]}\n      dcn_config: {poly_degree: 2}\n", &[]),
        @r#"
        the configuration run.yaml does not validate, 1 problem:
          run.yaml:19:7: model.tasks."recap.engagement.is_replied": exactly one of mlp_config, dcn_config, dlrm_config, mask_net_config is required, found mlp_config and dcn_config, keep one
        "#
    );
}

#[test]
fn an_evaluation_task_that_is_not_there() {
    insta::assert_snapshot!(
        said("[recap.engagement.is_replied]", "[recap.engagement.is_reply]", &[]),
        @r#"
        the configuration run.yaml does not validate, 1 problem:
          run.yaml:27:22: train_data.evaluation_tasks[0]: the evaluation task "recap.engagement.is_reply" is not in tasks, did you mean recap.engagement.is_replied?
        "#
    );
}

#[test]
fn a_task_without_a_learning_rate() {
    insta::assert_snapshot!(
        said("      recap.engagement.is_favorited: {constant: 0.001}\n", "", &[]),
        @r#"
        the configuration run.yaml does not validate, 1 problem:
          run.yaml:15:7: model.tasks."recap.engagement.is_favorited": this task has no learning rate, add one to optimizer.multi_task_learning_rates.tower_learning_rates
        "#
    );
}

#[test]
fn a_learning_rate_without_its_schedule() {
    insta::assert_snapshot!(
        said("{constant: 0.001}", "0.001", &[]),
        @r#"
        the configuration run.yaml does not validate, 1 problem:
          run.yaml:34:38: optimizer.multi_task_learning_rates.tower_learning_rates."recap.engagement.is_favorited": expected a mapping, found 0.001 (write {constant: 0.001})
        "#
    );
}

#[test]
fn indentation_by_tab() {
    insta::assert_snapshot!(
        said("\n  num_train_steps", "\n\tnum_train_steps", &[]),
        @"run.yaml:3:1: cannot parse the configuration: the indentation holds a tab, use spaces"
    );
}

#[test]
fn indentation_that_is_too_deep() {
    insta::assert_snapshot!(
        said("\n  num_train_steps", "\n    num_train_steps", &[]),
        @"run.yaml:3:20: cannot parse the configuration: mapping values are not allowed in this context; this line is indented deeper than the one before, which has a value: give both the same indentation"
    );
}

#[test]
fn a_colon_without_space() {
    insta::assert_snapshot!(
        said("num_train_steps: 100", "num_train_steps:100", &[]),
        @"run.yaml:3:18: cannot parse the configuration: a space is missing after the colon"
    );
}

#[test]
fn a_variable_that_is_not_set() {
    insta::assert_snapshot!(
        said("inputs: data/", "inputs: ${DATA_DIR}/", &[]),
        @r#"line 21: train_data.inputs: the environment variable DATA_DIR is not set, "${DATA_DIR}/*.gz" stays as it is: set it or write the value here"#
    );
}

#[test]
fn an_override_of_the_wrong_section() {
    insta::assert_snapshot!(
        said("", "", &["num_train_steps=5"]),
        @r#"
        the configuration run.yaml does not validate, 1 problem:
          --set num_train_steps=5: num_train_steps: unknown key, it belongs in training here
        "#
    );
}

#[test]
fn an_override_of_a_name_with_dots_without_quotes() {
    insta::assert_snapshot!(
        said("", "", &["model.tasks.recap.engagement.is_replied.pos_weight=2"]),
        @r#"
        the configuration run.yaml does not validate, 1 problem:
          --set model.tasks.recap.engagement.is_replied.pos_weight=2: model.tasks.recap: unknown key, put the name with dots in double quotes: "recap.engagement.is_replied"
        "#
    );
}

#[test]
fn an_override_without_equals_sign() {
    insta::assert_snapshot!(
        said("", "", &["training.num_train_steps 5"]),
        @"cannot read the override `training.num_train_steps 5`: write it as path=value, such as training.num_train_steps=100"
    );
}

#[test]
fn a_layer_under_the_wrong_key() {
    insta::assert_snapshot!(
        said("      mlp_config: {layer_sizes: [8, 1]}\n", "      mlp_config: {layer_sizes: [8, 1]}\n      batch_norm: {}\n", &[]),
        @r#"
        the configuration run.yaml does not validate, 1 problem:
          run.yaml:20:7: model.tasks."recap.engagement.is_replied".batch_norm: unknown key, it belongs in mlp_config here
        "#
    );
}

#[test]
fn a_key_of_another_section() {
    insta::assert_snapshot!(
        said("num_train_steps: 100", "learning_rate: 0.1\n  global_batch_size: 16", &[]),
        @r#"
        the configuration run.yaml does not validate, 2 problems:
          run.yaml:3:3: training.learning_rate: unknown key, it belongs in optimizer.single_task_learning_rate.linear_ramp_to_cosine or optimizer.single_task_learning_rate.linear_ramp_to_constant
          run.yaml:4:3: training.global_batch_size: unknown key, it belongs in train_data
        "#
    );
}

#[test]
fn a_number_for_a_list() {
    insta::assert_snapshot!(
        said("layer_sizes: [8, 1]\n", "layer_sizes: 1\n", &[]),
        @r#"
        the configuration run.yaml does not validate, 1 problem:
          run.yaml:16:22: model.tasks."recap.engagement.is_favorited".mlp_config.layer_sizes: expected a list, found 1 (write [1])
        "#
    );
}

#[test]
fn a_list_of_tasks() {
    insta::assert_snapshot!(
        said("  tasks:\n    recap.engagement.is_favorited: {}\n    recap.engagement.is_replied: {}\n", "  tasks: [recap.engagement.is_favorited, recap.engagement.is_replied]\n", &[]),
        @r#"
        the configuration run.yaml does not validate, 1 problem:
          run.yaml:24:10: train_data.tasks: expected a mapping, found a list of 2 (write each as recap.engagement.is_favorited: {})
        "#
    );
}

#[test]
fn a_tower_with_two_outputs() {
    insta::assert_snapshot!(
        said("layer_sizes: [8, 1]\n", "layer_sizes: [8, 2]\n", &[]),
        @r#"
        the configuration run.yaml does not validate, 1 problem:
          run.yaml:16:22: model.tasks."recap.engagement.is_favorited".mlp_config.layer_sizes: a task has one logit, expected a last width of 1, found 2
        "#
    );
}

#[test]
fn an_empty_file() {
    insta::assert_snapshot!(
        said(RUN, "", &[]),
        @r#"
        the configuration run.yaml does not validate, 1 problem:
          run.yaml:1:1: expected a mapping, found null: the file is empty
        "#
    );
}
