//! The feature transform: raw dense features to numbers a network can learn from.

use std::path::Path;

use tch::{Kind, Tensor};

use super::input::columns;
use super::log_statistics::{LogStatistics, signed_log};
use super::norm::{BatchNorm, LayerNorm};
use super::scope::{Builder, Scope};
use super::{Mode, ModelError};
use crate::batch::FeatureWidths;
use crate::config::{BatchNormSpec, FeatureTransformSpec, Magnitude};
use crate::torch::TorchError;

/// Some steps over the continuous features, the binary features beside them, then perhaps a LayerNorm over both.
///
/// | transform | steps |
/// |---|---|
/// | `log1p_abs` | log |
/// | `clip_log1p_abs` | clamp, log |
/// | `z_score_log` | log, z-score by the statistics file, BatchNorm (`use_batch_norm`), clamp |
/// | `double_norm_log` | log, BatchNorm (if configured), clamp; LayerNorm over both (if configured) |
#[derive(Debug)]
pub(super) struct FeatureTransform {
    steps: Vec<Step>,
    layer_norm: Option<LayerNorm>,
}

/// One step over the continuous features; `[B, Fc]` → `[B, Fc]`.
#[derive(Debug)]
enum Step {
    Log,
    /// What is not finite counts as 0.
    Finite,
    Clamp(Clamp),
    ZScore(ZScore),
    BatchNorm(BatchNorm),
}

impl FeatureTransform {
    pub(super) fn build(
        builder: &mut Builder,
        widths: &FeatureWidths,
        spec: &FeatureTransformSpec,
    ) -> Result<Self, ModelError> {
        let scope = Scope::new("model._preprocessor", "model.featurization_config");
        let mut steps = Steps::new(builder, &scope, widths);
        let layer_norm = match spec {
            FeatureTransformSpec::Log => {
                steps.log();
                None
            }
            FeatureTransformSpec::ClippedLog(magnitude) => {
                steps.clamp(*magnitude)?;
                steps.log();
                None
            }
            FeatureTransformSpec::ZScoreLog {
                analysis_path,
                batch_norm,
                clip,
            } => {
                let statistics = read_statistics(&scope, analysis_path, widths)?;
                steps.log();
                steps.z_score(&statistics)?;
                if let Some(norm) = *batch_norm {
                    steps.batch_norm(norm)?;
                }
                steps.clamp(*clip)?;
                None
            }
            FeatureTransformSpec::DoubleNormLog {
                log,
                batch_norm,
                clip,
                layer_norm,
            } => {
                if *log {
                    steps.log();
                } else {
                    steps.finite();
                }
                // There is nothing to normalise without columns.
                if let Some(norm) = batch_norm.filter(|_| widths.continuous > 0) {
                    steps.batch_norm(norm)?;
                }
                steps.clamp(*clip)?;
                *layer_norm
            }
        };
        let steps = steps.done;
        let layer_norm = layer_norm.map(|norm| {
            let width = columns(widths.continuous) + columns(widths.binary);
            let scope = scope.child("layer_norm.layer", "");
            LayerNorm::build(builder, &scope, width, norm.epsilon.get(), norm.affine)
        });
        Ok(Self {
            steps,
            layer_norm: layer_norm.transpose()?,
        })
    }

    /// `[B, Fc]`, `[B, Fb]` → `[B, Fc + Fb]`.
    pub(super) fn forward(
        &self,
        continuous: &Tensor,
        binary: &Tensor,
        mode: Mode,
    ) -> Result<Tensor, TorchError> {
        let mut x = continuous.shallow_clone();
        for step in &self.steps {
            x = match step {
                Step::Log => signed_log(&x)?,
                Step::Finite => x.f_nan_to_num(0.0, 0.0, 0.0)?,
                Step::Clamp(clamp) => clamp.forward(&x)?,
                Step::ZScore(score) => score.forward(&x)?,
                Step::BatchNorm(norm) => norm.forward(&x, mode)?,
            };
        }
        let binary = binary.f_to_kind(x.kind())?;
        let x = Tensor::f_cat(&[x, binary], 1)?;
        match &self.layer_norm {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        }
    }
}

/// The steps so far; the position of a step's module is part of its name.
struct Steps<'a> {
    builder: &'a mut Builder,
    scope: &'a Scope,
    width: i64,
    modules: usize,
    done: Vec<Step>,
}

impl<'a> Steps<'a> {
    fn new(builder: &'a mut Builder, scope: &'a Scope, widths: &FeatureWidths) -> Self {
        Self {
            builder,
            scope,
            width: columns(widths.continuous),
            modules: 0,
            done: Vec::new(),
        }
    }

