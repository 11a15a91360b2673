//! Adam and the learning rates: one rate for everything, or one for each tower of the model and no other.

use super::number::{Fraction, NonNegative};
use super::{Path, Rules};
use crate::config::reports::{names, path};
use crate::config::value::PositiveInt;
use crate::config::{
    AdamConfig, LearningRate, LinearRampToCosine, ModelConfig, MultiTaskLearningRates,
    PiecewiseConstant, RecapOptimizerConfig,
};

/// Adam and the learning rates.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerSpec {
    /// Adam.
    pub adam: AdamSpec,
    /// The learning rates.
    pub rates: Rates,
}

/// Adam without weight decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamSpec {
    /// Decay of the mean of gradients.
    pub beta_1: Fraction,
    /// Decay of the mean of squared gradients.
    pub beta_2: Fraction,
    /// Added to the root of the corrected mean of squares.
    pub epsilon: NonNegative,
}

/// Which parameters have which rate.
#[derive(Clone, Debug, PartialEq)]
pub enum Rates {
    /// One for all.
    Single(Schedule),
    /// One per task and one for the rest.
    PerTask {
        /// By task: every task of the model, in the order of the rates.
        towers: Vec<(String, Schedule)>,
        /// That of everything that is no tower.
        backbone: Option<Schedule>,
    },
}

/// A learning rate as a function of the step, which counts batches from 0.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// Always the same.
    Constant(NonNegative),
    /// Constant between boundaries.
    PiecewiseConstant {
        /// The rate before the first boundary.
        first: NonNegative,
        /// Ascending steps, and the rate from each on.
        then: Vec<(u64, NonNegative)>,
    },
    /// Up linearly, then constant.
    RampToConstant {
        /// Rate at the end of the ramp.
        peak: NonNegative,
        /// Length of the ramp in steps.
        ramp: PositiveInt,
    },
    /// Up linearly, then down along half a cosine, then constant.
    RampToCosine {
        /// Rate at the end of the ramp.
        peak: NonNegative,
        /// Rate at the end of the cosine and after it.
        last: NonNegative,
        /// Length of the ramp in steps.
        ramp: PositiveInt,
        /// Length of the cosine in steps.
        cosine: PositiveInt,
    },
}

/// What a learning rate must be.
const RATE: &str = "a finite learning rate of at least 0";

/// Reads rates against the tasks of `model`, every schedule, and Adam.
pub(in crate::config) fn optimizer(
    config: &RecapOptimizerConfig,
    model: &ModelConfig,
    rules: &mut Rules<'_>,
) -> OptimizerSpec {
    let here = path(&["optimizer"]);
    let single = here.key("single_task_learning_rate");
    let given = [
        config
            .single_task_learning_rate
            .as_ref()
            .map(|rate| Rates::Single(schedule(rate, &single, rules))),
        config
            .multi_task_learning_rates
            .as_ref()
            .map(|rates| multi_task(rates, model, rules)),
    ];
    let members = "multi_task_learning_rates, single_task_learning_rate";
    let rates = rules.only(given, &here, members);
    OptimizerSpec {
        adam: adam(config.adam.as_ref(), &here.key("adam"), rules),
        rates: rates.unwrap_or(Rates::Single(Schedule::STAND_IN)),
    }
}

fn adam(config: Option<&AdamConfig>, here: &Path, rules: &mut Rules<'_>) -> AdamSpec {
    let Some(config) = config else {
        // Known already where it was decoded.
        rules.broken(here, "required");
        return AdamSpec {
            beta_1: Fraction::STAND_IN,
            beta_2: Fraction::STAND_IN,
            epsilon: NonNegative::STAND_IN,
        };
    };
    let mut beta = |key: &str, value: f64| {
        let expected = "a number of at least 0 and below 1";
        Fraction::read(value, &here.key(key), expected, rules)
    };
    let (beta_1, beta_2) = (beta("beta_1", config.beta_1), beta("beta_2", config.beta_2));
    let epsilon = here.key("epsilon");
    let expected = "a finite number of at least 0";
    AdamSpec {
        beta_1,
        beta_2,
        epsilon: NonNegative::read(config.epsilon, &epsilon, expected, rules),
    }
}

