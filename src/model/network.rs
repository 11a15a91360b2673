//! One network, tower or backbone, of whichever architecture the configuration names.

use tch::Tensor;

use super::mask_net::MaskNet;
use super::mlp::Mlp;
use super::scope::{Builder, Scope};
use super::{Mode, ModelError};
use crate::config::TaskModel;
use crate::torch::TorchError;

/// A tower or the backbone.
#[derive(Debug)]
pub(super) enum Network {
    Mlp(Mlp),
    MaskNet(MaskNet),
}

impl Network {
    pub(super) fn build(
        builder: &mut Builder,
        scope: &Scope,
        input: i64,
        config: &TaskModel,
    ) -> Result<Self, ModelError> {
        if let Some(mlp) = &config.mlp_config {
            let scope = scope.child("", "mlp_config");
            return Mlp::build(builder, &scope, input, mlp).map(Self::Mlp);
        }
        if let Some(mask_net) = &config.mask_net_config {
            let scope = scope.child("", "mask_net_config");
            return MaskNet::build(builder, &scope, input, mask_net).map(Self::MaskNet);
        }
        for (key, given) in [
            ("dcn_config", config.dcn_config.is_some()),
            ("dlrm_config", config.dlrm_config.is_some()),
        ] {
            if given {
                return Err(
                    scope.error(key, "not supported yet, use mlp_config or mask_net_config")
                );
            }
        }
        Err(scope.error("", "expected one architecture, such as mlp_config"))
    }

    /// Columns of the output.
    pub(super) fn out_features(&self) -> i64 {
        match self {
            Self::Mlp(mlp) => mlp.out_features(),
            Self::MaskNet(mask_net) => mask_net.out_features(),
        }
    }

    /// `[B, in]` → `[B, out_features]`.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor, TorchError> {
        match self {
            Self::Mlp(mlp) => mlp.forward(x, mode),
            Self::MaskNet(mask_net) => mask_net.forward(x, mode),
        }
    }
}
