//! Any bytes as a Parquet file: a conversion or a reason. The first byte chooses the mapping.

#![no_main]

use libfuzzer_sys::fuzz_target;

include!("../program.rs");
#[path = "../conversion.rs"]
mod conversion;

/// Of the columns `x`, which the seeds have of many types, `y`, an integer, and `z`, a float.
const MAPPINGS: [&str; 8] = [
    r#"
allow_one_class: true
one_hot: [{columns: [x]}]
discrete: [{columns: [x, z]}]
labels: {y: y == 1}
"#,
    r#"
allow_one_class: true
continuous: [x, z]
buckets: [{columns: [x], count: 3}]
labels: {y: y == 1}
"#,
    r#"
allow_one_class: true
continuous: [z]
labels: {y: y >= 1}
ids: {meta__user_id: {column: x}}
"#,
    r#"
allow_one_class: true
one_hot: [{columns: [z]}]
labels: {y: y < 1.5}
ids: {meta__key: {column: x, kind: text}}
rows_per_file: 3
"#,
    r#"
allow_one_class: true
continuous: [z]
labels: {y: y == 1}
split: {time: {column: x, before: {train: "2024-05-01", test: null}}}
"#,
    r#"
allow_one_class: true
continuous: [z]
labels: {y: 'x < "2024-05-01"', w: x < 3}
split: {hash: {column: x, parts: {train: 1.0}}}
"#,
    r#"
allow_one_class: true
continuous: [z]
labels: {y: y == 1, w: x == true}
weights: {y: x}
validation_share: 0.3
"#,
    r#"
allow_one_class: true
one_hot: [{columns: [y]}]
labels: {w: 'x == "a"', v: 'x >= "12:00"'}
"#,
];

fuzz_target!(|bytes: &[u8]| {
    if let Some((&choice, file)) = bytes.split_first() {
        conversion::check(conversion::choose(&MAPPINGS, choice), file);
    }
});
