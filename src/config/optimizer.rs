//! `optimizer`: Adam and the learning rates.

use indexmap::IndexMap;

use super::value::PositiveInt;

section! {
    /// Adam and the learning rates.
    pub struct RecapOptimizerConfig {
        /// One rate per tower and one for the rest.
        pub multi_task_learning_rates: Option<MultiTaskLearningRates> = None,
        /// One rate for everything.
        pub single_task_learning_rate: Option<LearningRate> = None,
        /// Adam.
        pub adam: Option<AdamConfig> = None,
    }
    exactly_one "lr": multi_task_learning_rates, single_task_learning_rate;
    exactly_one "optimizer": adam;
}

section! {
    /// Adam without weight decay.
    pub struct AdamConfig {
        /// Decay of the mean of gradients.
        pub beta_1: f64 = 0.9,
        /// Decay of the mean of squared gradients.
        pub beta_2: f64 = 0.999,
        /// Added to the root of the corrected mean of squares.
        pub epsilon: f64 = 1e-7,
    }
}

section! {
    /// One rate per tower and one for the rest.
    pub struct MultiTaskLearningRates {
        /// By task name.
        pub tower_learning_rates: IndexMap<String, LearningRate>,
        /// Everything that is no tower.
        pub backbone_learning_rate: Option<LearningRate> = None,
    }
}

section! {
    /// A learning rate as a function of the step.
    pub struct LearningRate {
        /// Always the same.
        pub constant: Option<f64> = None,
        /// Up linearly, then down along a cosine.
        pub linear_ramp_to_cosine: Option<LinearRampToCosine> = None,
        /// Up linearly, then constant.
        pub linear_ramp_to_constant: Option<LinearRampToConstant> = None,
        /// Constant between boundaries.
        pub piecewise_constant: Option<PiecewiseConstant> = None,
    }
    exactly_one "lr": constant, linear_ramp_to_cosine, linear_ramp_to_constant, piecewise_constant;
}

section! {
    /// Up linearly, then down along a cosine.
    pub struct LinearRampToCosine {
        /// Rate at the end of the ramp.
        pub learning_rate: f64,
        /// Rate at the end.
        pub final_learning_rate: f64,
        /// Length of the ramp in steps.
        pub num_ramp_steps: PositiveInt,
        /// Step at which the cosine ends.
        pub final_num_steps: PositiveInt,
    }
}

section! {
    /// Up linearly, then constant.
    pub struct LinearRampToConstant {
        /// Rate at the end of the ramp.
        pub learning_rate: f64,
        /// Length of the ramp in steps.
        pub num_ramp_steps: PositiveInt,
    }
}

section! {
    /// Constant between boundaries.
    pub struct PiecewiseConstant {
        /// Ascending steps at which the rate changes.
        pub learning_rate_boundaries: Option<Vec<i64>> = None,
        /// The rates, one more than boundaries.
        pub learning_rate_values: Option<Vec<f64>> = None,
    }
}
