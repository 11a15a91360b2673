//! `model.featurization_config`: how dense features are transformed.

use super::layers::{BatchNormConfig, LayerNormConfig};

section! {
    /// How dense features are transformed.
    pub struct FeaturizationConfig {
        /// sign(x) · log(1 + |x|) of each continuous feature; what is not finite counts as 0.
        pub log1p_abs_config: Option<Log1pAbsConfig> = None,
        /// The same after clamping, which infinities survive.
        pub clip_log1p_abs_config: Option<ClipLog1pAbsConfig> = None,
        /// The z-score of the log, from a file of statistics, then a clamp.
        pub z_score_log_config: Option<ZScoreLogConfig> = None,
        /// Log, BatchNorm, clamp, concatenation, LayerNorm.
        pub double_norm_log_config: Option<DoubleNormLogConfig> = None,
        /// What stands beside the continuous features, not transformed. Range: `[binary]` only.
        pub feature_names_to_concat: Vec<String> = vec!["binary".to_owned()],
    }
    exactly_one "featurization": log1p_abs_config, clip_log1p_abs_config, z_score_log_config, double_norm_log_config;
}

section! {
    /// No options.
    pub struct Log1pAbsConfig {}
}

section! {
    /// Clamp before the log.
    pub struct ClipLog1pAbsConfig {
        /// Values are clamped to ± this before the log. Range: 0 and up.
        pub clip_magnitude: f64 = 3e38,
    }
    at_least clip_magnitude: 0.0;
}

section! {
    /// The z-score of the log of each continuous feature.
    pub struct ZScoreLogConfig {
        /// The statistics file: JSON, {"mean": [...], "std": [...]} with a number per continuous column after preprocessing.
        pub analysis_path: String,
        /// Not supported (the statistics file lists columns in order), must be null.
        pub schema_path: Option<String> = None,
        /// Z-scores are clamped to ± this.
        pub clip_magnitude: f64 = 5.0,
        /// BatchNorm after the z-score, with a learned scale and shift and a momentum of 0.1.
        pub use_batch_norm: bool = false,
        /// Batch renormalisation; not supported, must be false.
        pub use_renorm: bool = false,
        /// Statistics as exported from BigQuery; not supported, must be false.
        pub use_bq_stats: bool = false,
    }
}

section! {
    /// Log, BatchNorm, clamp, concatenation of the binary features, LayerNorm.
    pub struct DoubleNormLogConfig {
        /// Own key: whether the log is taken; false leaves that out, for columns whose values are not far out.
        pub log: bool = true,
        /// BatchNorm after the log (null: none).
        pub batch_norm_config: Option<BatchNormConfig> = None,
        /// Values are clamped to ± this after BatchNorm, that is to so many standard deviations. Small: outliers say
        /// nothing; large: one outlier moves the LayerNorm of its whole row. Range: 0 and up.
        pub clip_magnitude: f64 = 5.0,
        /// LayerNorm over the continuous and binary features of a row together (null: none).
        pub layer_norm_config: Option<LayerNormConfig> = None,
    }
}
