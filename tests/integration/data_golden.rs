//! The original trainer's batches, bit for bit, and its failures.

use std::collections::BTreeMap;
use std::path::Path;

use recap_train::batch::{HostBatch, HostTensor, HostValues};
use recap_train::config::{self, RecapDataConfig};
use recap_train::data::{DataError, Fault, LoadedBatch, Loader, Mode, feature_widths};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::data::{drain, fixtures, in_order};

/// Variants on which this program differs from the original on purpose, with the reason.
const DIFFERENT: [(&str, &str); 9] = [
    (
        "downsample_mult_null",
        "null is documented as 1, and is 1 here; the original fails over it",
    ),
    (
        "downcast_float16",
        "the original accepts the type and then fails: here it works",
    ),
    (
        "downcast_float32",
        "the original accepts the type and then fails: here it works",
    ),
    (
        "downcast_uint8",
        "the original accepts the type and then fails: here it works",
    ),
    (
        "explicit_date_inputs",
        "broken in the original; the error here is that the folders are missing",
    ),
    (
        "explicit_datetime_inputs",
        "broken in the original; the error here is that the folders are missing",
    ),
    (
        "mask_mantissa",
        "the original never calls its own mantissa mask: here it works",
    ),
    (
        "all_combined",
        "has a mantissa mask, which the original ignores: compared without it",
    ),
    (
        "no_discrete",
        "the original's batches are the same; that it then needs `discrete` is no concern of the data",
    ),
];

/// Odd records that are read differently on purpose, with the reason.
const ODD_DIFFERENT: [(&str, &str); 9] = [
    (
        "two_packed_chunks",
        "a list in several chunks is joined, as protobuf says",
    ),
    (
        "two_packed_chunks_float",
        "a list in several chunks is joined, as protobuf says",
    ),
    (
        "two_packed_chunks_int",
        "a list in several chunks is joined, as protobuf says",
    ),
    (
        "mixed_packed_unpacked",
        "a list in several chunks is joined, as protobuf says",
    ),
    (
        "mixed_float",
        "a list in several chunks is joined, as protobuf says",
    ),
    (
        "mixed_int",
        "a list in several chunks is joined, as protobuf says",
    ),
    (
        "split_list_message",
        "a list in several messages is joined, as protobuf says",
    ),
    (
        "file_truncated_header",
        "a record header cut short is damage, not a clean end",
    ),
    (
        "file_truncated_gzip_trailer",
        "a gzip trailer cut short is damage, not a clean end",
    ),
];

