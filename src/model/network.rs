//! One network, tower or backbone, of whichever architecture.

use tch::Tensor;

use super::dcn::Dcn;
use super::dlrm::Dlrm;
use super::input::Input;
use super::mask_net::MaskNet;
use super::mlp::Mlp;
use super::scope::{Builder, Scope};
use super::{Mode, ModelError};
use crate::config::NetworkSpec;
use crate::torch::TorchError;

/// A tower or the backbone.
#[derive(Debug)]
pub(super) enum Network {
    Mlp(Mlp),
    MaskNet(MaskNet),
    Dcn(Dcn),
    Dlrm(Dlrm),
}

impl Network {
    pub(super) fn build(
        builder: &mut Builder,
        scope: &Scope,
        input: Input<'_>,
        spec: &NetworkSpec,
    ) -> Result<Self, ModelError> {
        let width = input.width();
        match spec {
            NetworkSpec::Mlp(spec) => Mlp::build(builder, scope, width, spec).map(Self::Mlp),
            NetworkSpec::MaskNet(spec) => {
                MaskNet::build(builder, scope, width, spec).map(Self::MaskNet)
            }
            NetworkSpec::Dcn(spec) => Dcn::build(builder, scope, width, spec).map(Self::Dcn),
            NetworkSpec::Dlrm(spec) => {
                let scope = scope.child("", "dlrm_config");
                Dlrm::build(builder, &scope, input, spec).map(Self::Dlrm)
            }
        }
    }

    /// Columns of the output.
    pub(super) fn out_features(&self) -> i64 {
        match self {
            Self::Mlp(mlp) => mlp.out_features(),
            Self::MaskNet(mask_net) => mask_net.out_features(),
            Self::Dcn(dcn) => dcn.out_features(),
            Self::Dlrm(dlrm) => dlrm.out_features(),
        }
    }

    /// `[B, in]` → `[B, out_features]`.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor, TorchError> {
        match self {
            Self::Mlp(mlp) => mlp.forward(x, mode),
            Self::MaskNet(mask_net) => mask_net.forward(x, mode),
            Self::Dcn(dcn) => dcn.forward(x, mode),
            Self::Dlrm(dlrm) => dlrm.forward(x, mode),
        }
    }
}
