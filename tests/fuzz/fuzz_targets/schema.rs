//! Any bytes as a segdense schema and as a column mask: a value or a reason.

#![no_main]

use std::path::Path;

use data::{mask, schema::Schema};
use libfuzzer_sys::fuzz_target;

// Without the device part of the batch the data room builds without libtorch, as a module of this crate.
#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "."]
mod batch {
    #[path = "../../../src/batch/host.rs"]
    mod host;
    pub use host::*;
}
#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "../../../src/config/mod.rs"]
mod config;
#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "../../../src/data/mod.rs"]
mod data;
#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "../../../src/printable.rs"]
mod printable;

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