fn expected(folder: &str) -> BTreeMap<String, Value> {
    let text = std::fs::read(fixtures().join(folder).join("expected.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn load_config(path: &Path) -> RecapDataConfig {
    let yaml = std::fs::read_to_string(path).unwrap();
    config::parse(&yaml.replace("${GOLDEN_DIR}", &fixtures().display().to_string())).unwrap()
}

fn run(config: &RecapDataConfig, mode: Mode) -> Result<Vec<LoadedBatch>, DataError> {
    drain(Loader::open(config, in_order(mode), None)?)
}

/// The bytes of `tensor` as they would be stored, with their type.
fn stored(tensor: &HostTensor) -> (Dtype, Vec<u8>) {
    match &tensor.values {
        HostValues::F32(v) => (Dtype::F32, v.iter().flat_map(|v| v.to_le_bytes()).collect()),
        HostValues::I64(v) => (Dtype::I64, v.iter().flat_map(|v| v.to_le_bytes()).collect()),
        HostValues::Bool(v) => (Dtype::BOOL, v.iter().map(|&v| u8::from(v)).collect()),
        HostValues::U8(v) => (Dtype::U8, v.clone()),
        HostValues::Bytes(_) | HostValues::Ragged { .. } => panic!("not stored as one tensor"),
    }
}

fn assert_tensor(name: &str, found: &HostTensor, golden: &SafeTensors<'_>) {
    let golden = golden
        .tensor(name)
        .unwrap_or_else(|_| panic!("{name} is not in the original"));
    assert_eq!(found.shape, golden.shape(), "shape of {name}");
    let (dtype, bytes) = stored(found);
    assert_eq!(dtype, golden.dtype(), "type of {name}");
    assert!(bytes == golden.data(), "values of {name}");
}

fn assert_ragged(name: &str, found: &HostTensor, golden: &SafeTensors<'_>) -> usize {
    let HostValues::Ragged { ends, values } = &found.values else {
        panic!("{name} should be ragged");
    };
    let mut indices = Vec::new();
    let mut start = 0;
    for (row, &end) in ends.iter().enumerate() {
        indices.extend((0..end - start).flat_map(|place| [row as i64, place as i64]));
        start = end;
    }
    let tensor = |shape: Vec<usize>, values| HostTensor { shape, values };
    let shape: Vec<i64> = found.shape.iter().map(|&size| size as i64).collect();
    assert_tensor(
        &format!("{name}.sparse_indices"),
        &tensor(vec![start, 2], HostValues::I64(indices)),
        golden,
    );
    assert_tensor(
        &format!("{name}.sparse_values"),
        &tensor(vec![start], (**values).clone()),
        golden,
    );
    assert_tensor(
        &format!("{name}.sparse_shape"),
        &tensor(vec![2], HostValues::I64(shape)),
        golden,
    );
    3
}

/// Compares one batch with everything the original has for it.
fn assert_batch(index: usize, batch: &HostBatch, golden: &SafeTensors<'_>, strings: &Value) {
    let mut compared = 0;
    for (name, tensor) in &batch.features {
        let name = format!("{index}/features/{name}");
        match &tensor.values {
            HostValues::Ragged { .. } => compared += assert_ragged(&name, tensor, golden),
            HostValues::Bytes(found) => {
                let golden = strings[format!("{index}/{}", &name[name.rfind('/').unwrap() + 1..])]
                    .as_array()
                    .unwrap();
                let found: Vec<_> = found
                    .iter()
                    .map(|bytes| String::from_utf8_lossy(bytes))
                    .collect();
                assert_eq!(
                    found,
                    golden
                        .iter()
                        .map(|s| s.as_str().unwrap())
                        .collect::<Vec<_>>()
                );
            }
            _ => {
                assert_tensor(&name, tensor, golden);
                compared += 1;
            }
        }
    }
    if let Some(labels) = &batch.labels {
        assert_tensor(&format!("{index}/labels"), labels, golden);
        compared += 1;
    }
    if let Some(weights) = &batch.weights {
        assert_tensor(&format!("{index}/features/weights"), weights, golden);
        compared += 1;
    }
    let prefix = format!("{index}/");
    let all = golden.names();
    let all = all
        .iter()
        .filter(|name| name.starts_with(&prefix) && !name.contains("recap_batch"));
    assert_eq!(compared, all.count(), "tensors of batch {index}");
}

fn mode(outcome: &Value) -> Mode {
    match outcome["mode"].as_str() {
        Some("inference") => Mode::Inference,
        Some("evaluate") => Mode::Evaluate,
        _ => Mode::Train,
    }
}

#[test]
fn every_variant_of_the_original_matches() {
    let folder = fixtures().join("data/variants");
    for (name, outcome) in expected("data/variants") {
        let mut config = load_config(&folder.join(format!("{name}.yaml")));
        if let Some(file) = outcome["files"][0].as_str() {
            config.inputs = Some(fixtures().join("data").join(file).display().to_string());
        }
        config.seg_dense_schema.mask_mantissa_features.clear();
        let result = run(&config, mode(&outcome));
        if outcome["ok"] == true {
            let batches = result.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(
                batches.len() as u64,
                outcome["num_batches"].as_u64().unwrap(),
                "{name}"
            );
            let bytes = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
            let golden = SafeTensors::deserialize(&bytes).unwrap();
            println!("{name}");
            for (index, loaded) in batches.iter().enumerate() {
                assert_batch(index, &loaded.batch, &golden, &outcome["strings"]);
            }
        } else if ["downcast_", "downsample_"]
            .iter()
            .any(|kind| name.starts_with(kind))
            && DIFFERENT.iter().any(|(known, _)| *known == name)
        {
            assert!(result.is_ok(), "{name}");
        } else {
            let error = result.err().unwrap_or_else(|| panic!("{name} should fail"));
            let fault = if WITHOUT_FILES.contains(&name.as_str()) {
                Fault::Data
            } else {
                Fault::Config
            };
            assert_eq!(error.fault(), fault, "{name}: {error}");
        }
    }
}

/// Variants that fail because no file is there, not because of what the config says.
const WITHOUT_FILES: [&str; 3] = [
    "explicit_date_inputs",
    "explicit_datetime_inputs",
    "no_files",
];

#[test]
fn the_list_of_differences_is_about_known_variants() {
    let variants = expected("data/variants");
    let odd = expected("data/odd");
    assert!(
        DIFFERENT
            .iter()
            .all(|(name, reason)| variants.contains_key(*name) && !reason.is_empty())
    );
    assert!(
        ODD_DIFFERENT
            .iter()
            .all(|(name, reason)| odd.contains_key(*name) && !reason.is_empty())
    );
}

#[test]
fn every_odd_record_of_the_original_matches() {
    let folder = fixtures().join("data/odd");
    let bytes = std::fs::read(folder.join("expected.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    for (name, outcome) in expected("data/odd") {
        let mut config = crate::data::small_config("odd", 1, 0);
        config.inputs = Some(
            folder
                .join(format!("{name}.tfrecord.gz"))
                .display()
                .to_string(),
        );
        let result = run(&config, Mode::Train);
        let is_different = ODD_DIFFERENT.iter().any(|(known, _)| *known == name);
        if name == "file_not_gzip" {
            // An uncompressed file: the original reads gzip only.
            assert_eq!(result.unwrap().len(), 4);
        } else if (outcome["ok"] == true) == is_different {
            let error = result.err().unwrap_or_else(|| panic!("{name} should fail"));
            assert_eq!(error.fault(), Fault::Data, "{name}: {error}");
        } else {
            let batches = result.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            if let Some(records) = outcome["records"].as_u64() {
                assert_eq!(batches.len() as u64, records, "{name}");
            } else if !is_different {
                let batch = &batches[0].batch;
                for feature in ["continuous", "binary", "discrete"] {
                    assert_tensor(
                        &format!("{name}/{feature}"),
                        batch.feature(feature).unwrap(),
                        &golden,
                    );
                }
                assert_tensor(
                    &format!("{name}/labels"),
                    batch.labels.as_ref().unwrap(),
                    &golden,
                );
            }
        }
    }
}

#[test]
fn lists_in_several_pieces_are_joined() {
    let whole: Vec<f32> = (0..24).map(|i| i as f32 + 0.5).collect();
    for name in [
        "two_packed_chunks_float",
        "mixed_float",
        "split_list_message",
    ] {
        let file = fixtures().join(format!("data/odd/{name}.tfrecord.gz"));
        let config = crate::data::small_config(&file.display().to_string(), 1, 0);
        let batches = run(&config, Mode::Train).unwrap();
        let continuous = batches[0].batch.feature("continuous").unwrap();
        assert_eq!(continuous.values, HostValues::F32(whole.clone()), "{name}");
    }
}

#[test]
fn mantissa_masks_clear_the_lowest_bits() {
    let golden: Value = serde_json::from_slice(
        &std::fs::read(fixtures().join("data/mask_mantissa_direct.json")).unwrap(),
    )
    .unwrap();
    let config = load_config(&fixtures().join("data/variants/mask_mantissa.yaml"));
    let mut plain = config.clone();
    plain.seg_dense_schema.mask_mantissa_features.clear();
    let (masked, plain) = (
        run(&config, Mode::Train).unwrap(),
        run(&plain, Mode::Train).unwrap(),
    );
    let bits = config.seg_dense_schema.mask_mantissa_features["continuous"];
    let values = |batch: &LoadedBatch| match &batch.batch.feature("continuous").unwrap().values {
        HostValues::F32(values) => values.clone(),
        _ => panic!("continuous is f32"),
    };
    for (masked, plain) in values(&masked[0]).iter().zip(values(&plain[0])) {
        assert_eq!(masked.to_bits(), plain.to_bits() >> bits << bits);
    }
    // The original's helper, called directly, clears the same bits.
    for (input, output) in golden["in"]
        .as_array()
        .unwrap()
        .iter()
        .zip(golden["masked16"].as_array().unwrap())
    {
        if let (Some(input), Some(output)) = (input.as_f64(), output.as_f64()) {
            assert_eq!(
                ((input as f32).to_bits() >> 16) << 16,
                (output as f32).to_bits()
            );
        }
    }
}

#[test]
fn widths_are_known_before_data_is_read() {
    let mut config = load_config(&fixtures().join("data/variants/all_combined.yaml"));
    config.inputs = Some("/nowhere".to_owned());
    let widths = feature_widths(&config).unwrap();
    assert_eq!(
        (widths.continuous, widths.binary, widths.discrete),
        (11, 2, 6)
    );
    assert_eq!(widths.author_embedding, Some(8));
    let config = load_config(&fixtures().join("data/variants/no_embeddings.yaml"));
    assert_eq!(feature_widths(&config).unwrap().author_embedding, None);
}
