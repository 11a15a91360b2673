//! Trains the heavy ranker: the rooms, the journey of one example, the dependency rule.

pub mod batch;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod loss;
pub mod metrics;
pub mod model;
pub mod optim;
pub mod torch;
