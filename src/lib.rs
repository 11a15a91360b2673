//! Trains the heavy ranker: the rooms, the journey of one example, the dependency rule.

pub mod batch;
pub mod checkpoint;
pub mod config;
pub mod distributed;
pub mod torch;