    /// Two modules of the original: one for what is not finite, one for the log.
    fn log(&mut self) {
        self.modules += 2;
        self.done.push(Step::Log);
    }

    fn finite(&mut self) {
        self.modules += 2;
        self.done.push(Step::Finite);
    }

    fn clamp(&mut self, magnitude: Magnitude) -> Result<(), ModelError> {
        let scope = self.next("");
        let clamp = Clamp::build(self.builder, &scope, magnitude.get())?;
        self.done.push(Step::Clamp(clamp));
        Ok(())
    }

    fn z_score(&mut self, statistics: &LogStatistics) -> Result<(), ModelError> {
        let scope = self.next("");
        let score = ZScore::build(self.builder, &scope, statistics)?;
        self.done.push(Step::ZScore(score));
        Ok(())
    }

    fn batch_norm(&mut self, spec: BatchNormSpec) -> Result<(), ModelError> {
        let scope = self.next(".layer");
        let norm = BatchNorm::build(self.builder, &scope, self.width, spec)?;
        self.done.push(Step::BatchNorm(norm));
        Ok(())
    }

    /// The scope of the next module.
    fn next(&mut self, suffix: &str) -> Scope {
        let name = format!("_before_concat_layers.{}{suffix}", self.modules);
        self.modules += 1;
        self.scope.child(&name, "")
    }
}

fn read_statistics(
    scope: &Scope,
    path: &Path,
    widths: &FeatureWidths,
) -> Result<LogStatistics, ModelError> {
    LogStatistics::read(path, widths.continuous).map_err(|source| ModelError::Statistics {
        key: format!("{}.z_score_log_config.analysis_path", scope.key),
        source,
    })
}

/// Clamps to bounds that are part of the state.
#[derive(Debug)]
struct Clamp {
    min: Tensor,
    max: Tensor,
}

