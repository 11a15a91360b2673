//! One network, a tower or the backbone: exactly one architecture, every width and depth of which can be built.

use super::number::{Finite, Fraction, NonEmpty, Probability};
use super::{Path, Rules};
use crate::config::value::{Depth, Size};
use crate::config::{
    BatchNormConfig, DcnConfig, MaskBlockConfig, MaskNetConfig, MlpConfig, TaskModel,
};

/// A tower or the backbone.
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkSpec {
    /// A plain MLP.
    Mlp(MlpSpec),
    /// A Deep & Cross Network V2.
    Dcn(DcnSpec),
    /// A DLRM.
    Dlrm(DlrmSpec),
    /// A MaskNet.
    MaskNet(MaskNetSpec),
}

/// A stack of Linear layers.
#[derive(Clone, Debug, PartialEq)]
pub struct MlpSpec {
    /// Widths of all layers but the last.
    pub hidden: Vec<Size>,
    /// Width of the last.
    pub output: Size,
    /// BatchNorm after every hidden layer.
    pub batch_norm: Option<BatchNormSpec>,
    /// Rate of the dropout after every hidden layer.
    pub dropout: Option<Fraction>,
    /// ReLU after the last layer.
    pub final_layer_activation: bool,
}

/// BatchNorm1d.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormSpec {
    /// Learn a scale and a shift per column.
    pub affine: bool,
    /// Share of each new batch in the running statistics.
    pub momentum: Probability,
}

/// Cross layers, with an MLP beside or after them, and one on top.
#[derive(Clone, Debug, PartialEq)]
pub struct DcnSpec {
    /// Number of cross layers.
    pub depth: Depth,
    /// Rank of their weights; `None` for full ones.
    pub rank: Option<Size>,
    /// The MLP beside (`parallel`) or after them.
    pub deep: Option<MlpSpec>,
    /// Whether `deep` stands beside.
    pub parallel: bool,
    /// The MLP on top.
    pub output: Option<MlpSpec>,
}

/// Bottom and top MLP of a DLRM.
#[derive(Clone, Debug, PartialEq)]
pub struct DlrmSpec {
    /// Maps the dense features to the width of the embeddings.
    pub bottom: MlpSpec,
    /// Reads the dot products.
    pub top: MlpSpec,
}

/// Blocks side by side or one after another, then an MLP.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskNetSpec {
    /// The blocks.
    pub blocks: NonEmpty<MaskBlockSpec>,
    /// The MLP on top.
    pub mlp: Option<MlpSpec>,
    /// Whether the blocks stand side by side.
    pub parallel: bool,
}

/// One block of a MaskNet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaskBlockSpec {
    /// Width of its output.
    pub output: Size,
    /// Hidden width of its mask.
    pub aggregation: Aggregation,
    /// LayerNorm on its input.
    pub input_layer_norm: bool,
}

/// Hidden width of a mask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aggregation {
    /// This width.
    Size(Size),
    /// A multiple of the width of the mask's input, cut to a whole number; above 0.
    Factor(Finite),
}

impl NetworkSpec {
    pub(super) const STAND_IN: Self = Self::Mlp(MlpSpec::STAND_IN);

    /// Width of the output, where the configuration alone says it, and the keys that do.
    pub(super) fn output(&self) -> Option<(&'static [&'static str], u64)> {
        Some(match self {
            Self::Mlp(mlp) => (&["mlp_config", "layer_sizes"], mlp.output.get()),
            Self::Dcn(dcn) => (
                &["dcn_config", "output_mlp", "layer_sizes"],
                dcn.output.as_ref()?.output.get(),
            ),
            Self::Dlrm(dlrm) => (
                &["dlrm_config", "top_mlp", "layer_sizes"],
                dlrm.top.output.get(),
            ),
            Self::MaskNet(net) => match &net.mlp {
                Some(mlp) => (&["mask_net_config", "mlp", "layer_sizes"], mlp.output.get()),
                None => (&["mask_net_config", "mask_blocks"], net.width()),
            },
        })
    }
}

impl MaskNetSpec {
    /// Columns that the blocks give together.
    #[must_use]
    pub fn width(&self) -> u64 {
        if self.parallel {
            self.blocks.iter().map(|block| block.output.get()).sum()
        } else {
            self.blocks.last().output.get()
        }
    }
}

const ARCHITECTURES: &str = "mlp_config, dcn_config, dlrm_config, mask_net_config";

