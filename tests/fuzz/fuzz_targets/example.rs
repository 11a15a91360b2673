//! Any bytes as a serialised tf.Example: a row or a reason, whatever its encoding.

#![no_main]

use data::columns::{Keep, Spec};
use data::example::{Layout, Scratch};
use data::schema::{Dtype, Feature, Length, Parts};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

include!("../program.rs");

fn spec(key: &str, dtype: Dtype, length: Length) -> Spec {
    Spec::new(Feature {
        key: key.to_owned(),
        name: key.into(),
        dtype,
        length,
        parts: None,
    })
}

/// A feature of the keys `f`, `p` and `q`, each one number.
fn of_keys(name: &str, dtype: Dtype, keys: &[&str]) -> Spec {
    let keys: Vec<String> = keys.iter().map(|&key| key.to_owned()).collect();
    let mut spec = spec(name, dtype, Length::Fixed(keys.len()));
    let required = name == "required";
    spec.feature.parts = Some(Arc::new(Parts { keys, required }));
    spec
}

fuzz_target!(|bytes: &[u8]| {
    let mut sliced = spec("s", Dtype::Float, Length::Fixed(4));
    sliced.keep = Keep::Picked(vec![0, 3]);
    let mut first = spec("i", Dtype::Int64, Length::Fixed(3));
    first.keep = Keep::First(1);
    let layout = Layout::new(vec![
        spec("f", Dtype::Float, Length::Fixed(2)),
        sliced,
        first,
        spec("b", Dtype::Bytes, Length::Fixed(1)),
        spec("v", Dtype::Float, Length::Variable),
        spec("w", Dtype::Int64, Length::Variable),
        spec("x", Dtype::Bytes, Length::Variable),
        of_keys("continuous", Dtype::Float, &["p", "q", "r"]),
        of_keys("discrete", Dtype::Int64, &["y", "z"]),
    ]);
    let mut scratch = Scratch::default();
    // Twice with the same scratch: what is remembered of the first must not change the second.
    let mut read = || {
        let mut columns = layout.columns(1);
        let outcome = scratch.read(&layout, bytes, &mut columns);
        (outcome.is_ok(), format!("{columns:?}"))
    };
    assert_eq!(read(), read());
    // The same of a layout that needs its keys, and of the look at records that no config names.
    let layout = Layout::new(vec![of_keys("required", Dtype::Int64, &["p"])]);
    let _ = Scratch::default().read(&layout, bytes, &mut layout.columns(1));
    let mut seen = std::collections::BTreeMap::new();
    data::survey::look(bytes, &mut seen);
    assert!(seen.len() <= bytes.len());
});
