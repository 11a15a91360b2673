//! The learning rate as a function of the step.

use std::f64::consts::PI;

use crate::config::{NonNegative, PositiveInt, Schedule};

impl Schedule {
    /// The rate at `step`; steps count batches from 0.
    #[must_use]
    pub fn rate(&self, step: u64) -> f64 {
        match self {
            Self::Constant(rate) => rate.get(),
            Self::PiecewiseConstant { first, then } => {
                let passed = then.partition_point(|&(boundary, _)| boundary <= step);
                let last = passed.checked_sub(1).map(|last| then[last].1);
                last.unwrap_or(*first).get()
            }
            Self::RampToConstant { peak, ramp } => {
                let peak = peak.get();
                peak.min(peak / ramp.get() as f64 * step as f64)
            }
            &Self::RampToCosine {
                peak,
                last,
                ramp,
                cosine,
            } => cosine_rate(step, (peak, last), (ramp, cosine)),
        }
    }
}

fn cosine_rate(
    step: u64,
    (peak, last): (NonNegative, NonNegative),
    (ramp, cosine): (PositiveInt, PositiveInt),
) -> f64 {
    let (peak, last) = (peak.get(), last.get());
    let (ramp, cosine) = (ramp.get(), cosine.get());
    if step < ramp {
        return peak / ramp as f64 * step as f64;
    }
    let passed = step - ramp;
    if passed > cosine {
        return last;
    }
    last + (peak - last) * 0.5 * (1.0 + (PI * passed as f64 / cosine as f64).cos())
}
