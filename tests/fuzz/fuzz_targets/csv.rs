//! Any bytes as a CSV table: a conversion or a reason. The first byte chooses the mapping.

#![no_main]

use libfuzzer_sys::fuzz_target;

include!("../program.rs");
#[path = "../conversion.rs"]
mod conversion;

/// Of the columns `a` to `d` and `y`.
const MAPPINGS: [&str; 8] = [
    r#"
allow_one_class: true
continuous: [a]
one_hot: [{columns: [b], min_count: 2}]
buckets: [{columns: [a, d], count: 3}]
discrete: [{columns: [c], max_values: 3}]
labels: {y: y == 1}
weights: {y: d}
ids: {meta__user_id: {column: d}}
"#,
    r#"
allow_one_class: true
one_hot: [{columns: [b]}]
labels: {y: 'y == "yes"', z: 'd < "2024-05-01T12:00+02:00"'}
split: {time: {column: d, before: {train: "2024-05-01", validation: "2024-06-01T12:00Z", test: null}}}
"#,
    r#"
discrete: [{columns: [b, c]}]
labels: {y: 'y != ""'}
ids: {meta__key: {column: a, kind: text}, meta__number: {}}
split: {hash: {column: d, parts: {train: 0.5, test: 0.5}}}
"#,
    r#"
allow_one_class: true
continuous: [a, b]
missing: -1.5
labels: {y: y >= 1.5, z: c < 3}
rows_per_file: 2
validation_share: 0.5
split: {index: {modulo: 3, parts: {train: [0, 1], test: [2]}}}
"#,
    r#"
csv: {header: false, names: [a, b, c, d, y], delimiter: ";", quote: null, trim: false, nulls: ["", NA]}
allow_one_class: true
continuous: [a]
one_hot: [{columns: [b]}]
labels: {y: y == true}
validation_share: 0.0
"#,
    r#"
csv: {header: false, delimiter: "\t", quote: "'"}
allow_one_class: true
buckets: [{columns: ["0"], boundaries: [-1, 0, 1e3]}]
discrete: [{columns: ["1"]}]
labels: {y: '"4" > 0'}
"#,
    r#"
allow_one_class: true
one_hot: [{columns: [a, b, c]}]
labels: {y: 'y >= "12:00"', z: 'y < "m"'}
split: {time: {column: d, before: {train: "10", test: "9007199254740993"}}}
"#,
    r#"
csv: {max_cell_lines: 3}
allow_one_class: true
discrete: [{columns: [a, b]}]
labels: {y: y <= 1e30}
split: {time: {column: c, before: {train: "2024-W05", test: null}}}
"#,
];

fuzz_target!(|bytes: &[u8]| {
    if let Some((&choice, table)) = bytes.split_first() {
        conversion::check(conversion::choose(&MAPPINGS, choice), table);
    }
});
