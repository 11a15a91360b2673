//! Metrics against the numbers of the original Python trainer.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot read its fixture has failed"
)]

use std::path::PathBuf;

use recap_train::metrics::{
    Auroc, CrossEntropyConfig, Metric, Nrce, RankingLimits, Rce, RowMean, RowValue, Rows, Scores,
    StableMean, Stratified, Stratum,
};
use safetensors::SafeTensors;
use serde_json::Value;

/// The cases of `expected.json` and the columns they were computed from.
struct Golden {
    expected: Value,
    inputs: Vec<u8>,
}

/// The columns of one case.
struct Case {
    name: String,
    expected: Value,
    predictions: Vec<f32>,
    logits: Vec<f32>,
    labels: Vec<f32>,
    weights: Option<Vec<f32>>,
}

impl Golden {
    fn load() -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/metrics");
        let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        Self {
            expected: serde_json::from_str(&text).unwrap(),
            inputs: std::fs::read(folder.join("inputs.safetensors")).unwrap(),
        }
    }

    fn floats(&self, name: &str) -> Option<Vec<f32>> {
        let tensors = SafeTensors::deserialize(&self.inputs).unwrap();
        let bytes = tensors.tensor(name).ok()?.data().to_vec();
        let float = |four: &[u8]| f32::from_le_bytes(four.try_into().unwrap());
        Some(bytes.chunks_exact(4).map(float).collect())
    }

    fn integers(&self, name: &str) -> Vec<i64> {
        let tensors = SafeTensors::deserialize(&self.inputs).unwrap();
        let bytes = tensors.tensor(name).unwrap().data().to_vec();
        let integer = |eight: &[u8]| i64::from_le_bytes(eight.try_into().unwrap());
        bytes.chunks_exact(8).map(integer).collect()
    }

    fn cases(&self) -> Vec<Case> {
        let cases = self.expected.as_object().unwrap().iter();
        let cases: Vec<Case> = cases
            .filter(|(_, expected)| expected.get("chunks").is_some())
            .map(|(name, expected)| Case {
                name: name.clone(),
                expected: expected.clone(),
                predictions: self.floats(&format!("{name}/pred")).unwrap(),
                logits: self.floats(&format!("{name}/logits")).unwrap(),
                labels: self.floats(&format!("{name}/target")).unwrap(),
                weights: self.floats(&format!("{name}/weight")),
            })
            .collect();
        assert_eq!(cases.len(), 16);
        cases
    }
}

impl Case {
    /// `metric` over the batches the original was fed: the rows in chunks of equal size, the last one shorter.
    fn run<M: Metric>(&self, mut metric: M, is_logits: bool) -> M::Value {
        let chunks = usize::try_from(self.expected["chunks"].as_u64().unwrap()).unwrap();
        let size = self.labels.len().div_ceil(chunks);
        for start in (0..self.labels.len()).step_by(size) {
            let range = start..(start + size).min(self.labels.len());
            let scores = match is_logits {
                true => Scores::Logits(&self.logits[range.clone()]),
                false => Scores::Probabilities(&self.predictions[range.clone()]),
            };
            let mut rows = Rows::new(scores, &self.labels[range.clone()]).unwrap();
            if let Some(weights) = &self.weights {
                rows = rows.with_weights(&weights[range]).unwrap();
            }
            metric.update(&rows);
        }
        metric.compute()
    }

    fn check(&self, metric: &str, found: f64, tolerance: f64) {
        // Null stands for NaN and the infinities, which a missing class gives in the original.
        let is_same = match self.expected[metric].as_f64() {
            Some(expected) => (found - expected).abs() <= tolerance * expected.abs().max(1.0),
            None => found.is_nan(),
        };
        let expected = &self.expected[metric];
        assert!(is_same, "{}/{metric}: {found} is not {expected}", self.name);
    }
}

fn cross_entropy(label_smoothing: f64, epsilon: f32) -> CrossEntropyConfig {
    CrossEntropyConfig {
        label_smoothing,
        epsilon,
    }
}

/// Relative tolerance of numbers that the original accumulates in single precision.
const SINGLE: f64 = 2e-5;

#[test]
fn relative_cross_entropy_is_that_of_the_original() {
    for case in Golden::load().cases() {
        let plain = cross_entropy(0.0, 1e-7);
        let smooth = cross_entropy(0.1, 1e-7);
        let wide = cross_entropy(0.0, 1e-5);
        case.check("RCE", case.run(Rce::new(plain), false), SINGLE);
        case.check("RCE_smooth_0.1", case.run(Rce::new(smooth), false), SINGLE);
        case.check("RCE_eps_1e-5", case.run(Rce::new(wide), false), SINGLE);
        case.check("RCE_from_logits", case.run(Rce::new(plain), true), SINGLE);
    }
}

#[test]
fn normalised_relative_cross_entropy_is_that_of_the_original() {
    for case in Golden::load().cases() {
        let plain = cross_entropy(0.0, 1e-7);
        let smooth = cross_entropy(0.1, 1e-7);
        let wide = cross_entropy(0.0, 1e-5);
        case.check("NRCE", case.run(Nrce::new(plain), false), SINGLE);
        case.check(
            "NRCE_smooth_0.1",
            case.run(Nrce::new(smooth), false),
            SINGLE,
        );
        case.check("NRCE_eps_1e-5", case.run(Nrce::new(wide), false), SINGLE);
        case.check("NRCE_from_logits", case.run(Nrce::new(plain), true), SINGLE);
    }
}

