//! The generator: what it writes, and that nothing half-written stays.

use recap_train::batch::HostValues;
use recap_train::config::RecapDataConfig;
use recap_train::data::random::{Compression, GenerateOptions, generate};
use recap_train::data::{Fault, LoadedBatch, Loader, Mode};

use crate::data::{drain, fixtures, in_order, small_config};

fn options(n_examples: usize, n_files: usize, noise: bool) -> GenerateOptions {
    GenerateOptions {
        n_examples,
        n_files,
        seed: 11,
        noise,
        output_dir: None,
        compression: Compression::Gzip,
        beside_others: false,
    }
}

fn read(config: &RecapDataConfig) -> Vec<LoadedBatch> {
    drain(Loader::open(config, in_order(Mode::Train), None).unwrap()).unwrap()
}

fn floats<'a>(batch: &'a LoadedBatch, name: &str) -> &'a [f32] {
    match &batch.batch.feature(name).unwrap().values {
        HostValues::F32(values) => values,
        other => panic!("{name} is {other:?}"),
    }
}

fn ints(values: &HostValues) -> &[i64] {
    match values {
        HostValues::I64(values) => values,
        other => panic!("not integers: {other:?}"),
    }
}

/// Pearson's correlation of the first continuous column with the first label.
fn correlation(batch: &LoadedBatch) -> f32 {
    let x: Vec<f32> = floats(batch, "continuous")
        .iter()
        .step_by(24)
        .copied()
        .collect();
    let labels = ints(&batch.batch.labels.as_ref().unwrap().values);
    let y: Vec<f32> = labels
        .iter()
        .step_by(5)
        .map(|&label| label as f32)
        .collect();
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    let (mx, my) = (mean(&x), mean(&y));
    let covariance: f32 = x.iter().zip(&y).map(|(x, y)| (x - mx) * (y - my)).sum();
    let spread = |values: &[f32], m: f32| values.iter().map(|v| (v - m).powi(2)).sum::<f32>();
    covariance / (spread(&x, mx) * spread(&y, my)).sqrt()
}

#[test]
fn examples_are_spread_over_files_and_stay_in_range() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_config(&format!("{}/*.gz", folder.path().display()), 10, 0);
    let paths = generate(&config, &options(70, 3, true)).unwrap();
    assert_eq!(paths.len(), 3);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        3,
        "no draft is left"
    );
    let batches = read(&config);
    assert_eq!(batches.len(), 7);
    for batch in &batches {
        assert!(
            floats(batch, "continuous")
                .iter()
                .all(|v| (0.0..1.0).contains(v))
        );
        let discrete = &batch.batch.feature("discrete").unwrap().values;
        assert!(ints(discrete).iter().all(|v| (0..10).contains(v)));
        let labels = ints(&batch.batch.labels.as_ref().unwrap().values);
        assert!(labels.iter().all(|v| (0..2).contains(v)));
    }
    let values: Vec<_> = batches
        .iter()
        .map(|batch| floats(batch, "continuous")[0])
        .collect();
    assert!(
        values
            .windows(2)
            .all(|pair| pair[0].to_bits() != pair[1].to_bits()),
        "examples differ"
    );
}

#[test]
fn labels_depend_on_features_unless_noise_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for (noise, range) in [(false, 0.3..0.9), (true, -0.1..0.1)] {
        let inputs = format!("{}/{noise}/*.gz", folder.path().display());
        let config = small_config(&inputs, 2000, 0);
        generate(&config, &options(2000, 1, noise)).unwrap();
        let found = correlation(&read(&config)[0]);
        assert!(range.contains(&found), "noise {noise}: {found}");
    }
}

#[test]
fn the_same_seed_writes_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let config = small_config(&format!("{}/{name}/*.gz", folder.path().display()), 10, 0);
        let paths = generate(&config, &options(20, 2, false)).unwrap();
        paths
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(write("a"), write("b"));
}

#[test]
fn data_that_the_config_would_not_find_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    for inputs in ["part-*.gz", "*/*.gz"] {
        let config = small_config(&format!("{}/{inputs}", folder.path().display()), 10, 0);
        let error = generate(&config, &options(10, 1, false)).unwrap_err();
        assert_eq!(error.fault(), Fault::Config, "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_name_that_is_taken_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("random-00001.tfrecord.gz/occupied")).unwrap();
    let config = small_config(&format!("{}/*.gz", folder.path().display()), 10, 0);
    let error = generate(&config, &options(10, 2, false)).unwrap_err();
    assert_eq!(error.fault(), Fault::Config, "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn production_shape_is_read_truncated() {
    let folder = tempfile::tempdir().unwrap();
    let yaml =
        std::fs::read_to_string(fixtures().join("data/variants/real_local_prod.yaml")).unwrap();
    let yaml = yaml.replace("${GOLDEN_DIR}", &fixtures().display().to_string());
    let mut config: RecapDataConfig = recap_train::config::parse(&yaml).unwrap();
    config.inputs = Some(format!("{}/*.gz", folder.path().display()));
    generate(&config, &options(16, 2, false)).unwrap();
    let batches = read(&config);
    assert_eq!(batches.len(), 2);
    let batch = &batches[0].batch;
    let width = |name: &str| batch.feature(name).unwrap().shape[1];
    assert_eq!(
        (width("continuous"), width("binary"), width("discrete")),
        (2117, 59, 320)
    );
    assert_eq!(width("user_eng_embedding"), 200);
    assert_eq!(batch.labels.as_ref().unwrap().shape, [8, 13]);
}
