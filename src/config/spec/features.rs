//! The feature transform: exactly one, with statistics and norms that can be computed.

use std::path::PathBuf;

use super::network::{BatchNormSpec, batch_norm};
use super::number::{Magnitude, NonNegative, Probability};
use super::{Path, Rules};
use crate::config::{DoubleNormLogConfig, FeaturizationConfig, LayerNormConfig, ZScoreLogConfig};

/// How the continuous features are transformed; the binary ones stand beside them.
#[derive(Clone, Debug, PartialEq)]
pub enum FeatureTransformSpec {
    /// sign(x)·log(1 + |x|).
    Log,
    /// The same after a clamp to ± the magnitude.
    ClippedLog(Magnitude),
    /// The z-score of the log.
    ZScoreLog {
        /// The statistics file.
        analysis_path: PathBuf,
        /// BatchNorm after it.
        batch_norm: Option<BatchNormSpec>,
        /// A clamp to ± this at the end.
        clip: Magnitude,
    },
    /// Log, BatchNorm, clamp, LayerNorm over everything.
    DoubleNormLog {
        /// Whether the log is taken.
        log: bool,
        /// BatchNorm after it.
        batch_norm: Option<BatchNormSpec>,
        /// A clamp to ± this after BatchNorm.
        clip: Magnitude,
        /// LayerNorm over continuous and binary features.
        layer_norm: Option<LayerNormSpec>,
    },
}

/// LayerNorm over the columns of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNormSpec {
    /// Added to the variance before its root.
    pub epsilon: NonNegative,
    /// Learn a scale and a shift per column.
    pub affine: bool,
}

const TRANSFORMS: &str =
    "log1p_abs_config, clip_log1p_abs_config, z_score_log_config, double_norm_log_config";

const MAGNITUDE: &str = "a number of at least 0";

/// Reads the feature transform, which a ranking model needs.
pub(super) fn features(
    config: Option<&FeaturizationConfig>,
    here: &Path,
    rules: &mut Rules<'_>,
) -> FeatureTransformSpec {
    let Some(config) = config else {
        let problem = "the ranking model needs a feature transform, expected a mapping";
        rules.broken(here, problem);
        return FeatureTransformSpec::Log;
    };
    rules.expect(
        config.feature_names_to_concat == ["binary"],
        &here.key("feature_names_to_concat"),
        "[binary], the only features that can be concatenated",
        format!("[{}]", config.feature_names_to_concat.join(", ")),
    );
    let clipped = here.key("clip_log1p_abs_config").key("clip_magnitude");
    let given = [
        config
            .log1p_abs_config
            .as_ref()
            .map(|_| FeatureTransformSpec::Log),
        config.clip_log1p_abs_config.as_ref().map(|config| {
            let magnitude = Magnitude::read(config.clip_magnitude, &clipped, MAGNITUDE, rules);
            FeatureTransformSpec::ClippedLog(magnitude)
        }),
        config
            .z_score_log_config
            .as_ref()
            .map(|config| z_score(config, &here.key("z_score_log_config"), rules)),
        config
            .double_norm_log_config
            .as_ref()
            .map(|config| double_norm(config, &here.key("double_norm_log_config"), rules)),
    ];
    let transform = rules.only(given, here, TRANSFORMS);
    transform.unwrap_or(FeatureTransformSpec::Log)
}

fn z_score(config: &ZScoreLogConfig, here: &Path, rules: &mut Rules<'_>) -> FeatureTransformSpec {
    for (key, is_given, problem) in [
        (
            "schema_path",
            config.schema_path.is_some(),
            "not supported: the statistics file lists columns in order, remove it",
        ),
        (
            "use_renorm",
            config.use_renorm,
            "batch renormalisation is not supported, expected false",
        ),
        (
            "use_bq_stats",
            config.use_bq_stats,
            "statistics exported from BigQuery are not supported, expected false",
        ),
    ] {
        if is_given {
            rules.broken(&here.key(key), problem);
        }
    }
    let clip = here.key("clip_magnitude");
    FeatureTransformSpec::ZScoreLog {
        analysis_path: PathBuf::from(&config.analysis_path),
        batch_norm: config.use_batch_norm.then_some(BatchNormSpec {
            affine: true,
            momentum: Probability(0.1),
        }),
        clip: Magnitude::read(config.clip_magnitude, &clip, MAGNITUDE, rules),
    }
}

fn double_norm(
    config: &DoubleNormLogConfig,
    here: &Path,
    rules: &mut Rules<'_>,
) -> FeatureTransformSpec {
    let clip = here.key("clip_magnitude");
    let clip = Magnitude::read(config.clip_magnitude, &clip, MAGNITUDE, rules);
    let norm = config.batch_norm_config.as_ref();
    let batch_norm = norm.map(|norm| batch_norm(norm, &here.key("batch_norm_config"), rules));
    let norm = config.layer_norm_config.as_ref();
    let layer_norm = norm.map(|norm| layer_norm(norm, &here.key("layer_norm_config"), rules));
    FeatureTransformSpec::DoubleNormLog {
        log: config.log,
        batch_norm,
        clip,
        layer_norm,
    }
}

fn layer_norm(config: &LayerNormConfig, here: &Path, rules: &mut Rules<'_>) -> LayerNormSpec {
    rules.expect(
        config.axis == -1,
        &here.key("axis"),
        "-1, the only dimension that can be normalised",
        config.axis,
    );
    rules.expect(
        config.center == config.scale,
        &here.key("center"),
        "the same value as scale, for both are learned or neither",
        config.center,
    );
    let epsilon = here.key("epsilon");
    let expected = "a finite number of at least 0";
    LayerNormSpec {
        epsilon: NonNegative::read(config.epsilon, &epsilon, expected, rules),
        affine: config.center,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{ModelConfig, parse};

    #[test]
    fn what_the_z_score_cannot_do_is_refused_by_its_key() {
        for (option, key) in [
            ("use_renorm: true", "use_renorm"),
            ("use_bq_stats: true", "use_bq_stats"),
            ("schema_path: a", "schema_path"),
            ("clip_magnitude: -1", "clip_magnitude"),
        ] {
            let config = format!(
                "{{tasks: {{t: {{mlp_config: {{layer_sizes: [1]}}}}}}, featurization_config: {{z_score_log_config: \
                 {{analysis_path: a, {option}}}}}}}"
            );
            let config: ModelConfig = parse(&config).unwrap();
            let message = config.spec().unwrap_err().to_string();
            let expected = format!("model.featurization_config.z_score_log_config.{key}: ");
            assert!(message.contains(&expected), "{message}");
        }
    }
}