/// Towers and rates must match one to one.
fn multi_task(
    config: &MultiTaskLearningRates,
    model: &ModelConfig,
    rules: &mut Rules<'_>,
) -> Rates {
    let here = path(&["optimizer", "multi_task_learning_rates"]);
    let at = here.key("tower_learning_rates");
    let tasks = &model.tasks;
    if rules.can_read(&at) {
        let has_rate = |task: &&String| config.tower_learning_rates.contains_key(*task);
        for task in tasks.keys().filter(|task| !has_rate(task)) {
            let task = path(&["model", "tasks"]).key(task);
            rules.at_odds(
                &task,
                format!("this task has no learning rate, add one to {at}"),
            );
        }
    }
    let mut towers = Vec::new();
    for (task, rate) in &config.tower_learning_rates {
        let at = at.key(task);
        if !tasks.contains_key(task) && rules.can_read(&path(&["model", "tasks"])) {
            let hint = rules.at.suggest(task, names(tasks));
            rules.at_odds(
                &at,
                format!("a learning rate for a task that model.tasks lacks{hint}"),
            );
        }
        towers.push((task.clone(), schedule(rate, &at, rules)));
    }
    let at = here.key("backbone_learning_rate");
    let rate = config.backbone_learning_rate.as_ref();
    let backbone = rate.map(|rate| schedule(rate, &at, rules));
    if backbone.is_none() && model.backbone.is_some() {
        rules.at_odds(&at, "model.backbone has no learning rate, add one here");
    }
    Rates::PerTask { towers, backbone }
}

impl Schedule {
    const STAND_IN: Self = Self::Constant(NonNegative::STAND_IN);
}

fn schedule(config: &LearningRate, here: &Path, rules: &mut Rules<'_>) -> Schedule {
    let given = [
        config
            .constant
            .map(|value| Schedule::Constant(rate(value, &here.key("constant"), rules))),
        config
            .linear_ramp_to_cosine
            .as_ref()
            .map(|config| cosine(config, &here.key("linear_ramp_to_cosine"), rules)),
        config.linear_ramp_to_constant.as_ref().map(|config| {
            let here = here.key("linear_ramp_to_constant");
            Schedule::RampToConstant {
                peak: rate(config.learning_rate, &here.key("learning_rate"), rules),
                ramp: config.num_ramp_steps,
            }
        }),
        config
            .piecewise_constant
            .as_ref()
            .map(|config| piecewise(config, &here.key("piecewise_constant"), rules)),
    ];
    let members = "constant, linear_ramp_to_cosine, linear_ramp_to_constant, piecewise_constant";
    let schedule = rules.only(given, here, members);
    schedule.unwrap_or(Schedule::STAND_IN)
}

fn rate(value: f64, here: &Path, rules: &mut Rules<'_>) -> NonNegative {
    NonNegative::read(value, here, RATE, rules)
}

fn cosine(config: &LinearRampToCosine, here: &Path, rules: &mut Rules<'_>) -> Schedule {
    let ramp = config.num_ramp_steps;
    let end = config.final_num_steps.get();
    let cosine = PositiveInt::new(end.saturating_sub(ramp.get()));
    rules.expect(
        cosine.is_some(),
        &here.key("final_num_steps"),
        "more steps than num_ramp_steps, for the cosine to have any",
        end,
    );
    Schedule::RampToCosine {
        peak: rate(config.learning_rate, &here.key("learning_rate"), rules),
        last: rate(
            config.final_learning_rate,
            &here.key("final_learning_rate"),
            rules,
        ),
        ramp,
        cosine: cosine.unwrap_or(ramp),
    }
}

fn piecewise(config: &PiecewiseConstant, here: &Path, rules: &mut Rules<'_>) -> Schedule {
    let boundaries = config
        .learning_rate_boundaries
        .as_deref()
        .unwrap_or_default();
    let values = config.learning_rate_values.as_deref().unwrap_or_default();
    if values.len() != boundaries.len() + 1 {
        let message = format!(
            "expected one value more than boundaries, found {} values and {} boundaries",
            values.len(),
            boundaries.len()
        );
        rules.broken(&here.key("learning_rate_values"), message);
    }
    rules.expect(
        boundaries.is_sorted_by(|step, next| step < next)
            && boundaries.iter().all(|&step| step >= 0),
        &here.key("learning_rate_boundaries"),
        "steps from 0 on, in ascending order",
        format!("{boundaries:?}"),
    );
    let values = values.iter().enumerate().map(|(i, &value)| {
        let here = here.key("learning_rate_values").index(i);
        rate(value, &here, rules)
    });
    let mut values = values.collect::<Vec<_>>().into_iter();
    let first = values.next().unwrap_or(NonNegative::STAND_IN);
    let steps = boundaries.iter().map(|step| step.unsigned_abs());
    Schedule::PiecewiseConstant {
        first,
        then: steps.zip(values).collect(),
    }
}