impl Clamp {
    fn build(builder: &mut Builder, scope: &Scope, magnitude: f64) -> Result<Self, ModelError> {
        let mut bound = |name, value| builder.buffer(scope.tensor(name), &[], value, Kind::Float);
        Ok(Self {
            min: bound("min_value", -magnitude)?,
            max: bound("max_value", magnitude)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, TorchError> {
        Ok(x.f_clamp_tensor(Some(&self.min), Some(&self.max))?)
    }
}

/// `(x − mean) / std` with statistics that are part of the state.
#[derive(Debug)]
struct ZScore {
    mean: Tensor,
    std: Tensor,
}

impl ZScore {
    /// A deviation of 0, that of a constant column, counts as 1.
    fn build(
        builder: &mut Builder,
        scope: &Scope,
        statistics: &LogStatistics,
    ) -> Result<Self, ModelError> {
        let divisor = |&std: &f64| if std > 0.0 { std } else { 1.0 };
        let std: Vec<f64> = statistics.std.iter().map(divisor).collect();
        Ok(Self {
            mean: builder.buffer_of(scope.tensor("mean"), &statistics.mean)?,
            std: builder.buffer_of(scope.tensor("std"), &std)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, TorchError> {
        Ok(x.f_sub(&self.mean)?.f_div(&self.std)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{builder, check_gradients, double, features, values, wave};
    use super::*;

    fn widths(continuous: usize) -> FeatureWidths {
        FeatureWidths {
            continuous,
            binary: 1,
            discrete: 0,
            user_embedding: None,
            user_eng_embedding: None,
            author_embedding: None,
        }
    }

    fn build(
        builder: &mut Builder,
        columns: usize,
        config: &str,
    ) -> Result<FeatureTransform, ModelError> {
        FeatureTransform::build(builder, &widths(columns), &features(config))
    }

    const NUMBERS: [f32; 5] = [1.0, -7.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

    /// The transformed `NUMBERS`, with a binary feature of 1 beside them.
    fn transform(config: &str) -> Vec<f32> {
        let transform = build(&mut builder(), 5, config).unwrap();
        let x = Tensor::from_slice(&NUMBERS).view([1, 5]);
        let binary = Tensor::from_slice(&[1_i64]).view([1, 1]);
        values(&transform.forward(&x, &binary, Mode::Evaluate).unwrap())
    }

    #[track_caller]
    fn assert_near(found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-5,
                "{found} {expected}"
            );
        }
    }

    #[test]
    fn the_plain_log_counts_what_is_not_finite_as_zero() {
        let expected = [2f64.ln(), -8f64.ln(), 0.0, 0.0, 0.0, 1.0];
        assert_near(&transform("{log1p_abs_config: {}}"), &expected);
    }

    #[test]
    fn without_the_log_numbers_stay_as_they_are() {
        let found = transform("{double_norm_log_config: {log: false}}");
        assert_near(&found, &[1.0, -5.0, 0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn a_model_without_continuous_columns_has_no_norm_for_them() {
        let config = "{double_norm_log_config: {batch_norm_config: {}}}";
        let transform = build(&mut builder(), 0, config).unwrap();
        let x = Tensor::zeros([2, 0], (Kind::Float, tch::Device::Cpu));
        let binary = Tensor::ones([2, 1], (Kind::Float, tch::Device::Cpu));
        let output = transform.forward(&x, &binary, Mode::Train).unwrap();
        assert_near(&values(&output), &[1.0, 1.0]);
    }

    #[test]
    fn the_clipped_log_clamps_the_raw_value_and_so_infinities() {
        let (two, four) = (2f64.ln(), 4f64.ln());
        let found = transform("{clip_log1p_abs_config: {clip_magnitude: 3}}");
        assert_near(&found, &[two, -four, 0.0, four, -four, 1.0]);
        let found = transform("{clip_log1p_abs_config: {}}");
        let most = 3e38f64.ln_1p();
        assert_near(&found, &[two, -8f64.ln(), 0.0, most, -most, 1.0]);
    }

    fn z_score(statistics: &str, options: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("statistics.json");
        std::fs::write(&path, statistics).unwrap();
        let config = format!(
            "{{z_score_log_config: {{analysis_path: '{}'{options}}}}}",
            path.display()
        );
        (folder, config)
    }

    const STATISTICS: &str = r#"{"mean": [0, 1, 1, 0, 0], "std": [0.5, 2, 0, 1, 1]}"#;

    #[test]
    fn the_z_score_shifts_scales_and_clamps_the_log() {
        let (_folder, config) = z_score(STATISTICS, ", clip_magnitude: 1.2");
        let expected = [1.2, -1.2, -1.0, 0.0, 0.0, 1.0];
        assert_near(&transform(&config), &expected);
        let (_folder, config) = z_score(STATISTICS, "");
        let expected = [
            2f64.ln() / 0.5,
            (-8f64.ln() - 1.0) / 2.0,
            -1.0,
            0.0,
            0.0,
            1.0,
        ];
        assert_near(&transform(&config), &expected);
    }

    #[test]
    fn the_z_score_keeps_its_statistics_in_the_state() {
        let (_folder, config) = z_score(STATISTICS, ", use_batch_norm: true");
        let mut builder = builder();
        build(&mut builder, 5, &config).unwrap();
        let names: Vec<&str> = builder.state.iter().map(|(name, _)| name).collect();
        let expected = [
            "2.mean",
            "2.std",
            "3.layer.weight",
            "3.layer.bias",
            "3.layer.running_mean",
            "3.layer.running_var",
            "3.layer.num_batches_tracked",
            "4.min_value",
            "4.max_value",
        ]
        .map(|name| format!("model._preprocessor._before_concat_layers.{name}"));
        assert_eq!(names, expected);
    }

    #[test]
    fn a_statistics_file_that_is_not_there_is_told_by_its_key() {
        let (folder, config) = z_score(STATISTICS, "");
        folder.close().unwrap();
        let message = build(&mut builder(), 5, &config).unwrap_err().to_string();
        let expected = "model.featurization_config.z_score_log_config.analysis_path: ";
        assert!(message.starts_with(expected), "{message}");
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let statistics = r#"{"mean": [0, 1, 1], "std": [0.5, 2, 0]}"#;
        let (_folder, score) = z_score(statistics, ", use_batch_norm: true");
        let norm = "{double_norm_log_config: {batch_norm_config: {}, layer_norm_config: {}}}";
        for config in ["{log1p_abs_config: {}}", &score, norm] {
            let mut builder = builder();
            let transform = build(&mut builder, 3, config).unwrap();
            let mut inputs = double(&builder);
            let x = (wave(&[4, 3]) * 3.0).set_requires_grad(true);
            inputs.push(x.shallow_clone());
            let binary = Tensor::ones([4, 1], (Kind::Double, tch::Device::Cpu));
            let weights = wave(&[4, 4]);
            check_gradients(&inputs, || {
                let output = transform.forward(&x, &binary, Mode::Train).unwrap();
                (output * &weights).sum(Kind::Double)
            });
        }
    }
}
