//! Running statistics of the model, kept aside while a step may have to be undone.

use tch::Tensor;

use super::step::Stepper;

/// Copies of every buffer that a forward pass changes. Small: two numbers a feature.
#[derive(Debug)]
pub struct Statistics(Vec<(String, Tensor)>);

impl Statistics {
    /// Copies them.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn of(stepper: &Stepper) -> anyhow::Result<Self> {
        let buffers = stepper
            .ranker
            .state()
            .iter()
            .filter(|(_, entry)| !entry.trainable);
        let copy = |(name, tensor): (&str, &Tensor)| Ok((name.to_owned(), tensor.copy()));
        Ok(Self(
            buffers
                .map(|(name, entry)| copy((name, &entry.tensor)))
                .collect::<anyhow::Result<_>>()?,
        ))
    }

    /// Puts them back.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn put_back(&self, stepper: &Stepper) -> anyhow::Result<()> {
        for (name, copy) in &self.0 {
            if let Some(entry) = stepper.ranker.state().get(name) {
                entry.tensor.shallow_clone().f_copy_(copy)?;
            }
        }
        Ok(())
    }
}
