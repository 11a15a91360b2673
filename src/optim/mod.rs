//! Adam, the learning rates of its groups, clipping of gradients.

mod adam;
mod clip;
mod error;
mod groups;
mod schedule;

pub use adam::Optimizer;
pub use error::OptimError;
