//! What a forward pass gives.

use tch::Tensor;

use super::ModelError;
use super::calibration::calibrate;

/// What a forward pass gives.
#[derive(Debug)]
pub struct Outputs {
    /// `[B, T]` in the order of the model tasks, in the element type of the parameters.
    pub logits: Tensor,
    /// A scalar per task.
    pub(super) ratios: Vec<Tensor>,
}

impl Outputs {
    /// `[B, T]`: the sigmoid of the logits.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn probabilities(&self) -> Result<Tensor, ModelError> {
        Ok(self.logits.f_sigmoid()?)
    }

    /// `[B, T]`: the probabilities, corrected for the sampling of negatives and positives.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn calibrated_probabilities(&self) -> Result<Tensor, ModelError> {
        let ratios = Tensor::f_stack(&self.ratios, 0)?;
        Ok(calibrate(&self.probabilities()?, &ratios)?)
    }
}
