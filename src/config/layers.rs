//! Layers: MLP, MaskNet, DCN, DLRM and what they are made of.

use super::value::{Depth, PositiveFloat, Size, positive_float};

section! {
    /// A stack of Linear layers with ReLU between them.
    pub struct MlpConfig {
        /// Output width of each Linear, at least one; the last of a task is 1, its logit.
        pub layer_sizes: Vec<Size>,
        /// BatchNorm after every Linear but the last (null: none).
        pub batch_norm: Option<BatchNormConfig> = None,
        /// Dropout after every ReLU but a final one (null: none).
        pub dropout: Option<DropoutConfig> = None,
        /// ReLU after the last Linear. True for a network that others read, false where it makes a logit.
        pub final_layer_activation: bool = false,
    }
}

section! {
    /// BatchNorm1d with eps 1e-5.
    pub struct BatchNormConfig {
        /// Learn a scale and a shift per column.
        pub affine: bool = true,
        /// Share of each new batch in the running statistics that evaluation uses: PyTorch's convention, 1 minus
        /// Keras's. Small: steady but slow to follow; 1: only the last batch counts. Range: above 0, at most 1.
        pub momentum: PositiveFloat = positive_float(0.1),
    }
}

section! {
    /// Dropout.
    pub struct DropoutConfig {
        /// Probability that a value is set to 0 in training; what stays is scaled by 1 / (1 - rate). Range: above 0,
        /// below 1.
        pub rate: PositiveFloat = positive_float(0.1),
    }
}

section! {
    /// LayerNorm over the last dimension.
    pub struct LayerNormConfig {
        /// Added to the variance before its root. 0 divides by zero on a row whose values are all equal. Range: 0 and
        /// up.
        pub epsilon: f64 = 1e-3,
        /// The dimension that is normalised. Range: -1 only.
        pub axis: i64 = -1,
        /// Learn a shift per column. Range: the same value as `scale`.
        pub center: bool = true,
        /// Learn a scale per column. Range: the same value as `center`.
        pub scale: bool = true,
    }
}

section! {
    /// Deep & Cross Network V2.
    pub struct DcnConfig {
        /// Number of cross layers: products of up to so many features and one more.
        pub poly_degree: Depth,
        /// Rank of the cross weights (null: full). Small: fewer parameters, coarser products.
        pub projection_dim: Option<Size> = None,
        /// An MLP beside the cross layers (`use_parallel`) or after them (null: none).
        pub parallel_mlp: Option<MlpConfig> = None,
        /// Put `parallel_mlp` beside the cross layers and concatenate both; else it reads their output.
        pub use_parallel: bool = true,
        /// An MLP on top (null: none); the last width of a task is 1.
        pub output_mlp: Option<MlpConfig> = None,
    }
}

section! {
    /// One block of a MaskNet.
    pub struct MaskBlockConfig {
        /// Width of the block's output.
        pub output_size: Size,
        /// Hidden width of the mask as a multiple of the width of the mask's input, cut to a whole number.
        pub reduction_factor: Option<PositiveFloat> = None,
        /// Hidden width of the mask.
        pub aggregation_size: Option<Size> = None,
        /// LayerNorm on the block's input.
        pub input_layer_norm: bool,
    }
    exactly_one "aggregation": reduction_factor, aggregation_size;
}

section! {
    /// MaskNet (arXiv 2102.07619).
    pub struct MaskNetConfig {
        /// The blocks, at least one.
        pub mask_blocks: Vec<MaskBlockConfig>,
        /// An MLP on top (null: none).
        pub mlp: Option<MlpConfig> = None,
        /// Every block reads the network's input and their outputs are concatenated; else each block reads the one
        /// before it.
        pub use_parallel: bool = false,
    }
}

section! {
    /// DLRM (arXiv 1906.00091).
    pub struct DLRMConfig {
        /// Maps the dense features to the width of the embeddings, which must all be equally wide.
        pub bottom_mlp: MlpConfig,
        /// Reads the pairwise dot products and the output of `bottom_mlp`.
        pub top_mlp: MlpConfig,
    }
}

section! {
    /// A scale and a shift learned on top of a logit.
    pub struct AffineMap {
        /// Initial factor of the logit.
        pub scale: f64 = 1.0,
        /// Initial summand of the logit.
        pub bias: f64 = 0.0,
    }
}
