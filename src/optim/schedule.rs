//! The learning rate as a function of the step.

use std::f64::consts::PI;

use super::OptimError;
use crate::config::{LearningRate, LinearRampToCosine, PiecewiseConstant};

/// A learning rate as a function of the step, checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// Always the same.
    Constant(f64),
    /// `values[number of boundaries ≤ step]`.
    PiecewiseConstant {
        /// Ascending steps.
        boundaries: Vec<u64>,
        /// One more than boundaries.
        values: Vec<f64>,
    },
    /// Up linearly, then constant.
    RampToConstant {
        /// Rate at the end of the ramp.
        peak: f64,
        /// Length of the ramp in steps, at least 1.
        ramp: u64,
    },
    /// Up linearly, then down along half a cosine, then constant.
    RampToCosine {
        /// Rate at the end of the ramp.
        peak: f64,
        /// Rate at the end.
        last: f64,
        /// Length of the ramp in steps, at least 1.
        ramp: u64,
        /// Step at which the cosine ends.
        end: u64,
    },
}

impl Schedule {
    /// Checks `config`, found at the dotted path `key`.
    ///
    /// # Errors
    /// When it names no schedule, or a piecewise constant one whose parts do not fit together.
    pub fn build(config: &LearningRate, key: &str) -> Result<Self, OptimError> {
        if let Some(rate) = config.constant {
            return Ok(Self::Constant(rate));
        }
        if let Some(config) = &config.piecewise_constant {
            return piecewise(config, &format!("{key}.piecewise_constant"));
        }
        if let Some(config) = &config.linear_ramp_to_constant {
            return Ok(Self::RampToConstant {
                peak: config.learning_rate,
                ramp: config.num_ramp_steps.get(),
            });
        }
        if let Some(config) = &config.linear_ramp_to_cosine {
            return Ok(cosine(config));
        }
        Err(OptimError::Config {
            key: key.to_owned(),
            problem: "expected a schedule, such as constant".to_owned(),
        })
    }

    /// The rate at `step`; steps count batches from 0.
    #[must_use]
    pub fn rate(&self, step: u64) -> f64 {
        match self {
            Self::Constant(rate) => *rate,
            Self::PiecewiseConstant { boundaries, values } => {
                values[boundaries.partition_point(|&boundary| boundary <= step)]
            }
            Self::RampToConstant { peak, ramp } => peak.min(peak / *ramp as f64 * step as f64),
            &Self::RampToCosine {
                peak,
                last,
                ramp,
                end,
            } => cosine_rate(step, (peak, last), (ramp, end)),
        }
    }
}

fn cosine_rate(step: u64, (peak, last): (f64, f64), (ramp, end): (u64, u64)) -> f64 {
    if step < ramp {
        return peak / ramp as f64 * step as f64;
    }
    if step > end {
        return last;
    }
    // A cosine of no length is its own first step, at the end of the ramp.
    let length = end.saturating_sub(ramp).max(1) as f64;
    last + (peak - last) * 0.5 * (1.0 + (PI * (step - ramp) as f64 / length).cos())
}

fn cosine(config: &LinearRampToCosine) -> Schedule {
    Schedule::RampToCosine {
        peak: config.learning_rate,
        last: config.final_learning_rate,
        ramp: config.num_ramp_steps.get(),
        end: config.final_num_steps.get(),
    }
}

fn piecewise(config: &PiecewiseConstant, key: &str) -> Result<Schedule, OptimError> {
    let error = |name: &str, problem: String| OptimError::Config {
        key: format!("{key}.{name}"),
        problem,
    };
    let boundaries = config.learning_rate_boundaries.as_deref().unwrap_or(&[]);
    let values = config.learning_rate_values.clone().unwrap_or_default();
    if values.len() != boundaries.len() + 1 {
        let problem = format!(
            "expected {} values, one more than boundaries, found {}",
            boundaries.len() + 1,
            values.len()
        );
        return Err(error("learning_rate_values", problem));
    }
    if let Some(pair) = boundaries.windows(2).find(|pair| pair[0] >= pair[1]) {
        let problem = format!(
            "expected ascending steps, found {} before {}",
            pair[0], pair[1]
        );
        return Err(error("learning_rate_boundaries", problem));
    }
    let boundaries: Result<Vec<u64>, _> = boundaries.iter().map(|&b| u64::try_from(b)).collect();
    let boundaries = boundaries.map_err(|_| {
        error(
            "learning_rate_boundaries",
            "expected steps from 0 on, found a negative one".to_owned(),
        )
    })?;
    Ok(Schedule::PiecewiseConstant { boundaries, values })
}
