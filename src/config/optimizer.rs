//! `optimizer`: Adam and the learning rates.

use indexmap::IndexMap;

use super::value::PositiveInt;

section! {
    /// Adam and the learning rates.
    pub struct RecapOptimizerConfig {
        /// One rate per tower and one for everything else.
        pub multi_task_learning_rates: Option<MultiTaskLearningRates> = None,
        /// One rate for everything.
        pub single_task_learning_rate: Option<LearningRate> = None,
        /// Adam; required, `{}` for its defaults.
        pub adam: Option<AdamConfig> = None,
    }
    exactly_one "lr": multi_task_learning_rates, single_task_learning_rate;
    exactly_one "optimizer": adam;
}

section! {
    /// Adam without weight decay.
    pub struct AdamConfig {
        /// Decay of the mean of gradients: about 1 / (1 - beta_1) steps are remembered. 0: no momentum. Range: 0 up
        /// to but not including 1.
        pub beta_1: f64 = 0.9,
        /// Decay of the mean of squared gradients. Small: rates jump with every batch. Range: 0 up to but not
        /// including 1.
        pub beta_2: f64 = 0.999,
        /// Added to the root of the corrected mean of squares. Large: updates of rarely used parameters shrink; 0
        /// divides by zero where a gradient was always 0. Range: 0 and up.
        pub epsilon: f64 = 1e-7,
    }
}

section! {
    /// One rate per tower and one for the rest.
    pub struct MultiTaskLearningRates {
        /// The rate of each tower by task name; every task of the model, and no other.
        pub tower_learning_rates: IndexMap<String, LearningRate>,
        /// The rate of everything that is no tower: backbone, norms, embeddings (null: only without a backbone).
        pub backbone_learning_rate: Option<LearningRate> = None,
    }
}

section! {
    /// A learning rate as a function of the step.
    pub struct LearningRate {
        /// Always this rate. Range: 0 and up.
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
        /// Rate at the end of the ramp, its highest. Range: 0 and up.
        pub learning_rate: f64,
        /// Rate at the end of the cosine and after it. Range: 0 and up.
        pub final_learning_rate: f64,
        /// Length of the ramp in batches.
        pub num_ramp_steps: PositiveInt,
        /// Batch at which the cosine ends, counted from the start of training. Range: above `num_ramp_steps`.
        pub final_num_steps: PositiveInt,
    }
}

section! {
    /// Up linearly, then constant.
    pub struct LinearRampToConstant {
        /// Rate at the end of the ramp and after it. Range: 0 and up.
        pub learning_rate: f64,
        /// Length of the ramp in batches. Short: Adam's first, rough estimates make large steps.
        pub num_ramp_steps: PositiveInt,
    }
}

section! {
    /// Constant between boundaries.
    pub struct PiecewiseConstant {
        /// Batches at which the rate changes, ascending.
        pub learning_rate_boundaries: Option<Vec<i64>> = None,
        /// The rates, one more than boundaries. Range: 0 and up.
        pub learning_rate_values: Option<Vec<f64>> = None,
    }
}
