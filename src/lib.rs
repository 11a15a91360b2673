//! Trains the heavy ranker: the rooms, the journey of one example, the dependency rule.

pub mod batch;
pub mod config;
pub mod metrics;
pub mod torch;
