//! One network, tower or backbone, of whichever architecture the configuration names.

use tch::Tensor;

use super::dcn::Dcn;
use super::dlrm::Dlrm;
use super::input::Input;
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
    Dcn(Dcn),
    Dlrm(Dlrm),
}

impl Network {
    pub(super) fn build(
        builder: &mut Builder,
        scope: &Scope,
        input: Input<'_>,
        config: &TaskModel,
    ) -> Result<Self, ModelError> {
        let child = |key| scope.child("", key);
        let width = input.width();
        if let Some(config) = &config.mlp_config {
            let scope = child("mlp_config");
            return Mlp::build(builder, &scope, width, config).map(Self::Mlp);
        }
        if let Some(config) = &config.mask_net_config {
            let scope = child("mask_net_config");
            return MaskNet::build(builder, &scope, width, config).map(Self::MaskNet);
        }
        if let Some(config) = &config.dcn_config {
            let scope = child("dcn_config");
            return Dcn::build(builder, &scope, width, config).map(Self::Dcn);
        }
        if let Some(config) = &config.dlrm_config {
            let scope = child("dlrm_config");
            return Dlrm::build(builder, &scope, input, config).map(Self::Dlrm);
        }
        Err(scope.error("", "expected one architecture, such as mlp_config"))
    }

    /// The key of its section.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Mlp(_) => "mlp_config",
            Self::MaskNet(_) => "mask_net_config",
            Self::Dcn(_) => "dcn_config",
            Self::Dlrm(_) => "dlrm_config",
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
