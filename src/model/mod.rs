//! The ranking model: features in, one logit per task out. One layer per file; parameter names are a contract with
//! the original trainer, so that weights move between the two.
//!
//! Legend: `B` rows, `Fc`/`Fb` continuous/binary columns, `I` width of what backbone or towers read, `T` model tasks.

mod calibration;
mod dcn;
mod dlrm;
mod embedding_table;
mod error;
mod feature_transform;
mod features;
mod given_embedding;
mod init;
mod input;
mod linear;
mod load_report;
mod load_state;
mod log_statistics;
mod mask_net;
mod mlp;
mod network;
mod norm;
mod outputs;
mod position_debias;
mod ranker;
mod scope;
mod small_embedding;
#[cfg(test)]
mod test_support;
mod tower;
mod width;

pub use error::ModelError;
pub use load_report::{LoadReport, ShapeMismatch};
pub use log_statistics::{LogMoments, LogStatistics, StatisticsError};
pub use outputs::Outputs;
pub use ranker::{Plan, Ranker};
pub use scope::Layer;

pub use crate::torch::named::{NamedTensor, NamedTensors};

/// What a forward pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// BatchNorm uses and updates with the batch's statistics, dropout drops, the position is known unless it is
    /// dropped, gradients can be had.
    Train,
    /// BatchNorm uses its running statistics, nothing is dropped but the position, which is never known; no
    /// gradients.
    Evaluate,
}

impl Mode {
    fn is_train(self) -> bool {
        self == Self::Train
    }
}
