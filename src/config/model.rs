//! `model`: tasks, backbone, embeddings.

use indexmap::IndexMap;

use super::featurization::FeaturizationConfig;
use super::layers::{AffineMap, DLRMConfig, DcnConfig, MaskNetConfig, MlpConfig};
use super::optimizer::LearningRate;
use super::value::{PositiveInt, positive};

section! {
    /// The ranking model.
    pub struct ModelConfig {
        /// One tower per task; the order decides the order of logits.
        pub tasks: IndexMap<String, TaskModel>,
        /// Embedding tables sharded over ranks.
        pub large_embeddings: Option<LargeEmbeddingsConfig> = None,
        /// Embedding tables over the discrete features.
        pub small_embeddings: Option<SmallEmbeddingsConfig> = None,
        /// An embedding of the position a post was shown at.
        pub position_debias_config: Option<PositionDebiasConfig> = None,
        /// How dense features are transformed (the ranking model needs it).
        pub featurization_config: Option<FeaturizationConfig> = None,
        /// What the towers read.
        pub multi_task_type: MultiTaskType = MultiTaskType::ShareNone,
        /// The shared network below the towers.
        pub backbone: Option<TaskModel> = None,
        /// Rows to report on separately.
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
        /// An MLP.
        pub mlp_config: Option<MlpConfig> = None,
        /// A DCN-V2.
        pub dcn_config: Option<DcnConfig> = None,
        /// A DLRM.
        pub dlrm_config: Option<DLRMConfig> = None,
        /// A MaskNet.
        pub mask_net_config: Option<MaskNetConfig> = None,
        /// A scale and shift on the logit.
        pub affine_map: Option<AffineMap> = None,
        /// Weight of positive labels in the loss.
        pub pos_weight: f64 = 1.0,
    }
    exactly_one "architecture": mlp_config, dcn_config, dlrm_config, mask_net_config;
}

section! {
    /// An embedding of the position a post was shown at.
    pub struct PositionDebiasConfig {
        /// Later positions share the bucket of this one.
        pub max_position: i64 = 256,
        /// Width of the embedding.
        pub num_dims: PositiveInt = positive(64),
        /// How often the position is hidden in training (outside training it always is).
        pub drop_probability: f64 = 0.5,
        /// Column of the discrete features that holds the position.
        pub position_feature_index: i64,
    }
}

section! {
    /// Rows whose discrete feature equals a value, reported on separately.
    pub struct StratifierConfig {
        /// Name in reports.
        pub name: String,
        /// Column of the discrete features.
        pub index: i64,
        /// The value that selects a row.
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
        /// Number of rows; ids below 0 take the first, ids past the table the last.
        pub num_embeddings: i64,
        /// Width of a row.
        pub embedding_dim: i64,
        /// Column of the discrete features.
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
        /// Where its first values come from.
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
