//! Rules across sections: what each section may say alone but not together, told before any data is read.

use super::decode::Decoder;
use super::error::ConfigError;
use super::loaded::Loaded;
use super::reports::{Rules, names, path};
use super::{RecapConfig, TrainingConfig, spec, validate_data};

/// Checks everything that needs neither schema nor data.
pub(super) fn check(config: &RecapConfig, at: &mut Decoder) {
    let mut rules = Rules { at };
    training(&config.training, &mut rules);
    evaluation(config, &mut rules);
    spec::model(&config.model, &mut rules);
    validate_data::check("train_data", None, &config.train_data, &mut rules);
    for (name, data) in &config.validation_data {
        validate_data::check("validation_data", Some(name), data, &mut rules);
    }
    labels(config, &mut rules);
    spec::optimizer(&config.optimizer, &config.model, &mut rules);
}

/// Most batches for one update: with more, weights would as good as never move.
const MAX_ACCUMULATION: i64 = 65_536;

fn training(training: &TrainingConfig, rules: &mut Rules<'_>) {
    let at = |key: &str| path(&["training", key]);
    let accumulation = training.gradient_accumulation.unwrap_or(1);
    rules.expect(
        (1..=MAX_ACCUMULATION).contains(&accumulation),
        &at("gradient_accumulation"),
        "1 to 65536 batches per optimizer step, or null for 1",
        accumulation,
    );
    rules.expect(
        training.max_skipped_steps >= 0,
        &at("max_skipped_steps"),
        "an integer of at least 0",
        training.max_skipped_steps,
    );
}

/// Evaluation while training needs something to evaluate on.
fn evaluation(config: &RecapConfig, rules: &mut Rules<'_>) {
    let at = |key: &str| path(&["training", key]);
    if config.training.evaluate && config.validation_data.is_empty() {
        let message = "there is nothing to evaluate on, add a partition to validation_data";
        rules.broken(&at("evaluate"), message);
    }
    if config.training.evaluate && config.training.num_eval_steps == 0 {
        let message = "an evaluation would read no batch: expected at least 1, or -1 for all";
        rules.broken(&at("num_eval_steps"), message);
    }
    if config.training.keep_best_metric.is_some() && !config.training.evaluate {
        let message = "nothing is evaluated while training, set training.evaluate to true";
        rules.broken(&at("keep_best_metric"), message);
    }
    if config.training.early_stopping_patience.is_some()
        && config.training.keep_best_metric.is_none()
    {
        let message = "nothing says which model is better, set training.keep_best_metric";
        rules.broken(&at("early_stopping_patience"), message);
    }
    let partitions = config.training.evaluate_partitions.iter().flatten();
    for (i, name) in partitions.enumerate() {
        if !config.validation_data.contains_key(name) {
            let hint = rules.at.suggest(name, names(&config.validation_data));
            let message = format!("{name:?} is no partition of validation_data{hint}");
            rules.broken(&at("evaluate_partitions").index(i), message);
        }
    }
}

/// Every model task needs its label in the training data.
fn labels(config: &RecapConfig, rules: &mut Rules<'_>) {
    let data = &config.train_data.tasks;
    let data_tasks = path(&["train_data", "tasks"]);
    if !rules.can_read(&data_tasks) {
        return;
    }
    for task in config
        .model
        .tasks
        .keys()
        .filter(|task| !data.contains_key(*task))
    {
        let hint = rules.at.suggest(task, names(data));
        let at = path(&["model", "tasks"]).key(task);
        rules.at_odds(
            &at,
            format!("train_data.tasks has no label for this task{hint}"),
        );
    }
}

/// Checks the columns that a configuration names against the width of the discrete features.
pub(super) fn check_discrete_width(
    loaded: &Loaded,
    file: &std::path::Path,
    width: usize,
) -> Result<(), ConfigError> {
    let mut at = Decoder::with_origins(loaded.origins.marks.clone());
    let mut rules = Rules { at: &mut at };
    for (path, index) in spec::discrete_columns(&loaded.config.model) {
        let inside = usize::try_from(index).is_ok_and(|index| index < width);
        let expected = format!("one of the {width} columns of the discrete features, from 0");
        rules.expect(inside, &path, &expected, index);
    }
    at.finish(file).map(|_| ())
}
