//! Layers: MLP, MaskNet, DCN, DLRM and what they are made of.

use super::value::{PositiveFloat, PositiveInt, positive_float};

section! {
    /// A stack of Linear layers with ReLU between them.
    pub struct MlpConfig {
        /// Output width of each Linear.
        pub layer_sizes: Vec<PositiveInt>,
        /// BatchNorm after every Linear but the last.
        pub batch_norm: Option<BatchNormConfig> = None,
        /// Dropout after every ReLU but the last.
        pub dropout: Option<DropoutConfig> = None,
        /// ReLU after the last Linear.
        pub final_layer_activation: bool = false,
    }
}

section! {
    /// BatchNorm1d with eps 1e-5.
    pub struct BatchNormConfig {
        /// Learned scale and shift.
        pub affine: bool = true,
        /// Share of the new batch in the running statistics.
        pub momentum: PositiveFloat = positive_float(0.1),
    }
}

section! {
    /// Dropout.
    pub struct DropoutConfig {
        /// Probability that a value is dropped, below 1.
        pub rate: PositiveFloat = positive_float(0.1),
    }
}

section! {
    /// LayerNorm over the last dimension.
    pub struct LayerNormConfig {
        /// Added to the variance.
        pub epsilon: f64 = 1e-3,
        /// Must be -1.
        pub axis: i64 = -1,
        /// Learned shift; must equal `scale`.
        pub center: bool = true,
        /// Learned scale; must equal `center`.
        pub scale: bool = true,
    }
}

section! {
    /// Deep & Cross Network V2.
    pub struct DcnConfig {
        /// Number of cross layers.
        pub poly_degree: PositiveInt,
        /// Rank of the cross weights (null: full).
        pub projection_dim: Option<PositiveInt> = None,
        /// An MLP beside the cross layers (`use_parallel`) or after them.
        pub parallel_mlp: Option<MlpConfig> = None,
        /// Puts `parallel_mlp` beside the cross layers and concatenates.
        pub use_parallel: bool = true,
        /// An MLP on top.
        pub output_mlp: Option<MlpConfig> = None,
    }
}

section! {
    /// One block of a MaskNet.
    pub struct MaskBlockConfig {
        /// Width of the block's output.
        pub output_size: i64,
        /// Hidden width of the mask as a multiple of the mask input's width.
        pub reduction_factor: Option<PositiveFloat> = None,
        /// Hidden width of the mask.
        pub aggregation_size: Option<PositiveInt> = None,
        /// LayerNorm on the block's input.
        pub input_layer_norm: bool,
    }
    exactly_one "aggregation": reduction_factor, aggregation_size;
}

section! {
    /// MaskNet (arXiv 2102.07619).
    pub struct MaskNetConfig {
        /// The blocks.
        pub mask_blocks: Vec<MaskBlockConfig>,
        /// An MLP on top.
        pub mlp: Option<MlpConfig> = None,
        /// Every block reads the network's input and the outputs are concatenated; else one after another.
        pub use_parallel: bool = false,
    }
}

section! {
    /// DLRM (arXiv 1906.00091).
    pub struct DLRMConfig {
        /// Maps the dense features to the width of the embeddings, which must all be equally wide.
        pub bottom_mlp: MlpConfig,
        /// Reads the pairwise dot products and the bottom output.
        pub top_mlp: MlpConfig,
    }
}

section! {
    /// A scale and a shift learned on top of a logit.
    pub struct AffineMap {
        /// Initial scale.
        pub scale: f64 = 1.0,
        /// Initial shift.
        pub bias: f64 = 0.0,
    }
}
