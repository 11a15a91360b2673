//! The weighted mean that the other metrics are made of.

use serde::{Deserialize, Serialize};

use super::bits;

/// Weighted mean by Welford's update, stable however many values and however large the weights.
///
/// With total weight W and mean m, a value x of weight w gives W ← W + w, then m ← m + (w/W)(x − m). Merging is the
/// same update with the other mean as one value of its whole weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StableMean {
    #[serde(with = "bits")]
    weight: f64,
    #[serde(with = "bits")]
    mean: f64,
}

impl StableMean {
    /// Takes in values, each of weight 1 where `weights` is none; as many weights as values.
    pub fn update(&mut self, values: &[f32], weights: Option<&[f32]>) {
        for (index, &value) in values.iter().enumerate() {
            let weight = weights.map_or(1.0, |weights| weights.get(index).copied().unwrap_or(0.0));
            self.add(f64::from(value), f64::from(weight));
        }
    }

    /// Takes in one value; a weight of 0 leaves the mean as it is.
    pub fn add(&mut self, value: f64, weight: f64) {
        if weight > 0.0 {
            self.weight += weight;
            self.mean += weight / self.weight * (value - self.mean);
        }
    }

    /// Takes in what `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        self.add(other.mean, other.weight);
    }

    /// The mean; NaN before any weight.
    #[must_use]
    pub fn compute(&self) -> f64 {
        if self.weight > 0.0 {
            self.mean
        } else {
            f64::NAN
        }
    }

    /// The weight of everything seen.
    #[must_use]
    pub fn total_weight(&self) -> f64 {
        self.weight
    }

    /// Weight times value, summed over everything seen; 0 before any.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.weight * self.mean
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_parts_gives_the_mean_of_the_whole() {
        let values: Vec<f32> = (0..1000_u16).map(|i| 1e6 + f32::from(i)).collect();
        let weights: Vec<f32> = (0..1000_u16).map(|i| f32::from(i % 7)).collect();
        let mut whole = StableMean::default();
        whole.update(&values, Some(&weights));
        let mut left = StableMean::default();
        left.update(&values[..13], Some(&weights[..13]));
        let mut right = StableMean::default();
        right.update(&values[13..], Some(&weights[13..]));
        left.merge(&right);
        assert!((left.compute() - whole.compute()).abs() < 1e-8);
        assert!((left.total_weight() - whole.total_weight()).abs() < 1e-9);
    }

    #[test]
    fn no_weight_means_no_mean_and_does_no_harm() {
        let mut mean = StableMean::default();
        mean.update(&[3.0], Some(&[0.0]));
        assert!(mean.compute().is_nan());
        mean.merge(&StableMean::default());
        mean.update(&[4.0], None);
        assert!((mean.compute() - 4.0).abs() < 1e-12);
        mean.reset();
        assert!(mean.compute().is_nan());
    }

    #[test]
    fn a_state_of_nan_survives_json() {
        let mut mean = StableMean::default();
        mean.add(f64::NAN, 2.0);
        let text = serde_json::to_string(&mean).unwrap();
        let back: StableMean = serde_json::from_str(&text).unwrap();
        assert!(back.compute().is_nan());
        assert!((back.total_weight() - 2.0).abs() < 1e-12);
    }
}
