//! Any bytes as a segdense schema and as a column mask: a value or a reason.

#![no_main]

use std::path::Path;

use data::{mask, schema::Schema};
use libfuzzer_sys::fuzz_target;

include!("../program.rs");

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = Schema::parse(Path::new("fuzz.json"), bytes) {
        assert!(error.to_string().contains("fuzz.json"));
    }
    match mask::parse(bytes) {
        Ok(positions) => {
            assert!(positions.is_sorted() && positions.len() < bytes.len());
        }
        Err(reason) => assert!(!reason.is_empty()),
    }
});
