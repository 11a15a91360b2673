//! Rules of `optimizer` and of every learning rate.

use super::path::Path;
use super::validate::{Rules, names, path};
use super::{LearningRate, MultiTaskLearningRates, PiecewiseConstant, RecapConfig};

/// What a learning rate must be.
const RATE: &str = "a finite learning rate of at least 0";

/// Checks rates against tasks, every schedule, and Adam.
pub(super) fn check(config: &RecapConfig, rules: &mut Rules<'_>) {
    let optimizer = &config.optimizer;
    let here = path(&["optimizer"]);
    if let Some(rate) = &optimizer.single_task_learning_rate {
        learning_rate(rate, &here.key("single_task_learning_rate"), rules);
    }
    if let Some(rates) = &optimizer.multi_task_learning_rates {
        multi_task(config, rates, rules);
    }
    if let Some(adam) = &optimizer.adam {
        let here = here.key("adam");
        for (key, beta) in [("beta_1", adam.beta_1), ("beta_2", adam.beta_2)] {
            rules.expect(
                (0.0..1.0).contains(&beta),
                &here.key(key),
                "a number of at least 0 and below 1",
                beta,
            );
        }
        let fits = adam.epsilon >= 0.0 && adam.epsilon.is_finite();
        rules.expect(
            fits,
            &here.key("epsilon"),
            "a finite number of at least 0",
            adam.epsilon,
        );
    }
}

/// Towers and rates must match one to one.
fn multi_task(config: &RecapConfig, rates: &MultiTaskLearningRates, rules: &mut Rules<'_>) {
    let here = path(&["optimizer", "multi_task_learning_rates"]);
    let towers = here.key("tower_learning_rates");
    let tasks = &config.model.tasks;
    if rules.can_read(&towers) {
        for task in tasks
            .keys()
            .filter(|t| !rates.tower_learning_rates.contains_key(*t))
        {
            let at = path(&["model", "tasks"]).key(task);
            rules.at_odds(
                &at,
                format!("this task has no learning rate, add one to {towers}"),
            );
        }
    }
    for (task, rate) in &rates.tower_learning_rates {
        let at = towers.key(task);
        if !tasks.contains_key(task) && rules.can_read(&path(&["model", "tasks"])) {
            let hint = rules.at.suggest(task, names(tasks));
            rules.at_odds(
                &at,
                format!("a learning rate for a task that model.tasks lacks{hint}"),
            );
        }
        learning_rate(rate, &at, rules);
    }
    let backbone = here.key("backbone_learning_rate");
    match &rates.backbone_learning_rate {
        Some(rate) => learning_rate(rate, &backbone, rules),
        None if config.model.backbone.is_none() => {}
        None => rules.at_odds(
            &backbone,
            "model.backbone has no learning rate, add one here",
        ),
    }
}

/// Checks one schedule.
pub(super) fn learning_rate(rate: &LearningRate, here: &Path, rules: &mut Rules<'_>) {
    let mut number = |value: f64, path: &Path| {
        let fits = value >= 0.0 && value.is_finite();
        rules.expect(fits, path, RATE, value);
    };
    if let Some(value) = rate.constant {
        number(value, &here.key("constant"));
    }
    if let Some(ramp) = &rate.linear_ramp_to_constant {
        number(
            ramp.learning_rate,
            &here.key("linear_ramp_to_constant").key("learning_rate"),
        );
    }
    if let Some(ramp) = &rate.linear_ramp_to_cosine {
        let here = here.key("linear_ramp_to_cosine");
        number(ramp.learning_rate, &here.key("learning_rate"));
        number(ramp.final_learning_rate, &here.key("final_learning_rate"));
        rules.expect(
            ramp.final_num_steps > ramp.num_ramp_steps,
            &here.key("final_num_steps"),
            "more steps than num_ramp_steps, for the cosine to have any",
            ramp.final_num_steps.get(),
        );
    }
    if let Some(steps) = &rate.piecewise_constant {
        piecewise(steps, &here.key("piecewise_constant"), rules);
    }
}

fn piecewise(steps: &PiecewiseConstant, here: &Path, rules: &mut Rules<'_>) {
    let boundaries = steps
        .learning_rate_boundaries
        .as_deref()
        .unwrap_or_default();
    let values = steps.learning_rate_values.as_deref().unwrap_or_default();
    if values.len() != boundaries.len() + 1 {
        let message = format!(
            "expected one value more than boundaries, found {} values and {} boundaries",
            values.len(),
            boundaries.len()
        );
        rules.broken(&here.key("learning_rate_values"), message);
    }
    rules.expect(
        boundaries.windows(2).all(|pair| pair[0] < pair[1])
            && boundaries.iter().all(|&step| step >= 0),
        &here.key("learning_rate_boundaries"),
        "steps from 0 on, in ascending order",
        format!("{boundaries:?}"),
    );
    for (i, value) in values.iter().enumerate() {
        let fits = *value >= 0.0 && value.is_finite();
        let at = here.key("learning_rate_values").index(i);
        rules.expect(fits, &at, RATE, value);
    }
}
