//! `model`: tasks, backbone, embeddings.

use indexmap::IndexMap;

use super::featurization::FeaturizationConfig;
use super::layers::{AffineMap, DLRMConfig, DcnConfig, MaskNetConfig, MlpConfig};
use super::optimizer::LearningRate;
use super::value::Size;

section! {
    /// The ranking model.
    pub struct ModelConfig {
        /// One tower per task, by name, at least one; their order is the order of logits.
        pub tasks: IndexMap<String, TaskModel>,
        /// Embedding tables sharded over processes; not supported, must be null.
        pub large_embeddings: Option<LargeEmbeddingsConfig> = None,
        /// Embedding tables over columns of the discrete features (null: none).
        pub small_embeddings: Option<SmallEmbeddingsConfig> = None,
        /// An embedding of the position a post was shown at (null: none).
        pub position_debias_config: Option<PositionDebiasConfig> = None,
        /// How dense features are transformed; the ranking model needs one.
        pub featurization_config: Option<FeaturizationConfig> = None,
        /// What the towers read: the features (`share_none`), the output of `backbone` (`share_all`) or both side by
        /// side (`share_partial`).
        pub multi_task_type: MultiTaskType = MultiTaskType::ShareNone,
        /// The network below the towers; needed by `share_all` and `share_partial`, forbidden with `share_none`.
        pub backbone: Option<TaskModel> = None,
        /// Groups of rows that evaluation reports on separately (null: none).
        pub stratifiers: Option<Vec<StratifierConfig>> = None,
        /// Own key: weight of each task's probability in the score that `predict` writes (null: no score).
        pub score_weights: Option<IndexMap<String, f64>> = None,
    }
    rule super::rules::backbone;
}

choice! {
    /// What the towers read.
    pub enum MultiTaskType {
        /// Each tower reads the features.
        ShareNone = "share_none",
        /// Each tower reads the backbone's output.
        ShareAll = "share_all",
        /// Each tower reads both.
        SharePartial = "share_partial",
    }
}

section! {
    /// One network: a tower or the backbone.
    pub struct TaskModel {
        /// A plain MLP: what most towers are.
        pub mlp_config: Option<MlpConfig> = None,
        /// A Deep & Cross Network V2: explicit products of features.
        pub dcn_config: Option<DcnConfig> = None,
        /// A DLRM: pairwise dot products of embeddings and dense features; it reads the features themselves, so it is
        /// the backbone or, with share_none, a tower.
        pub dlrm_config: Option<DLRMConfig> = None,
        /// A MaskNet: layers scaled by masks computed from the input; what the production backbone is.
        pub mask_net_config: Option<MaskNetConfig> = None,
        /// A learned scale and shift on the logit (null: none); not for a backbone.
        pub affine_map: Option<AffineMap> = None,
        /// Factor of the loss of positive rows. Above 1: higher recall and probabilities that are too high; 0 ignores
        /// positives. Range: 0 and up.
        pub pos_weight: f64 = 1.0,
    }
    exactly_one "architecture": mlp_config, dcn_config, dlrm_config, mask_net_config;
}

section! {
    /// An embedding of the position a post was shown at.
    pub struct PositionDebiasConfig {
        /// Number of buckets; later positions share the last.
        pub max_position: Size = Size::literal(256),
        /// Width of the embedding.
        pub num_dims: Size = Size::literal(64),
        /// How often the position of a row is hidden in training, so that the model can do without. 0: it leans on
        /// the position; 1: it never sees one. Range: 0 to 1.
        pub drop_probability: f64 = 0.5,
        /// Column of the discrete features that holds the position. Range: 0 up to the width of the discrete
        /// features.
        pub position_feature_index: i64,
    }
}

section! {
    /// Rows whose discrete feature equals a value, reported on separately.
    pub struct StratifierConfig {
        /// Name of the group in reports.
        pub name: String,
        /// Column of the discrete features. Range: 0 up to the width of the discrete features.
        pub index: i64,
        /// Rows with this value in the column are the group.
        pub value: i64,
    }
}

section! {
    /// Embedding tables over the discrete features.
    pub struct SmallEmbeddingsConfig {
        /// The tables.
        pub tables: Vec<SmallEmbeddingTable>,
    }
}

section! {
    /// One small embedding table.
    pub struct SmallEmbeddingTable {
        /// Name of the table.
        pub name: String,
        /// Number of rows; ids beyond share the last one, ids below 0 the first.
        pub num_embeddings: Size,
        /// Width of a row.
        pub embedding_dim: Size,
        /// Column of the discrete features that holds the id. Range: 0 up to the width of the discrete features.
        pub index: i64,
    }
}

section! {
    /// Embedding tables sharded over ranks.
    pub struct LargeEmbeddingsConfig {
        /// The tables.
        pub tables: Vec<LargeEmbeddingTable>,
        /// Their optimizer.
        pub optimizer: LargeEmbeddingsOptimizer,
        /// Tables whose rows are logged.
        pub tables_to_log: Option<Vec<String>> = None,
    }
}

section! {
    /// One large embedding table.
    pub struct LargeEmbeddingTable {
        /// Name of the table.
        pub name: String,
        /// Number of rows.
        pub num_embeddings: i64,
        /// Width of a row.
        pub embedding_dim: i64,
        /// Where its first values come from (null: random).
        pub pretrained: Option<PretrainedEmbedding> = None,
        /// File with its vocabulary.
        pub vocab: Option<String> = None,
    }
}

section! {
    /// Where the first values of a table come from.
    pub struct PretrainedEmbedding {
        /// Name in the snapshot.
        pub emb_name: String,
        /// The snapshot.
        pub embedding_snapshot_uri: String,
    }
}

section! {
    /// The optimizer of large embedding tables.
    pub struct LargeEmbeddingsOptimizer {
        /// Its schedule.
        pub learning_rate: Option<LearningRate> = None,
        /// Its first rate.
        pub init_learning_rate: f64,
    }
}
