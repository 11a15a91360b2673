//! The ranking model: features in, one logit per task out. One layer per file; parameter names are a contract with
//! the original trainer, so that weights move between the two.
//!
//! Legend: `B` rows, `Fc`/`Fb` continuous/binary columns, `I` width of what backbone or towers read, `T` model tasks.

mod calibration;
mod error;
mod feature_transform;
mod init;
mod linear;
mod load_state;
mod mask_net;
mod mlp;
mod network;
mod norm;
mod ranker;
mod scope;

pub use error::ModelError;
pub use load_state::{LoadOptions, LoadReport, ShapeMismatch};
pub use ranker::{Outputs, Ranker};
pub use scope::Layer;

pub use crate::torch::named::{NamedTensor, NamedTensors};

/// What a forward pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// BatchNorm uses and updates with the batch's statistics, dropout drops, gradients can be had.
    Train,
    /// BatchNorm uses its running statistics, nothing is dropped, no gradients.
    Evaluate,
}

impl Mode {
    fn is_train(self) -> bool {
        self == Self::Train
    }
}