/// Reads a tower or the backbone.
pub(super) fn network(config: &TaskModel, here: &Path, rules: &mut Rules<'_>) -> NetworkSpec {
    let given = [
        config.mlp_config.as_ref().map(|config| {
            let here = here.key("mlp_config");
            NetworkSpec::Mlp(mlp(config, &here, rules))
        }),
        config.dcn_config.as_ref().map(|config| {
            let here = here.key("dcn_config");
            NetworkSpec::Dcn(dcn(config, &here, rules))
        }),
        config.dlrm_config.as_ref().map(|config| {
            let here = here.key("dlrm_config");
            NetworkSpec::Dlrm(DlrmSpec {
                bottom: mlp(&config.bottom_mlp, &here.key("bottom_mlp"), rules),
                top: mlp(&config.top_mlp, &here.key("top_mlp"), rules),
            })
        }),
        config.mask_net_config.as_ref().map(|config| {
            let here = here.key("mask_net_config");
            NetworkSpec::MaskNet(mask_net(config, &here, rules))
        }),
    ];
    let network = rules.only(given, here, ARCHITECTURES);
    network.unwrap_or(NetworkSpec::STAND_IN)
}

impl MlpSpec {
    const STAND_IN: Self = Self {
        hidden: Vec::new(),
        output: Size::literal(1),
        batch_norm: None,
        dropout: None,
        final_layer_activation: false,
    };
}

fn mlp(config: &MlpConfig, here: &Path, rules: &mut Rules<'_>) -> MlpSpec {
    let norm = config.batch_norm.as_ref();
    let batch_norm = norm.map(|norm| batch_norm(norm, &here.key("batch_norm"), rules));
    let split = config.layer_sizes.split_last();
    rules.expect(
        split.is_some(),
        &here.key("layer_sizes"),
        "at least one layer",
        "an empty list",
    );
    let rate = here.key("dropout").key("rate");
    let dropout = config
        .dropout
        .as_ref()
        .map(|dropout| Fraction::read(dropout.rate.get(), &rate, "a probability below 1", rules));
    let Some((&output, hidden)) = split else {
        return MlpSpec::STAND_IN;
    };
    MlpSpec {
        hidden: hidden.to_vec(),
        output,
        batch_norm,
        dropout,
        final_layer_activation: config.final_layer_activation,
    }
}

/// Reads a BatchNorm.
pub(super) fn batch_norm(
    config: &BatchNormConfig,
    here: &Path,
    rules: &mut Rules<'_>,
) -> BatchNormSpec {
    let momentum = config.momentum.get();
    BatchNormSpec {
        affine: config.affine,
        momentum: Probability::read(
            momentum,
            &here.key("momentum"),
            "a share of at most 1",
            rules,
        ),
    }
}

fn dcn(config: &DcnConfig, here: &Path, rules: &mut Rules<'_>) -> DcnSpec {
    let mut part = |key: &str, config: &Option<MlpConfig>| {
        let config = config.as_ref();
        config.map(|config| mlp(config, &here.key(key), rules))
    };
    DcnSpec {
        depth: config.poly_degree,
        rank: config.projection_dim,
        deep: part("parallel_mlp", &config.parallel_mlp),
        parallel: config.use_parallel,
        output: part("output_mlp", &config.output_mlp),
    }
}

fn mask_net(config: &MaskNetConfig, here: &Path, rules: &mut Rules<'_>) -> MaskNetSpec {
    let at = here.key("mask_blocks");
    rules.expect(
        !config.mask_blocks.is_empty(),
        &at,
        "at least one block",
        "an empty list",
    );
    let blocks = config.mask_blocks.iter().enumerate();
    let blocks = blocks.map(|(i, block)| mask_block(block, &at.index(i), rules));
    let stand_in = || MaskBlockSpec {
        output: Size::literal(1),
        aggregation: Aggregation::Size(Size::literal(1)),
        input_layer_norm: false,
    };
    let blocks = NonEmpty::or(blocks.collect(), stand_in);
    let top = config.mlp.as_ref();
    MaskNetSpec {
        blocks,
        mlp: top.map(|config| mlp(config, &here.key("mlp"), rules)),
        parallel: config.use_parallel,
    }
}

fn mask_block(config: &MaskBlockConfig, here: &Path, rules: &mut Rules<'_>) -> MaskBlockSpec {
    let given = [
        config.reduction_factor.map(|factor| {
            let here = here.key("reduction_factor");
            let factor = Finite::read(factor.get(), &here, "a finite number", rules);
            Aggregation::Factor(factor)
        }),
        config.aggregation_size.map(Aggregation::Size),
    ];
    let aggregation = rules.only(given, here, "reduction_factor, aggregation_size");
    MaskBlockSpec {
        output: config.output_size,
        aggregation: aggregation.unwrap_or(Aggregation::Size(Size::literal(1))),
        input_layer_norm: config.input_layer_norm,
    }
}