/// Soft labels are left out: there the original counts each row partly as positive and partly as negative, pairs it
/// with itself, and divides by the masses of whole positives and negatives; 0.79 for random scores is no AUROC.
#[test]
fn auroc_is_that_of_the_original() {
    let mut cases = Golden::load().cases();
    cases.retain(|case| case.name != "soft_labels");
    for case in cases {
        let auroc = |label_threshold| {
            let limits = RankingLimits {
                label_threshold,
                ..RankingLimits::default()
            };
            case.run(Auroc::new(limits), false).value
        };
        case.check("AUROCWithMWU", auroc(0.5), 1e-6);
        case.check("AUROCWithMWU_threshold_0.2", auroc(0.2), 1e-6);
        let mut summarised = Auroc::new(RankingLimits {
            exact_examples: 16,
            nodes: 4096,
            ..RankingLimits::default()
        });
        summarised.reset();
        case.check("AUROCWithMWU", case.run(summarised, false).value, 1e-6);
    }
}

#[test]
fn the_stable_mean_is_that_of_the_original() {
    let golden = Golden::load();
    for case in golden.cases() {
        let mut mean = StableMean::default();
        mean.update(&case.predictions, case.weights.as_deref());
        case.check("StableMean_pred", mean.compute(), 1e-6);
        case.check("StableMean_weight_sum", mean.total_weight(), 1e-6);
        let prediction = RowMean::new(RowValue::Prediction);
        case.check("StableMean_pred", case.run(prediction, false), 1e-6);
    }
    let mut merged = StableMean::default();
    for state in golden.floats("stable_mean_merge/state").unwrap().chunks(2) {
        merged.add(f64::from(state[0]), f64::from(state[1]));
    }
    let result = golden.floats("stable_mean_merge/result").unwrap();
    let expected: Vec<f64> = result.into_iter().map(f64::from).collect();
    assert!((merged.compute() / expected[0] - 1.0).abs() < 1e-6);
    assert!((merged.total_weight() - expected[1]).abs() < 1e-4);
}

/// Scores, labels and the stratifying column of the rows of `task`, or of all tasks where it is none.
fn core_rows(golden: &Golden, task: Option<usize>) -> (Vec<f32>, Vec<f32>, Vec<i64>) {
    let probabilities = golden.floats("core/probabilities").unwrap();
    let labels = golden.integers("core/labels");
    let column = golden.integers("core/stratifier");
    let places = (0..labels.len()).filter(|place| task.is_none_or(|task| place % 3 == task));
    let mut rows = (Vec::new(), Vec::new(), Vec::new());
    for place in places {
        rows.0.push(probabilities[place]);
        rows.1.push(if labels[place] == 1 { 1.0 } else { 0.0 });
        rows.2.push(column[place / 3]);
    }
    rows
}

fn check_core(golden: &Golden, name: &str, found: f64) {
    let expected = &golden.expected["core"][name];
    let is_same = match expected.as_f64() {
        Some(expected) => (found - expected).abs() < 1e-6,
        None => found.is_nan(),
    };
    assert!(is_same, "{name}: {found} is not {expected}");
}

/// `metric`, which is `number` of the mean of `value`, over one task, whole and in the two strata of the reference.
fn check_strata(golden: &Golden, metric: &str, value: RowValue, number: fn(&RowMean) -> f64) {
    let tasks = [("-1", None), ("0", Some(0)), ("1", Some(1)), ("2", Some(2))];
    for (name, task) in tasks {
        let (scores, labels, column) = core_rows(golden, task);
        let rows = Rows::new(Scores::Probabilities(&scores), &labels).unwrap();
        let mut whole = RowMean::new(value);
        whole.update(&rows);
        check_core(golden, &format!("{metric}/task{name}"), number(&whole));
        for (suffix, chosen) in [("strat1", 1), ("strat_nomatch", 1000)] {
            let stratum = Stratum {
                column: "stratifier".into(),
                value: chosen,
            };
            let mut some = Stratified::new(stratum, RowMean::new(value));
            some.update(&rows, &column).unwrap();
            let key = format!("{metric}/task{name}_{suffix}");
            check_core(golden, &key, number(some.metric()));
        }
    }
}

#[test]
fn counts_and_rates_per_task_and_stratum_are_those_of_the_original() {
    let golden = Golden::load();
    check_strata(&golden, "Count", RowValue::Label, RowMean::sum);
    check_strata(&golden, "Ctr", RowValue::Label, RowMean::compute);
    check_strata(&golden, "Pctr", RowValue::Prediction, RowMean::compute);
}

#[test]
fn precision_recall_and_auroc_per_task_are_those_of_the_original() {
    let golden = Golden::load();
    for task in 0..3 {
        let (scores, labels, _) = core_rows(&golden, Some(task));
        let rows = Rows::new(Scores::Probabilities(&scores), &labels).unwrap();
        let mut precision = RowMean::new(RowValue::Precision);
        let mut recall = RowMean::new(RowValue::Recall);
        let mut auroc = Auroc::default();
        precision.update(&rows);
        recall.update(&rows);
        auroc.update(&rows);
        let name = |metric: &str| format!("functional_binary_{metric}/task{task}");
        check_core(&golden, &name("precision"), precision.compute());
        check_core(&golden, &name("recall"), recall.compute());
        check_core(&golden, &name("auroc"), auroc.compute().value);
    }
}
